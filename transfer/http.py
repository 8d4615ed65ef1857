"""Reads files over HTTP and HTTPS."""

import contextlib
import http.client
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import cached_property

from transfer import http_answer
from transfer.errors import Kind, TransferError
from transfer.http_answer import Answer, refusal
from transfer.login import Login
from transfer.reader import CONNECT_WITHIN, SILENT_AT_MOST, Stat
from transfer.urls import Source

MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CLOSED = (ConnectionError, http.client.BadStatusLine, ssl.SSLEOFError)
_PIECE = 64 * 1024
_SMALL = 64 * 1024
"""Bytes of an answer that are read to keep a connection: more than that, and a new one is cheaper."""


class HttpReader:
    """One server, one connection, kept between requests as long as the server likes.

    A user and password are sent to that server only, not to those that it redirects to.
    """

    def __init__(self, source: Source, login: Login) -> None:
        self._source = source
        self._login = login
        self._connection: http.client.HTTPConnection | None = None
        self._connected_to = ""
        self._read_from: http.client.HTTPResponse | None = None
        """The answer that the connection is busy with, if it is not at its end."""

    def stat(self, path: str) -> Stat:
        """What is there. The size is not known of what a server makes while it sends it.

        Raises:
            TransferError: as its kinds say.
        """
        source, answer, _ = self._ask("HEAD", path, {})
        if answer.status in (200, 404, 410):
            return self._accepted(source, answer)
        # A HEAD is not for every server, and a signed URL may be good for GET only.
        source, answer, _ = self._ask("GET", path, {"Range": "bytes=0-0"})
        if answer.is_of_empty_file():
            return Stat(0, answer.stat.stamp, exact=answer.stat.exact)
        return self._accepted(source, answer)

    def read(self, path: str, offset: int, stat: Stat) -> Iterator[bytes]:
        """The bytes from `offset` to the end.

        Raises:
            TransferError: as its kinds say; CHANGED also when the server does not give parts of files:
                from zero it may.
        """
        headers = {"Range": f"bytes={offset}-", "If-Range": http_answer.if_range(stat)} if offset else {}
        source, answer, response = self._ask("GET", path, headers, whole=True)
        connection, self._read_from = self._connection, response
        try:
            if answer.status not in (200, 206, 416):
                raise refusal(source, answer)
            left = _expected(source, answer, offset, stat)
            while piece := response.read1(_PIECE):
                left = left - len(piece) if left is not None else None
                yield piece
            if left == 0:
                response.close()  # all of it is read: the connection is good for more
        except (OSError, http.client.HTTPException) as error:
            raise _broken(source, error) from None
        finally:
            # Whoever stops in between may have let us connect anew before this is reached.
            if not response.isclosed() and self._connection is connection:
                self.close()
        if left:
            raise TransferError(Kind.UNREACHABLE, f"{source}: the connection broke, {left} bytes too early")

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._read_from = None

    def _accepted(self, source: Source, answer: Answer) -> Stat:
        if answer.status not in (200, 206):
            raise refusal(source, answer)
        return answer.stat

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], *, whole: bool = False
    ) -> tuple[Source, Answer, http.client.HTTPResponse]:
        """A request's answer, redirections followed. Without `whole`, the body is got rid of."""
        source = Source(scheme=self._source.scheme, host=self._source.host, port=self._source.port, path=path)
        for _ in range(MOST_REDIRECTS + 1):
            response = self._request(method, source, headers)
            said = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, said)
            if answer.status in _REDIRECTS:
                self._finish(response)
                source = http_answer.redirected(source, answer)
                continue
            if not whole:
                self._finish(response)
            elif said.get("transfer-encoding", "chunked").lower() != "chunked":
                self.close()
                raise TransferError(Kind.UNSUPPORTED, f"{source}: the server's transfer encoding is unknown")
            return source, answer, response
        raise TransferError(
            Kind.UNSUPPORTED, f"{self._shown(path)} redirects more than {MOST_REDIRECTS} times"
        )

    def _request(self, method: str, source: Source, more: Mapping[str, str]) -> http.client.HTTPResponse:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "muster", **more}
        if source.pool == self._source.pool and self._login.password is not None:
            pair = f"{self._login.user or ''}:{self._login.password}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        busy = self._read_from is not None and not self._read_from.isclosed()
        if busy or self._connected_to != source.pool:
            self.close()
        while True:
            kept = self._connection is not None and self._connection.sock is not None
            try:
                if self._connection is None or not kept:
                    self._connection, self._connected_to = self._connect(source), source.pool
                self._connection.request(method, http_answer.target(source), headers=headers)
                return self._connection.getresponse()
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                self.close()
                # A connection that was kept may have been closed by the server meanwhile.
                if not (kept and isinstance(error, _CLOSED)):
                    raise _broken(source, error) from None

    def _connect(self, source: Source) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if source.scheme == "https":
            connection = http.client.HTTPSConnection(
                source.host, source.port, timeout=CONNECT_WITHIN, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(source.host, source.port, timeout=CONNECT_WITHIN)
        connection.connect()
        connection.sock.settimeout(SILENT_AT_MOST)
        return connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def _finish(self, response: http.client.HTTPResponse) -> None:
        """Read what is left of an answer, if it is little; else the connection goes."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            response.read(_SMALL)
        if not response.isclosed():
            self.close()

    def _shown(self, path: str) -> Source:
        return Source(scheme=self._source.scheme, host=self._source.host, port=self._source.port, path=path)


def _expected(source: Source, answer: Answer, offset: int, stat: Stat) -> int | None:
    """How many bytes come; None: not known.

    Raises:
        TransferError: CHANGED: they are not those that were asked for.
    """
    changed = TransferError(Kind.CHANGED, f"{source} changed while it was read")
    if stat.stamp and answer.stat.stamp and answer.stat.stamp != stat.stamp:
        raise changed
    if not offset and answer.status == 200:
        if None not in (answer.length, stat.size) and answer.length != stat.size:
            raise changed
        return answer.length
    part = answer.part()
    if answer.status != 206 or part is None:
        raise TransferError(Kind.CHANGED, f"{source} changed, or its server gives no parts of files")
    first, last, total = part
    size = total if total is not None else stat.size
    if first != offset or (size is not None and last != size - 1) or stat.size not in (None, size):
        raise TransferError(Kind.CHANGED, f"{source}: the server sends another part than was asked for")
    return last - first + 1


def _broken(source: Source, error: Exception) -> TransferError:
    """What stopped a connection, in words that hold nothing of the request."""
    where = source.pool.partition("://")[2]
    if isinstance(error, ssl.SSLCertVerificationError):
        return TransferError(Kind.HOST_KEY, f"{where}: its certificate is not taken: {error.verify_message}")
    if isinstance(error, TimeoutError):
        return TransferError(Kind.UNREACHABLE, f"{source}: the server is silent")
    if isinstance(error, socket.gaierror):
        return TransferError(Kind.UNREACHABLE, f"{source}: no address of {source.host} is known")
    if isinstance(error, ssl.SSLError):
        why = f"TLS failed: {(error.reason or 'no reason given').replace('_', ' ').lower()}"
    elif isinstance(error, OSError) and error.strerror:
        why = error.strerror.lower()
    else:
        why = "it does not speak HTTP" if isinstance(error, UnicodeError) else "the connection broke"
    return TransferError(Kind.UNREACHABLE, f"{source}: {why}")
