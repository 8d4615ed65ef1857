"""Nodes as devices: a node's record and its device are written together, and find each other again.

The device of a node is the one that its record names, else the one that the index has for its id: that of
a node which was removed and is back. Everything holds by the compare of the node's record, which each of
these transactions makes.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from manager_api.core import devices, enrolment
from manager_api.inventory import groups
from manager_api.inventory.devices import MOST_GROUPS, Kept, change, find, groups_exist, new_id, transaction
from manager_api.inventory.errors import NoNode, Taken, TooMany, Unknown
from store.codec import Json, dumps, loads, read_record
from store.errors import BadRecord, Conflict
from store.keys import DEVICES, NODES
from store.kv.api import Change, Compare, Line
from store.kv.projection import Projection
from store.kv.store import Store
from store.model import noderecord

TIME = "%Y-%m-%d %H:%M:%S"
"""As the contract writes times; UTC."""
LEGACY = "groups"
"""In a node's record: names of groups, as releases up to 0.2.0 wrote them."""


@dataclass(frozen=True, slots=True)
class Written:
    """A node's record and its device, and what one transaction asks for and writes to have both."""

    record: Json
    device: Json
    old: Kept | None
    """The device as it lies there."""
    compares: list[Compare] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def to(self, store: Store, token: int | None = None) -> None:
        """Write it, if there is anything to be written; `token`: as the leader.

        Raises:
            Conflict: something of it has moved: look again.
        """
        if self.changes:
            store.txn(self.compares, self.changes, lines=self.lines, token=token)


def device_of(store: Store, node: str, record: Mapping[str, object]) -> Kept | None:
    """The device of a node, if it has one."""
    named = record.get("device")
    ids = [str(named)] if named else []
    ids += devices.ids(store.lines(DEVICES, f"node:{node}:", f"node:{node};", 10), f"node:{node}")
    for device in ids:
        try:
            found = find(store, device)
        except Unknown:
            continue
        if found.data.get("node") == node:
            return found
    return None


def enrol(
    store: Store, node: str, known: Kept | None, record: Json, facts: Json | None, now: float
) -> Written:
    """A node's record, as it is to be, with its device made or renewed.

    Args:
        store: where both lie.
        node: the node's id.
        known: its record as it lies there; None: there is none.
        record: the record as it is to be, its device and memberships aside.
        facts: clean facts of `manager_api.core.enrolment`; None: its agent says none.
        now: wall time, seconds.
    """
    old = device_of(store, node, record)
    if facts is None:
        known_facts = enrolment.by_addresses(record)
    else:
        known_facts, record = dict(facts), _with(record, "facts", enrolment.scalars(facts))
    at = datetime.fromtimestamp(now, UTC).strftime(TIME)
    device = enrolment.device(node, record, known_facts, old.data if old else None, at)
    if old is None:
        device = {**device, "v": 1, "id": new_id()}
    return _written(store, node, known, record, old, device)


def regroup(
    store: Store,
    node: str,
    given: Mapping[str, bool],
    now: float,
    *,
    facts: Json | None = None,
    token: int | None = None,
) -> None:
    """Put a node into groups and take it out, by their names; a group that there is not is made.

    A node of an earlier release gets its device, and the names that its record lists become memberships:
    with nothing `given`, that is all. `facts` and `token` are the leader's: clean ones for that device, and
    its right to write.

    Raises:
        Unknown: there is no such node.
        TooMany: it would be in more groups than a device can be in.
        ValueError: a group that there is not would have no such name.
    """
    while True:
        raw = store.get(NODES, node)
        if raw is None:
            raise Unknown(f"there is no node with id {node!r}")
        known = Kept(read_record(raw.value, f"node {node}"), raw.rev)
        written = enrol(store, node, known, _with(known.data, LEGACY, None), facts, now)
        wanted = {**dict.fromkeys(known.data.get(LEGACY, ()), True), **given}
        try:
            chosen = _chosen(store, set(written.device.get("groups", ())), wanted)
            device = devices.in_groups(written.device, chosen)
            _written(store, node, known, written.record, written.old, device).to(store, token)
        except (Conflict, Taken, Unknown):
            continue  # somebody else was quicker: look again
        return


def said(store: Store, node: str) -> Json:
    """What a node's agent wrote of its machine in the store; what cannot be read is passed over."""
    found: Json = {}
    for key, raw in Projection(store).facts(node).items():
        with suppress(BadRecord):
            found[key] = loads(b'{"it":%b}' % raw)["it"]  # nics are a list
    return found


def release(store: Store, device: str, names: Collection[str] | None, *, rev: int | None = None) -> Kept:
    """Give fields that people edited back to a node's agent; None: all. What it has said of them is put back.

    Of a node that was removed nothing is known until it is back.

    Raises:
        Unknown: there is no such device.
        NoNode: it is none.
        Stale: it has moved on from `rev`.
    """
    while True:
        node = find(store, device).data.get("node")
        if node is None:
            raise NoNode(f"device {device} is no node: no agent says anything of it")
        raw = store.get(NODES, node)
        record = read_record(raw.value, f"node {node}") if raw else {}
        facts = enrolment.written(record, said(store, node)) if raw else {}
        new = partial(enrolment.released, names=names, facts=facts, agent=record.get("version"))
        try:
            # An agent that joins with other facts may change its node's record alone.
            return change(store, device, new, rev=rev, also=[Compare(NODES, node, raw.rev if raw else 0)])
        except Conflict:
            continue


def _chosen(store: Store, current: set[str], wanted: Mapping[str, bool]) -> set[str]:
    """The groups that a device is to be in; those that there are not are made, if they are not too many."""
    ids = {name: groups.named(store, name) for name in wanted}
    chosen = current - {known for name, known in ids.items() if known and not wanted[name]}
    chosen |= {known for name, known in ids.items() if known and wanted[name]}
    lacking = [noderecord.name(name) for name, known in ids.items() if known is None and wanted[name]]
    if len(chosen) + len(lacking) > MOST_GROUPS:
        raise TooMany(f"{len(chosen) + len(lacking)} in all, at most {MOST_GROUPS}")
    return chosen | {groups.create(store, {"name": name}).data["id"] for name in lacking}


def _written(
    store: Store, node: str, known: Kept | None, record: Json, old: Kept | None, device: Json
) -> Written:
    members = sorted(device.get("groups", ()))
    record = {**_with(record, "member_of", members), "device": device["id"]}
    if known is not None and record == known.data and old is not None and device == old.data:
        return Written(record, device, old)
    before = set(old.data.get("groups", ())) if old else set[str]()
    compares, changes, lines = transaction(old, device)
    if old is not None and device == old.data:
        changes, lines = [], []
    compares = [Compare(NODES, node, known.rev if known else 0), *compares]
    compares += groups_exist(store, set(members) - before)
    changes = [Change(NODES, node, dumps(record)), *changes]
    return Written(record, device, old, compares, changes, lines)


def _with(record: Json, key: str, value: Any) -> Json:
    """Records are sparse: nothing is not written down."""
    rest = {name: each for name, each in record.items() if name != key}
    return {**rest, key: value} if value else rest
