"""Inventories for tests: many devices at once, and the judgement whether all that is said of one agrees."""

import tracemalloc

from manager_api.core import devices as core
from manager_api.http.inventory.device_schema import DEVICE
from manager_api.inventory import devices
from manager_api.inventory.devices import SMALLEST_ID
from store.codec import dumps, loads
from store.keys import DEVICES, GROUP_NAMES, GROUPS, NODES
from store.kv.api import Change

AT_ONCE = 60
"""Devices in one transaction: 512 fields are its bound."""


def numbered(number, *groups):
    """A device of a series: unique serial numbers, 20 models, names in another order than ids."""
    hardware = {"model": f"T-{number % 20:02}", "sn": f"SN-{number:06}"}
    nic = [{"type": "lan", "mac": f"02:00:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}", "ipv4": "10.0.0.1"}]  # fmt: skip
    body = {**DEVICE, "name": f"device {number * 7919 % 1_000_003:07}", "hardware": hardware, "nic": nic}
    return core.in_groups({**body, "v": 1, "id": str(SMALLEST_ID + number)}, groups)


def seed(store, count, *groups):
    """So many devices; every tenth is in `groups`."""
    for first in range(0, count, AT_ONCE):
        compares, changes, lines = [], [], []
        for number in range(first, min(first + AT_ONCE, count)):
            record = numbered(number, *(groups if number % 10 == 0 else ()))
            found = devices.transaction(None, record)
            compares, changes, lines = compares + found[0], changes + found[1], lines + found[2]
        store.txn(compares, changes, lines=lines)


def seed_group(store, group, name):
    store.txn(
        [], [Change(GROUPS, group, dumps({"v": 1, "id": group, "name": name})), Change(GROUP_NAMES, name, dumps({"v": 1, "id": group}))]
    )  # fmt: skip


def index(store):
    """All lines of the index of devices."""
    return {line.decode() for line in store.client.zrange(store.keys.index(DEVICES), 0, -1)}


def check(store, *, swept):
    """All that the store says of the inventory agrees; `swept`: nothing names a group that is gone, either."""
    records = {field: loads(raw) for field, raw in store.values(DEVICES).items()}
    groups = {field: loads(raw) for field, raw in store.values(GROUPS).items()}
    names = {name: loads(raw)["id"] for name, raw in store.values(GROUP_NAMES).items()}
    nodes = {field: loads(raw) for field, raw in store.values(NODES).items()}
    assert all(record["id"] == field for field, record in (records | groups).items())
    assert index(store) == set().union(*map(core.lines, records.values())), (
        "the index says what the records do"
    )
    assert names == {record["name"]: group for group, record in groups.items()}
    for record in records.values():
        named = record.get("groups", [])
        assert named == sorted(set(named))
        if record.get("node") in nodes:
            assert nodes[record["node"]].get("member_of", []) == named
        if swept:
            assert set(named) <= groups.keys()
    return records, groups


def peak(work):
    """What it gives, and the most memory that it had in use, in bytes."""
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def least_peak(work):
    """The same of what may be done again: the memory of threads that other tests left counts, too."""
    return min((peak(work) for _ in range(3)), key=lambda found: found[1])
