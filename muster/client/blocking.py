"""The client that blocks."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self, Unpack

from muster.client import exchange, flows, following
from muster.client.base import ANSWER_WITHIN, STREAM_WITHIN, USUAL, Base
from muster.client.errors import MusterError, Refused, Unreachable
from muster.client.exchange import Answer, Call, Options
from muster.client.retrying import Retries

if TYPE_CHECKING:
    import ssl


class Streamed(Protocol):
    """An answer as it comes."""

    headers: Mapping[str, str]
    """By their names in lower case."""

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, in whatever portions."""
        ...

    def lines(self) -> Iterator[bytes]:
        """Its lines with their ends; the last one lacks its when it was cut off."""
        ...


class Wire(Protocol):
    """Carries calls; may be used by many threads."""

    def send(self, call: Call) -> Answer:
        """Carry one call; raises `Unreachable`."""
        ...

    def stream(self, call: Call) -> contextlib.AbstractContextManager[Streamed]:
        """Carry one call, and give its answer as it comes; raises `Unreachable` and `Refused`."""
        ...

    def close(self) -> None:
        """Close what is connected."""
        ...


class Calls(Base):
    """Calls by their paths; `Client` has a method for each."""

    _wire: Wire
    _sleep: Callable[[float], None]

    def request(self, method: str, path: str, body: Any = None, **options: Unpack[Options]) -> Any:
        """The answer of a call.

        Raises:
            Unreachable, Refused: as named.
        """
        return next(self._run(flows.once(self._call(method, path, body, options), self._rules)))

    def get(self, path: str, **options: Unpack[Options]) -> Any:
        """The answer of a GET; raises as `request` does."""
        return self.request("GET", path, None, **options)

    def post(self, path: str, body: Any = None, **options: Unpack[Options]) -> Any:
        """The answer of a POST; raises as `request` does."""
        return self.request("POST", path, body, **options)

    def put(self, path: str, body: Any, **options: Unpack[Options]) -> Any:
        """The answer of a PUT; raises as `request` does."""
        return self.request("PUT", path, body, **options)

    def delete(self, path: str, body: Any = None, **options: Unpack[Options]) -> Any:
        """The answer of a DELETE; raises as `request` does."""
        return self.request("DELETE", path, body, **options)

    @contextlib.contextmanager
    def stream(
        self,
        method: str,
        path: str,
        content: bytes | Iterable[bytes] | None = None,
        size: int | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Streamed]:
        """The answer of a call as it comes; `content`, of `size` bytes, is sent as it is read. Not retried.

        Raises:
            Unreachable, Refused: as named, the first also in the middle.
        """
        options.setdefault("timeout", STREAM_WITHIN)
        call = self._call(method, path, None, options, content=content, size=size, accept="*/*")
        with self._wire.stream(call) as answer:
            self._note(call, answer.headers, 200)
            yield answer

    def upload(
        self,
        method: str,
        path: str,
        content: bytes | Iterable[bytes],
        size: int | None = None,
        **options: Unpack[Options],
    ) -> Any:
        """The answer of a call with `content`, of `size` bytes, which is sent as it is read. Not retried.

        Raises:
            Unreachable, Refused: as named.
        """
        with self.stream(method, path, content, size, **options) as answer:
            data = b"".join(answer.pieces())
            return exchange.decoded(Answer(200, answer.headers, data), self.url)

    def lines(self, path: str, **options: Unpack[Options]) -> Iterator[bytes]:
        """The lines of an answer as they come; the last one lacks its end when it was cut off.

        Raises:
            Unreachable, Refused: as named, the first also in the middle.
        """
        options.setdefault("timeout", ANSWER_WITHIN)
        with self.stream("GET", path, **options) as answer:
            yield from answer.lines()

    def _run(self, flow: flows.Flow) -> Iterator[Any]:
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
                    self._sleep(step.seconds)
                else:
                    try:
                        said = self._heard(step, self._wire.send(step))
                    except Unreachable as error:
                        said = error

    def follow_events(
        self,
        *,
        deployment: str | None = None,
        node: str | None = None,
        kind: str | None = None,
        after: str | None = None,
        on_trouble: flows.OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[dict[str, Any]]:
        """What happens from now on, or since the event `after`; each event once, without an end.

        A manager that is away is waited for, however long; `on_trouble` is told once each time.

        Raises:
            Refused: the manager will not have it.
        """
        newest = after or following.newest(self.get(following.NEWEST, **options))
        told = following.Following({"deployment": deployment, "node": node, "kind": kind}, newest)
        error: MusterError
        while True:
            try:
                for line in self.lines(told.path, **options):
                    if (row := told.hear(line)) is not None:
                        yield row
                        told.done()
                error = Unreachable("the manager ended its answer")
            except (Unreachable, Refused) as found:
                error = found
            pause, first = told.trouble(error)
            if first and on_trouble:
                on_trouble(error)
            self._sleep(pause)

    def _pages(self, path: str, asked: Mapping[str, Any], options: Options) -> Iterator[Any]:
        make = self._maker(path, options)
        return self._run(flows.pages(make, asked, self._rules))

    def _watch(
        self,
        path: str,
        asked: Mapping[str, Any],
        options: Options,
        wait: float,
        on_trouble: flows.OnTrouble,
    ) -> Iterator[Any]:
        make = self._maker(path, options)
        return self._run(flows.watch(make, asked, self._rules, wait, on_trouble))

    def _maker(self, path: str, options: Options) -> Callable[[Mapping[str, Any]], Call]:
        return lambda query: self._call("GET", exchange.with_query(path, query), None, options)


class Plain(Calls):
    """A client with a wire; the methods of the API's calls are `Client`'s."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = ANSWER_WITHIN,
        retries: Retries = USUAL,
        replicated: bool = False,
        verify: "bool | str | ssl.SSLContext" = True,
        wire: Wire | None = None,
    ) -> None:
        super().__init__(url, token, timeout, retries, replicated=replicated)
        self._sleep = time.sleep
        if wire is None:
            from muster.client.httpx_wire import Wire as Httpx  # takes its time

            self._wire: Wire = Httpx(self.url, verify=verify)
        else:
            self._wire = wire

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is connected."""
        self._wire.close()
