"""The beginning of a store, and of each of its epochs."""

import contextlib
import functools
import secrets
from collections.abc import Sequence
from typing import Literal

from store.codec import dumps, read_record
from store.errors import BadRecord, EpochChanged, StoreEmpty, StoreError
from store.keys import ALLOCATIONS, DEPLOYMENTS, DEVICES, GROUPS, NODES, TEMPLATES
from store.kv.api import Meta
from store.kv.connection import translated
from store.kv.lua import verdict
from store.kv.server import Server, glob
from store.kv.store import Store
from store.model.epoch import epoch_number
from store.version import VERSION, WRITES

LEAP = 1_000_000
"""Revisions that a new epoch skips: what was lost is unknown, and no revision may be used twice."""
EPOCHS_KEPT = 20
KEPT = (TEMPLATES, DEPLOYMENTS, ALLOCATIONS)
"""Where these are empty and no node beats, nothing is lost: nodes of the lost cluster may have knocked.

Devices and groups may be there: they are no cluster's, name none, and stay under whatever id the store has.
"""
RECORDS = (*KEPT, NODES, DEVICES, GROUPS)
Kind = Literal["begun", "lost", "restored", "recovered"]
"""Why an epoch began: a new store; history was lost by accident; a backup was put in place on purpose;
an empty store was given its cluster back."""


def new_cluster_id() -> str:
    """A cluster id: 128 random bits."""
    return secrets.token_hex(16)


def new_epoch(number: int) -> str:
    """An epoch: its counter, and something random, since two may be begun with one counter."""
    return f"{number}-{secrets.token_hex(4)}"


def about(kind: Kind, reason: str, after: str = "", lost: Sequence[str] = ()) -> bytes:
    """What is remembered of an epoch: why it began, after which one, and what was lost."""
    return dumps({"kind": kind, "reason": reason, "after": after, "lost": list(lost)})


def begin(store: Store, known_cluster: str | None) -> Meta:
    """Enter a store, initialising it if it is empty and no cluster is known here.

    Raises:
        StoreEmpty: empty, though `known_cluster` says that it should not be.
        EpochChanged: it belongs to another cluster.
        WrongRelease: it may hold records that this release does not read; nothing was changed.
    """
    try:
        meta = store.meta()
    except StoreEmpty:
        if known_cluster:
            raise StoreEmpty(f"the store is empty, though cluster {known_cluster} lived in it") from None
        _initialise(store, new_cluster_id(), "begun", "a new store")
        meta = store.meta()
    if known_cluster and meta.cluster != known_cluster:
        raise EpochChanged(f"the store holds cluster {meta.cluster}, not {known_cluster}")
    store.enter(meta)
    meta.schema.check()
    if meta.schema.highest < WRITES:
        answer = store.scripts.run("schema", [store.keys.meta], [meta.epoch, WRITES, VERSION])
        verdict(answer, meta.epoch)
    return meta


def recover(store: Store, cluster: str, above: tuple[int, int] = (0, 0)) -> Meta:
    """Give an empty store the cluster that lived in it, in an epoch after all that is known here.

    The same for a store that has lost its cluster id, epoch or revision, and only these: its records and its
    log are there, and the epoch begins after them, too.

    Raises:
        StoreError: it is not empty; nothing was changed.
    """
    above = above_both(above, remembered(store))
    why = "an empty store was given its cluster back"
    if not has_records(store) and _initialise(store, cluster, "recovered", why, above):
        return store.attach()
    what = "its cluster id, epoch or revision was deleted"
    fields = ["epoch", new_epoch(above[0] + 1), "cluster", cluster, *_described(store)]
    keys = [store.keys.meta, store.keys.rev]
    if not store.scripts.run("mend", keys, [above[1] + LEAP, cluster, what, *fields]):
        raise StoreError("the store is not empty: there is nothing to recover")
    with contextlib.suppress(EpochChanged):  # the leader was quicker
        mint(store, above, kind="recovered", reason=what)
    return store.attach()


def above_both(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """What is above both of two epoch numbers and revisions."""
    return max(one[0], other[0]), max(one[1], other[1])


def remembered(store: Store) -> tuple[int, int]:
    """The highest epoch number and revision in what is left of a store: its epochs, its log, its records."""
    client, keys = store.client, store.keys
    with translated():
        epochs = client.hgetall(keys.epochs)
        found = [(0, _number(client.get(keys.compacted)))]
        for key in client.scan_iter(match=f"{glob(keys.prefix)}*:rev", _type="HASH"):
            highest = max((_number(rev) for _, rev in client.hscan_iter(key, count=1000)), default=0)
            found += [(0, highest)]
    for epoch, raw in epochs.items():
        number = epoch_number(epoch.decode(errors="replace"))
        with contextlib.suppress(BadRecord):
            found.append((number, _number(read_record(raw, "epoch").get("rev"))))
        found.append((number, 0))
    return functools.reduce(above_both, found, (0, 0))


def _number(value: object) -> int:
    """A revision; 0 for what is none: somebody's hand may have been there."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return 0


def is_bare(store: Store) -> bool:
    """Whether nothing was ever kept in a store."""
    with translated():
        if store.client.exists(*(store.keys.collection(name) for name in KEPT)):
            return False
        nodes = store.client.hkeys(store.keys.collection(NODES))
        beats = [store.keys.node(node.decode()).beat for node in nodes]
        return not beats or not store.client.exists(*beats)


def has_records(store: Store) -> bool:
    """Whether records are there, or the log of some, to which a store belongs that has lost its head."""
    with translated():
        return bool(store.client.exists(store.keys.log, *(store.keys.collection(name) for name in RECORDS)))


def rename(store: Store, cluster: str) -> None:
    """Give a store in which nothing was ever kept another cluster id.

    Raises:
        StoreError: something is kept there; nothing was changed.
    """
    meta = store.meta()
    kept = [store.keys.collection(name) for name in KEPT]
    answer = store.scripts.run("rename", [store.keys.meta, *kept], [meta.epoch, cluster])
    verdict(answer, meta.epoch)
    if answer[0] != b"ok":
        raise StoreError("the store is not empty: it keeps its cluster id")


def mint(
    store: Store,
    above: tuple[int, int] = (0, 0),
    *,
    kind: Kind = "restored",
    reason: str = "a backup was put in place",
    lost: tuple[str, ...] = (),
    token: int | None = None,
    replid: str = "",
) -> Meta:
    """Begin a new epoch: what this store holds may lack what others have seen.

    `above` are the highest epoch number and revision known to have been served; `lost` names records
    known to be lost, `collection/field`; `token` is the leader's, None for a manager that starts its own
    store; `replid` is the replication id of the server, once its history was judged.

    Raises:
        Fenced: somebody else leads.
        EpochChanged: somebody else has begun another epoch meanwhile.
    """
    old = store.meta()
    number, rev = above
    epoch = new_epoch(max(epoch_number(old.epoch), number) + 1)
    keys = store.keys
    names = [keys.meta, keys.rev, keys.lease("leader"), keys.fence("leader"), keys.log]
    args: list[str | bytes | int] = [old.epoch, "" if token is None else token, epoch, rev, LEAP]
    answer = store.scripts.run(
        "mint",
        [*names, keys.compacted, keys.epochs],
        [*args, replid, about(kind, reason, old.epoch, lost), EPOCHS_KEPT],
    )
    verdict(answer, old.epoch)
    return store.attach()


def _initialise(
    store: Store, cluster: str, kind: Kind, reason: str, above: tuple[int, int] | None = None
) -> bool:
    with translated():
        signs = store.keys.rev, store.keys.epochs, store.keys.compacted
        leftovers = above is None and (store.client.exists(*signs) or has_records(store))
    if leftovers:
        raise StoreEmpty(
            "the store has a revision, a log or records but no cluster id: part of it was deleted"
        )
    number, rev = (above[0] + 1, above[1] + LEAP) if above else (1, 0)
    fields = ["cluster", cluster, *_described(store)]
    keys = store.keys
    args: list[str | bytes | int] = [new_epoch(number), rev, about(kind, reason), EPOCHS_KEPT]
    return bool(store.scripts.run("init", [keys.meta, keys.rev, keys.epochs], [*args, *fields]))


def _described(store: Store) -> list[str | bytes | int]:
    flavour = str(Server(store.client).flavour())
    return ["schema_min", WRITES, "schema_max", WRITES, "schema_release", VERSION, "flavour", flavour]
