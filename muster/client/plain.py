"""Calls carried by the standard library, a connection each: for programs that are to start at once.

Importing httpx and its first call take longer than all else that `muster ps` does (docs/client.md has the
figures).
"""

import contextlib
import http.client
import io
import json
import select
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from muster.client.errors import Refused, Unreachable, refusal
from muster.client.exchange import Answer, Call

PIECE = 1 << 18
_BROKEN = (OSError, ValueError, http.client.HTTPException)


class Streamed:
    """An answer as it comes."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.headers: Mapping[str, str] = _lowered(response.headers)

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, in whatever portions."""
        while piece := self._response.read(PIECE):
            yield piece

    def lines(self) -> Iterator[bytes]:
        """Its lines with their ends; the last one lacks its when it was cut off."""
        return iter(self._response)


class Wire:
    """Blocks; may be used by many threads."""

    def __init__(self, url: str) -> None:
        self.url = url

    def send(self, call: Call) -> Answer:
        """Carry one call.

        Raises:
            Unreachable: no answer came, or not all of it.
        """
        try:
            with urllib.request.urlopen(self._request(call), timeout=call.timeout) as answer:  # noqa: S310
                return Answer(answer.status, _lowered(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, _lowered(error.headers), _rest(error))
        except _BROKEN as error:
            raise self._away(error) from error

    @contextlib.contextmanager
    def stream(self, call: Call) -> Iterator[Streamed]:
        """Carry one call, and give its answer as it comes.

        Content is sent until it ends, or the manager has had enough of it and answers.

        Raises:
            Unreachable, Refused: as named, the first also in the middle. Whatever reading the content raises,
                but for `OSError`, which is taken for the connection's.
        """
        sent = _Sent(call.content) if call.content is not None else None
        opener = urllib.request.build_opener(*(_handler(sent, each) for each in ("http", "https")))
        try:
            with opener.open(self._request(call, sent), timeout=call.timeout) as answer:
                yield Streamed(answer)
        except urllib.error.HTTPError as error:
            raise _refused(error) from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            raise self._away(error, streamed=call.method != "GET") from error

    def close(self) -> None:
        """There is nothing to close."""

    def _request(self, call: Call, sent: "_Sent | None" = None) -> urllib.request.Request:
        try:
            return urllib.request.Request(  # noqa: S310 - the URL is its user's own
                self.url + call.path,
                data=cast("Any", sent if sent is not None else call.data),
                method=call.method,
                headers=dict(call.headers),
            )
        except ValueError as error:
            raise self._away(error) from error

    def _away(self, error: Exception, *, streamed: bool = False) -> Unreachable:
        reason = getattr(error, "reason", error)
        unsent = isinstance(reason, ConnectionRefusedError | ssl.SSLCertVerificationError)
        if streamed:
            text = f"the manager at {self.url} does not answer, or broke off: {reason}"
        else:
            text = f"no manager answers at {self.url}: {reason}"
        return Unreachable(text, sent=not unsent)


class _Sent:
    """Content on its way, until an answer is there."""

    def __init__(self, content: Any) -> None:
        self._content: Iterable[bytes] = io.BytesIO(content) if isinstance(content, bytes) else content
        self.connection: Any = None

    def __iter__(self) -> Iterator[bytes]:
        pieces = iter(self._content)
        while self.connection is None or not self.connection.answered():
            piece = next(pieces, None)
            if piece is None:
                return
            yield piece


def _handler(sent: _Sent | None, scheme: str) -> urllib.request.BaseHandler:
    """Opens URLs of a scheme over connections that hear an answer which comes before the content's end."""
    plain: Any = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection

    class Connection(plain):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            self.broken = False
            if sent is not None:
                sent.connection = self

        def answered(self) -> bool:
            if self.broken:
                return True
            # Under TLS there may be something to read that is no answer.
            return not isinstance(self.sock, ssl.SSLSocket) and bool(select.select([self.sock], [], [], 0)[0])

        def send(self, data: Any) -> None:
            try:
                super().send(data)
            except (BrokenPipeError, ConnectionResetError):
                if sent is None:
                    raise
                self.broken = True  # perhaps it said why: the answer may be there to read

    base: Any = urllib.request.HTTPSHandler if scheme == "https" else urllib.request.HTTPHandler

    class Handler(base):  # type: ignore[misc]
        def open_it(self, request: urllib.request.Request) -> Any:
            return self.do_open(Connection, request)

    setattr(Handler, f"{scheme}_open", Handler.open_it)
    return Handler()


def _refused(error: urllib.error.HTTPError) -> Refused:
    try:
        body = json.loads(_rest(error))
    except ValueError:
        body = None
    return refusal(error.code, body, _lowered(error.headers))


def _rest(error: urllib.error.HTTPError) -> bytes:
    """What an answer that is no success says; nothing, if it broke off."""
    try:
        return error.read()
    except (OSError, ValueError, http.client.HTTPException):
        return b""


def _lowered(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()} if headers else {}
