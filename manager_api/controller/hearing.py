"""How many hints are acted upon: they are forgeable, and a storm of them must not eat the leader."""

from collections.abc import Collection, Iterable

from store.clock import Clock

LOOKS = 5000.0
"""Heartbeats that hints may make us read in a second. Every one is read once a second anyway."""
ROUND_COST = 10
"""What a round of its own costs beside its heartbeats, in heartbeats."""


class Hearing:
    """An allowance that fills up again with time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left = LOOKS
        self._at = clock.now()

    def heed(self, named: Iterable[str], known: Collection[str]) -> list[str]:
        """Those of the named nodes that are known and may be looked at now; the others are forgotten."""
        now = self._clock.now()
        self._left = min(LOOKS, self._left + (now - self._at) * LOOKS)
        self._at = now
        nodes = sorted(node for node in named if node in known)
        nodes = nodes[: max(0, int(self._left) - ROUND_COST)]
        self._left -= len(nodes) + ROUND_COST if nodes else 0
        return nodes
