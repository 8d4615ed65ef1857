"""What changes, heard by one thread of each worker process, however many requests wait for it.

It follows the change log, and in the stream of events the comings and goings of nodes, which are in no
record. It is there while somebody waits, and a while longer.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from manager_api.http.waiting.hindsight import Hindsight
from store.backoff import Backoff
from store.errors import StoreError, Unavailable
from store.keys import DEVICES, NODES
from store.kv.events import Entry, Events, Follower
from store.kv.store import Store
from store.kv.watch import Watch
from store.model.event import BEGINNING, Id

log = logging.getLogger("api")

POLL_MS = 250
"""How late a node's coming or going may be heard; records wake the thread at once."""
READY_WITHIN = 1.0
IDLE = 60.0
"""Seconds without anybody who waits after which the thread ends."""
Wanted: TypeAlias = Mapping[str, str | None]
"""Collection to the record that matters, or None: any of them."""
PRESENCE = (NODES, DEVICES)
"""Collections whose readers are also told when nodes come and go."""
_POSITION = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,15})\.([0-9]{1,19}))?")


@dataclass(frozen=True, slots=True)
class Position:
    """Up to where somebody knows what has happened."""

    rev: int
    told: Id | None = None
    """The last event; None: not known, as long as nobody listens."""

    def __str__(self) -> str:
        return str(self.rev) if self.told is None else f"{self.rev}.{self.told[0]}.{self.told[1]}"

    def covers(self, other: "Position") -> bool:
        """Whether who is here knows all that who is there knows."""
        return self.rev >= other.rev and (self.told or BEGINNING) >= (other.told or BEGINNING)

    def at_least(self, other: "Position") -> "Position":
        """The first from which all is known that either of them knows."""
        told = max(self.told or BEGINNING, other.told or BEGINNING)
        return Position(max(self.rev, other.rev), told if told != BEGINNING else None)


def position(text: object) -> Position:
    """A position as it was given out.

    Raises:
        ValueError: it was not.
    """
    found = _POSITION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("not a revision that was given as Muster-Revision, such as 4711")
    return Position(int(found[1]), (int(found[2]), int(found[3])) if found[2] is not None else None)


class Ear:
    """One worker's. From any thread."""

    def __init__(self, store: Store, stopping: Callable[[], bool] = lambda: False) -> None:
        self._store = store
        self._stopping = stopping
        self._lock = threading.Lock()
        self._waiters: dict[tuple[str, str | None], set[threading.Event]] = {}
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        """Set when the thread hears, or has failed to."""
        self._log: Hindsight[int] | None = None
        self._told: Hindsight[Id] | None = None
        self._known = 0
        self._used = 0.0

    def mark(self) -> Position:
        """What a read that begins now will surely show."""
        with self._lock:
            upto = self._log.upto if self._log is not None else 0
            told = self._told.upto if self._told is not None else None
        return Position(max(upto, self._store.seen), told)

    def last(self, wanted: Wanted, after: Position) -> Position | None:
        """The last change of what is wanted, if it is beyond a position; None: there is none.

        What is not known counts as a change: the thread hears nothing, has begun after that position, or the
        position does not say which node's coming was the last that was seen.
        """
        with self._lock:
            if self._log is None or self._told is None:
                return Position(0)
            rev = max(self._log.last(*each) for each in wanted.items())
            told = max(
                (self._told.last(*each) for each in wanted.items() if each[0] in PRESENCE), default=None
            )
        seen = rev <= after.rev and (told is None or (after.told is not None and told <= after.told))
        return None if seen else Position(rev, told)

    def is_beyond(self, after: Position) -> bool:
        """Whether a position lies beyond all that this store is known to have come to."""
        return after.rev > max(self._known, self._store.seen)

    @contextmanager
    def listening(self, wanted: Wanted) -> Iterator[threading.Event]:
        """An event that is set whenever some of it may have changed."""
        self._ensure_thread()
        event = threading.Event()
        keys = list(wanted.items())
        with self._lock:
            for key in keys:
                self._waiters.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            with self._lock:
                self._used = monotonic()
                for key in keys:
                    self._waiters[key].discard(event)
                    if not self._waiters[key]:
                        del self._waiters[key]

    def _ensure_thread(self) -> None:
        with self._lock:
            self._used = monotonic()
            if self._thread is None:
                self._ready.clear()
                self._thread = threading.Thread(target=self._run, name="ear", daemon=True)
                self._thread.start()
        self._ready.wait(READY_WITHIN)

    # -- the thread

    def _run(self) -> None:
        failures, backoff = 0, Backoff(first=0.05, most=2.0)
        while not self._is_over():
            try:
                self._follow()
            except StoreError as error:
                failures += 1
                if failures == 1:
                    log.info("changes: %s; listening again", error)
            except Exception:
                failures += 1
                log.exception("changes: those who wait are answered; listening again")
            else:
                continue
            self._forget()
            threading.Event().wait(backoff.delay(failures))

    def _is_over(self) -> bool:
        """Whether nobody needs the thread any more; then it is gone for all who look."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return True
            if self._waiters or monotonic() - self._used < IDLE:
                return False
            self._thread = self._log = self._told = None
            return True

    def _forget(self) -> None:
        """It hears nothing: who waits looks for itself."""
        with self._lock:
            self._log = self._told = None
        self._ready.set()
        self._wake_all()

    def _follow(self) -> None:
        """Hear until nobody needs it.

        Raises:
            StoreError: another history, or the log was compacted beyond us.
        """
        store = self._store
        meta = store.meta()
        events = Events(store.client, store.keys)
        watch = Watch(store.client, store.keys, epoch=meta.epoch, after=meta.rev)
        follower = Follower(store.client, store.keys, events.last() or BEGINNING)
        with self._lock:
            self._log, self._told = Hindsight(meta.rev), Hindsight(follower.position)
            self._known = meta.rev
        self._ready.set()
        self._wake_all()
        failures, backoff = 0, Backoff(first=0.05, most=2.0)
        while not self._is_over():
            try:
                self._hear(watch, follower)
                failures = 0
            except Unavailable as error:  # nothing is skipped
                failures += 1
                if failures == 1:
                    log.info("changes: %s; listening again", error)
                threading.Event().wait(backoff.delay(failures))
            if self._stopping():
                self._wake_all()

    def _hear(self, watch: Watch, follower: Follower) -> None:
        changes = watch.poll(POLL_MS)
        with self._lock:
            assert self._log is not None
            self._known = watch.known
            for each in changes:
                self._log.note(each.collection, each.field, each.rev)
        self._wake((each.collection, each.field) for each in changes)
        heard = follower.poll(0)
        if heard.gap:
            with self._lock:
                self._told = Hindsight(follower.position)
            self._wake_all()
        elif heard.entries:
            self._wake(self._take(heard.entries, follower.position))

    def _take(self, entries: Iterable[Entry], upto: Id) -> list[tuple[str, str | None]]:
        """Note which nodes came, went or turned; what has changed by that."""
        found: list[tuple[str, str | None]] = []
        with self._lock:
            assert self._told is not None
            for each in entries:
                node = each.event["subject"].get("node")
                if node is not None and each.event["kind"].startswith("node."):
                    self._told.note(NODES, node, each.id)
                    self._told.note(DEVICES, None, each.id)
                    found += [(NODES, node), (DEVICES, None)]
            self._told.upto = upto
        return found

    def _wake(self, changed: Iterable[tuple[str, str | None]]) -> None:
        with self._lock:
            if not self._waiters:
                return
            found: set[threading.Event] = set()
            for collection, field in changed:
                found |= self._waiters.get((collection, field), set())
                found |= self._waiters.get((collection, None), set())
        for event in found:
            event.set()

    def _wake_all(self) -> None:
        with self._lock:
            found = [event for some in self._waiters.values() for event in some]
        for event in found:
            event.set()
