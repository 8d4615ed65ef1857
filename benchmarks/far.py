"""A server that is far away: a TCP proxy on loopback through which everything takes so long each way."""

import collections
import contextlib
import socket
import threading
import time

PIECE = 1 << 18
AHEAD = 64 << 20
"""Bytes on the way at most, each way: more than anybody has on the way over TCP's windows."""


class Far:
    """In front of a server on 127.0.0.1; `latency` in seconds, one way."""

    def __init__(self, to_port, latency):
        self._to, self._latency = to_port, latency
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                for one, other in ((client, server), (server, client)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    way = _Way(one, other, self._latency)
                    threading.Thread(target=way.take, daemon=True).start()
                    threading.Thread(target=way.give, daemon=True).start()


class _Way:
    def __init__(self, source, target, latency):
        self._source, self._target, self._latency = source, target, latency
        self._moving = collections.deque()
        self._size, self._changed = 0, threading.Condition()

    def take(self):
        data = b"begin"
        while data:
            try:
                data = self._source.recv(PIECE)
            except OSError:
                data = b""
            with self._changed:
                self._moving.append((time.monotonic() + self._latency, data))
                self._size += len(data)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._size < AHEAD)

    def give(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._moving)
                due, data = self._moving.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    return self._target.shutdown(socket.SHUT_WR)
                self._target.sendall(data)
            except OSError:
                with contextlib.suppress(OSError):
                    self._source.shutdown(socket.SHUT_RDWR)
                return None
            with self._changed:
                self._size -= len(data)
                self._changed.notify_all()
