"""All watchers of events of one worker process, on one thread: they never hold a thread of the API.

Each watcher is told of the past first, as fast as it takes it, from the history and the stream up to where
the hub is; then it is live. Both happen on the hub's thread, between two batches, so that nothing is told
twice and nothing left out. A second thread listens to the stream. Both are there only while anybody watches.
"""

import contextlib
import logging
import os
import resource
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from time import monotonic, time
from typing import TypeAlias

from manager_api.chronicle import gap_event
from manager_api.http.events.event_past import Past, Place, told
from manager_api.http.events.event_watcher import Watcher, rendered, rendered_gap
from store.backoff import Backoff
from store.errors import StoreError
from store.kv.events import Events, Follower, Heard
from store.model.event import BEGINNING, Id, Wanted

log = logging.getLogger("api")

MOST_WATCHERS = 2_000
BEAT_EVERY = 15.0
TICK = 0.25
LISTEN_MS = 1000
STORE_AGAIN = 1.0
"""Seconds before the stream is asked again for somebody's past, after it failed."""
HEARTBEAT = b": still here\n\n"


Post: TypeAlias = tuple[threading.Event, Heard | Id]


class Full(Exception):
    """No further watcher is taken."""


class Hub:
    """One worker's. `open` from any thread."""

    def __init__(self, events: Callable[[], Events], past: Past, stopping: Callable[[], bool]) -> None:
        self._events = events
        self._past = past
        self._stopping = stopping
        self._lock = threading.Lock()
        self._mail: deque[Watcher | Post] = deque()
        self._count = 0
        self._watchers: set[Watcher] = set()
        self._listening: threading.Event | None = None
        """Set to end the thread that listens; None while there is none."""
        self._position: Id | None = None
        self._store_again = 0.0
        self._wake: socket.socket | None = None

    @property
    def count(self) -> int:
        """How many watch."""
        return self._count

    def check(self) -> None:
        """Whether there is room for one more.

        Raises:
            Full: no.
        """
        if self._stopping():
            raise Full("this worker of the manager is stopping")
        most = min(MOST_WATCHERS, _descriptors() // 2)
        if self._count >= most:
            raise Full(f"{most} watchers of events are served by this process already")

    def open(self, peer: socket.socket, wanted: Wanted, place: Place, head: bytes, gap: str = "") -> None:
        """Serve a watcher from now on; its socket is the hub's."""
        watcher = Watcher(peer, wanted, place)
        watcher.push(head)
        watcher.said = watcher.took = monotonic()
        if gap:
            watcher.push(rendered_gap(gap_event(gap, time())))
        with self._lock:
            self._count += 1
            self._mail.append(watcher)
            if self._wake is not None:
                self._ring(self._wake)
                return
            ear, self._wake = socket.socketpair()
            self._wake.setblocking(False)
        threading.Thread(target=self._run, args=(ear,), name="events", daemon=True).start()

    # -- the thread that listens

    def _post(self, ended: threading.Event, what: Heard | Id) -> None:
        with self._lock:
            self._mail.append((ended, what))
            if self._wake is not None:
                self._ring(self._wake)

    @staticmethod
    def _ring(wake: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it has been rung enough
            wake.send(b"!")

    def _listen(self, ended: threading.Event) -> None:
        failures, backoff = 0, Backoff(first=0.2, most=5.0)
        follower: Follower | None = None
        while not ended.is_set():
            try:
                if follower is None:
                    events = self._events()
                    follower = Follower(events.client, events.keys, events.last() or BEGINNING)
                    self._post(ended, follower.position)
                heard = follower.poll(LISTEN_MS)
                failures = 0
                if heard.gap and not heard.entries:  # another history: from its end, not all of it again
                    again, follower = follower, None
                    again.position = self._events().last() or BEGINNING
                    follower = again
                    self._post(ended, heard)
                    self._post(ended, follower.position)
                elif heard.entries or heard.gap:
                    self._post(ended, heard)
            except StoreError as error:
                failures += 1
                if failures == 1:
                    log.info("events: %s; listening again", error)
                ended.wait(backoff.delay(failures))

    # -- the hub's thread, which lasts as long as the process

    def _run(self, ear: socket.socket) -> None:
        selector = selectors.DefaultSelector()
        ear.setblocking(False)
        selector.register(ear, selectors.EVENT_READ)
        while True:
            try:
                self._turn(selector, ear)
            except Exception:
                log.exception("events: all watchers are let go; they resume")
                self._drop_all(selector)

    def _turn(self, selector: selectors.BaseSelector, ear: socket.socket) -> None:
        """One round: hear, feed, send."""
        for key, mask in selector.select(self._pause()):
            if key.fileobj is ear:
                ear.recv(4096)
            elif mask & selectors.EVENT_READ and not key.data.is_there():
                self._drop(selector, key.data)
        self._take_mail()
        now = monotonic()
        for watcher in list(self._watchers):
            self._feed(watcher)
            if now - watcher.said >= BEAT_EVERY:
                watcher.push(HEARTBEAT)
            self._send(selector, watcher, now)
        if self._stopping():
            self._drop_all(selector)
        self._tend_listener()

    def _pause(self) -> float | None:
        """How long nothing need be done unless somebody says something."""
        if self._mail:
            return 0.0
        if not self._watchers:
            return None
        must_wait = self._position is None or monotonic() < self._store_again
        if must_wait or not any(each.hungry for each in self._watchers):
            return TICK
        return 0.0

    def _tend_listener(self) -> None:
        """Listen while anybody watches."""
        if self._watchers and self._listening is None:
            self._listening = threading.Event()
            threading.Thread(
                target=self._listen, args=(self._listening,), name="events ear", daemon=True
            ).start()
        elif not self._watchers and self._listening is not None:
            self._listening.set()
            self._listening = self._position = None

    def _take_mail(self) -> None:
        while self._mail:
            what = self._mail.popleft()
            if isinstance(what, Watcher):
                self._watchers.add(what)
                continue
            listener, said = what
            if listener is not self._listening:
                continue  # what one that was ended had still to say
            if isinstance(said, Heard):
                self._spread(said)
            else:
                self._position = said

    def _spread(self, heard: Heard) -> None:
        """Tell everybody who is live; the others come to it where they are."""
        self._put_back([each for each in self._watchers if each.place is None and each.slow])
        live = [each for each in self._watchers if each.place is None]
        if heard.gap:
            gap = rendered_gap(gap_event(heard.gap, time()))
            for watcher in live:
                watcher.push(gap)
        for entry in heard.entries:
            data = b""
            for watcher in live:
                if watcher.wanted.takes(entry.event):
                    data = data or rendered(told(entry))
                    watcher.push(data)
        if heard.entries:
            self._position = heard.entries[-1].id
        elif heard.gap:
            self._position = None

    def _put_back(self, slow: list[Watcher]) -> None:
        """Who takes less than comes is told the rest as one of the past: a burst drops nobody."""
        if not slow or self._position is None:
            return
        try:
            place, gap = self._past.locate(self._position)
        except StoreError:
            return  # they are put back with the next ones that come
        for watcher in slow:
            watcher.place, watcher.late = replace(place), True
            if gap:
                watcher.push(rendered_gap(gap_event(gap, time())))

    def _feed(self, watcher: Watcher) -> None:
        if not watcher.hungry or monotonic() < self._store_again:
            return
        place = watcher.place
        assert place is not None
        try:
            events, live = self._past.read(place, watcher.wanted, self._position)
        except StoreError:
            self._store_again = monotonic() + STORE_AGAIN
            return
        for event in events:
            watcher.push(rendered(event))
        if live:
            watcher.place, watcher.late = None, False

    def _send(self, selector: selectors.BaseSelector, watcher: Watcher, now: float) -> None:
        if watcher.waits:
            watcher.said = now
            if not watcher.flush(now):
                self._drop(selector, watcher)
                return
            if watcher.stalls(now):
                log.info("a watcher of events takes too little: dropped; it may resume")
                self._drop(selector, watcher)
                return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if watcher.waits else 0)
        if watcher.listed == 0:
            selector.register(watcher.peer, wanted, watcher)
        elif watcher.listed != wanted:
            selector.modify(watcher.peer, wanted, watcher)
        watcher.listed = wanted

    def _drop(self, selector: selectors.BaseSelector, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)
            if watcher.listed:
                selector.unregister(watcher.peer)
            watcher.peer.close()
            with self._lock:
                self._count -= 1

    def _drop_all(self, selector: selectors.BaseSelector) -> None:
        for watcher in list(self._watchers):
            self._drop(selector, watcher)


def _descriptors() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else os.sysconf("SC_OPEN_MAX")
