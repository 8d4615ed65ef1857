"""From what an agent says of its machine to its device, and to what rules may ask of the node. Pure.

Facts are `{"hardware": {"model", "sn", "machine", "cores", "memory", "disks": [{"name", "bytes"}]},
"software": {"version", "kernel"}, "nic": [{"type", "mac", "ipv4"}]}`, memory in bytes. All of it is hearsay
from the node: what cannot be what it should be is left out, so that what is left is as people may write it
(`manager_api.http.inventory.device_schema`).
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

Json = dict[str, Any]

TYPE = "node"
"""The type of a device that is a node."""
MOST_TEXT = 200
MOST_LISTED = 32
"""Disks and nics that are kept of one machine."""
MOST_NUMBER, MOST_CORES = 2**53, 1_000_000
"""Beyond the first JSON's readers disagree."""
UNKNOWN = "unknown"
"""The type of a nic of which only the address is known."""

_SAID_ANYWAY = {"hardware": ("model", "sn"), "software": ("version",)}
"""What a device says in any case: empty, if nobody knows it."""
_LEFT = ("last_update",)
"""What only the next update says."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")
_PAIR, _OCTET = "[0-9A-Fa-f]{2}", "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
MAC = f"{_PAIR}(?:[:-]{_PAIR}){{5}}|{_PAIR}(?:[:-]{_PAIR}){{7}}|{_PAIR}(?:[:-]{_PAIR}){{19}}"
IPV4 = f"{_OCTET}(?:[.]{_OCTET}){{3}}"
"""Patterns of addresses, whole; people's devices are held to the same."""
_MAC, _IPV4 = re.compile(MAC), re.compile(IPV4)

_SCALARS = (
    ("cores", "hardware", "cores"), ("memory", "hardware", "memory"), ("model", "hardware", "model"),
    ("sn", "hardware", "sn"), ("machine", "hardware", "machine"), ("os", "software", "version"),
    ("kernel", "software", "kernel"),
)  # fmt: skip
"""What rules ask of a node, and where it is said."""


def clean(raw: Any) -> Json:
    """Facts as they may be kept: only what is known, of its kind, and bounded."""
    hardware, software = _object(_object(raw).get("hardware")), _object(_object(raw).get("software"))
    found: Json = {
        "hardware": {
            **{key: _text(hardware.get(key)) for key in ("model", "sn", "machine")},
            "cores": _number(hardware.get("cores"), MOST_CORES),
            "memory": _number(hardware.get("memory")),
            "disks": list(filter(None, map(_disk, _list(hardware.get("disks"))))),
        },
        "software": {key: _text(software.get(key)) for key in ("version", "kernel")},
        "nic": list(filter(None, map(_nic, _list(_object(raw).get("nic"))))),
    }
    return {
        part: {key: value for key, value in said.items() if value} if isinstance(said, dict) else said
        for part, said in found.items()
    }


def scalars(facts: Mapping[str, Any]) -> Json:
    """What a node's record keeps of its facts, for rules."""
    found = {name: facts.get(part, {}).get(key) for name, part, key in _SCALARS}
    disk = sum(each["bytes"] for each in facts.get("hardware", {}).get("disks", ()))
    found["disk"] = disk or None
    return {name: value for name, value in found.items() if value not in (None, "")}


def by_addresses(record: Mapping[str, Any]) -> Json:
    """The facts of a node whose agent says none: its addresses."""
    found = [each for each in record.get("addresses", ()) if _IPV4.fullmatch(each)]
    return {"nic": [{"type": UNKNOWN, "mac": "", "ipv4": each} for each in found[:MOST_LISTED]]}


def written(record: Mapping[str, Any], said: Mapping[str, Any]) -> Json:
    """The facts of a node by what its agent wrote of it in the store; those of its record count more."""
    hardware = {"cores": _object(said.get("hardware")).get("cpus"), **_object(said.get("hardware"))}
    found, joined = clean({**said, "hardware": hardware}), record.get("facts", {})
    for name, part, key in _SCALARS:
        if name in joined:
            found[part][key] = joined[name]
    return found if found["nic"] else {**found, **by_addresses(record)}


def device(node: str, record: Mapping[str, Any], facts: Mapping[str, Any], old: Json | None, at: str) -> Json:
    """The device of a node: what is known of it, where people have not said otherwise.

    Args:
        node: the node's id.
        record: the node's record.
        facts: clean facts; what they lack stays as it was.
        old: its device until now; None: it has none.
        at: now, as the contract writes times.
    """
    edited = set(old.get("edited", ())) if old else set[str]()
    base = old or {"name": node, "type": TYPE, "hardware": {}, "software": {}, "nic": [], "status": "online"}
    software = {**facts.get("software", {}), "agent": record["version"]}
    hardware = {key: value for key, value in facts.get("hardware", {}).items() if key != "machine"}
    said = {"hardware": hardware, "software": software}
    new = {**base, "node": node}
    for part, values in said.items():
        fresh = {key: value for key, value in values.items() if f"{part}.{key}" not in edited}
        new[part] = {**base.get(part, {}), **fresh}
    if "nic" not in edited and _nics(facts, known=old is not None):
        new["nic"] = facts["nic"]
    new["hardware"] = {**dict.fromkeys(_SAID_ANYWAY["hardware"], ""), **new["hardware"]}
    new["software"] = {**dict.fromkeys(_SAID_ANYWAY["software"], ""), "last_update": at, **new["software"]}
    moved = old is not None and new["software"] != old.get("software")
    if moved and "software.last_update" not in edited:
        new["software"]["last_update"] = at
    return new


def released(old: Json, names: Collection[str] | None, facts: Mapping[str, Any], agent: str | None) -> Json:
    """The device of a node whose agent has the word again on what people edited.

    What is known of it takes its place at once. Name and type are as they were when the device was made. When
    software was last updated only the next update says.

    Args:
        old: the device.
        names: dotted names, as in `edited`; None: all of them.
        facts: clean facts; of what they say nothing about (hardware, say), all stays until the agent does.
        agent: the version of its agent; None: it is not known.
    """
    edited = set(old.get("edited", ()))
    freed = edited if names is None else edited & set(names)
    new = {key: value for key, value in old.items() if key != "edited"}
    if edited - freed:
        new["edited"] = sorted(edited - freed)
    whole = {"name": old["node"], "type": TYPE, "nic": facts.get("nic")}
    for name in freed:
        part, _, key = name.partition(".")
        if key:
            said = {**facts.get(part, {}), **({"agent": agent} if part == "software" and agent else {})}
            new[part] = _given_back(part, new[part], key, said)
        else:
            new[part] = whole[part] or new[part]
    return new


def _given_back(part: str, old: Json, key: str, said: Mapping[str, Any]) -> Json:
    """Hardware or software once its agent, who says so much of it, has the word on a key."""
    if not said or key in _LEFT:
        return old
    rest = {each: value for each, value in old.items() if each != key}
    value = said.get(key) or ("" if key in _SAID_ANYWAY[part] else None)
    return rest if value is None else {**rest, key: value}


def _nics(facts: Mapping[str, Any], *, known: bool) -> bool:
    """Whether facts tell more of nics than is `known`: those made of addresses are better than none."""
    found = facts.get("nic", ())
    return bool(found) and (not known or any(nic["type"] != UNKNOWN for nic in found))


def _object(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _list(raw: Any) -> list[Any]:
    return raw[:MOST_LISTED] if isinstance(raw, list) else []


def _disk(raw: Any) -> Json | None:
    name, size = _text(_object(raw).get("name"), 64), _number(_object(raw).get("bytes"))
    return {"name": name, "bytes": size} if name and size else None


def _nic(raw: Any) -> Json | None:
    said = {key: _text(_object(raw).get(key)) or "" for key in ("mac", "ipv4")}
    mac = said["mac"] if _MAC.fullmatch(said["mac"]) else ""
    ipv4 = said["ipv4"] if _IPV4.fullmatch(said["ipv4"]) else ""
    kind = (_text(_object(raw).get("type"), 40) or UNKNOWN).replace(";", ",")
    return {"type": kind, "mac": mac, "ipv4": ipv4} if mac or ipv4 else None


def _text(value: Any, most: int = MOST_TEXT) -> str | None:
    """A text of one line, cut to its length; None: there is nothing in it."""
    if not isinstance(value, str):
        return None
    return _CONTROL.sub(" ", value[: 4 * most]).strip()[:most].strip() or None


def _number(value: Any, most: int = MOST_NUMBER) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 < value <= most else None
