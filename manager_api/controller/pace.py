"""What comes in faster than it can be seen to is seen to once in a while, and not forgotten."""

from collections.abc import Collection
from math import inf


class Paced:
    """Names that ask for something; each gets it at once, and again only after a pause. Steady seconds."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def ask(self, name: str, now: float, pause: float) -> bool:
        """Whether it is this name's turn now; else `take` gives it when it is, however often it asked."""
        if name in self._due:
            return False
        at = self._last.get(name, -inf) + pause
        if at <= now:
            self._last[name] = now
            return True
        self._due[name] = at
        return False

    def take(self, now: float) -> list[str]:
        """Those whose turn has come since they asked."""
        found = [name for name, at in self._due.items() if at <= now]
        for name in found:
            del self._due[name]
            self._last[name] = now
        return found

    def next(self) -> float:
        """When the next one's turn comes; never, if nobody waits."""
        return min(self._due.values(), default=inf)

    def keep(self, names: Collection[str]) -> None:
        """Forget all others."""
        self._last = {name: at for name, at in self._last.items() if name in names}
