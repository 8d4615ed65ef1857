"""The controller's plan: from the fleet and the time to actions, and nothing else."""

import contextlib
from collections.abc import Iterable

from manager_api.core import changes, claims
from manager_api.core.actions import Action, Collect, Complain, Refuse, Reorder, SetStatus, Wake
from manager_api.core.brake import plan_brake
from manager_api.core.decide import decide
from manager_api.core.drain import plan_drain
from manager_api.core.fleet import Fleet, Json, Stored
from manager_api.core.moment import Moment
from manager_api.core.peering import Peers
from manager_api.core.placement import Taken
from manager_api.core.preemption import standing
from manager_api.core.progress import next_status
from manager_api.core.project import plan_node
from manager_api.core.reconcile import reconcile
from manager_api.core.requests import DEFAULT_PRIORITY
from manager_api.core.summary import is_lost
from store.errors import BadRecord
from store.keys import ALLOCATIONS, DEPLOYMENTS, NODES, STATUS, version_field
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment

COLLECTED_AT_ONCE = 200
LOOKED_AFTER = 600.0
"""Seconds after which a time to live is looked at again: the clock may have been stepped."""
NONSENSE = (BadRecord, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What comes of records that are not as they should be, or of a mistake of ours."""


def plan_deployments(fleet: Fleet, now: Moment, deployments: Iterable[str]) -> list[Action]:
    """What some deployments need, each for itself."""
    actions: list[Action] = []
    taken = Taken()
    for deployment in by_importance(fleet, deployments):
        if fleet.closed(deployment):
            continue
        try:
            actions += plan_deployment(fleet, deployment, now, taken)
            fleet.memory.trouble.pop(deployment, None)
        except NONSENSE as error:
            actions += _unreadable(fleet, deployment, now.wall, error)
    return [*actions, *plan_brake(fleet, now)]


def by_importance(fleet: Fleet, deployments: Iterable[str]) -> list[str]:
    """The more important first; of these first come, first served."""

    def rank(deployment: str) -> tuple[int, float, str]:
        stored = fleet.deployments.get(deployment)
        data = stored.data if stored is not None else {}
        created, priority = data.get("created"), DEFAULT_PRIORITY
        with contextlib.suppress(AttributeError, KeyError):  # what cannot be read is nothing special
            priority, _ = standing(fleet, version_field(data["template"], data["version"]))
        return -priority, float(created) if isinstance(created, int | float) else 0.0, deployment

    return sorted(deployments, key=rank)


def plan_nodes(fleet: Fleet, nodes: Iterable[str], now: Moment | None = None) -> list[Action]:
    """What the desired hashes of some nodes need."""
    actions: list[Action] = []
    peers = Peers(fleet)
    for node in sorted(nodes):
        try:
            known = node in fleet.nodes and (NODES, node) not in fleet.unreadable
            actions += [*plan_node(fleet, node, peers, now), *plan_drain(fleet, node)] if known else []
        except NONSENSE as error:  # is not planned for, said, and does not hold up the others
            actions.append(Complain("node", node, f"cannot be planned for: {told(error)}"))
    return actions


def plan_deployment(fleet: Fleet, deployment: str, now: Moment, taken: Taken) -> list[Action]:
    """What one deployment needs next, after others of this round took what they took."""
    stored, status = fleet.deployments.get(deployment), fleet.status.get(deployment)
    adopted = claims.adopt(fleet, deployment)
    if stored is None:
        return [*adopted, *_collect_orphans(fleet, deployment)]
    if adopted:
        return adopted
    over = status is not None and Deployment(status.data["status"]) in DEPLOYMENT_ENDED
    late = None if over else _late(stored, status, now)
    wanted = "stopped" if late else stored.data["wanted"]
    if status is None and wanted == "stopped":
        return [_never_began(deployment, late, now.wall)]
    alarm = [] if over or late else _alarm(fleet, deployment, stored, now)
    if status is None or (status.data.get("waiting") and wanted == "running"):
        return [*_undecided(fleet, deployment, now, taken), *alarm]
    if wanted == "running" and not status.data.get("refused"):
        asked = changes.asked(fleet, deployment)
        if asked:
            return asked
    if over and deployment in fleet.retiring:
        return _retire(fleet, deployment)
    if wanted == "running":
        return [] if over else [*reconcile(fleet, deployment, now, taken), *alarm]
    why = late or "its deployment was stopped"
    return [*_halt(fleet, deployment, why), *_follow(fleet, deployment, now.wall, late)]


def _late(stored: Stored, status: Stored | None, now: Moment) -> str | None:
    """Why a deployment's time is over, or None."""
    ttl = stored.data.get("ttl")
    expired = status is not None and status.data.get("expired")
    if ttl is None or not (expired or now.wall >= float(stored.data["created"]) + float(ttl)):
        return None
    return f"its time to live of {span(float(ttl))} is over"


def span(seconds: float) -> str:
    """A duration as people write it: `8h`, `90s`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _alarm(fleet: Fleet, deployment: str, stored: Stored, now: Moment) -> list[Action]:
    """For a deployment with a time to live: planned again when it is over."""
    ttl = stored.data.get("ttl")
    if ttl is None or stored.data["wanted"] != "running":
        return []
    left = float(stored.data["created"]) + float(ttl) - now.wall
    at = now.steady + min(left, LOOKED_AFTER)
    due = fleet.due.get(deployment)
    return [Wake(deployment, at, "its time to live")] if due is None or due > at + 1.0 else []


def _never_began(deployment: str, late: str | None, wall: float) -> SetStatus:
    reason = late or "stopped before it began"
    record: Json = {"v": 1, "status": Deployment.STOPPED, "reason": reason}
    record |= {"allocations": [], "tasks": [], "ended": wall} | ({"expired": True} if late else {})
    return SetStatus(deployment, 0, record, reason)


def _undecided(fleet: Fleet, deployment: str, now: Moment, taken: Taken) -> list[Action]:
    return [] if claims.held(fleet, deployment) else decide(fleet, deployment, now, taken)


def _follow(fleet: Fleet, deployment: str, wall: float, late: str | None) -> list[Action]:
    """The status of a deployment that is to stop."""
    status = fleet.status[deployment]
    fleet.hungry.discard(deployment)
    new = next_status(fleet, deployment, wall) or status.data
    if new.get("waiting"):  # it does not any more
        new = {key: value for key, value in new.items() if key not in ("waiting", "nodes")}
    if late:
        new |= {"expired": True, "reason": late}
    if new == status.data:
        return []
    return [SetStatus(deployment, status.rev, new, f"{status.data['status']} -> {new['status']}")]


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


def told(error: Exception) -> str:
    """An error in words, with the place that it came from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" ({trace.tb_frame.f_code.co_name}, line {trace.tb_lineno})" if trace is not None else ""
    return f"{error}{place}" if isinstance(error, BadRecord) else f"{error!r}{place}"


def _unreadable(fleet: Fleet, deployment: str, now: float, error: Exception) -> list[Action]:
    """A new deployment that cannot be understood fails, and says so; a living one is left alone, aloud."""
    stored = fleet.deployments.get(deployment)
    if stored is None or deployment in fleet.status:
        trouble = fleet.memory.trouble[deployment] = f"cannot be planned for: {told(error)}"
        return [Complain("deployment", deployment, trouble)]
    reason = f"its records cannot be read: {error}"
    status: Json = {"v": 1, "status": Deployment.FAILED, "reason": reason, "ended": now}
    status |= {"refused": True, "nodes": [], "allocations": [], "tasks": []}
    return [Refuse(deployment, stored.rev, status, reason)]
