"""The agent's own port, on loopback: health for monitors, the node's own view for people."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from store.version import VERSION


class LocalPort:
    """Serves two views until the process ends."""

    def __init__(self, port: int, view: Callable[[], dict[str, Any]]) -> None:
        """Bind.

        Raises:
            OSError: the port is taken.
        """

        class Handler(BaseHTTPRequestHandler):
            server_version = f"muster-agent/{VERSION}"
            timeout = 10

            def do_GET(self) -> None:
                found = view()
                if self.path == "/healthz":
                    keys = ("status", "version", "node", "frozen")
                    self._answer(200, {key: found[key] for key in keys})
                elif self.path == "/":
                    self._answer(200, found)
                else:
                    self._answer(404, {"error": "Not found", "detail": "there are / and /healthz"})

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body, ensure_ascii=False).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Nobody needs a line for every look."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        """Serve on a thread of its own."""
        threading.Thread(target=self._server.serve_forever, name="port", daemon=True).start()

    def stop(self) -> None:
        """Free the port."""
        self._server.shutdown()
        self._server.server_close()
