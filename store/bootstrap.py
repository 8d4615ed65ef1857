"""The beginning of a store, and of each of its epochs."""

import secrets

from store.errors import EpochChanged, StoreEmpty
from store.kv.api import Meta
from store.kv.connection import translated
from store.kv.lua import verdict
from store.kv.server import Server
from store.kv.store import Store
from store.model.epoch import epoch_number
from store.version import VERSION, WRITES

LEAP = 1_000_000
"""Revisions that a new epoch skips: what was lost is unknown, and no revision may be used twice."""


def new_cluster_id() -> str:
    """A cluster id: 128 random bits."""
    return secrets.token_hex(16)


def begin(store: Store, known_cluster: str | None) -> Meta:
    """Attach to a store, initialising it if it is empty and no cluster is known here.

    Raises:
        StoreEmpty: empty, though `known_cluster` says that it should not be.
        EpochChanged: it belongs to another cluster.
        WrongRelease: it may hold records that this release does not read; nothing was changed.
    """
    try:
        meta = store.attach()
    except StoreEmpty:
        if known_cluster:
            raise StoreEmpty(f"the store is empty, though cluster {known_cluster} lived in it") from None
        _initialise(store)
        meta = store.attach()
    if known_cluster and meta.cluster != known_cluster:
        raise EpochChanged(f"the store holds cluster {meta.cluster}, not {known_cluster}")
    if meta.schema.highest < WRITES:
        answer = store.scripts.run("schema", [store.keys.meta], [meta.epoch, WRITES, VERSION])
        verdict(answer, meta.epoch)
    return meta


def mint(store: Store, above: tuple[int, int] = (0, 0)) -> Meta:
    """Begin a new epoch: what this store holds may lack what others have seen.

    `above` are the highest epoch number and revision known to have been served.
    """
    old = store.attach()
    number, rev = above
    epoch = _epoch(max(epoch_number(old.epoch), number) + 1)
    leap = LEAP + max(0, rev - old.rev)
    answer = store.scripts.run("mint", [store.keys.meta, store.keys.rev], [old.epoch, epoch, leap])
    verdict(answer, old.epoch)
    return store.attach()


def _initialise(store: Store) -> None:
    flavour = Server(store.client).flavour()
    with translated():
        leftovers = store.client.exists(store.keys.rev)
    if leftovers:
        raise StoreEmpty("the store has a revision but no cluster id: part of it was deleted")
    fields: list[str | bytes | int] = ["cluster", new_cluster_id(), "epoch", _epoch(1)]
    fields += ["schema_min", WRITES, "schema_max", WRITES, "schema_release", VERSION, "flavour", str(flavour)]
    store.scripts.run("init", [store.keys.meta, store.keys.rev], fields)


def _epoch(number: int) -> str:
    return f"{number}-{secrets.token_hex(4)}"
