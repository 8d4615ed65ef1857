"""What the store last said of our turns, and until when that may be believed."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from store.codec import loads
from store.errors import BadRecord
from store.model.turns import granted_by, waiting_in

HELD = 0.8
"""The part of a heartbeat's life for which we hold what it grants: to kill a child and close its connection
takes a moment, on a busy node a long one, and once the key has run out another node gets the turn."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Times are seconds since boot."""

    until: float = -math.inf
    """Some time before the last acknowledged heartbeat runs out in the store, unless another one arrives."""
    lapses: int = 0
    """How often it has run out: no ask from before such a time may be obeyed any more."""
    grants: Mapping[str, str | None] = field(default_factory=dict)
    """Ask to the sealed login that came with the grant, if one did."""
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Ask to why it was not granted yet."""

    def heard(self, sent: float, ttl: float, now: float) -> "Lease":
        """A heartbeat sent then was acknowledged just now."""
        until = max(self.until, sent + ttl * HELD)
        if now < self.until:
            return replace(self, until=until)
        return Lease(until, self.lapses + 1)

    def granted(self, raw: bytes | None, uid: str) -> "Lease":
        """The grant key was read; what is not meant for us, or cannot be read, grants nothing."""
        said: Mapping[str, object] = {}
        with suppress(BadRecord):
            said = loads(raw, "grant") if raw is not None else {}
        if said.get("v") != 1 or said.get("uid") != uid:
            return replace(self, grants={}, waiting={})
        return replace(self, grants=granted_by(said, uid), waiting=waiting_in(said))

    def contact(self, now: float) -> bool:
        """Whether our heartbeat stands in the store for sure."""
        return now < self.until

    def holds(self, ask: str, now: float) -> bool:
        """Whether we may be connected for an ask of ours, made since the last lapse."""
        return ask in self.grants and self.contact(now)
