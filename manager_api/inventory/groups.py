"""Groups in the store: made, changed, removed; their names are unique.

A record is `{"v", "id", "name", "description"?, "rule"?}`.
"""

from collections.abc import Callable

from manager_api.inventory.devices import Kept, new_id
from manager_api.inventory.errors import Stale, Taken, Unknown
from store.codec import Json, dumps, read_record
from store.errors import Conflict
from store.faults import fault
from store.keys import DEVICES, GROUP_NAMES, GROUPS
from store.kv.api import Change, Compare
from store.kv.store import Store


def find(store: Store, group: str) -> Kept:
    """One group.

    Raises:
        Unknown: there is none.
    """
    found = store.get(GROUPS, group)
    if found is None:
        raise Unknown(f"there is no group with id {group!r}", "group")
    return Kept(read_record(found.value, f"group {group}"), found.rev)


def named(store: Store, name: str) -> str | None:
    """The id of the group with a name; None: there is none."""
    found = store.get(GROUP_NAMES, name)
    return None if found is None else str(read_record(found.value, f"group {name}")["id"])


def create(store: Store, body: Json, *, wanted: str | None = None) -> Kept:
    """Make a group; `wanted` is the id it had elsewhere.

    Raises:
        Taken: its name is another group's.
        Conflict: `wanted` is taken.
    """
    while True:
        group = wanted or new_id()
        if wanted is None and is_named(store, group):
            continue
        record = {**body, "v": 1, "id": group}
        try:
            return Kept(record, _write(store, group, None, record))
        except Conflict as conflict:
            _check_name(conflict, record["name"])
            if wanted:
                raise


def is_named(store: Store, group: str) -> bool:
    """Whether devices name a group's id, also one's that went and is not forgotten yet."""
    return any(store.count_lines(DEVICES, [(f"group:{group}:", f"group:{group};")]))


def change(store: Store, group: str, edit: Callable[[Json], Json], *, rev: int | None = None) -> Kept:
    """Change a group; an equal record is not written. `rev`: only as it was at that revision.

    Raises:
        Unknown: there is no such group.
        Stale: it has moved on from `rev`.
        Taken: its new name is another group's.
    """
    while True:
        old = find(store, group)
        if rev is not None and old.rev != rev:
            raise Stale(f"group {group} is at revision {old.rev}, not {rev}")
        new = edit(old.data)
        if new == old.data:
            return old
        try:
            return Kept(new, _write(store, group, old, new))
        except Conflict as conflict:
            _check_name(conflict, new["name"])


def remove(store: Store, group: str, *, rev: int | None = None) -> bool:
    """Remove a group; whether it was there and is gone. Its devices are only in fewer groups.

    Raises:
        Stale: it has moved on from `rev`.
    """
    while True:
        try:
            old = find(store, group)
        except Unknown:
            return False
        if rev is not None and old.rev != rev:
            raise Stale(f"group {group} is at revision {old.rev}, not {rev}")
        try:
            _write(store, group, old, None)
        except Conflict:
            continue
        return True


def _check_name(conflict: Conflict, name: str) -> None:
    if conflict.collection == GROUP_NAMES and conflict.expected == 0:
        raise Taken(f"another group has the name {name!r}") from None


def _write(store: Store, group: str, old: Kept | None, new: Json | None) -> int:
    compares = [Compare(GROUPS, group, old.rev if old else 0)]
    changes = [Change(GROUPS, group, None if new is None else dumps(new))]
    before, after = (record["name"] if record else None for record in (old.data if old else None, new))
    if before != after:
        if before is not None:
            changes.append(Change(GROUP_NAMES, before, None))
        if after is not None:
            compares.append(Compare(GROUP_NAMES, after, 0))
            changes.append(Change(GROUP_NAMES, after, dumps({"v": 1, "id": group})))
    fault("api.group.before")
    rev = store.txn(compares, changes)
    fault("api.group.after")
    return rev
