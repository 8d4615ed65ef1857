"""The beginning of a store, and of each of its epochs."""

import contextlib
import secrets
from typing import Literal

from store.codec import dumps
from store.errors import EpochChanged, StoreEmpty, StoreError
from store.keys import ALLOCATIONS, DEPLOYMENTS, NODES, TEMPLATES
from store.kv.api import Meta
from store.kv.connection import translated
from store.kv.lua import verdict
from store.kv.server import Server
from store.kv.store import Store
from store.model.epoch import epoch_number
from store.version import VERSION, WRITES

LEAP = 1_000_000
"""Revisions that a new epoch skips: what was lost is unknown, and no revision may be used twice."""
EPOCHS_KEPT = 20
KEPT = (TEMPLATES, DEPLOYMENTS, ALLOCATIONS)
"""Where these are empty and no node beats, nothing is lost: nodes of the lost cluster may have knocked."""
Kind = Literal["begun", "lost", "restored", "recovered"]
"""Why an epoch began: a new store; history was lost by accident; a backup was put in place on purpose;
an empty store was given its cluster back."""


def new_cluster_id() -> str:
    """A cluster id: 128 random bits."""
    return secrets.token_hex(16)


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

    The same for a store that has lost its cluster id, epoch or revision, and only these.

    Raises:
        StoreError: it is not empty; nothing was changed.
    """
    why = "an empty store was given its cluster back"
    if is_bare(store) and _initialise(store, cluster, "recovered", why, above):
        return store.attach()
    what = "its cluster id, epoch or revision was deleted"
    fields = ["epoch", _epoch(above[0] + 1), "cluster", cluster, *_described(store)]
    keys = [store.keys.meta, store.keys.rev]
    if not store.scripts.run("mend", keys, [above[1] + LEAP, cluster, what, *fields]):
        raise StoreError("the store is not empty: there is nothing to recover")
    with contextlib.suppress(EpochChanged):  # the leader was quicker
        mint(store, above, kind="recovered", reason=what)
    return store.attach()


def is_bare(store: Store) -> bool:
    """Whether nothing was ever kept in a store."""
    with translated():
        if store.client.exists(*(store.keys.collection(name) for name in KEPT)):
            return False
        nodes = store.client.hkeys(store.keys.collection(NODES))
        beats = [store.keys.node(node.decode()).beat for node in nodes]
        return not beats or not store.client.exists(*beats)


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
    epoch = _epoch(max(epoch_number(old.epoch), number) + 1)
    about = {"kind": kind, "reason": reason, "after": old.epoch, "lost": list(lost)}
    keys = store.keys
    names = [keys.meta, keys.rev, keys.lease("leader"), keys.fence("leader"), keys.log]
    args: list[str | bytes | int] = [old.epoch, "" if token is None else token, epoch, rev, LEAP]
    answer = store.scripts.run(
        "mint", [*names, keys.compacted, keys.epochs], [*args, replid, dumps(about), EPOCHS_KEPT]
    )
    verdict(answer, old.epoch)
    return store.attach()


def _initialise(
    store: Store, cluster: str, kind: Kind, reason: str, above: tuple[int, int] | None = None
) -> bool:
    with translated():
        leftovers = store.client.exists(store.keys.rev)
    if leftovers and above is None:
        raise StoreEmpty("the store has a revision but no cluster id: part of it was deleted")
    number, rev = (above[0] + 1, above[1] + LEAP) if above else (1, 0)
    about = dumps({"kind": kind, "reason": reason, "after": "", "lost": []})
    fields = ["epoch", _epoch(number), "cluster", cluster, *_described(store)]
    keys = store.keys
    return bool(store.scripts.run("init", [keys.meta, keys.rev, keys.epochs], [rev, about, *fields]))


def _described(store: Store) -> list[str | bytes | int]:
    flavour = str(Server(store.client).flavour())
    return ["schema_min", WRITES, "schema_max", WRITES, "schema_release", VERSION, "flavour", flavour]


def _epoch(number: int) -> str:
    return f"{number}-{secrets.token_hex(4)}"
