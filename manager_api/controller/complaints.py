"""What is wrong with single nodes or deployments, said seldom enough: they must not fill our log."""

import logging

from store.clock import Clock

log = logging.getLogger("controller")

EVERY = 60.0
"""Seconds between two complaints about one of them."""
MOST_TEXT = 500
MOST_KEPT = 10_000
"""Remembered before those are forgotten that may be complained of again."""


class Complaints:
    """Remembers when it last complained, and of whom."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[tuple[str, str], float] = {}

    def about(self, name: str, text: object, what: str = "node") -> None:
        """Log a warning, unless one about this node, or whatever it is, was logged just now."""
        now = self._clock.now()
        if now - self._last.get((what, name), -EVERY) >= EVERY:
            if len(self._last) >= MOST_KEPT:
                self._last = {key: at for key, at in self._last.items() if now - at < EVERY}
            self._last[what, name] = now
            log.warning("%s %s: %s", what, name, str(text)[:MOST_TEXT])

    def forget(self, node: str) -> None:
        """The node was removed."""
        self._last.pop(("node", node), None)
