"""Devices in the store: made, changed, removed, each by one transaction over record, index and node.

Membership lies on the device: a device that goes takes it along, and a group that goes leaves ids behind
that lead nowhere (ids are never given twice), which `manager_api.inventory.leftovers` collects.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from manager_api.core import devices
from manager_api.inventory.errors import Stale, Unknown
from store.codec import Json, dumps, loads, read_record
from store.errors import BadRecord, Conflict
from store.faults import fault
from store.keys import DEVICES, GROUPS, NODES
from store.kv.api import Change, Compare, Line, Record
from store.kv.store import Store

SMALLEST_ID, IDS = 10**9, 9 * 10**9
MOST_GROUPS = 64
"""Groups that one device is in: they travel with its record, and its node's."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it lies in the store, and the revision that last changed it."""

    data: Json
    rev: int


def new_id() -> str:
    """Ten digits that nobody has, as likely as not; who writes finds out."""
    return str(SMALLEST_ID + secrets.randbelow(IDS))


def id_of(text: str) -> str:
    """The ten digits that a text always has."""
    return str(SMALLEST_ID + int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % IDS)


def find(store: Store, device: str) -> Kept:
    """One device.

    Raises:
        Unknown: there is none.
    """
    found = store.get(DEVICES, device)
    if found is None:
        raise Unknown(f"there is no device with id {device!r}", "device")
    return _kept(found, device)


def create(store: Store, body: Json, *, wanted: str | None = None) -> Kept:
    """Make a device of what is said of it; `wanted` is the id it had elsewhere.

    Raises:
        Conflict: `wanted` is taken.
        Unknown: one of its groups is.
    """
    while True:
        device = wanted or new_id()
        record = {**body, "v": 1, "id": device}
        try:
            return Kept(record, _write(store, None, record))
        except Conflict as conflict:
            if wanted and conflict.collection == DEVICES:
                raise


def change(
    store: Store,
    device: str,
    edit: Callable[[Json], Json],
    *,
    rev: int | None = None,
    also: Sequence[Compare] = (),
) -> Kept:
    """Change a device; an equal record is not written. `rev`: only as it was at that revision.

    Raises:
        Unknown: there is no such device, or group.
        Stale: it has moved on from `rev`.
        Conflict: something of `also` does not hold.
        What `edit` raises.
    """
    while True:
        old = find(store, device)
        if rev is not None and old.rev != rev:
            raise Stale(f"device {device} is at revision {old.rev}, not {rev}")
        new = edit(old.data)
        if new == old.data:
            return old
        try:
            return Kept(new, _write(store, old, new, also))
        except Conflict as conflict:
            if (conflict.collection, conflict.field) in {(each.collection, each.field) for each in also}:
                raise
            # Somebody else was quicker: look again.


def remove(store: Store, device: str, *, rev: int | None = None) -> bool:
    """Remove a device, unless it is a node of the fleet; whether it was there and is gone.

    Raises:
        Stale: it has moved on from `rev`.
    """
    while True:
        try:
            old = find(store, device)
        except Unknown:
            return False
        if rev is not None and old.rev != rev:
            raise Stale(f"device {device} is at revision {old.rev}, not {rev}")
        node = old.data.get("node")
        if node and store.get(NODES, node) is not None:
            return False
        try:
            _write(store, old, None, [Compare(NODES, node, 0)] if node else [])
        except Conflict:
            continue
        return True


def transaction(old: Kept | None, new: Json | None) -> tuple[list[Compare], list[Change], list[Line]]:
    """What a device's change asks for and writes, its node and groups aside."""
    device = new["id"] if new is not None else old.data["id"] if old is not None else ""
    before, after = devices.lines(old.data if old else None), devices.lines(new)
    lines = [Line(DEVICES, text, there=False) for text in sorted(before - after)]
    lines += [Line(DEVICES, text) for text in sorted(after - before)]
    compares = [Compare(DEVICES, device, old.rev if old else 0)]
    return compares, [Change(DEVICES, device, None if new is None else dumps(new))], lines


def lines_of(raw: bytes) -> set[str]:
    """The index lines of a stored record; of one that cannot be read none, so that nothing leads to it."""
    try:
        return devices.lines(loads(raw))
    except (BadRecord, KeyError, TypeError):
        return set()


def _write(store: Store, old: Kept | None, new: Json | None, also: Sequence[Compare] = ()) -> int:
    compares, changes, lines = transaction(old, new)
    compares += also
    had, has = groups_of(old.data if old else None), groups_of(new)
    compares += groups_exist(store, has - had)
    if had != has and new is not None and new.get("node"):
        its_node = _node(store, new["node"], has)
        if its_node is not None:
            compares.append(its_node[0])
            changes.append(its_node[1])
    fault("api.device.before")
    rev = store.txn(compares, changes, lines=lines)
    fault("api.device.after")
    return rev


def groups_of(record: Json | None) -> set[str]:
    """The groups that a record names; some may be gone."""
    return set(record.get("groups", ())) if record else set()


def groups_exist(store: Store, groups: Iterable[str]) -> list[Compare]:
    """What holds as long as these groups are there.

    Raises:
        Unknown: one is not.
    """
    wanted = sorted(groups)
    found = store.get_many([(GROUPS, group) for group in wanted])
    for group, record in zip(wanted, found, strict=True):
        if record is None:
            raise Unknown(f"there is no group with id {group!r}", "group")
    return [
        Compare(GROUPS, group, record.rev)
        for group, record in zip(wanted, found, strict=True)
        if record is not None
    ]


def _node(store: Store, node: str, groups: set[str]) -> tuple[Compare, Change] | None:
    """A node's record says the groups of its device, for the leader to plan by; None: it does already."""
    found = store.get(NODES, node)
    if found is None:
        return None
    record = read_record(found.value, f"node {node}")
    new = {key: value for key, value in record.items() if key != "member_of"}
    if groups:
        new["member_of"] = sorted(groups)
    return None if new == record else (Compare(NODES, node, found.rev), Change(NODES, node, dumps(new)))


def _kept(found: Record, device: str) -> Kept:
    return Kept(read_record(found.value, f"device {device}"), found.rev)
