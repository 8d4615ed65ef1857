"""Calls carried by httpx: pooled connections, TLS, proxies; blocking and not."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx

from muster.client.errors import Unreachable, refusal
from muster.client.exchange import Answer, Call

CONNECT_WITHIN = 10.0
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
Verify = bool | str | ssl.SSLContext


def _context(url: str, verify: Verify) -> bool | ssl.SSLContext:
    """How a server is to prove who it is; plain HTTP needs no proof, and starts sooner without."""
    if not url.startswith("https:"):
        return False
    return ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify


def _timeout(call: Call) -> httpx.Timeout:
    return httpx.Timeout(call.timeout, connect=min(CONNECT_WITHIN, call.timeout))


def _request(client: Any, url: str, call: Call) -> httpx.Request:
    found: httpx.Request = client.build_request(
        call.method,
        url + call.path,
        content=call.content if call.content is not None else call.data,
        headers=dict(call.headers),
        timeout=_timeout(call),
    )
    return found


def _unreachable(url: str, error: Exception) -> Unreachable:
    reason = str(error) or type(error).__name__
    return Unreachable(f"no manager answers at {url}: {reason}", sent=not isinstance(error, _UNSENT))


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


class Streamed:
    """An answer as it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.headers: Mapping[str, str] = dict(response.headers)

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, in whatever portions."""
        return self._response.iter_bytes()

    def lines(self) -> Iterator[bytes]:
        """Its lines with their ends; the last one lacks its when it was cut off."""
        rest = b""
        for piece in self._response.iter_bytes():
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line + b"\n" for line in whole)
        if rest:
            yield rest


class AsyncStreamed:
    """An answer as it comes, without blocking."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.headers: Mapping[str, str] = dict(response.headers)

    def pieces(self) -> AsyncIterator[bytes]:
        """Its bytes, in whatever portions."""
        return self._response.aiter_bytes()

    async def lines(self) -> AsyncIterator[bytes]:
        """Its lines with their ends; the last one lacks its when it was cut off."""
        rest = b""
        async for piece in self._response.aiter_bytes():
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line + b"\n"
        if rest:
            yield rest


class Wire:
    """Blocks; may be used by many threads."""

    def __init__(self, url: str, *, verify: Verify = True) -> None:
        self.url = url
        self._client = httpx.Client(verify=_context(url, verify), limits=_LIMITS)

    def send(self, call: Call) -> Answer:
        """Carry one call.

        Raises:
            Unreachable: no answer came, or not all of it.
        """
        try:
            response = self._client.send(_request(self._client, self.url, call))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _unreachable(self.url, error) from error
        return Answer(response.status_code, response.headers, response.content)

    @contextlib.contextmanager
    def stream(self, call: Call) -> Iterator[Streamed]:
        """Carry one call, and give its answer as it comes.

        Raises:
            Unreachable, Refused: as named, the first also in the middle.
        """
        try:
            response = self._client.send(_request(self._client, self.url, call), stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise refusal(response.status_code, _json(response), response.headers)
                yield Streamed(response)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _unreachable(self.url, error) from error

    def close(self) -> None:
        """Close what is connected."""
        self._client.close()


class AsyncWire:
    """Does not block; for one event loop."""

    def __init__(self, url: str, *, verify: Verify = True) -> None:
        self.url = url
        self._client = httpx.AsyncClient(verify=_context(url, verify), limits=_LIMITS)

    async def send(self, call: Call) -> Answer:
        """Carry one call.

        Raises:
            Unreachable: no answer came, or not all of it.
        """
        try:
            response = await self._client.send(_request(self._client, self.url, call))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _unreachable(self.url, error) from error
        return Answer(response.status_code, response.headers, response.content)

    @contextlib.asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncStreamed]:
        """Carry one call, and give its answer as it comes.

        Raises:
            Unreachable, Refused: as named, the first also in the middle.
        """
        try:
            response = await self._client.send(_request(self._client, self.url, call), stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    raise refusal(response.status_code, _json(response), response.headers)
                yield AsyncStreamed(response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _unreachable(self.url, error) from error

    async def close(self) -> None:
        """Close what is connected."""
        await self._client.aclose()


_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=10.0)
"""Kept for less time than the manager keeps them (15 s), so that it does not hang up on a request."""
