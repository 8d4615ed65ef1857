"""A real HTTP server on loopback that can behave as badly as any."""

import contextlib
import hashlib
import http.server
import socket
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate


@dataclass
class Page:
    """What lies at a path, and how the server misbehaves when it is asked for it."""

    data: bytes
    etag: str | None = None
    """None: a strong one, made of the data; empty: none."""
    modified: float | None = None
    ranges: bool = True
    head: int = 200
    """The status of a HEAD, if it is none of ours to know what is there."""
    status: int = 200
    headers: dict = field(default_factory=dict)
    chunked: bool = False
    cut: int | None = None
    """The connection breaks after so many bytes of a body. Stays so until it is changed."""
    silent: int | None = None
    """Says nothing more after so many bytes of a body, until the server ends."""
    content_range: str | None = None
    """Said instead of the truth."""
    then: list = field(default_factory=list)
    """Data by which it is replaced, each after a GET was begun."""

    @property
    def stamp(self):
        if self.etag is None:
            return f'"{hashlib.sha256(self.data).hexdigest()[:16]}"'
        return self.etag


class Web:
    """`pages` by path (with the query, if there is one); `asked` is what was asked, in order."""

    def __init__(self, tls=None):
        self.pages = {}
        self.asked = []
        self.sent = 0
        """Bytes of bodies."""
        self.connections = 0
        self.ended = threading.Event()
        self._sockets = set()
        web = self

        class Handler(_Handler):
            pass

        Handler.web = web

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                """A connection that broke: most of these tests are about that."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def end(self):
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        for each in list(self._sockets):
            _close(each)
        self._thread.join()

    def gets(self, path=None):
        return [each for each in self.asked if each[0] == "GET" and path in (None, each[1])]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def setup(self):
        super().setup()
        self.web.connections += 1
        self.web._sockets.add(self.connection)

    def finish(self):
        self.web._sockets.discard(self.connection)
        super().finish()

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.web.asked.append((self.command, self.path, headers))
        page = self.web.pages.get(self.path)
        if page is None or page.status != 200 or (self.command == "HEAD" and page.head != 200):
            wrong = 404 if page is None else page.status if page.status != 200 else page.head
            self._say(wrong, {"Content-Length": "0", **(page.headers if page else {})})
            return
        data, said = page.data, self._validators(page)
        status, body = 200, data
        asked = headers.get("range")
        if asked and page.ranges and headers.get("if-range", said.get("ETag", said.get("Last-Modified"))) in said.values():  # fmt: skip
            first, _, last = asked.removeprefix("bytes=").partition("-")
            first, last = int(first), min(int(last or len(data)), len(data) - 1)
            if first >= len(data):
                self._say(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(data)}"})
                return
            status, body = 206, data[first : last + 1]
            said["Content-Range"] = (
                f"bytes {first}-{last}/{len(data)}" if page.content_range is None else page.content_range
            )
        length = {"Transfer-Encoding": "chunked"} if page.chunked else {"Content-Length": str(len(body))}
        self._say(status, {**said, **length, **page.headers})
        if self.command == "GET":
            if page.then and asked != "bytes=0-0":
                page.data = page.then.pop(0)
            self._body(page, body)

    def _validators(self, page):
        said = {"ETag": page.stamp} if page.stamp else {}
        if page.modified is not None:
            said["Last-Modified"] = formatdate(page.modified, usegmt=True)
        return said

    def _say(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, page, body):
        for at in range(0, len(body), 16384):
            piece = body[at : at + 16384]
            for limit, end in ((page.cut, self._cut), (page.silent, self._wait)):
                if limit is not None and at + len(piece) > limit:
                    self._write(page, piece[: limit - at])
                    end()
                    return
            self._write(page, piece)
        if page.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _write(self, page, piece):
        if not piece:
            return
        self.web.sent += len(piece)  # before: who has it may look at once
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if page.chunked else piece)

    def _cut(self):
        self.wfile.flush()
        _close(self.connection)
        self.close_connection = True

    def _wait(self):
        self.wfile.flush()
        self.web.ended.wait()
        self.close_connection = True


def _close(sock):
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def long_ago():
    """A time at which files may have been changed, so that `Last-Modified` tells."""
    return time.time() - 3600
