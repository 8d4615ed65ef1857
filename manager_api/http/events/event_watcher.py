"""One watcher of events: its socket, what is still to be sent, and how far it is."""

import contextlib
import socket
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson

from manager_api.http.events.event_past import Place
from store.codec import Json
from store.model.event import Wanted

MOST_HELD = 256 * 1024
"""Bytes held for a watcher; beyond them it is told the rest as one of the past, as fast as it takes it."""
PATIENCE = 5.0
"""Seconds in which one of those must take something; else it is dropped, and may resume."""
LOW = 64 * 1024
"""Bytes below which more of the past is fetched."""
SEND_BUFFER = 64 * 1024
GIVEN_UP_MS = 60_000
PIECE = 64 * 1024


class Watcher:
    """For the hub's thread alone."""

    def __init__(self, peer: socket.socket, wanted: Wanted, place: Place) -> None:
        self.peer = peer
        self.wanted = wanted
        self.place: Place | None = place
        """How far it is in the past; None: it gets what comes."""
        self.said = 0.0
        """When it was last sent something (monotonic)."""
        self.took = 0.0
        """When it last took something, or was owed nothing (monotonic)."""
        self.late = False
        """Whether it was told what came, and fell behind."""
        self.listed = 0
        """For which kinds of readiness it is registered."""
        self._held: deque[bytes] = deque()
        self._size = 0
        peer.setblocking(False)
        with contextlib.suppress(OSError):  # a socket pair has none of them
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GIVEN_UP_MS)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def push(self, data: bytes) -> None:
        """Add something to be sent."""
        self._held.append(data)
        self._size += len(data)

    @property
    def waits(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._held)

    @property
    def slow(self) -> bool:
        """Whether it takes less than it is sent."""
        return self._size > MOST_HELD

    @property
    def hungry(self) -> bool:
        """Whether more of the past may be fetched for it."""
        return self.place is not None and self._size < LOW

    def stalls(self, now: float) -> bool:
        """Whether it fell behind, and takes nothing."""
        return self.late and self.waits and now - self.took > PATIENCE

    def flush(self, now: float) -> bool:
        """Send what the socket takes; False when nobody is there any more."""
        while self._held:
            piece = self._next_piece()
            try:
                sent = self.peer.send(piece)
            except BlockingIOError:
                sent = 0
            except OSError:
                return False
            self._size -= sent
            self.took = now if sent else self.took
            if sent < len(piece):
                self._held.appendleft(piece[sent:])
                return True
        return True

    def _next_piece(self) -> bytes:
        parts, size = [], 0
        while self._held and size < PIECE:
            parts.append(self._held.popleft())
            size += len(parts[-1])
        return b"".join(parts)

    def is_there(self) -> bool:
        """Whether a socket that can be read has not come to its end; what it says is not for us."""
        try:
            return bool(self.peer.recv(4096))
        except BlockingIOError:
            return True
        except OSError:
            return False


def rendered(event: Mapping[str, Any]) -> bytes:
    """An event as it is sent. One without an id leaves the reader's last one as it is."""
    kind = str(event["kind"]).replace("\n", " ").replace("\r", " ")
    number = f"id: {event['id']}\n" if "id" in event else ""
    return f"{number}event: {kind}\ndata: ".encode() + orjson.dumps(event) + b"\n\n"


def rendered_gap(gap: Json) -> bytes:
    """A gap that has no place of its own in the history."""
    return rendered({key: value for key, value in gap.items() if key != "id"})
