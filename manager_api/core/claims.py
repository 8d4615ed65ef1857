"""Unclaimed work that people have spoken about: it is adopted into its deployment, or stopped.

A claim is the API's word; allocations and desired entries are the leader's.
"""

from collections.abc import Callable

from manager_api.core.actions import Action, Adopt, Collect
from manager_api.core.decide import restarted
from manager_api.core.fleet import Fleet, Json, Stored
from manager_api.core.layout import parts
from manager_api.core.merge import is_part
from manager_api.core.placement import Need
from manager_api.core.release import Release, groups, part_of, task_names
from store.keys import CLAIMS
from store.model.lifecycle import Deployment

ADOPTED_AT_ONCE = 100


def adopt(fleet: Fleet, deployment: str) -> list[Action]:
    """Make allocations of what is claimed as running; drop claims that have nothing to claim any more."""
    actions: list[Action] = []
    allocations: dict[str, Json] = {}
    claims: dict[str, int] = {}
    for claim_id in sorted(fleet.claims_of.get(deployment, ())):
        claim = fleet.claims[claim_id]
        if claim.data["wanted"] != "running":
            continue
        alloc_id = claim.data["alloc"]
        why = _pointless(fleet, claim.data)
        if why is not None:
            actions.append(Collect(claim_id, ((CLAIMS, claim_id, claim.rev),), why))
        elif alloc_id not in allocations and len(allocations) < ADOPTED_AT_ONCE:
            allocations[alloc_id] = _allocation(fleet, claim.data)
            claims[claim_id] = claim.rev
    if allocations:
        stored, status = fleet.deployments[deployment], fleet.status.get(deployment)
        record = _joined(fleet, stored, status, allocations)
        actions.append(
            Adopt(deployment, stored.rev, status.rev if status else 0, allocations, claims, record)
        )
    return actions


def _pointless(fleet: Fleet, claim: Json) -> str | None:
    """Why nothing can come of a claim, or None."""
    record = fleet.nodes.get(claim["node"])
    if record is None or record.data["uid"] != claim["uid"]:
        return f"node {claim['node']} is another machine now"
    if claim["order"]["deployment"] not in fleet.deployments:
        return "its deployment is gone"
    if claim["alloc"] in fleet.allocations:
        return "it is listed"
    if _part(fleet, claim) is None:
        return "its tasks are not those of its template"
    return None


def _part(fleet: Fleet, claim: Json) -> int | None:
    """Which part of its group an order is, by the names of its tasks."""
    order = claim["order"]
    known = groups(fleet, claim["template"], Release.of({**order, "version": claim["version"]}))
    layouts = (parts(group) for group in known if group.name == order["group"])
    return next((n for layout in layouts for n, part in enumerate(layout) if is_part(order, part)), None)


def _allocation(fleet: Fleet, claim: Json) -> Json:
    order = claim["order"]
    data = fleet.deployments[order["deployment"]].data
    allocation: Json = {
        "v": 1,
        "deployment": order["deployment"],
        "template": claim["template"],
        "version": claim["version"],
        "group": order["group"],
        "index": order["index"],
        "part": _part(fleet, claim),
        "node": claim["node"],
        "uid": claim["uid"],
        "generation": order["generation"],
        "wanted": data["wanted"],
    }
    allocation |= {key: order[key] for key in ("change", "parameters", "ports", "canary") if key in order}
    allocation |= {key: data[key] for key in ("limits", "adjusted") if key in data}
    need = Need.of(part_of(fleet, allocation))
    return {**allocation, "memory": need.memory, "cpus": need.cpus}


def _joined(fleet: Fleet, stored: Stored, status: Stored | None, allocations: dict[str, Json]) -> Json:
    """The deployment's status with more allocations; what had ended is judged anew."""
    old: Json = status.data if status is not None else {"v": 1, "allocations": []}
    kept = {
        key: value for key, value in old.items() if key not in ("tasks", "tasks_left_out", "ended", "refused")
    }
    briefs = [
        {"id": alloc_id, "node": each["node"], "tasks": task_names(fleet, each)}
        for alloc_id, each in allocations.items()
    ]
    others = [each for each in old["allocations"] if each["id"] not in allocations]
    return {
        **restarted(stored.data),
        **kept,
        "status": Deployment.PENDING,
        "reason": "adopted: waiting for its nodes",
        "allocations": [*others, *briefs],
    }


def stops(fleet: Fleet, node: str, over: Callable[[str], bool]) -> tuple[dict[str, Json], list[Action]]:
    """Tombstones for unclaimed work on a node that is to stop, and claims whose work is done."""
    puts: dict[str, Json] = {}
    actions: list[Action] = []
    state = fleet.states[node]
    for claim_id in sorted(fleet.claims_on.get(node, ())):
        claim = fleet.claims[claim_id]
        data = claim.data
        if data["wanted"] != "stopped":
            continue
        alloc_id = data["alloc"]
        listed, known = fleet.allocations.get(alloc_id), state.desired.get(alloc_id)
        if listed is not None and listed.data["node"] == node:
            done: str | None = "it is listed: stop its deployment"
        elif data["uid"] != fleet.nodes[node].data["uid"]:
            done = f"node {node} is another machine now"
        elif known is not None and known["wanted"] == "stopped" and over(alloc_id):
            done = "the node reported it ended"
        elif known is None and alloc_id not in state.actual and state.beat.get("epoch") == fleet.epoch:
            done = "the node knows nothing of it"
        else:
            done = None
        if done is not None:
            actions.append(Collect(claim_id, ((CLAIMS, claim_id, claim.rev),), done))
        elif (
            known is None or known["wanted"] != "stopped" or known["generation"] < data["order"]["generation"]
        ):
            order = {key: value for key, value in data["order"].items() if key != "rev"}  # it gets another
            puts[alloc_id] = {**order, "wanted": "stopped"}
    return puts, actions


def held(fleet: Fleet, deployment: str) -> bool:
    """Whether a deployment without a status must not be placed: it was adopted, or its nodes may yet tell."""
    stored = fleet.deployments[deployment]
    return bool(stored.data.get("adopted")) or (stored.rev <= fleet.began and fleet.catching_up)
