"""The client that does not block: the same calls, awaited."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Self, Unpack

from muster.client import exchange, flows, following
from muster.client.base import ANSWER_WITHIN, STREAM_WITHIN, USUAL, Base
from muster.client.errors import MusterError, Refused, Unreachable
from muster.client.exchange import Answer, Call, Options
from muster.client.httpx_wire import AsyncStreamed, AsyncWire
from muster.client.retrying import Retries


class AsyncCalls(Base):
    """Calls by their paths; `AsyncClient` has a method for each."""

    _wire: AsyncWire
    _sleep: Callable[[float], Awaitable[None]]

    async def request(self, method: str, path: str, body: Any = None, **options: Unpack[Options]) -> Any:
        """The answer of a call.

        Raises:
            Unreachable, Refused: as named.
        """
        flow = self._run(flows.once(self._call(method, path, body, options), self._rules))
        async with contextlib.aclosing(flow):
            return await anext(flow)

    async def get(self, path: str, **options: Unpack[Options]) -> Any:
        """The answer of a GET; raises as `request` does."""
        return await self.request("GET", path, None, **options)

    async def post(self, path: str, body: Any = None, **options: Unpack[Options]) -> Any:
        """The answer of a POST; raises as `request` does."""
        return await self.request("POST", path, body, **options)

    async def put(self, path: str, body: Any, **options: Unpack[Options]) -> Any:
        """The answer of a PUT; raises as `request` does."""
        return await self.request("PUT", path, body, **options)

    async def delete(self, path: str, body: Any = None, **options: Unpack[Options]) -> Any:
        """The answer of a DELETE; raises as `request` does."""
        return await self.request("DELETE", path, body, **options)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        content: bytes | AsyncIterable[bytes] | None = None,
        size: int | None = None,
        **options: Unpack[Options],
    ) -> AsyncIterator[AsyncStreamed]:
        """The answer of a call as it comes; `content`, of `size` bytes, is sent as it is read. Not retried.

        Raises:
            Unreachable, Refused: as named, the first also in the middle.
        """
        options.setdefault("timeout", STREAM_WITHIN)
        call = self._call(method, path, None, options, content=content, size=size, accept="*/*")
        async with self._wire.stream(call) as answer:
            self._note(call, answer.headers, 200)
            yield answer

    async def upload(
        self,
        method: str,
        path: str,
        content: bytes | AsyncIterable[bytes],
        size: int | None = None,
        **options: Unpack[Options],
    ) -> Any:
        """The answer of a call with `content`, of `size` bytes, which is sent as it is read. Not retried.

        Raises:
            Unreachable, Refused: as named.
        """
        async with self.stream(method, path, content, size, **options) as answer:
            data = b"".join([piece async for piece in answer.pieces()])
            return exchange.decoded(Answer(200, answer.headers, data), self.url)

    async def lines(self, path: str, **options: Unpack[Options]) -> AsyncIterator[bytes]:
        """The lines of an answer as they come; the last one lacks its end when it was cut off.

        Raises:
            Unreachable, Refused: as named, the first also in the middle.
        """
        options.setdefault("timeout", ANSWER_WITHIN)
        async with self.stream("GET", path, **options) as answer:
            async for line in answer.lines():
                yield line

    async def _run(self, flow: flows.Flow) -> AsyncGenerator[Any, None]:
        """Carry out a flow: what it gives its caller."""
        with contextlib.closing(flow):
            said: Any = None
            while True:
                try:
                    step = flow.throw(said) if isinstance(said, Unreachable) else flow.send(said)
                except StopIteration:
                    return
                said = None
                if isinstance(step, flows.Out):
                    yield step.value
                elif isinstance(step, flows.Pause):
                    await self._sleep(step.seconds)
                else:
                    try:
                        said = self._heard(step, await self._wire.send(step))
                    except Unreachable as error:
                        said = error

    async def follow_events(
        self,
        *,
        deployment: str | None = None,
        node: str | None = None,
        kind: str | None = None,
        after: str | None = None,
        on_trouble: flows.OnTrouble = None,
        **options: Unpack[Options],
    ) -> AsyncIterator[dict[str, Any]]:
        """What happens from now on, or since the event `after`; each event once, without an end.

        A manager that is away is waited for, however long; `on_trouble` is told once each time.

        Raises:
            Refused: the manager will not have it.
        """
        newest = after or following.newest(await self.get(following.NEWEST, **options))
        told = following.Following({"deployment": deployment, "node": node, "kind": kind}, newest)
        error: MusterError
        while True:
            try:
                async for line in self.lines(told.path, **options):
                    if (row := told.hear(line)) is not None:
                        yield row
                        told.done()
                error = Unreachable("the manager ended its answer")
            except (Unreachable, Refused) as found:
                error = found
            pause, first = told.trouble(error)
            if first and on_trouble:
                on_trouble(error)
            await self._sleep(pause)

    def _pages(self, path: str, asked: Mapping[str, Any], options: Options) -> AsyncIterator[Any]:
        make = self._maker(path, options)
        return self._run(flows.pages(make, asked, self._rules))

    def _watch(
        self,
        path: str,
        asked: Mapping[str, Any],
        options: Options,
        wait: float,
        on_trouble: flows.OnTrouble,
    ) -> AsyncIterator[Any]:
        make = self._maker(path, options)
        return self._run(flows.watch(make, asked, self._rules, wait, on_trouble))

    def _maker(self, path: str, options: Options) -> Callable[[Mapping[str, Any]], Call]:
        return lambda query: self._call("GET", exchange.with_query(path, query), None, options)


class AsyncPlain(AsyncCalls):
    """A client with a wire; the methods of the API's calls are `AsyncClient`'s."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = ANSWER_WITHIN,
        retries: Retries = USUAL,
        replicated: bool = False,
        verify: bool | str | ssl.SSLContext = True,
    ) -> None:
        super().__init__(url, token, timeout, retries, replicated=replicated)
        self._sleep = asyncio.sleep
        self._wire = AsyncWire(self.url, verify=verify)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what is connected."""
        await self._wire.close()
