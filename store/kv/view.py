"""Reading collections: each answer is of one moment of one history, or refused."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from store.codec import loads
from store.errors import HistoryLost, StoreEmpty
from store.keys import Keys
from store.kv.api import Meta, Record, Snapshot
from store.kv.connection import Client, translated
from store.kv.lua import Scripts, check_history, fell_back, lost_history
from store.kv.presence import Apart
from store.kv.trip import Command, pairs, transaction
from store.schema import FIELDS, Range

META = ("cluster", "epoch", "flavour", "lost", "replid")


class View:
    """What one process sees of the store. Threads may share it.

    It knows the epoch it was attached in and the highest revision it has seen; every read, and every write
    of `store.kv.store`, is refused, with nothing done, once the store has another history.
    """

    def __init__(self, client: Client, keys: Keys | None = None, presence: Apart | None = None) -> None:
        self.client = client
        self.presence = presence
        """Where heartbeats are, beside `client`."""
        self.keys = keys or Keys()
        self.scripts = Scripts(client)
        self._epoch = ""
        self._seen = 0
        self._judging = False

    @property
    def epoch(self) -> str:
        """The epoch this view is attached to; empty before `attach`."""
        return self._epoch

    @property
    def seen(self) -> int:
        """The highest revision seen in this epoch."""
        return self._seen

    def meta(self) -> Meta:
        """What the store says of itself, whatever epoch this view is in.

        Raises:
            StoreEmpty: no manager has ever begun here, or all is gone.
            Unavailable: it does not answer.
        """
        with translated():
            pipe = self.client.pipeline(transaction=True)
            pipe.hmget(self.keys.meta, [*META, *FIELDS])
            pipe.get(self.keys.rev)
            values, rev = pipe.execute()
        known = {name: (value or b"").decode() for name, value in zip(META, values, strict=False)}
        if not known["cluster"] or not known["epoch"] or rev is None:
            raise StoreEmpty("the store holds no Muster data")
        return Meta(rev=int(rev), schema=Range.of(*values[len(META) :]), **known)

    def attach(self) -> Meta:
        """Take the store's present epoch and revision as the ones to rely on.

        Raises:
            HistoryLost: same epoch, lower revision; attaching must not paper over that.
            WrongRelease: it may hold records that this release does not read.
        """
        epoch, seen = self._epoch, self._seen  # as they were when we asked: answers may overtake
        meta = self.meta()
        meta.schema.check()
        if meta.lost:
            raise lost_history(meta.epoch, meta.lost)
        if meta.epoch == epoch and meta.rev < seen:
            raise self._fell_back(meta.rev, meta.epoch, seen)
        if meta.epoch == self._epoch:
            self.saw(meta.rev)  # another thread may have seen more by now
            self._judging = False
        else:
            self.enter(meta)
        return meta

    def enter(self, meta: Meta) -> None:
        """Take what the store holds for what it is, also when it lost history: for who judges that."""
        self._epoch, self._seen = meta.epoch, meta.rev
        self._judging = bool(meta.lost)

    def get(self, collection: str, field: str) -> Record | None:
        """One record, or None."""
        return self.get_many([(collection, field)])[0]

    def get_many(self, wanted: Sequence[tuple[str, str]]) -> list[Record | None]:
        """Records as they are at one revision, None for those that are not there."""
        asked: list[Command] = []
        for collection, field in wanted:
            asked.append(("HGET", self.keys.collection(collection), field))
            asked.append(("HGET", self.keys.revisions(collection), field))
        _, answers = self._read(asked)
        found = zip(answers[::2], answers[1::2], strict=True)
        return [None if value is None else Record(value, int(rev or 0)) for value, rev in found]

    def snapshot(self, collections: Iterable[str]) -> Snapshot:
        """Whole collections at one revision."""
        names = list(collections)

        asked: list[Command] = []
        for name in names:
            asked += [("HGETALL", self.keys.collection(name)), ("HGETALL", self.keys.revisions(name))]
        rev, answers = self._read(asked)
        found = {}
        for name, values, revisions in zip(names, answers[::2], answers[1::2], strict=True):
            revs = dict(pairs(revisions))
            found[name] = {f.decode(): Record(value, int(revs.get(f, 0))) for f, value in pairs(values)}
        return Snapshot(self._epoch, rev, found)

    def values(self, collection: str) -> dict[str, bytes]:
        """A collection without its revisions: half the cost, for lists."""
        _, answers = self._read([("HGETALL", self.keys.collection(collection))])
        return {field.decode(): value for field, value in pairs(answers[0])}

    def values_of(self, collection: str, fields: Sequence[str]) -> list[bytes | None]:
        """Some fields of a collection without their revisions, None for those that are not there."""
        if not fields:
            return []
        _, answers = self._read([("HMGET", self.keys.collection(collection), *fields)])
        return list(answers[0])

    def values_at(self, wanted: Sequence[tuple[str, str]]) -> tuple[int, list[bytes | None]]:
        """Records of several collections without their revisions, and the revision at which they are so."""
        return self._read([("HGET", self.keys.collection(collection), field) for collection, field in wanted])

    def revisions(self, collection: str) -> dict[str, int]:
        """The mod revisions of a collection."""
        _, answers = self._read([("HGETALL", self.keys.revisions(collection))])
        return {field.decode(): int(rev) for field, rev in pairs(answers[0])}

    def lines(
        self, collection: str, after: str, before: str, most: int, *, backwards: bool = False
    ) -> list[str]:
        """Lines of an index in their order, beyond `after` and short of `before`; `most` at most.

        `backwards`: in the opposite order, so that it is the last ones.
        """
        key, low, high = self.keys.index(collection), f"({after}", f"({before}"
        if backwards:
            asked: Command = ("ZREVRANGEBYLEX", key, high, low, "LIMIT", 0, most)
        else:
            asked = ("ZRANGEBYLEX", key, low, high, "LIMIT", 0, most)
        _, answers = self._read([asked])
        return [line.decode() for line in answers[0]]

    def lines_of(self, collection: str, ranges: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        """Of each pair the lines of an index beyond the first, short of the second text; `most` of each."""
        key = self.keys.index(collection)
        asked: list[Command] = [
            ("ZRANGEBYLEX", key, f"({after}", f"({before}", "LIMIT", 0, most) for after, before in ranges
        ]
        return [[line.decode() for line in each] for each in self._read(asked)[1]] if asked else []

    def count_lines(self, collection: str, ranges: Sequence[tuple[str, str]]) -> list[int]:
        """How many lines of an index lie beyond the first and short of the second text of each pair."""
        key = self.keys.index(collection)
        asked: list[Command] = [("ZLEXCOUNT", key, f"({after}", f"({before}") for after, before in ranges]
        return [int(each) for each in self._read(asked)[1]]

    def together(
        self, collection: str, fields: Sequence[str], lines: Sequence[str]
    ) -> tuple[list[Record | None], list[bool]]:
        """Some records, and whether some lines of the index are there, all at one revision."""
        asked: list[Command] = []
        if fields:
            asked.append(("HMGET", self.keys.collection(collection), *fields))
            asked.append(("HMGET", self.keys.revisions(collection), *fields))
        if lines:
            asked.append(("ZMSCORE", self.keys.index(collection), *lines))
        _, answers = self._read(asked)
        found = zip(answers[0], answers[1], strict=True) if fields else ()
        records = [None if value is None else Record(value, int(rev or 0)) for value, rev in found]
        return records, [score is not None for score in answers[-1]] if lines else []

    def size(self, collection: str) -> int:
        """How many records there are."""
        return int(self._read([("HLEN", self.keys.collection(collection))])[1][0])

    def scan(self, collection: str, count: int) -> Iterator[list[tuple[str, bytes]]]:
        """A collection in parts of about `count`, while others write.

        What is there all the time comes once at least; of what comes or goes meanwhile nothing is promised,
        and no history is asked for: read again what matters.
        """
        return self._scan(self.keys.collection(collection), count)

    def scan_revisions(self, collection: str, count: int) -> Iterator[dict[str, int]]:
        """The mod revisions of a collection, likewise."""
        for part in self._scan(self.keys.revisions(collection), count):
            yield {field: int(rev) for field, rev in part}

    def _scan(self, key: str, count: int) -> Iterator[list[tuple[str, bytes]]]:
        cursor = 0
        while True:
            with translated():
                cursor, found = self.client.hscan(key, cursor, count=count)
            yield [(field.decode(), value) for field, value in found.items()]
            if not cursor:
                return

    def epoch_record(self, epoch: str | None = None) -> dict[str, Any]:
        """Why and since when an epoch is: `kind`, `reason`, `began`, `rev`, `lost`; {} if unknown."""
        with translated():
            raw = self.client.hget(self.keys.epochs, epoch or self._epoch)
        return loads(raw, "epoch") if raw else {}

    def saw(self, rev: int) -> int:
        """Note a revision that an answer carried, and hand it back."""
        self._seen = max(self._seen, rev)
        return rev

    def _read(self, asked: Sequence[Command]) -> tuple[int, list[Any]]:
        epoch, seen = self._epoch, self._seen  # as they were when we asked: answers may overtake
        first: list[Command] = [("HMGET", self.keys.meta, "epoch", "lost", *FIELDS), ("GET", self.keys.rev)]
        with translated():
            (found, lost, *schema), raw_rev, *answers = transaction(self.client, [*first, *asked])
        check_history((found, None if self._judging else lost), epoch)
        Range.of(*schema).check()
        rev = int(raw_rev or 0)
        if rev < seen and epoch == self._epoch:
            raise self._fell_back(rev, epoch, seen)
        return self.saw(rev), answers

    def _fell_back(self, rev: int, epoch: str, seen: int) -> HistoryLost:
        return fell_back(self.scripts, self.keys.meta, epoch, rev, seen)
