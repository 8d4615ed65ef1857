"""What is wrong with single nodes, said seldom enough: a node must not fill our log."""

import logging

from store.clock import Clock

log = logging.getLogger("controller")

EVERY = 60.0
"""Seconds between two complaints about one node."""
MOST_TEXT = 500


class Complaints:
    """Remembers when it last complained, and of whom."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}

    def about(self, node: str, text: object) -> None:
        """Log a warning, unless one about this node was logged just now."""
        now = self._clock.now()
        if now - self._last.get(node, -EVERY) >= EVERY:
            self._last[node] = now
            log.warning("node %s: %s", node, str(text)[:MOST_TEXT])

    def forget(self, node: str) -> None:
        """The node was removed."""
        self._last.pop(node, None)
