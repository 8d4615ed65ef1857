"""Which device is in which group: it lies on the device's record, and is read from both ends.

A membership's id is `<device>-<group>`. Groups that are gone have no members, whatever records still say.
"""

from collections.abc import Callable, Iterable, Iterator

from manager_api.core import devices as core
from manager_api.inventory import devices
from manager_api.inventory.devices import MOST_GROUPS, Kept, groups_of
from manager_api.inventory.errors import TooMany, Unknown
from manager_api.inventory.search import BATCH
from store.codec import Json
from store.keys import DEVICES, GROUPS
from store.kv.store import Store


def name(device: str, group: str) -> str:
    """The id of a membership."""
    return f"{device}-{group}"


def parts(membership: str) -> tuple[str, str] | None:
    """Device and group of an id; None: it is no id of a membership."""
    device, dash, group = membership.partition("-")
    return (device, group) if dash and device and group and "-" not in group else None


def add(store: Store, device: str, groups: Iterable[str]) -> Kept:
    """Put a device into groups, beside those that it is in.

    Raises:
        Unknown: there is no such device, or group.
        TooMany: it would be in more than 64.
    """
    wanted = set(groups)
    devices.groups_exist(store, wanted)  # also those that its record names already: they may be gone
    return _set(store, device, lambda there: there | wanted)


def replace(store: Store, device: str, groups: Iterable[str], *, rev: int | None = None) -> Kept:
    """Have a device be in these groups, and no others. `rev`: only as it was at that revision.

    Raises:
        Unknown, Stale, TooMany: as `add`, and `devices.change`.
    """
    wanted = set(groups)
    devices.groups_exist(store, wanted)
    return _set(store, device, lambda _: wanted, rev=rev)


def _set(
    store: Store, device: str, choose: Callable[[set[str]], set[str]], *, rev: int | None = None
) -> Kept:
    def edit(record: Json) -> Json:
        named = groups_of(record)
        chosen = choose(named & living(store) if named else named)
        if len(chosen) > MOST_GROUPS:
            raise TooMany(f"device {device} would be in {len(chosen)} groups, at most {MOST_GROUPS}")
        return core.in_groups(record, chosen)

    return devices.change(store, device, edit, rev=rev)


def take(store: Store, device: str, group: str) -> bool:
    """Take a device out of a group; whether it was there."""
    was = False

    def out(record: Json) -> Json:
        nonlocal was
        was = False  # this may be another try, after somebody else was quicker
        if group not in groups_of(record):
            return record
        was = store.get(GROUPS, group) is not None
        return core.in_groups(record, groups_of(record) - {group})

    try:
        devices.change(store, device, out)
    except Unknown:
        return False
    return was


def living(store: Store) -> set[str]:
    """The ids of all groups."""
    return set(store.revisions(GROUPS))


def groups(store: Store, device: str) -> list[str]:
    """The groups that a device is in, by id.

    Raises:
        Unknown: there is no such device.
    """
    named = sorted(groups_of(devices.find(store, device).data))
    found = store.values_of(GROUPS, named)
    return [group for group, raw in zip(named, found, strict=True) if raw is not None]


def pairs(
    store: Store,
    *,
    group: str | None = None,
    after: tuple[str, str] | None = None,
    backwards: bool = False,
) -> Iterator[list[tuple[str, str]]]:
    """All memberships, or a group's, as (group, device) in this order, beyond `after`, in batches."""
    there = living(store)
    prefix = "group:" if group is None else f"group:{group}:"
    low, high = prefix, core.beyond(prefix)
    if after is not None:
        line = f"group:{after[0]}:{after[1]}"
        low, high = (low, line) if backwards else (line, high)
    while batch := store.lines(DEVICES, low, high, BATCH, backwards=backwards):
        split = [line.split(":") for line in batch]
        found = [(its_group, device) for _, its_group, device in split if its_group in there]
        if found:
            yield found
        if len(batch) < BATCH:
            return
        low, high = (low, batch[-1]) if backwards else (batch[-1], high)


def count(store: Store, group: str | None = None) -> int:
    """How many memberships there are, in all or of one group."""
    some = living(store) & {group} if group is not None else living(store)
    return sum(
        store.count_lines(DEVICES, [(f"group:{each}:", core.beyond(f"group:{each}:")) for each in some])
    )
