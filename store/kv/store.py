"""Collections with etcd's promises: revisions, compare and swap, atomic snapshots, epochs."""

from collections.abc import Iterable, Sequence
from typing import Any

from store.codec import loads
from store.errors import Conflict, HistoryLost, StoreEmpty, TooLarge
from store.keys import Keys
from store.kv.api import MOST_BYTES, MOST_FIELDS, MOST_LOGGED, Change, Compare, Meta, Record, Snapshot
from store.kv.connection import Client, translated
from store.kv.durability import WAIT_MS
from store.kv.lua import Scripts, check_history, fell_back, lost_history, verdict
from store.kv.presence import Apart
from store.kv.sentinel import could_take_over
from store.schema import FIELDS, Range

META = ("cluster", "epoch", "flavour", "lost", "replid")


class Store:
    """One process's view of the store. Threads may share it.

    It knows the epoch it was attached in and the highest revision it has seen; every read and
    every write is refused, with nothing done, once the store has another history.
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
        meta = self.meta()
        meta.schema.check()
        if meta.lost:
            raise lost_history(meta.epoch, meta.lost)
        if meta.epoch == self._epoch and meta.rev < self._seen:
            raise self._fell_back(meta.rev, meta.epoch, self._seen)
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

        def ask(pipe: Any) -> None:
            for collection, field in wanted:
                pipe.hget(self.keys.collection(collection), field)
                pipe.hget(self.keys.revisions(collection), field)

        _, answers = self._read(ask)
        pairs = zip(answers[::2], answers[1::2], strict=True)
        return [None if value is None else Record(value, int(rev or 0)) for value, rev in pairs]

    def snapshot(self, collections: Iterable[str]) -> Snapshot:
        """Whole collections at one revision."""
        names = list(collections)

        def ask(pipe: Any) -> None:
            for name in names:
                pipe.hgetall(self.keys.collection(name))
                pipe.hgetall(self.keys.revisions(name))

        rev, answers = self._read(ask)
        pairs = zip(answers[::2], answers[1::2], strict=True)
        found = {
            name: {f.decode(): Record(value, int(revs.get(f, 0))) for f, value in values.items()}
            for name, (values, revs) in zip(names, pairs, strict=True)
        }
        return Snapshot(self._epoch, rev, found)

    def values(self, collection: str) -> dict[str, bytes]:
        """A collection without its revisions: half the cost, for lists."""
        _, answers = self._read(lambda pipe: pipe.hgetall(self.keys.collection(collection)))
        return {field.decode(): value for field, value in answers[0].items()}

    def values_of(self, collection: str, fields: Sequence[str]) -> list[bytes | None]:
        """Some fields of a collection without their revisions, None for those that are not there."""
        if not fields:
            return []
        _, answers = self._read(lambda pipe: pipe.hmget(self.keys.collection(collection), list(fields)))
        return list(answers[0])

    def revisions(self, collection: str) -> dict[str, int]:
        """The mod revisions of a collection."""
        _, answers = self._read(lambda pipe: pipe.hgetall(self.keys.revisions(collection)))
        return {field.decode(): int(rev) for field, rev in answers[0].items()}

    def txn(self, compares: Sequence[Compare], changes: Sequence[Change], *, token: int | None = None) -> int:
        """All changes under one new revision, if every compare holds; else nothing.

        Returns:
            The new revision.

        Raises:
            Conflict: a compare failed; the first one.
            Fenced: `token` is given and no longer the leader's.
            TooLarge: over 512 fields or 1 MB.
            StoreEmpty, EpochChanged, HistoryLost: another history; nothing was written.
            WrongRelease: a later release writes here now; nothing was written.
            Unavailable: unanswered; it may or may not have happened.
        """
        names = list(dict.fromkeys([*(c.collection for c in compares), *(c.collection for c in changes)]))
        self._check_bounds(compares, changes)
        keys = [self.keys.meta, self.keys.rev, self.keys.log]
        keys += [self.keys.lease("leader"), self.keys.fence("leader")]
        for name in names:
            keys += [self.keys.collection(name), self.keys.revisions(name)]
        keys.append(self.keys.compacted)
        number = {name: position for position, name in enumerate(names, 1)}
        args: list[str | bytes | int] = [self._epoch, self._seen, "" if token is None else token]
        args += [len(compares), len(changes)]
        for compare in compares:
            args += [number[compare.collection], compare.field, compare.rev]
        for change in changes:
            op = "del" if change.value is None else "put"
            args += [number[change.collection], change.collection, op, change.field, change.value or b""]
        args.append(MOST_LOGGED)
        answer = self.scripts.run("txn", keys, args)
        verdict(answer, self._epoch)
        if answer[0] == b"conflict":
            failed = next(
                c for c in compares if number[c.collection] == answer[3] and c.field == answer[4].decode()
            )
            raise Conflict(failed.collection, failed.field, failed.rev, int(answer[5]))
        return self.saw(answer[2])

    def put(self, collection: str, field: str, value: bytes, *, rev: int | None = None) -> int:
        """Write one record; with `rev`, only over that mod revision (0: only if absent)."""
        compares = [] if rev is None else [Compare(collection, field, rev)]
        return self.txn(compares, [Change(collection, field, value)])

    def epoch_record(self, epoch: str | None = None) -> dict[str, Any]:
        """Why and since when an epoch is: `kind`, `reason`, `began`, `rev`, `lost`; {} if unknown."""
        with translated():
            raw = self.client.hget(self.keys.epochs, epoch or self._epoch)
        return loads(raw, "epoch") if raw else {}

    def judged(self, replid: str, *, token: int) -> None:
        """The leader found the history of this server whole."""
        keys = self.keys
        names = [keys.meta, keys.rev, keys.lease("leader"), keys.fence("leader")]
        verdict(self.scripts.run("judged", names, [self._epoch, self._seen, token, replid]), self._epoch)

    def compact(self, upto: int) -> int:
        """Forget the log up to and including a revision; the revision it now begins after."""
        keys = [self.keys.meta, self.keys.rev, self.keys.compacted, self.keys.log]
        answer = self.scripts.run("compact", keys, [self._epoch, upto])
        verdict(answer, self._epoch)
        return int(answer[1])

    def confirm(self, replicas: int | None = None) -> bool:
        """Whether so many replicas have all that was ever read here; for calls that wrote nothing.

        None: all that could take over.

        Raises:
            StoreEmpty, EpochChanged, HistoryLost, Unavailable: it is not even here.
        """
        wanted = replicas or could_take_over(self.client)
        with translated():  # WAIT looks at where the connection's last command found the server
            pipe = self.client.pipeline(transaction=False)
            pipe.hmget(self.keys.meta, ["epoch", "lost"])
            pipe.get(self.keys.rev)
            pipe.execute_command("WAIT", wanted, WAIT_MS)
            found, rev, confirmed = pipe.execute()
        check_history(found, self._epoch)
        if int(rev or 0) < self._seen:
            raise self._fell_back(int(rev or 0), self._epoch, self._seen)
        return int(confirmed) >= wanted

    def saw(self, rev: int) -> int:
        """Note a revision that an answer carried, and hand it back."""
        self._seen = max(self._seen, rev)
        return rev

    def _read(self, ask: Any) -> tuple[int, list[Any]]:
        epoch, seen = self._epoch, self._seen  # as they were when we asked: answers may overtake
        with translated():
            pipe = self.client.pipeline(transaction=True)
            pipe.hmget(self.keys.meta, ["epoch", "lost", *FIELDS])
            pipe.get(self.keys.rev)
            ask(pipe)
            (found, lost, *schema), raw_rev, *answers = pipe.execute()
        check_history((found, None if self._judging else lost), epoch)
        Range.of(*schema).check()
        rev = int(raw_rev or 0)
        if rev < seen and epoch == self._epoch:
            raise self._fell_back(rev, epoch, seen)
        return self.saw(rev), answers

    def _fell_back(self, rev: int, epoch: str, seen: int) -> HistoryLost:
        return fell_back(self.scripts, self.keys.meta, epoch, rev, seen)

    @staticmethod
    def _check_bounds(compares: Sequence[Compare], changes: Sequence[Change]) -> None:
        fields = len(compares) + len(changes)
        if fields > MOST_FIELDS:
            raise TooLarge(f"{fields} fields in one transaction, at most {MOST_FIELDS}")
        size = sum(len(change.value or b"") for change in changes)
        if size > MOST_BYTES:
            raise TooLarge(f"{size} bytes in one transaction, at most {MOST_BYTES}")
