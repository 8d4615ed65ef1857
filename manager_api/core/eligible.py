"""Which nodes a group is meant for at all, whether or not they are there and have room."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from manager_api.core.fleet import Fleet, Json
from store.model.placing import Placement
from store.model.spec import GroupSpec


def eligible(fleet: Fleet, node: str, group: GroupSpec) -> str | None:
    """Why a node is not to take allocations of a group at all, as a predicate ("is cordoned"), or None."""
    record = fleet.nodes[node].data
    return (
        closed(record)
        or unmeant(fleet, node, group.policy.placement)
        or unable(record, frozenset[str]().union(*(task.features for task in group.tasks)))
    )


def expelled(fleet: Fleet, node: str, group: GroupSpec) -> bool:
    """Whether what a node has of a group is not meant for it any more.

    A group of devices that there is not says nothing: absence is no order. Nor does a node's record that
    names no device: a manager of a release without devices has written it, and left out what it did not
    know. The leader finds that device, and with it the groups that the node is in.
    """
    placement, record = group.policy.placement, fleet.nodes[node].data
    unknown = "device" not in record or fleet.targets.named(placement.group or "") is None
    if placement.group is not None and unknown:
        placement = replace(placement, group=None)
    features = frozenset[str]().union(*(task.features for task in group.tasks))
    return (unmeant(fleet, node, placement) or unable(record, features)) is not None


def closed(record: Json) -> str | None:
    """Why a node takes nothing new, by people's word, or None."""
    if record.get("removing"):
        return "is being removed"
    if record.get("drain"):
        return "is being drained"
    cordoned = record.get("cordoned")
    if not cordoned:
        return None
    reason = cordoned.get("reason") if isinstance(cordoned, Mapping) else None
    return f"is cordoned: {reason}" if reason else "is cordoned"


def unmeant(fleet: Fleet, node: str, placement: Placement) -> str | None:
    """Why a group's placement does not mean a node, or None."""
    record = fleet.nodes[node].data
    pin, group = placement.node, placement.group
    if pin is not None and (why := not_pinned(fleet, node, pin)) is not None:
        return why
    if group is not None and (why := fleet.targets.why_not(group, node, record)) is not None:
        return why
    if not placement.labels:
        return None
    labels = labels_of(record)
    for name, values in sorted(placement.labels.items()):
        has = labels.get(name)
        if has not in values:
            wanted = f"{name} {' or '.join(values)} is wanted"
            return f"has no label {name}; {wanted}" if has is None else f"has label {name}={has}; {wanted}"
    return None


def unable(record: Json, features: Iterable[str]) -> str | None:
    """Which features a node's agent lacks, or None."""
    missing = sorted(set(features).difference(record.get("features") or ()))
    if not missing:
        return None
    return f"runs agent {record.get('version', '?')}, which does not offer {', '.join(missing)}"


def labels_of(record: Json) -> dict[str, str]:
    """A node's labels: what its agent was told, overlaid by what people said since; null takes one away."""
    own, said = record.get("own_labels"), record.get("labels")
    both: dict[str, Any] = {**(own if isinstance(own, Mapping) else {})}
    both.update(said if isinstance(said, Mapping) else {})
    return {name: str(value) for name, value in both.items() if value is not None}


def not_pinned(fleet: Fleet, node: str, pin: str) -> str | None:
    """Why a pin does not mean a node, or None."""
    if node == pin:
        return None
    record = fleet.nodes[node].data
    if pin in fleet.nodes or not (_named(record, pin) or _addressed(record, pin)):
        return f"is not {pin}"
    found = matching(fleet, pin)
    if node not in found:
        return f"is not {pin}"
    return None if len(found) == 1 else ambiguous(pin, found)


def ambiguous(pin: str, nodes: Iterable[str]) -> str:
    """What is wrong with a pin that means several nodes."""
    return f"{pin} is several nodes: {', '.join(nodes)}; pin by node id"


def matching(fleet: Fleet, pin: str) -> list[str]:
    """The nodes that a pin means: by id if there is one, else by host name, else by address."""
    if pin in fleet.nodes:
        return [pin]
    records = [(node, stored.data) for node, stored in fleet.nodes.items()]
    by_name = sorted(node for node, data in records if _named(data, pin))
    return by_name or sorted(node for node, data in records if _addressed(data, pin))


def _named(record: Json, pin: str) -> bool:
    return bool(record.get("hostname") == pin)


def _addressed(record: Json, pin: str) -> bool:
    return bool(pin == record.get("ip") or pin in (record.get("addresses") or ()))
