"""HTTP for generators of load: requests as bytes, and kept-alive connections that never wait by themselves."""

import json
import socket
import time


def request(method, path, body=None, headers=""):
    data = b"" if body is None else json.dumps(body).encode()
    length = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n" if data else ""
    return f"{method} {path} HTTP/1.1\r\nHost: b\r\n{headers}{length}\r\n".encode() + data


class Connection:
    """A kept-alive connection: one request after another."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.begun = 0.0

    def send(self, data):
        self.begun, self._need = time.perf_counter(), -1
        self._buffer.clear()
        self.socket.sendall(data)

    def take(self):
        """Read what is there; whether the answer is complete."""
        piece = self.socket.recv(1 << 20)
        if not piece:
            raise SystemExit("a server hung up")
        self._buffer += piece
        if self._need < 0 and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            self.head = bytes(self._buffer[:end])
            assert self.head.split(b" ", 2)[1] == b"200", bytes(self._buffer[:500])
            length = self.head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            self._need = end + 4 + int(length)
        return 0 <= self._need <= len(self._buffer)

    def ask(self, data):
        self.send(data)
        while not self.take():
            pass
        return self.head
