"""gunicorn's threads, held by no client for long: senders keep a pace, and ends are nobody else's business.

gunicorn itself waits without any bound for a request, and ends connections on the thread that accepts them:
one that is not closed by its client stood in everybody's way for two seconds, fifteen of them until the
worker was killed as stuck.
"""

import contextlib
import errno
import signal
import socket
import struct
import threading
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

from gunicorn.http.errors import NoMoreData  # type: ignore[import-untyped]
from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]
from gunicorn.workers import gthread  # type: ignore[import-untyped]

GRACE, RATE = 30.0, 1024
"""A head, or a body, may be waited for so many seconds in all, and one more for each so many bytes of it."""
CROWD, CROWDED = 256, 2.0
"""When more threads than that wait for senders, it is only so many seconds."""
TAKES_NOTHING = 60
"""Seconds after which somebody who takes nothing of an answer is given up."""
SOON = 0.1
"""Seconds that a new connection has to say something before it waits without a thread."""
GLANCE = 1.0
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def hold_ends() -> None:
    """Before a worker is forked: orders to end wait until it has handlers of its own.

    Those of its parent would hear them, and the parent would wait for an end that nobody was told of.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)


def hear_ends() -> None:
    """In the parent after a fork."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)


class Crowd:
    """How many threads of a worker wait for senders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1

    @property
    def grace(self) -> float:
        """The seconds that a sender has just now."""
        return GRACE if self._count <= CROWD else CROWDED


class Paced(SocketUnreader):  # type: ignore[misc]
    """What is read of a connection. Only waiting counts, not what we do with the bytes meanwhile."""

    def __init__(self, sock: socket.socket, crowd: Crowd, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(sock)
        self._crowd, self._clock = crowd, clock
        self.begin(head=True)

    def begin(self, *, head: bool) -> None:
        """From here on it is a head, or else a body."""
        self._head, self._received, self._waited = head, 0, 0.0

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes.

        Raises:
            NoMoreData: a head takes too long.
            TimeoutError: a body does, or is silent for as long as the socket's own timeout.
        """
        data = self._at_once(size_hint)
        if data is None:
            with self._crowd:
                data = self._wait(size_hint)
        self._received += len(data)
        return data

    def _at_once(self, size_hint: int | None) -> bytes | None:
        """What is there already, as it nearly always is: without any further system call."""
        if self.sock.gettimeout() is not None:
            return None
        size = max(self.mxchunk, min(size_hint or 0, self.max_body_chunk))
        with contextlib.suppress(BlockingIOError):
            found: bytes = self.sock.recv(size, socket.MSG_DONTWAIT)
            return found
        return None

    def _wait(self, size_hint: int | None) -> bytes:
        outer, began = self.sock.gettimeout(), self._clock()
        silent = inf if outer is None else outer
        try:
            while True:
                spent = self._clock() - began
                left = min(self._crowd.grace + self._received / RATE - self._waited, silent) - spent
                if left <= 0:
                    raise NoMoreData if self._head else TimeoutError("too slow")
                self.sock.settimeout(min(left, GLANCE))
                with contextlib.suppress(TimeoutError):
                    found: bytes = super().chunk(size_hint)
                    return found
        finally:
            self._waited += self._clock() - began
            self.sock.settimeout(outer)


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """One process of the API."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._crowd = Crowd()

    def init_signals(self) -> None:
        """Have handlers of its own; what came before is heard now, not lost: see `hold_ends`."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)

    def _cap_keepalive(self, deadline: float) -> None:
        """At the end those who have not said anything are waited for no longer than others."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def handle(self, conn: Any) -> Any:
        """One request of a connection, on a thread; its end, too."""
        if not conn.initialized:
            if not conn.wait_for_data(SOON):
                return gthread._DEFER  # noqa: SLF001 - it waits with the idle ones
            self._begin(conn)
        else:
            conn.parser.unreader.begin(head=True)
        result = super().handle(conn)
        if not result:
            with contextlib.suppress(OSError):
                conn.close(graceful=True)
        return result

    def _begin(self, conn: Any) -> None:
        conn.init()
        conn.parser.unreader = Paced(conn.sock, self._crowd)
        with contextlib.suppress(OSError):
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", TAKES_NOTHING, 0))

    def handle_request(self, req: Any, conn: Any) -> Any:
        """The request itself, whose body comes now."""
        conn.parser.unreader.begin(head=False)
        try:
            return super().handle_request(req, conn)
        except (BlockingIOError, TimeoutError):
            # Who takes nothing is as good as gone; without its number gunicorn logs a stack.
            raise BrokenPipeError(errno.EPIPE, "nothing of the answer is taken") from None

    def finish_request(self, conn: Any, fs: Any) -> None:
        """On the thread that accepts: nothing here may wait."""
        if fs.cancelled() or fs.exception() is not None or fs.result():
            super().finish_request(conn, fs)
        else:
            self.nr_conns -= 1  # it is closed
