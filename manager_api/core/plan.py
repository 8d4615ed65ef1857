"""The controller's plan: from the fleet and the time to actions, and nothing else."""

from collections.abc import Iterable

from manager_api.core import changes, claims
from manager_api.core.actions import Action, Collect, Refuse, Reorder, SetStatus
from manager_api.core.decide import decide
from manager_api.core.fleet import Fleet, Json
from manager_api.core.moment import Moment
from manager_api.core.placement import Taken
from manager_api.core.progress import is_lost, next_status
from manager_api.core.project import plan_node
from store.errors import BadRecord
from store.keys import ALLOCATIONS, DEPLOYMENTS, NODES, STATUS
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment

COLLECTED_AT_ONCE = 200


def plan_deployments(fleet: Fleet, now: Moment, deployments: Iterable[str]) -> list[Action]:
    """What some deployments need, each for itself."""
    actions: list[Action] = []
    taken = Taken()
    for deployment in by_age(fleet, deployments):
        if fleet.closed(deployment):
            continue
        try:
            actions += plan_deployment(fleet, deployment, now, taken)
        except (BadRecord, KeyError, TypeError, ValueError) as error:
            actions += _unreadable(fleet, deployment, now.wall, error)
    return actions


def by_age(fleet: Fleet, deployments: Iterable[str]) -> list[str]:
    """First come, first served."""

    def age(deployment: str) -> tuple[float, str]:
        stored = fleet.deployments.get(deployment)
        created = stored.data.get("created") if stored else None
        return (float(created) if isinstance(created, int | float) else 0.0, deployment)

    return sorted(deployments, key=age)


def plan_nodes(fleet: Fleet, nodes: Iterable[str]) -> list[Action]:
    """What the desired hashes of some nodes need."""
    actions: list[Action] = []
    for node in sorted(nodes):
        try:
            known = node in fleet.nodes and (NODES, node) not in fleet.unreadable
            actions += plan_node(fleet, node) if known else []
        except (BadRecord, KeyError, TypeError, ValueError):
            continue  # what cannot be read is not planned for, and does not hold up the others
    return actions


def plan_deployment(fleet: Fleet, deployment: str, now: Moment, taken: Taken) -> list[Action]:
    """What one deployment needs next, after others of this round took what they took."""
    stored, status = fleet.deployments.get(deployment), fleet.status.get(deployment)
    adopted = claims.adopt(fleet, deployment)
    if stored is None:
        return [*adopted, *_collect_orphans(fleet, deployment)]
    if adopted:
        return adopted
    wanted = stored.data["wanted"]
    if status is None:
        if wanted == "stopped":
            record: Json = {"v": 1, "status": Deployment.STOPPED, "reason": "stopped before it began"}
            record |= {"allocations": [], "tasks": [], "ended": now.wall}
            return [SetStatus(deployment, 0, record, "stopped before it began")]
        if claims.held(fleet, deployment):
            return []
        decision = decide(fleet, deployment, taken)
        return [] if decision is None else [decision]
    if wanted == "running" and not status.data.get("refused"):
        asked = changes.asked(fleet, deployment)
        if asked:
            return asked
    over = Deployment(status.data["status"]) in DEPLOYMENT_ENDED
    if over and deployment in fleet.retiring:
        return _retire(fleet, deployment)
    actions = _halt(fleet, deployment, "its deployment was stopped") if wanted == "stopped" else []
    new = next_status(fleet, deployment, now.wall)
    if new is not None:
        actions.append(SetStatus(deployment, status.rev, new, f"{status.data['status']} -> {new['status']}"))
    return actions


def _halt(fleet: Fleet, deployment: str, reason: str) -> list[Action]:
    running = {
        alloc_id: fleet.allocations[alloc_id]
        for alloc_id in fleet.plannable(fleet.of_deployment.get(deployment, ()))
        if fleet.allocations[alloc_id].data["wanted"] == "running"
    }
    if not running:
        return []
    orders = {key: (each.rev, {**each.data, "wanted": "stopped"}) for key, each in running.items()}
    return [Reorder(deployment, orders, reason)]


def _retire(fleet: Fleet, deployment: str) -> list[Action]:
    """An old, ended deployment: first its allocations leave the nodes, then its records go."""
    halting = _halt(fleet, deployment, "its deployment ended long ago")
    if halting:
        return halting
    left = [
        each
        for each in fleet.of_deployment.get(deployment, ())
        if not is_lost(fleet, fleet.allocations[each].data)
    ]
    if left or fleet.obscured(deployment):
        return []
    lost = sorted(fleet.of_deployment.get(deployment, ()))[:COLLECTED_AT_ONCE]
    records = [(ALLOCATIONS, each, fleet.allocations[each].rev) for each in lost]
    if len(lost) == len(fleet.of_deployment.get(deployment, ())):
        records.append((STATUS, deployment, fleet.status[deployment].rev))
        records.append((DEPLOYMENTS, deployment, fleet.deployments[deployment].rev))
    return [Collect(deployment, tuple(records), "it ended long ago")]


def _collect_orphans(fleet: Fleet, deployment: str) -> list[Action]:
    """The deployment's record is gone: withdrawn by the API, which refused it, or lost by the store.

    What was placed of it is never stopped for that: it becomes unclaimed.
    """
    placed = fleet.plannable(fleet.of_deployment.get(deployment, ()))
    running = [each for each in placed if fleet.allocations[each].data["wanted"] == "running"]
    records = [(ALLOCATIONS, each, fleet.allocations[each].rev) for each in running[:COLLECTED_AT_ONCE]]
    status = fleet.status.get(deployment)
    if status is not None:
        records.append((STATUS, deployment, status.rev))
    return [Collect(deployment, tuple(records), "its deployment is gone")] if records else []


def _unreadable(fleet: Fleet, deployment: str, now: float, error: Exception) -> list[Action]:
    """A new deployment that cannot be understood fails, and says so; a living one is left alone."""
    stored = fleet.deployments.get(deployment)
    if stored is None or deployment in fleet.status:
        return []
    reason = f"its records cannot be read: {error}"
    status: Json = {"v": 1, "status": Deployment.FAILED, "reason": reason, "ended": now}
    status |= {"refused": True, "nodes": [], "allocations": [], "tasks": []}
    return [Refuse(deployment, stored.rev, status, reason)]
