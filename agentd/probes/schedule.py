"""When which probe is due. Pure: times are handed in, in seconds of one clock.

Two rhythms. The policy's: from one interval after the start on, each `interval`, at a phase of
the key's own, so that a thousand probes do not fire together. And, until the first success, early
looks after 0, 0.1, 0.2, 0.4 s and so on, so that what waits for a task to be healthy does not wait
an interval; their failures do not count. They end after the first interval or the start period.
"""

import heapq
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from store.model.policies import HealthCheck

PHASES = 100
"""Of an interval. Few enough that a sleep ends for several probes at once, which is cheaper."""
EARLY_FIRST = 0.1
EARLY_MOST = 5.0
"""Seconds between two early looks, at least and at most."""


@dataclass(frozen=True, slots=True)
class Due:
    """One probe to be made. `number` tells this watch of a key from an earlier one."""

    key: str
    number: int
    check: HealthCheck
    early: bool


@dataclass(slots=True)
class _Entry:
    number: int
    check: HealthCheck
    since: float
    counted_at: float
    next_at: float
    well: bool = False


class Schedule:
    """All wanted probes. Each is due, then under way until `done` or `put_off`, then waits."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._numbers = 0

    def replace(self, wanted: Mapping[str, HealthCheck], now: float) -> None:
        """From now on, these. New and changed ones are due at once; the others go on."""
        gone = [key for key, entry in self._entries.items() if wanted.get(key) != entry.check]
        for key in gone:
            del self._entries[key]
        if gone:
            self._heap = [each for each in self._heap if each[2] in self._entries]
            heapq.heapify(self._heap)
        for key, check in wanted.items():
            if key not in self._entries:
                self._numbers += 1
                counted_at = _on_grid(key, check.interval, now + check.interval)
                entry = _Entry(self._numbers, check, now, counted_at, now)
                self._entries[key] = entry
                self._wait(key, entry, now)

    def due(self, now: float) -> list[Due]:
        """What is to be probed now; it is under way from here on."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            _, number, key = heapq.heappop(self._heap)
            entry = self._entries[key]
            found.append(Due(key, number, entry.check, entry.next_at < entry.counted_at))
        return found

    def next_at(self) -> float:
        """When something is due next; infinite: nothing is."""
        return self._heap[0][0] if self._heap else math.inf

    def wants(self, due: Due) -> bool:
        """Whether this very watch still stands."""
        entry = self._entries.get(due.key)
        return entry is not None and entry.number == due.number

    def done(self, due: Due, now: float, *, ok: bool) -> None:
        """A probe has its result."""
        if not self.wants(due):
            return
        entry = self._entries[due.key]
        first, entry.well = ok and not entry.well, entry.well or ok
        interval = entry.check.interval
        if first or not due.early:
            entry.counted_at = _on_grid(due.key, interval, now + interval / 2)
        self._wait(due.key, entry, min(entry.counted_at, self._early(entry, now)))

    def put_off(self, due: Due, until: float) -> None:
        """A probe could not be made, and nothing is known of its target: again later."""
        if self.wants(due):
            self._wait(due.key, self._entries[due.key], until)

    def _early(self, entry: _Entry, now: float) -> float:
        age = now - entry.since
        if entry.well or age >= max(entry.check.interval, entry.check.start_period):
            return math.inf
        return now + min(max(age, EARLY_FIRST), EARLY_MOST)

    def _wait(self, key: str, entry: _Entry, until: float) -> None:
        entry.next_at = until
        heapq.heappush(self._heap, (until, entry.number, key))


def _on_grid(key: str, interval: float, earliest: float) -> float:
    """The first moment from `earliest` on that is the key's own; those lie `interval` apart."""
    phase = interval * (zlib.crc32(key.encode()) % PHASES) / PHASES
    return phase + interval * math.ceil((earliest - phase) / interval)
