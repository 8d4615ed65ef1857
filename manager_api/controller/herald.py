"""Tells of what the leader did, after it was done. It costs one pipeline a round, and never its lead."""

import logging
from collections import deque
from collections.abc import Iterable
from typing import Any

from store.clock import Clock
from store.codec import Json
from store.errors import StoreError
from store.kv.events import Events
from store.kv.store import Store
from store.model.event import Event

log = logging.getLogger("controller")

MOST_HELD = 20_000
AT_ONCE = 1_000
"""Events in one pipeline."""


class Herald:
    """One leader's. What cannot be told now is told later, the newest `MOST_HELD` of it."""

    def __init__(self, store: Store, clock: Clock, most: int = MOST_HELD) -> None:
        self._store = store
        self._events = Events(store.client, store.keys)
        self._clock = clock
        self._held: deque[Json] = deque(maxlen=most)
        self._said = False
        self.dropped = 0
        """Events that were never told."""

    def tell(self, kind: str, reason: str, *, data: dict[str, Any] | None = None, **subject: str) -> None:
        """Remember something for the next `flush`."""
        self.say([Event(kind=kind, reason=reason, subject=subject, data=data)])

    def say(self, events: Iterable[Event]) -> None:
        """Remember events for the next `flush`; the oldest give way when there are too many."""
        now, epoch = self._clock.wall(), self._store.epoch
        for event in events:
            self.dropped += len(self._held) == self._held.maxlen
            self._held.append(event.as_record(time=now, actor="controller", epoch=epoch))

    def flush(self) -> None:
        """Tell what is held. Raises nothing: who cannot be heard goes on leading."""
        try:
            while self._held:
                batch = [self._held[at] for at in range(min(AT_ONCE, len(self._held)))]
                self._events.add(batch)
                for _ in batch:
                    self._held.popleft()
            self._said = False
        except (StoreError, TypeError, ValueError) as error:
            if not isinstance(error, StoreError):  # what cannot be written never will be
                self.dropped += len(self._held)
                self._held.clear()
            if not self._said:
                self._said = True
                log.warning("events are not told: %s; %d lost so far", error, self.dropped)
