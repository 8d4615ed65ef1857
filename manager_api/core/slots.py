"""What a release asks for: a slot for each allocation that should exist."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manager_api.core.fleet import Fleet
from manager_api.core.layout import Part, parts
from manager_api.core.placement import Request, eligible
from manager_api.core.release import Release, groups
from manager_api.core.requests import DEFAULT_PRIORITY
from store.errors import BadRecord
from store.keys import version_field
from store.model.spec import GroupSpec

Key = tuple[str, int | str, int]
"""Group, index (of a group on every node: the node), part number."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One allocation that should exist; `node` where its group is on every node."""

    group: GroupSpec
    index: int
    number: int
    part: Part
    node: str | None = None

    @property
    def key(self) -> Key:
        """What tells it from the other slots of its deployment."""
        return self.group.name, self.index if self.node is None else self.node, self.number

    @property
    def pinned(self) -> bool:
        """Whether it has one node to be on, and no other."""
        return (self.node or self.part.pin or self.group.policy.placement.node) is not None

    @property
    def movable(self) -> bool:
        """Whether it may be placed elsewhere when its node is lost."""
        return not self.pinned and self.group.policy.reschedule_after is not None


def key_of(allocation: Mapping[str, Any], group: GroupSpec | None) -> Key:
    """The slot that an allocation fills."""
    everywhere = group is not None and group.everywhere
    return allocation["group"], allocation["node"] if everywhere else allocation["index"], allocation["part"]


def slots(fleet: Fleet, deployment: str, release: Release, scale: Mapping[str, int]) -> list[Slot]:
    """Every slot, in the template's order; of groups on every node those of the nodes that are meant."""
    template = fleet.deployments[deployment].data["template"]
    found: list[Slot] = []
    for group in groups(fleet, template, release):
        layout = list(enumerate(parts(group)))
        if group.everywhere:
            found += [
                Slot(group, 0, number, part, node)
                for node in sorted(fleet.nodes)
                if fleet.states[node].online and eligible(fleet, node, group) is None
                for number, part in layout
            ]
        else:
            count = int(scale.get(group.name, group.count))
            found += [Slot(group, index, number, part) for index in range(count) for number, part in layout]
    return found


def size_of(fleet: Fleet, deployment: str) -> int:
    """About how many allocations a plan for a deployment is about: those there are, or those to come."""
    there = len(fleet.of_deployment.get(deployment, ()))
    if there or deployment not in fleet.deployments:
        return there
    record = fleet.deployments[deployment].data
    try:
        scale, known = record.get("scale") or {}, groups(fleet, record["template"], Release.of(record))
        each = [
            len(fleet.nodes) if group.everywhere else scale.get(group.name, group.count) for group in known
        ]
        return sum(int(count) for count in each)
    except (BadRecord, KeyError, TypeError, ValueError):
        return 0


def known_slots(fleet: Fleet, deployment: str, release: Release, *, keep: bool = True) -> dict[Key, Slot]:
    """Every slot by its key: made once for a release and scale, where no group is on every node.

    Without `keep` it is made for this once: of another release than the deployment's.
    """
    record = fleet.deployments[deployment].data
    scale = record.get("scale") or {}
    version = fleet.versions.get(version_field(record["template"], release.version))
    asked = (release, tuple(sorted(scale.items())), id(version))
    kept = fleet.memory.slots.get(deployment)
    if kept is not None and kept[0] == asked:
        known: dict[Key, Slot] = kept[1]
        return known
    found = {slot.key: slot for slot in slots(fleet, deployment, release, scale)}
    if not keep:
        return found
    if any(group.everywhere for group in groups(fleet, record["template"], release)):
        fleet.everywhere.add(deployment)
        fleet.memory.slots.pop(deployment, None)
    else:
        fleet.everywhere.discard(deployment)
        fleet.memory.slots[deployment] = asked, found
    return found


def request(fleet: Fleet, deployment: str, slot: Slot, release: Release) -> Request:
    """What the placer is asked for a slot."""
    field = version_field(fleet.deployments[deployment].data["template"], release.version)
    body = fleet.versions[field].data["body"]
    return Request(
        deployment=deployment,
        group=slot.group,
        part=slot.part,
        index=slot.index,
        priority=int(body.get("priority", DEFAULT_PRIORITY)),
        preempt=bool(body.get("preempt", False)),
        node=slot.node,
    )
