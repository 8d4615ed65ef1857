"""What users ask of a deployment that lives: to be restarted, to be limited otherwise.

The deployment's record counts how often each was asked; allocations and status carry how far they
have come, so that a change cut short anywhere is finished by the next plan.
"""

from manager_api.core.actions import Action, Reorder, SetStatus
from manager_api.core.fleet import Fleet, Json
from store.model.lifecycle import Deployment


def asked(fleet: Fleet, deployment: str) -> list[Action]:
    """The actions by which allocations and status catch up with their deployment's record."""
    data, status = fleet.deployments[deployment].data, fleet.status[deployment]
    behind = {
        alloc_id: (fleet.allocations[alloc_id].rev, changed)
        for alloc_id in sorted(fleet.of_deployment.get(deployment, ()))
        if (changed := _caught_up(fleet.allocations[alloc_id].data, data)) is not None
    }
    actions: list[Action] = []
    if behind:
        actions.append(Reorder(deployment, behind, "restarted or limited otherwise, as asked for"))
    if int(status.data.get("restarted", 0)) < int(data.get("restart", 0)):
        fresh = {alloc_id: changed for alloc_id, (_, changed) in behind.items()}
        anew = _begun_anew(fleet, status.data, data, fresh)
        actions.append(SetStatus(deployment, status.rev, anew, "restarted"))
    return actions


def _caught_up(allocation: Json, data: Json) -> Json | None:
    """An allocation as its deployment's record wants it; None if it is so already."""
    restart, adjusted = int(data.get("restart", 0)), int(data.get("adjusted", 0))
    if allocation["wanted"] != "running":
        return None
    new = allocation
    if int(allocation.get("restarted", 0)) < restart:
        new = {**new, "generation": allocation["generation"] + 1, "restarted": restart}
    if int(allocation.get("adjusted", 0)) < adjusted:
        new = {**new, "adjusted": adjusted, "limits": data["limits"]}
    return None if new is allocation else new


def _begun_anew(fleet: Fleet, status: Json, data: Json, fresh: dict[str, Json]) -> Json:
    """The status of a deployment that is started again."""
    kept = {key: value for key, value in status.items() if key not in ("tasks", "tasks_left_out", "ended")}
    briefs = []
    for brief in status["allocations"]:
        stored = fleet.allocations.get(brief["id"])
        known = fresh.get(brief["id"]) or (stored.data if stored is not None else {})
        briefs.append({**brief, "generation": known.get("generation", brief.get("generation", 1))})
    began = {"status": Deployment.PENDING, "reason": "restarted", "restarted": data["restart"]}
    return {**kept, "allocations": briefs, **began}


def limited(task: Json, limits: Json) -> Json:
    """A task of a template, with the limits that were asked for since."""
    override = limits.get(task["name"])
    if override is None:
        return task
    return {**task, "resources": {**task.get("resources", {}), "limits": override}}
