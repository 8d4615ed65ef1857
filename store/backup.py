"""Backups of any store, and their return: taken, checked by a server of their own, compared, put in place."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from store import highest, rdb, serving
from store.binaries import Binary, find_kind
from store.bootstrap import EPOCHS_KEPT, LEAP, about, new_epoch
from store.codec import Json, loads
from store.errors import BadRecord, Busy, EpochChanged, StoreEmpty, StoreError, Unavailable, Unsupported
from store.faults import fault
from store.home import Files
from store.keys import DEPLOYMENTS, DEVICES, GROUPS, NODES, TEMPLATES
from store.kv.api import Meta
from store.kv.connection import Client, translated
from store.kv.dump import dump
from store.kv.server import Flavour, Server
from store.kv.store import Store
from store.kv.swap import Order, Swap, reconnect
from store.model.epoch import epoch_number
from store.process import Lock
from store.version import SCHEMA

COUNTED = (TEMPLATES, DEPLOYMENTS, NODES, DEVICES, GROUPS)
MOST_NAMES = 20
DUMP = "dump.rdb"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a store holds."""

    cluster: str
    epoch: str
    rev: int
    counts: dict[str, int]

    def as_json(self) -> Json:
        """For answers."""
        return {"cluster": self.cluster, "epoch": self.epoch, "rev": self.rev, **self.counts}


@contextlib.contextmanager
def spool(files: Files) -> Iterator[Path]:
    """An empty directory for one backup or restore of this manager; it is gone afterwards.

    Raises:
        Busy: another one is under way.
    """
    lock = Lock(files.spooling)
    try:
        if not lock.try_acquire():
            raise Busy("this manager is busy with another backup or restore: try again when it is done")
        clear(files)  # of one that was killed
        files.spool.mkdir(mode=0o700)
        try:
            yield files.spool
        finally:
            clear(files)
    finally:
        lock.close()


def clear(files: Files) -> None:
    """Remove what a killed manager left in its spool; at the start, and before each use."""
    shutil.rmtree(files.spool, ignore_errors=True)


def reader(flavour: Flavour, named: Path | None) -> Binary | None:
    """A server program at hand here that reads what such a server writes."""
    return find_kind(flavour.name, named)


def take(client: Client, where: Path) -> tuple[Path, str]:
    """Write a snapshot of this moment to a directory; the file, and its SHA-256.

    Raises:
        Denied, Unavailable, StoreError: the server gave none, or not all of it.
        OSError: the disk is full, say.
    """
    path, digest = where / DUMP, hashlib.sha256()
    with path.open("xb") as file:
        path.chmod(0o600)
        for piece in dump(client):
            digest.update(piece)
            file.write(piece)
    return path, digest.hexdigest()


def check(
    path: Path, binary: Binary | None, flavour: Flavour, database: int = 0
) -> tuple[Contents | None, str]:
    """Make sure that a backup is whole: what is in it, and how that was found out.

    A server of its own loads it, if one is here that reads such files; else its checksum is computed.

    Raises:
        Unsupported: it cannot be used.
    """
    found = rdb.head(path)
    if binary is None or rdb.refusal(found, binary.name, binary.version):
        rdb.check_sum(path)
        return None, f"by its end mark and checksum only: no {flavour.name}-server here that could load it"
    with opened(path, binary, database) as store:
        return contents(store), f"loaded by {binary.name} {'.'.join(map(str, binary.version))}"


@contextlib.contextmanager
def opened(path: Path, binary: Binary, database: int = 0) -> Iterator[Store]:
    """The state in a snapshot file, which must be named dump.rdb, as a store to read.

    `database` is the one to look in first; a server that others use, too, may have several.

    Raises:
        Unsupported: it cannot be loaded, or holds nothing of ours; with the reason.
    """
    found = rdb.head(path)
    if why := rdb.refusal(found, binary.name, binary.version):
        raise Unsupported(f"{why}: restore it into a store of the kind that wrote it")
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(serving.scratch(binary, path.parent))
        except Unavailable as error:
            raise Unsupported(f"{binary.name} cannot load it: {error}") from error
        store = Store(client)
        try:
            with translated():
                serving.bring_forward(client, store.keys.meta, database)
            store.attach()
        except StoreEmpty:
            raise Unsupported("it holds no Muster data") from None
        yield store


def contents(store: Store) -> Contents:
    """What an attached store holds."""
    meta = store.meta()
    with translated():
        pipe = store.client.pipeline()
        for name in COUNTED:
            pipe.hlen(store.keys.collection(name))
        counts = dict(zip(COUNTED, pipe.execute(), strict=True))
    return Contents(meta.cluster, meta.epoch, meta.rev, counts)


def living(client: Client) -> Store | None:
    """A view of its own of the living store, also of one that lost history; None if that is empty."""
    store = Store(client)
    try:
        store.enter(store.meta())
    except StoreEmpty:
        return None
    return store


def refuse_stranger(file: Store, alive: Store | None, files: Files) -> None:
    """Raise unless the backup is of this very cluster, and of a release that this one understands.

    Raises:
        Unsupported: it is not.
    """
    cluster = file.meta().cluster
    mine = alive.meta().cluster if alive else files.known_cluster()
    if mine and cluster != mine:
        raise Unsupported(
            f"it is a backup of cluster {cluster}, and this one is {mine}: its nodes would know none of it. "
            "To bring that cluster back, start a manager of its own with the file as its --db-path"
        )
    with translated():
        least = file.client.hget(file.keys.meta, "schema_min") or b"0"
    if least.isdigit() and int(least) > SCHEMA:
        raise Unsupported(f"it was written by a later release of Muster (schema {int(least)}, not {SCHEMA})")


def compare(file: Store, alive: Store | None) -> Json:
    """What a restore would undo, by collection: `made` since (lost), `changed` since, `back` (deleted since).

    `again` are deployments that have been stopped since and would run again.
    """
    found: Json = {}
    for name in COUNTED:
        old, new = _held(file, name), _held(alive, name) if alive else {}
        found[name] = {
            "made": _named(name, new, new.keys() - old.keys()),
            "changed": _named(name, new, {key for key in new.keys() & old.keys() if new[key] != old[key]}),
            "back": _named(name, old, old.keys() - new.keys()),
        }
        if name == DEPLOYMENTS:
            again = {key for key in old if _runs(old[key]) and not (key in new and _runs(new[key]))}
            found[name]["again"] = _named(name, old, again)
    return found


def _held(store: Store, collection: str) -> dict[str, bytes]:
    """The records of a collection; of devices, which are many, digests, which tell as well who is another."""
    if collection != DEVICES:
        return store.values(collection)
    with translated():
        found = store.client.hscan_iter(store.keys.collection(collection), count=1000)
        return {key.decode(): hashlib.blake2b(raw, digest_size=8).digest() for key, raw in found}


def _named(collection: str, records: dict[str, bytes], keys: set[str]) -> Json:
    chosen = sorted(keys)[:MOST_NAMES]
    if collection == DEPLOYMENTS:
        chosen = [f"{key} ({_read(records[key]).get('template', '?')})" for key in chosen]
    return {"count": len(keys), "names": chosen}


def _runs(raw: bytes) -> bool:
    return _read(raw).get("wanted") == "running"


def _read(raw: bytes) -> Json:
    try:
        return loads(raw)
    except BadRecord:
        return {}


def put_in_place(file: Store, client: Client, files: Files, *, expected: str, reason: str) -> Meta:
    """Restore: the state of `file` is that of the store behind `client`, under a new epoch, all at once.

    Node users that the restored state does not know lose their rights, so that their agents join again.
    `expected` is the epoch that was looked at before; '' for an empty store.

    Raises:
        Busy: another restore is under way.
        EpochChanged: the store has moved on to another epoch.
        StoreError: it did not happen; nothing was changed.
    """
    alive = living(client)
    if (alive.epoch if alive else "") != expected:
        raise EpochChanged(
            f"the store is in epoch {alive.epoch if alive else 'none'} by now, not {expected or 'none'}"
        )
    old, (number, rev) = file.meta(), highest.recorded(files)
    last = max(epoch_number(old.epoch), epoch_number(expected), number)
    with Swap(client, file.keys) as swap:
        swap.stage(file.client, epochs=alive is None)
        order = Order(
            expected=expected,
            epoch=new_epoch(last + 1),
            above=max(old.rev, rev),
            leap=LEAP,
            about=about("restored", reason, expected),
            epochs_kept=EPOCHS_KEPT,
            meta=_meta(file, alive, Server(client).flavour()),
        )
        before = alive.values(NODES) if alive else {}
        fault("restore.swap.before")
        swap.swap(order)
        fault("restore.swap.after")
    store = Store(client)
    meta = store.attach()
    highest.record(files, meta)
    after = store.values(NODES)
    if alive is None:
        reconnect(client, after)  # what they had reported is gone as well
    _revoke(client, before, after)
    return meta


def _meta(file: Store, alive: Store | None, flavour: Flavour) -> dict[str, str]:
    """The fields of `meta` that come with the file; a living store stays the one it is."""
    with translated():
        raw = file.client.hgetall(file.keys.meta)
    fields = {key.decode(): value.decode() for key, value in raw.items()}
    wanted = ("schema_min", "schema_max") if alive else ("cluster", "schema_min", "schema_max")
    return {key: fields[key] for key in wanted if key in fields} | {"flavour": str(flavour)}


def _revoke(client: Client, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Agents whose user is not that of the restored records are denied, and join again."""
    for node, raw in before.items():
        secret = _read(after[node]).get("secret_sha256") if node in after else None
        if _read(raw).get("secret_sha256") != secret:
            with contextlib.suppress(StoreError):  # a server without rights, say
                Server(client).revoke_node(node)
