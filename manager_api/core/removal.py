"""Nodes that people removed: what must end on them first, and what is left of them then."""

from manager_api.core.actions import Collect, Reorder
from manager_api.core.fleet import Fleet, Json
from manager_api.core.layout import parts
from store.errors import BadRecord
from store.keys import ALLOCATIONS, NODES, version_field
from store.model.lifecycle import DEPLOYMENT_ENDED

AT_ONCE = 200
"""Allocations in one transaction."""
NOBODY = ""
"""The uid of an allocation whose machine was removed: no node will ever be it."""


def removing(fleet: Fleet) -> list[str]:
    """The nodes that are to go."""
    return sorted(
        node
        for node, stored in fleet.nodes.items()
        if stored.data.get("removing") and (NODES, node) not in fleet.unreadable
    )


def waits_for(fleet: Fleet, node: str) -> str | None:
    """What keeps a node that is to go; None: nothing does.

    While its agent is there, it stops its tasks and says so. From an agent that is away nothing is to be
    heard any more: only what still has to be placed elsewhere is waited for.
    """
    state = fleet.states.get(node)
    here = sorted(fleet.on_node.get(node, ()))
    if any((ALLOCATIONS, each) in fleet.unreadable for each in here):
        return "an allocation there cannot be read"
    living = [each for each in here if _lives(fleet, fleet.allocations[each].data)]
    if living:
        return f"{len(living)} allocations there are not stopped yet, such as {living[0]}"
    if state is None or (state.settled and not state.online):
        return None
    if not state.online:
        return "it is not known whether its agent is gone"
    ending = [
        each for each in here if fleet.allocations[each].data["wanted"] == "stopped" and each in state.actual
    ]
    return f"{len(ending)} allocations there are stopping, such as {ending[0]}" if ending else None


def _lives(fleet: Fleet, allocation: Json) -> bool:
    if allocation["wanted"] != "running" or allocation.get("done") or allocation["uid"] == NOBODY:
        return False
    return allocation["deployment"] in fleet.deployments and not _over(fleet, allocation["deployment"])


def _over(fleet: Fleet, deployment: str) -> bool:
    status = fleet.status.get(deployment)
    return status is not None and status.data.get("status") in DEPLOYMENT_ENDED


def bound(fleet: Fleet, node: str) -> list[Reorder]:
    """Stop what could only ever run on a node that is to go; what can go elsewhere is placed there."""
    found: dict[str, dict[str, tuple[int, Json]]] = {}
    for alloc_id in fleet.plannable(fleet.on_node.get(node, ())):
        stored = fleet.allocations[alloc_id]
        if _lives(fleet, stored.data) and _belongs(fleet, stored.data):
            orders = found.setdefault(stored.data["deployment"], {})
            stopped = {"wanted": "stopped", "stopped": f"node {node} is being removed"}
            if len(orders) < AT_ONCE:
                orders[alloc_id] = stored.rev, {**stored.data, **stopped}
    return [
        Reorder(deployment, orders, f"node {node} is being removed") for deployment, orders in found.items()
    ]


def _belongs(fleet: Fleet, allocation: Json) -> bool:
    """Whether it has no other place to go to: pinned, one of each node, or never rescheduled."""
    try:
        groups = fleet.groups(version_field(allocation["template"], allocation["version"]))
        group = next(each for each in groups if each.name == allocation["group"])
        pin = parts(group)[allocation["part"]].pin or group.policy.placement.node
    except (BadRecord, IndexError, KeyError, StopIteration, TypeError, ValueError):
        return False
    return group.everywhere or pin is not None or group.policy.reschedule_after is None


def leftovers(fleet: Fleet, node: str) -> list[Collect | Reorder]:
    """What is done about the allocations of a node on which nothing lives; empty: nothing is left to do.

    What nobody will look at any more is deleted. What its deployment still counts (its job ended there; or
    it was told to stop, and nobody will ever hear that it did) stays, as nobody's: it counts as lost.
    """
    gone: list[str] = []
    nobodys: dict[str, dict[str, tuple[int, Json]]] = {}
    for alloc_id in sorted(fleet.on_node.get(node, ())):
        stored = fleet.allocations[alloc_id]
        deployment = stored.data["deployment"]
        if stored.data["uid"] == NOBODY:
            continue
        if _counted(fleet, stored.data):
            nobodys.setdefault(deployment, {})[alloc_id] = stored.rev, {**stored.data, "uid": NOBODY}
        else:
            gone.append(alloc_id)
    why = f"node {node} is removed"
    found: list[Collect | Reorder] = [
        Reorder(deployment, dict(list(orders.items())[:AT_ONCE]), why)
        for deployment, orders in nobodys.items()
    ]
    for start in range(0, len(gone), AT_ONCE):
        part = gone[start : start + AT_ONCE]
        records = tuple((ALLOCATIONS, each, fleet.allocations[each].rev) for each in part)
        found.append(Collect(f"{len(part)} allocations", records, why))
    return found


def _counted(fleet: Fleet, allocation: Json) -> bool:
    """Whether its deployment still goes by it."""
    deployment = fleet.deployments.get(allocation["deployment"])
    if deployment is None or _over(fleet, allocation["deployment"]):
        return False
    if allocation["wanted"] == "running":
        return True
    return bool(deployment.data["wanted"] == "stopped" or _expired(fleet, allocation["deployment"]))


def _expired(fleet: Fleet, deployment: str) -> bool:
    status = fleet.status.get(deployment)
    return status is not None and bool(status.data.get("expired"))
