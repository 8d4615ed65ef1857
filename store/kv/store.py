"""Collections with etcd's promises: revisions, compare and swap, atomic snapshots, epochs."""

from collections.abc import Iterable, Mapping, Sequence

from store.errors import Conflict, TooLarge
from store.kv.api import MOST_BYTES, MOST_FIELDS, MOST_LOGGED, Change, Compare, Line
from store.kv.connection import translated
from store.kv.durability import WAIT_MS
from store.kv.lua import check_history, verdict
from store.kv.sentinel import could_take_over
from store.kv.view import View

Words = list[str | bytes | int]
"""Arguments of a script."""


class Store(View):
    """One process's view of the store, and its writes, each under a new revision. Threads may share it."""

    def txn(
        self,
        compares: Sequence[Compare],
        changes: Sequence[Change],
        *,
        lines: Sequence[Line] = (),
        token: int | None = None,
    ) -> int:
        """All changes under one new revision, and `lines` of indices with them, if every compare holds.

        Else nothing is written.

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
        _check_bounds(compares, changes, lines)
        number = _numbered([*(each.collection for each in compares), *(each.collection for each in changes)])
        keys = self._named(number)
        place = _numbered((each.collection for each in lines), after=len(keys))
        keys += [*(self.keys.index(name) for name in place), self.keys.compacted]
        args: Words = [self._epoch, self._seen, "" if token is None else token]
        answer = self.scripts.run("txn", keys, args + _said(compares, changes, number) + _drawn(lines, place))
        verdict(answer, self._epoch)
        if answer[0] == b"conflict":
            failed = next(
                c for c in compares if number[c.collection] == answer[3] and c.field == answer[4].decode()
            )
            raise Conflict(failed.collection, failed.field, failed.rev, int(answer[5]))
        return self.saw(answer[2])

    def _named(self, collections: Iterable[str]) -> list[str]:
        """The keys that a transaction over some collections needs, as `txn.lua` has them."""
        keys = [self.keys.meta, self.keys.rev, self.keys.log]
        keys += [self.keys.lease("leader"), self.keys.fence("leader")]
        for name in collections:
            keys += [self.keys.collection(name), self.keys.revisions(name)]
        return keys

    def put(self, collection: str, field: str, value: bytes, *, rev: int | None = None) -> int:
        """Write one record; with `rev`, only over that mod revision (0: only if absent)."""
        compares = [] if rev is None else [Compare(collection, field, rev)]
        return self.txn(compares, [Change(collection, field, value)])

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
        wanted, epoch, seen = replicas or could_take_over(self.client), self._epoch, self._seen
        with translated():  # WAIT looks at where the connection's last command found the server
            pipe = self.client.pipeline(transaction=False)
            pipe.hmget(self.keys.meta, ["epoch", "lost"])
            pipe.get(self.keys.rev)
            pipe.execute_command("WAIT", wanted, WAIT_MS)
            found, rev, confirmed = pipe.execute()
        check_history(found, self._epoch)
        if int(rev or 0) < seen and epoch == self._epoch:
            raise self._fell_back(int(rev or 0), epoch, seen)
        return int(confirmed) >= wanted


def _numbered(names: Iterable[str], after: int = 0) -> dict[str, int]:
    """Each name once, with its number, as `txn.lua` calls it."""
    return {name: number for number, name in enumerate(dict.fromkeys(names), after + 1)}


def _said(compares: Sequence[Compare], changes: Sequence[Change], number: Mapping[str, int]) -> Words:
    """What `txn.lua` is told of compares and changes."""
    words: Words = [len(compares), len(changes)]
    for compare in compares:
        words += [number[compare.collection], compare.field, compare.rev]
    for change in changes:
        op = "del" if change.value is None else "put"
        words += [number[change.collection], change.collection, op, change.field, change.value or b""]
    return words


def _drawn(lines: Sequence[Line], place: Mapping[str, int]) -> Words:
    """What `txn.lua` is told of the log's bound and of lines."""
    words: Words = [MOST_LOGGED, len(lines)]
    for line in lines:
        words += [place[line.collection], "put" if line.there else "del", line.text]
    return words


def _check_bounds(compares: Sequence[Compare], changes: Sequence[Change], lines: Sequence[Line]) -> None:
    fields = len(compares) + len(changes) + len(lines)
    if fields > MOST_FIELDS:
        raise TooLarge(f"{fields} fields in one transaction, at most {MOST_FIELDS}")
    size = sum(len(change.value or b"") for change in changes)
    if size > MOST_BYTES:
        raise TooLarge(f"{size} bytes in one transaction, at most {MOST_BYTES}")
