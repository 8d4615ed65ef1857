"""A line of nodes that wait for turns at one server."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

Key = tuple[str, str]
"""A node, and its name for what it asks."""


class Line:
    """Who waits for one server: those who hold no turn there before those who do, else in their order."""

    def __init__(self) -> None:
        self._first: OrderedDict[Key, None] = OrderedDict()
        self._more: OrderedDict[Key, None] = OrderedDict()
        self.taken: dict[str, int] = {}
        """Turns by node."""
        self.total = 0

    def __len__(self) -> int:
        return len(self._first) + len(self._more)

    def __iter__(self) -> Iterator[Key]:
        yield from self._first
        yield from self._more

    def add(self, key: Key) -> None:
        """Come last."""
        (self._more if key[0] in self.taken else self._first)[key] = None

    def drop(self, key: Key) -> None:
        """Wait no longer."""
        self._first.pop(key, None)
        self._more.pop(key, None)

    def take(self, node: str, asks: Iterable[str]) -> None:
        """Count one more turn of a node; `asks` are those for which it goes on waiting here."""
        self.total += 1
        self.taken[node] = self.taken.get(node, 0) + 1
        self._move(node, asks, self._first, self._more)

    def give_back(self, node: str, asks: Iterable[str]) -> None:
        """Count one turn of a node less."""
        self.total -= 1
        self.taken[node] -= 1
        if not self.taken[node]:
            del self.taken[node]
            self._move(node, asks, self._more, self._first)

    @staticmethod
    def _move(
        node: str, asks: Iterable[str], here: OrderedDict[Key, None], there: OrderedDict[Key, None]
    ) -> None:
        for ask in asks:
            if (node, ask) in here:
                del here[node, ask]
                there[node, ask] = None

    def next(self, most: int) -> Key | None:
        """Whose turn it is; who holds `most` comes after everybody else."""
        if self._first:
            return next(iter(self._first))
        for key in self._more:
            if self.taken[key[0]] < most:
                return key
        return next(iter(self._more), None)
