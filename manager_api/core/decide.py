"""The decision on a new deployment: all of it is placed, or it is refused as a whole."""

from manager_api.core.actions import Json, Place, Refuse
from manager_api.core.fleet import Fleet
from manager_api.core.layout import Part, parts
from manager_api.core.merge import is_part, running_already
from manager_api.core.placement import Chosen, Need, Placer, Refused, Request, Taken
from store.keys import version_field
from store.model.lifecycle import Deployment
from store.model.spec import GroupSpec


def decide(fleet: Fleet, deployment: str, taken: Taken) -> Place | Refuse | None:
    """Accept or refuse one deployment; None while a node that may yet turn up might take it.

    What runs already, since it was decided in a history that was lost, is decided the same.

    `taken` grows by what it takes, for the next decision of the same round.

    Raises:
        KeyError, BadRecord: its template version is not there, or cannot be read.
    """
    stored = fleet.deployments[deployment]
    data = stored.data
    placer = Placer(fleet, taken)
    already = running_already(fleet, deployment)
    allocations: dict[str, Json] = {}
    for group in fleet.groups(version_field(data["template"], data["version"])):
        for index in range(group.count):
            for number, part in enumerate(parts(group)):
                alloc_id = f"{deployment}.{len(allocations)}"
                runs = already.get(alloc_id)
                kept = runs if runs is not None and is_part(runs[1], part) else None
                asked = Request(deployment=deployment, group=group, index=index, part=part)
                found = Chosen(kept[0], {}, "it ran there") if kept is not None else placer.place(asked)
                if isinstance(found, Refused):
                    if any(not fleet.states[each].settled for each in found.nodes):
                        return None
                    return _refuse(deployment, stored.rev, group, found)
                allocations[alloc_id] = _allocation(
                    fleet, deployment, group, index, (number, part), found.node
                )
                allocations[alloc_id] |= {
                    key: each
                    for key, each in (("ports", found.ports), ("published", list(found.published)))
                    if each
                }
                if kept is not None:
                    allocations[alloc_id]["generation"] = int(kept[1]["generation"])
    placer.keep()
    nodes = sorted({each["node"] for each in allocations.values()})
    status: Json = {
        "v": 1,
        **restarted(data),
        "status": Deployment.PENDING,
        "reason": "waiting for its nodes",
        "allocations": [brief_of(fleet, alloc_id, each) for alloc_id, each in allocations.items()],
    }
    where = f"placed on {', '.join(nodes[:5])}{' and more' if len(nodes) > 5 else ''}"
    return Place(deployment, stored.rev, allocations, status, where)


def _allocation(
    fleet: Fleet, deployment: str, group: GroupSpec, index: int, numbered: tuple[int, Part], node: str
) -> Json:
    number, part = numbered
    need = Need.of(part)
    data = fleet.deployments[deployment].data
    return {
        "v": 1,
        "deployment": deployment,
        "template": data["template"],
        "version": data["version"],
        "group": group.name,
        "index": index,
        "part": number,
        "node": node,
        "uid": fleet.nodes[node].data["uid"],
        "generation": 1,
        "wanted": "running",
        "memory": need.memory,
        "cpus": need.cpus,
    }


def restarted(data: Json) -> Json:
    """For the first status of a deployment: what was asked of it before needs no restart any more."""
    return {"restarted": data["restart"]} if "restart" in data else {}


def task_names(fleet: Fleet, allocation: Json) -> list[str]:
    """The tasks of an allocation, in the template's order."""
    return [task.name for task in part_of(fleet, allocation).tasks]


def part_of(fleet: Fleet, allocation: Json) -> Part:
    """The part of its group that an allocation runs."""
    field = version_field(allocation["template"], allocation["version"])
    group = next(group for group in fleet.groups(field) if group.name == allocation["group"])
    return parts(group)[allocation["part"]]


def brief_of(fleet: Fleet, alloc_id: str, allocation: Json) -> Json:
    """An allocation as its deployment's status names it."""
    return {"id": alloc_id, "node": allocation["node"], "tasks": task_names(fleet, allocation)}


def _refuse(deployment: str, rev: int, group: GroupSpec, refused: Refused) -> Refuse:
    reason = f"group {group.name!r}: {refused.reason}"
    status: Json = {
        "v": 1,
        "status": Deployment.FAILED,
        "refused": True,
        "reason": reason,
        "nodes": [{"node": node, "reason": why} for node, why in sorted(refused.nodes.items())],
        "allocations": [],
        "tasks": [],
    }
    return Refuse(deployment, rev, status, reason)
