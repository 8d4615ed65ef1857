"""Puts a restored state in the place of the living one: staged key by key, then swapped in one step."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Self

from store.batches import batches
from store.errors import Busy, EpochChanged, Unavailable
from store.keys import Keys
from store.kv.connection import Client, translated
from store.kv.lua import Scripts
from store.kv.server import glob, user_of

BATCH = 200
TURN_MS = 60_000
"""A restore that was killed blocks the next one for so long."""
STAGED_MS = 900_000
"""What a killed restore staged goes away by itself."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the swap does: from which epoch to which, above which revision, why (`store.bootstrap.about`)."""

    expected: str
    epoch: str
    above: int
    leap: int
    about: bytes
    epochs_kept: int
    meta: Mapping[str, str]


class Swap:
    """One restore. Use as a context: what it staged is gone afterwards, whatever happened.

    Raises:
        Busy: another restore is under way.
    """

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._token = secrets.token_hex(8)
        self._staging = f"{keys.restoring}:{self._token}:"
        self._staged: set[str] = set()
        self._renewed = monotonic()

    def __enter__(self) -> Self:
        with translated():
            if not self._client.set(self._keys.restoring, self._token, nx=True, px=TURN_MS):
                raise Busy("another restore is under way; if it was broken off, try again in a minute")
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind; what cannot be removed now runs out."""
        with translated():
            for batch in batches(self._client.scan_iter(f"{glob(self._staging)}*", count=1000), BATCH):
                self._client.unlink(*batch)
            if self._client.get(self._keys.restoring) == self._token.encode():
                self._client.delete(self._keys.restoring)

    def stage(self, source: Client, *, epochs: bool) -> None:
        """Copy what is to be restored from another server of the same kind; nobody sees it yet.

        `epochs`: the list of epochs too, for a store that has none.
        """
        with translated():
            for batch in batches(source.scan_iter(f"{glob(self._keys.prefix)}*", count=1000), BATCH):
                wanted = [key for key in batch if self._is_state(key.decode(), epochs=epochs)]
                if wanted:
                    self._copy(source, wanted)

    def _copy(self, source: Client, wanted: Sequence[bytes]) -> None:
        ask = source.pipeline(transaction=False)
        for key in wanted:
            ask.dump(key).pttl(key)
        said = ask.execute()
        found = zip(wanted, said[::2], said[1::2], strict=True)
        # What expires is no state (answers kept for a while, doubts): restored, it would stay for ever.
        pairs = [(key, raw) for key, raw, left in found if raw is not None and left == -1]
        put = self._client.pipeline(transaction=False)
        for key, raw in pairs:
            name = key.decode().removeprefix(self._keys.prefix)
            put.restore(self._staging + name, STAGED_MS, raw, replace=True)  # a scan may give a key twice
            self._staged.add(name)
        put.pexpire(self._keys.restoring, TURN_MS)
        put.execute()

    def fill(self, pairs: Iterable[tuple[str, str, bytes | None]], rev: int) -> None:
        """Stage records (collection, field, value), at `rev`; later ones win, None takes one away."""
        with translated():
            for batch in batches(pairs, BATCH):
                put = self._client.pipeline(transaction=True)  # what is there has its time, whatever happens
                for name, field, value in batch:
                    records, revisions = self._staging + name, f"{self._staging}{name}:rev"
                    if value is None:
                        put.hdel(records, field)
                        put.hdel(revisions, field)
                    else:
                        put.hset(records, field, value)
                        put.hset(revisions, field, str(rev).encode())
                for name in {name for name, _, _ in batch}:
                    put.pexpire(self._staging + name, STAGED_MS)
                    put.pexpire(f"{self._staging}{name}:rev", STAGED_MS)
                put.pexpire(self._keys.restoring, TURN_MS)
                put.execute()
        self._settle()

    def index(self, collection: str, lines: Callable[[bytes], Iterable[str]]) -> None:
        """Stage the index of a staged collection: the lines of each of its records."""
        with translated():
            for batch in batches(self.staged(collection), BATCH):
                found = {line: 0 for _, value in batch for line in lines(value)}
                put, index = self._client.pipeline(transaction=True), f"{self._staging}{collection}:index"
                put.zadd(index, found)
                put.pexpire(index, STAGED_MS)
                put.pexpire(self._keys.restoring, TURN_MS)
                put.execute()
        self._settle()

    def staged(self, collection: str) -> Iterator[tuple[str, bytes]]:
        """The staged records of a collection, in no order; some perhaps twice."""
        with translated():
            for field, value in self._client.hscan_iter(self._staging + collection, count=500):
                yield field.decode(), value

    def staged_one(self, collection: str, field: str) -> bytes | None:
        """One staged record."""
        with translated():
            found: bytes | None = self._client.hget(self._staging + collection, field)
            return found

    def renew(self) -> None:
        """Say, in time, that this goes on: the turn, and what is staged, would run out."""
        if (now := monotonic()) < self._renewed + TURN_MS / 4000:
            return
        self._renewed = now
        with translated():
            put = self._client.pipeline(transaction=False)
            for name in self._staged:
                put.pexpire(self._staging + name, STAGED_MS)
            put.pexpire(self._keys.restoring, TURN_MS)
            put.execute()

    def _settle(self) -> None:
        """What is staged, as it is there by now: a collection that has become empty is not."""
        with translated():
            found = self._client.scan_iter(f"{glob(self._staging)}*", count=1000)
            self._staged = {key.decode().removeprefix(self._staging) for key in found}

    def _is_state(self, key: str, *, epochs: bool) -> bool:
        """Whether a key of a snapshot is restored; `swap.lua` says the same of the living ones."""
        if key.startswith(self._keys.nodes):
            return key.endswith("}:desired")
        if key == self._keys.epochs:
            return epochs
        name = key.removeprefix(self._keys.prefix).partition(":")[0]
        return key not in self._kept() and name not in ("fence", "restoring")

    def _kept(self) -> list[str]:
        """What stays as it lives. Events are what happened: no restore makes them undone."""
        keys = self._keys
        return [keys.meta, keys.rev, keys.lease("leader"), keys.epochs, keys.events]

    def swap(self, order: Order) -> int:
        """Make it so; the revision that the new epoch begins at. All or nothing.

        Raises:
            EpochChanged: the store is in another epoch by now.
            Unavailable: what was staged is not all there any more.
        """
        keys = self._keys
        with translated():
            self._client.pexpire(keys.restoring, TURN_MS)
        kept = self._kept()
        args: list[str | bytes | int] = [order.expected, order.epoch, order.above, order.leap]
        args += [keys.prefix, self._staging, len(self._staged), self._token, order.about, order.epochs_kept]
        args += [len(kept), *kept]
        for field, value in order.meta.items():
            args += [field, value]
        names = [keys.meta, keys.rev, keys.epochs, keys.lease("leader"), keys.restoring]
        answer = Scripts(self._client).run("swap", names, args)
        if answer[0] == b"epoch":
            raise EpochChanged(
                f"the store is in epoch {answer[1].decode() or 'none'} by now, not {order.expected}"
            )
        if answer[0] == b"lost":
            raise Unavailable("what was staged for the restore is gone: nothing was changed")
        return int(answer[2])


def reconnect(client: Client, nodes: Iterable[str]) -> None:
    """End the connections of some nodes: their agents come back, and say all that they know."""
    with translated():
        pipe = client.pipeline(transaction=False)
        for node in nodes:
            pipe.execute_command("CLIENT", "KILL", "USER", user_of(node))
        pipe.execute(raise_on_error=False)  # a server may not know the user
