"""What the node has yet to say of its allocations: rows of `actual`. Not for two threads at once."""

from collections.abc import Mapping

Changes = dict[str, bytes | None]
"""Allocation id -> its row; None: the row is to go."""


class Unsaid:
    """True while there is something to be said."""

    def __init__(self) -> None:
        self._changes: Changes = {}
        self._all: dict[str, bytes] = {}
        """All rows that there should be, said or not."""

    def __bool__(self) -> bool:
        """Whether there is something to be said."""
        return bool(self._changes)

    def add(self, changes: Changes) -> None:
        """Say these, too; later ones replace earlier ones."""
        self._changes.update(changes)
        for alloc_id, raw in changes.items():
            if raw is None:
                self._all.pop(alloc_id, None)
            else:
                self._all[alloc_id] = raw

    def take(self) -> Changes:
        """What is to be said now."""
        taken, self._changes = self._changes, {}
        return taken

    def put_back(self, taken: Changes) -> None:
        """It may not have arrived; what came meanwhile is newer."""
        self._changes = {**taken, **self._changes}

    def differ(self, reported: Mapping[str, bytes]) -> None:
        """Say again what the store, where all this is what was reported, has otherwise or too much."""
        stale: Changes = {key: None for key in reported if key not in self._all}
        missed = {key: raw for key, raw in self._all.items() if reported.get(key) != raw}
        self._changes = {**stale, **missed}
