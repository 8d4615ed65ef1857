"""`GET /v1/events`: pages of the history, or, for those who follow, server-sent events.

A follower's connection is taken from the server that accepted it: the hub gets the socket, and under the
server's own descriptor a dead one is put. Whatever the server does then, be it writing, `shutdown` (which
gunicorn 27 does on every close, and which would reach a mere duplicate too) or closing, ends there at once.
"""

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import falcon
import orjson

from manager_api.chronicle import FILE
from manager_api.http.events.event_answers import AN_EVENT, EventsSchema
from manager_api.http.events.event_hub import Full, Hub
from manager_api.http.events.event_past import Past
from manager_api.http.events.event_query import EventsQuerySchema, Query, query
from manager_api.http.frame import bodies, request_id
from manager_api.http.frame.errors import ApiError
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.services import Services
from store.kv.events import Events
from store.model.event import BEGINNING, Id
from store.version import VERSION

MEDIA = "text/event-stream"
RETRY_MS = 1000
RETRY_AFTER = 5
MOST_HELD_THREADS = 8
"""Followers that hold a thread, where the server does not let their sockets go."""
_HEAD = (
    f"HTTP/1.1 200 OK\r\nContent-Type: {MEDIA}; charset=utf-8\r\nMuster-Version: {VERSION}\r\n"
    "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\nConnection: close\r\n"
)
_BEGIN = f"retry: {RETRY_MS}\n\n".encode()


class Listing:
    """`GET /v1/events`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        home = services.access.home
        self._past = Past(home / FILE if home is not None else None, self._events)
        self._hub = Hub(self._events, self._past, self._is_stopping)
        self._held = threading.BoundedSemaphore(MOST_HELD_THREADS)

    def _is_stopping(self) -> bool:
        return self._services.stopping()

    def _events(self) -> Events:
        store = self._services.store
        return Events(store.client, store.keys)

    @describe(
        "List events, or follow them",
        id="list_events",
        tag="events",
        description="A page of what happened; or, with `follow` or `Accept: text/event-stream`, server-sent "
        "events of media type `text/event-stream` for as long as the connection lasts. Who reconnects says "
        "`Last-Event-ID` or `after`, and misses nothing; an event of kind `gap` says where something is "
        "not kept.",
        query=EventsQuerySchema(),
        answers={200: Answer("Events.", EventsSchema(), {"data": [AN_EVENT], "next": None}, others=(MEDIA,))},
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a page, or begin to follow."""
        known = req.get_header("Last-Event-ID")
        asked = query(bodies.query(req), self._services.clock.wall(), accept=req.accept, known=known)
        if asked.follow and req.method == "HEAD":
            resp.content_type = MEDIA
        elif asked.follow:
            self._follow(req, resp, asked)
        else:
            wanted, newest_first = asked.wanted, asked.newest_first
            rows, more = self._past.page(wanted, asked.cursor, asked.limit, newest_first=newest_first)
            resp.data = orjson.dumps({"data": rows, "next": rows[-1]["id"] if more else None})

    def _follow(self, req: falcon.Request, resp: falcon.Response, asked: Query) -> None:
        try:
            self._hub.check()
        except Full as error:
            raise _full(str(error)) from None
        last = self._events().last() or BEGINNING  # 503 if the store is away
        place, gap = self._past.locate(self._start(asked, last))
        peer = req.env.get("gunicorn.socket")
        try:
            if type(peer) is socket.socket and str(req.env.get("SERVER_PROTOCOL")).startswith("HTTP/1"):
                head = f"{_HEAD}{request_id.HEADER}: {request_id.of(req)}\r\n\r\n".encode()
                self._hub.open(taken(peer), asked.wanted, place, head + _BEGIN, gap)
                resp.content_type = MEDIA
                resp.stream = Gone()
                return
            resp.content_type = MEDIA
            resp.stream = self._held_answer(asked, place, gap)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            raise _full("this process has too many open files") from None

    @staticmethod
    def _start(asked: Query, last: Id) -> Id:
        if asked.after is not None:
            return asked.after
        return last if asked.wanted.since is None else BEGINNING

    def _held_answer(self, asked: Query, place: Any, gap: str) -> "Held":
        if not self._held.acquire(blocking=False):
            raise _full(f"{MOST_HELD_THREADS} watchers of events are served by this process already")
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            self._held.release()
            raise
        self._hub.open(theirs, asked.wanted, place, _BEGIN, gap)
        return Held(ours, self._held)


def taken(peer: socket.socket) -> socket.socket:
    """The connection behind a socket, for us alone; the socket is left with a dead one.

    Raises:
        OSError: no descriptor is left; nothing has changed.
    """
    dead, other = socket.socketpair()
    other.close()
    try:
        ours = socket.socket(fileno=os.dup(peer.fileno()))
        os.dup2(dead.fileno(), peer.fileno(), inheritable=False)
    finally:
        dead.close()
    return ours


class Gone:
    """A body for a server whose client is ours now: as if it had gone away."""

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> NoReturn:
        raise ConnectionResetError(errno.ECONNRESET, "the hub of events has this connection")


class Held:
    """A body that hands on what the hub says, on the server's thread."""

    def __init__(self, source: socket.socket, place: threading.BoundedSemaphore) -> None:
        self._source = source
        self._place: threading.BoundedSemaphore | None = place

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with contextlib.suppress(OSError):
            if piece := self._source.recv(1 << 16):
                return piece
        raise StopIteration

    def close(self) -> None:
        """Give the place back."""
        place, self._place = self._place, None
        self._source.close()
        if place is not None:
            place.release()


def _full(detail: str) -> ApiError:
    refusal = ApiError(503, "Too many watchers", f"{detail}; try again later")
    refusal.retry_after = RETRY_AFTER
    return refusal
