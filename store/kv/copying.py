"""Everything in some collections, as it is at one revision, without holding it all in memory.

The collections are scanned while others write; then what the change log says has moved meanwhile is read
again, until nothing moves between a look at the log and the last reading. So later pairs win over earlier
ones, and None says that a record went. This is how a database copies pages under writers, and then its log.
"""

from collections.abc import Iterator, Sequence

from store.batches import batches
from store.errors import Unavailable
from store.kv.store import Store
from store.kv.watch import Watch

SCANNED, READ = 500, 400
MOST_ROUNDS = 1000

Pair = tuple[str, str, bytes | None]


class Copy:
    """One copy: iterate over it; afterwards `rev` is the revision that it is of."""

    def __init__(self, store: Store, collections: Sequence[str]) -> None:
        self._store = store
        self._collections = tuple(collections)
        self.epoch, self.began = store.epoch, store.meta().rev
        self.rev = self.began

    def __iter__(self) -> Iterator[Pair]:
        """Pairs of collection, field and value.

        Raises:
            Compacted: it took so long that the log has forgotten its beginning.
            Unavailable: so much is written that it comes to no end; or the store went away.
            EpochChanged, HistoryLost: another history.
        """
        watch = Watch(self._store.client, self._store.keys, epoch=self.epoch, after=self.began)
        for collection in self._collections:
            yield from self._scan(collection)
        for _ in range(MOST_ROUNDS):
            moved = self._moved(watch)
            if not moved:
                self.rev = watch.rev
                return
            at = watch.rev
            for batch in batches(sorted(moved), READ):
                at, values = self._store.values_at(batch)
                for (collection, field), value in zip(batch, values, strict=True):
                    yield collection, field, value
            if at == watch.rev and len(moved) <= READ:
                self.rev = at  # nothing was written between the look at the log and this reading
                return
        raise Unavailable("so much is written to the store that a copy of one moment comes to no end")

    def _scan(self, collection: str) -> Iterator[Pair]:
        for batch in self._store.scan(collection, SCANNED):
            for field, value in batch:
                yield collection, field, value

    def _moved(self, watch: Watch) -> set[tuple[str, str]]:
        moved: set[tuple[str, str]] = set()
        while events := watch.poll(0):
            moved |= {
                (each.collection, each.field) for each in events if each.collection in self._collections
            }
        return moved
