"""Which nodes are there, by heartbeats with a time to live.

Death needs both: no heartbeat in the store, and our own monotonic deadline past. A server that
was paused has expired every key; after anything that makes its keys doubtful, `grace` gives
every node one more time to live.
"""

from dataclasses import dataclass

from store.clock import Clock


@dataclass(slots=True)
class _Seen:
    raw: bytes | None
    ttl: float
    deadline: float
    online: bool


class Presence:
    """What one leader has seen of the fleet's heartbeats."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._nodes: dict[str, _Seen] = {}

    def observe(self, node: str, raw: bytes | None, ttl: float, left: float | None = None) -> bool:
        """Note one reading of a node's heartbeat; whether its online state changed.

        `raw` is None when there is none; `ttl` is the time to live it announced, in seconds, and
        `left` what the server says is left of it: we may read a heartbeat long after it was written.
        """
        left = ttl if left is None else min(left, ttl)
        now = self._clock.now()
        seen = self._nodes.get(node)
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

    def grace(self) -> None:
        """One more time to live for every node: the server's keys cannot be trusted just now."""
        now = self._clock.now()
        for seen in self._nodes.values():
            seen.deadline = max(seen.deadline, now + seen.ttl)

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
