"""Which nodes are there, by heartbeats with a time to live.

Death needs both: no heartbeat in the store, and our own monotonic deadline past. Whatever makes
absent keys doubtful gives every node one more time to live: an election, another connection, and
a break. A break is a time in which heartbeats may have run out without their nodes' fault: the
server stood still, its clock jumped, or we did not look. One shorter than half a time to live
harms nobody, since nodes beat every third of it. What could not be read is no evidence at all.
"""

from dataclasses import dataclass
from math import inf

from store.clock import Clock

LEAST_BREAK = 0.75
"""Seconds between two looks that are nothing out of the ordinary."""


@dataclass(slots=True)
class _Seen:
    raw: bytes | None
    ttl: float
    deadline: float
    online: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    at: float
    low: float
    high: float
    """Between these is what the server's clock is ahead of ours."""
    run_id: str


class Presence:
    """What one leader has seen of the fleet's heartbeats. It outlives the times it leads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._nodes: dict[str, _Seen] = {}
        self._answers: dict[str, _Answer] = {}
        self._shortest = float("inf")
        self.longest = 0.0
        """The longest time to live that any node has announced, in seconds."""

    def answered(self, server: str, asked: float, said: float, run_id: str = "") -> float:
        """Note that a server answered now, at its own time `said`, what it was asked at our `asked`.

        Returns:
            Seconds for which heartbeats on it may have run out unseen since its answer before; all of
            them may have when it is another server.
        """
        now = self._clock.now()
        new = _Answer(now, said - now, said - asked, run_id)
        old, self._answers[server] = self._answers.get(server), new
        if old is None:
            return 0.0
        if new.run_id != old.run_id:
            return inf
        return max(now - old.at, new.low - old.high, old.low - new.high)

    def observe(self, node: str, raw: bytes | None, ttl: float, left: float | None = None) -> bool:
        """Note one reading of a node's heartbeat; whether its online state changed.

        `raw` is None when there is none; `ttl` is the time to live it announced, in seconds, and
        `left` what the server says is left of it: we may read a heartbeat long after it was written.
        """
        left = ttl if left is None else min(left, ttl)
        now = self._clock.now()
        seen = self._nodes.get(node)
        if raw is not None:
            self.longest, self._shortest = max(self.longest, ttl), min(self._shortest, ttl)
        if seen is None:
            # Never seen here: present if it beats, and if it does not, not yet known dead.
            self._nodes[node] = _Seen(raw, ttl, now + left, raw is not None)
            return raw is not None
        before = seen.online
        if raw is None:
            seen.online = seen.online and now < seen.deadline
        else:
            if raw != seen.raw or not seen.online:
                seen.raw, seen.ttl = raw, ttl
                seen.deadline = now + left
            seen.online = True
        return seen.online is not before

    def unknown(self, node: str, ttl: float) -> None:
        """Note that a node's heartbeat could not be read: it stays what it was, however long."""
        now = self._clock.now()
        seen = self._nodes.setdefault(node, _Seen(None, ttl, now, online=False))
        if seen.online or seen.raw is None:
            seen.deadline = max(seen.deadline, now + seen.ttl)

    def grace(self, after: float | None = None) -> bool:
        """One more time to live for every node that is not known to be gone; whether any needed it.

        With `after`, only for those that a break of so many seconds may have silenced.
        """
        if after is not None and (after < LEAST_BREAK or after * 2 < self._shortest):
            return False
        now = self._clock.now()
        given = False
        for seen in self._nodes.values():
            living = seen.online or seen.deadline > now
            if living and (after is None or after * 2 >= seen.ttl):
                seen.deadline = max(seen.deadline, now + seen.ttl)
                given = True
        return given

    def online(self, node: str) -> bool:
        """Whether the node is there, as far as is known."""
        seen = self._nodes.get(node)
        return seen is not None and seen.online

    def settled(self, node: str) -> bool:
        """Whether the answer of `online` can be acted on: it beats, or had its time to."""
        seen = self._nodes.get(node)
        return seen is not None and (seen.online or self._clock.now() >= seen.deadline)

    def due(self) -> list[str]:
        """Nodes that count as online though their deadline is past: look at these now."""
        now = self._clock.now()
        return [node for node, seen in self._nodes.items() if seen.online and seen.deadline <= now]

    def raw(self, node: str) -> bytes | None:
        """The heartbeat last seen of a node."""
        seen = self._nodes.get(node)
        return seen.raw if seen else None

    def forget(self, node: str) -> None:
        """The node was removed."""
        self._nodes.pop(node, None)

    def keep(self, nodes: set[str]) -> None:
        """Forget all others."""
        for node in self._nodes.keys() - nodes:
            self.forget(node)
