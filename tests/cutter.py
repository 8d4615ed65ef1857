"""A TCP proxy on loopback that counts connections, and cuts, stalls or slows them when told."""

import contextlib
import select
import socket
import threading
import time

PIECE = 64 * 1024


class Cutter:
    """In front of a server on 127.0.0.1. Its attributes may be set at any time, and count from then on.

    `cut_after`: bytes from the server after which a connection is reset; `stall_after`: after which nothing
    is passed on, though the connection stays; `rate`: bytes a second, for each connection.
    """

    def __init__(self, to_port, *, cut_after=None, stall_after=None, rate=None):
        self._to, self.rate = to_port, rate
        self.cut_after, self.stall_after = cut_after, stall_after
        self._lock, self._ending = threading.Lock(), threading.Event()
        self._paused = False
        self.now = self.most = self.total = self.cuts = 0
        self.passed = 0
        """Bytes from the server, over all connections."""
        self._pairs = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def _accept(self):
        while not self._ending.is_set():
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            with contextlib.suppress(OSError):
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client):
        with self._lock:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now - sum(_has_gone(known) for known, _ in self._pairs))
        server = None
        try:
            server = socket.create_connection(("127.0.0.1", self._to), 5)
            for each in (client, server):
                each.settimeout(None)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.add((client, server))
            self._pass_on(client, server)
        except OSError:
            pass
        finally:
            with self._lock:
                self.now -= 1
                self._pairs.discard((client, server))
            for each in (client, server):
                if each is not None:
                    each.close()

    def _pass_on(self, client, server):
        passed, began = 0, time.monotonic()
        while not self._ending.is_set():
            if self._paused:
                self._ending.wait(0.01)
                continue
            stalled = self.stall_after is not None and passed >= self.stall_after
            wanted = [client] if stalled else [client, server]
            for ready in select.select(wanted, [], [], 0.05)[0]:
                if ready is client:
                    data = client.recv(PIECE)
                    server.sendall(data)
                else:
                    data = server.recv(self._room(passed))
                    client.sendall(data)
                    passed += len(data)
                    with self._lock:
                        self.passed += len(data)
                if not data:
                    return
            if self.cut_after is not None and passed >= self.cut_after:
                with self._lock:
                    self.cuts += 1
                _reset(client)
                return
            if self.rate:
                self._ending.wait(max(0.0, passed / self.rate - (time.monotonic() - began)))

    def _room(self, passed):
        """How much may be taken at once, so that limits are met to the byte."""
        limits = [limit - passed for limit in (self.cut_after, self.stall_after) if limit is not None]
        rate = [max(1, int(self.rate / 20))] if self.rate else []
        return max(1, min([PIECE, *limits, *rate]))

    def pause(self):
        """Take nothing more from either side, though all stay connected."""
        self._paused = True

    def cut_now(self):
        """Reset whatever is connected."""
        with self._lock:
            pairs = list(self._pairs)
        for client, server in pairs:
            for each in (client, server):
                with contextlib.suppress(OSError):
                    _linger_not(each)
                    each.shutdown(socket.SHUT_RDWR)

    def end(self):
        """Nobody is connected any more, and nobody can be."""
        self._ending.set()
        self.cut_now()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()


def _linger_not(connection):
    """Close it with a reset, and what was not sent is lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def _has_gone(client):
    """Whether a client has ended its connection, though its thread may have yet to see it."""
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _reset(connection):
    with contextlib.suppress(OSError):
        _linger_not(connection)
    connection.close()
