"""When what last changed, as far back as it is remembered. Pure; positions are anything that is ordered."""

from collections import OrderedDict
from typing import Generic, TypeVar

P = TypeVar("P", int, tuple[int, int])

MOST = 50_000
"""Records whose last change is remembered."""


class Hindsight(Generic[P]):
    """The last change of every record and collection beyond a position.

    What it does not remember may have changed at any time up to there: who asks is told of a change too
    many rather than of one too few.
    """

    def __init__(self, start: P, most: int = MOST) -> None:
        self.upto: P = start
        """All up to here has been heard."""
        self._start: P = start
        self._floor: P = start
        self._most = most
        self._records: OrderedDict[tuple[str, str], P] = OrderedDict()
        self._collections: dict[str, P] = {}

    def note(self, collection: str, field: str | None, at: P) -> None:
        """A record has changed; `field` None: something of the collection, no record of it."""
        self.upto = max(self.upto, at)
        self._collections[collection] = at
        if field is None:
            return
        self._records[collection, field] = at
        self._records.move_to_end((collection, field))
        if len(self._records) > self._most:
            self._floor = self._records.popitem(last=False)[1]

    def last(self, collection: str, field: str | None) -> P:
        """No change of a record, or (None) of a whole collection, was later than this."""
        if field is None:
            return self._collections.get(collection, self._start)
        return self._records.get((collection, field), self._floor)
