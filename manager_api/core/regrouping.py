"""What groups of devices hold up, and what another name or rule would stop. Pure; the fleet stays as it is.

Only groups of tasks on every node follow a group of devices at once. What has a number of instances stays
where it is until it is placed anew.
"""

from collections.abc import Collection, Iterable, Iterator
from copy import copy

from manager_api.core.eligible import expelled
from manager_api.core.fleet import Fleet, Json, Stored
from manager_api.core.membership import Group
from manager_api.core.release import group_of
from store.errors import BadRecord
from store.model.spec import GroupSpec


def group_plan(fleet: Fleet, group: str, record: Json | None) -> Json:
    """Of each group of tasks on every node: how much would be stopped if a group of devices were `record`.

    None: if it were not there, which stops nothing.

    Raises:
        KeyError, ValueError: the record cannot be read.
    """
    ghost = copy(fleet)
    ghost.device_groups = {key: each for key, each in fleet.device_groups.items() if key != group}
    if record is not None:
        ghost.device_groups[group] = Stored(record, 0)
    ghost.targets = fleet.targets.but(group, None if record is None else Group.of(record))
    old = fleet.device_groups.get(group)
    names = {each["name"] for each in (old.data if old else None, record) if each is not None}
    return {"group": group, "groups": _rows(fleet, ghost, names)}


def leaving_plan(fleet: Fleet, group: str, devices: Collection[str]) -> Json:
    """The same, if some devices were no members of a group any more.

    Raises:
        KeyError: there is no such group.
    """
    ghost, gone = copy(fleet), set(devices)
    ghost.nodes = {node: _without(stored, group, gone) for node, stored in fleet.nodes.items()}
    return {"group": group, "groups": _rows(fleet, ghost, {fleet.device_groups[group].data["name"]})}


def _without(stored: Stored, group: str, devices: set[str]) -> Stored:
    data = stored.data
    if data.get("device") not in devices:
        return stored
    return Stored(
        {**data, "member_of": [each for each in data.get("member_of", ()) if each != group]}, stored.rev
    )


def missing(fleet: Fleet, groups: Iterable[GroupSpec]) -> Iterator[str]:
    """What it means that groups of devices are not there on which groups of tasks are placed."""
    for group in groups:
        named = group.policy.placement.group
        legacy = any(named in stored.data.get("groups", ()) for stored in fleet.nodes.values())
        if named is not None and fleet.targets.named(named) is None and not legacy:
            yield f"group {named} is not there: what runs stays, nothing new of group {group.name} is placed"


def _rows(fleet: Fleet, ghost: Fleet, names: set[str]) -> list[Json]:
    return [
        {"deployment": deployment, "group": name, "here": here, "of": of}
        for deployment in sorted(fleet.everywhere)
        if deployment in fleet.deployments and not fleet.is_over(deployment)
        for name, (here, of) in sorted(_shares(fleet, ghost, deployment, names).items())
    ]


def _shares(fleet: Fleet, ghost: Fleet, deployment: str, names: set[str]) -> dict[str, tuple[int, int]]:
    """Living allocations by group of tasks: those that would be stopped, and all of them."""
    found: dict[str, tuple[int, int]] = {}
    for alloc_id in fleet.plannable(fleet.of_deployment.get(deployment, ())):
        data = fleet.allocations[alloc_id].data
        if data["wanted"] != "running" or data["node"] not in fleet.nodes:
            continue
        try:
            spec = group_of(fleet, data)
        except (BadRecord, KeyError, TypeError, ValueError):
            continue
        if not spec.everywhere or spec.policy.placement.group not in names:
            continue
        here, of = found.get(spec.name, (0, 0))
        leaves = expelled(ghost, data["node"], spec) and not expelled(fleet, data["node"], spec)
        found[spec.name] = here + leaves, of + 1
    return found
