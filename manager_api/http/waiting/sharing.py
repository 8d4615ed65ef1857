"""One answer for all who wait for the same: the first who is woken finds it, the others are given it."""

import os
import resource
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from time import monotonic

from manager_api.http.waiting.ear import Position

MOST_HELD = 1000
"""Held reads of one worker process: each has a thread. `ops/gunicorn.conf.py` has that many, and some."""
FRESH = 1.0
"""Seconds that an answer may be old, if nothing has changed since: its figures move with every heartbeat."""
MOST_KEPT = 32 * 1024 * 1024
"""Bytes of answers that are kept so long."""
MOST_FINDING = 8
"""Answers that are looked for at once: those who are woken together do not fall on the store together."""
FINDS_WITHIN = 10.0


class Room:
    """How many reads one worker holds. From any thread."""

    def __init__(self, most: int = MOST_HELD) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.held = 0

    def most(self) -> int:
        """Places in all: no more than half of the files that this process may have open."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        descriptors = soft if soft != resource.RLIM_INFINITY else os.sysconf("SC_OPEN_MAX")
        return min(self._most, descriptors // 2)

    def enter(self) -> bool:
        """Take a place, if there is one."""
        with self._lock:
            if self.held >= self.most():
                return False
            self.held += 1
            return True

    def leave(self) -> None:
        """Give it back."""
        with self._lock:
            self.held -= 1


@dataclass(frozen=True, slots=True)
class Found:
    """An answer as it went out."""

    status: int
    data: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Flight:
    """A question that somebody is at, or was a moment ago."""

    position: Position
    """What its answer shows at least."""
    over: threading.Event = field(default_factory=threading.Event)
    found: Found | None = None
    at: float = 0.0
    """When it was found."""


class Busy(Exception):
    """Too many answers are looked for."""


class Sharing:
    """One worker's. From any thread."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Flight] = {}
        self._finding = threading.BoundedSemaphore(MOST_FINDING)

    def join(self, question: Hashable, need: Position, mark: Callable[[], Position]) -> Flight:
        """A flight that shows all up to `need`: with `found`; or without it, then the caller is to find it.

        Whoever is to find it says `land` in the end, whatever comes of it. `mark` gives what a read that
        begins now would show.

        Raises:
            Busy: it has taken too long already.
        """
        deadline = self._now() + FINDS_WITHIN
        while (left := deadline - self._now()) > 0:
            with self._lock:
                flight = self._flights.get(question)
                mine = flight is None or not self._serves(flight, need)
                if flight is None or mine:
                    flight = self._flights[question] = Flight(mark())
            if mine:
                if self._finding.acquire(timeout=left):
                    return flight
                self._end(question, flight, None)
                break
            flight.over.wait(left)
            if flight.found is not None:
                return flight
        raise Busy

    def _serves(self, flight: Flight, need: Position) -> bool:
        old = flight.over.is_set() and (flight.found is None or self._now() - flight.at > FRESH)
        return not old and flight.position.covers(need)

    def land(self, question: Hashable, flight: Flight, found: Found | None) -> None:
        """What was found; None: nothing that others could be given, they look for themselves."""
        self._finding.release()
        self._end(question, flight, found)

    def _end(self, question: Hashable, flight: Flight, found: Found | None) -> None:
        with self._lock:
            flight.found, flight.at = found, self._now()
            if found is None and self._flights.get(question) is flight:
                del self._flights[question]
            self._tidy()
        flight.over.set()

    def _tidy(self) -> None:
        """Keep nothing that is of no use to anybody, and not too much of the rest."""
        room = MOST_KEPT
        for question, flight in list(self._flights.items())[::-1]:
            if flight.found is not None:
                room -= len(flight.found.data)
                if room < 0 or self._now() - flight.at > FRESH:
                    del self._flights[question]
