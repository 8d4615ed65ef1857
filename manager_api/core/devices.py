"""Records of devices: where the index finds them, whose groups they are in. Pure.

A record is the contract's device with more: `{"v", "id", "name", "type", "hardware": {"model", "sn"},
"software": {"version", "last_update"}, "nic": [{"type", "mac", "ipv4"}], "status", "groups": [group ids],
"node": node id, "edited": [dotted names of what people said, for nodes]}`; the last three only where there
is something. A node's hardware has `cores`, `memory` and `disks` (`[{"name", "bytes"}]`), too, in bytes, and
its software `kernel` and `agent`. `status` is what people said; a node's is what it was when its device was
made, and readers put its heartbeat's word there. The groups of a record may name some that are gone: readers
pass over them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Json = dict[str, Any]
Edit = Callable[[Json], Json]

NESTED = ("hardware", "software")


def lines(record: Json | None) -> set[str]:
    """The index lines of a device: by id, name, serial number, model, each group, and its node.

    They are `sn:<sn>:<device>` and the like; an id has no colon, so that where it begins is plain.
    """
    if record is None:
        return set()
    device, hardware = record["id"], record["hardware"]
    found = {
        f"id:{device}",
        f"name:{record['name']}:{device}",
        f"sn:{hardware['sn']}:{device}",
        f"model:{hardware['model']}:{device}",
    }
    found |= {f"group:{group}:{device}" for group in record.get("groups", ())}
    return found | ({f"node:{record['node']}:{device}"} if record.get("node") else set())


def ids(found: Iterable[str], prefix: str) -> list[str]:
    """The devices of some lines that say exactly `prefix` before the id."""
    pairs = (line.rpartition(":") for line in found)
    return [device for before, _, device in pairs if before == prefix]


def beyond(prefix: str) -> str:
    """The first text that does not begin with `prefix`, which ends with a colon."""
    return prefix[:-1] + ";"


def in_groups(record: Json, groups: Iterable[str]) -> Json:
    """A device in other groups; records are sparse."""
    rest = {key: value for key, value in record.items() if key != "groups"}
    chosen = sorted(set(groups))
    return {**rest, "groups": chosen} if chosen else rest


def changed(record: Json, said: Mapping[str, Any]) -> Json:
    """A device as people say it is now: `hardware` and `software` key by key, all else as a whole.

    What they say otherwise of a node's device is noted in `edited`: its agent's word no longer counts there.
    """
    new = {**record, **said}
    names: set[str] = set()
    for key, value in said.items():
        if key in NESTED:
            new[key] = {**record[key], **value}
            names |= {f"{key}.{name}" for name in value if record[key].get(name) != value[name]}
        elif record.get(key) != value:
            names.add(key)
    if record.get("node") and names:
        new["edited"] = sorted({*record.get("edited", ()), *names})
    return new
