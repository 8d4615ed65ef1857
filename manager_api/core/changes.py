"""What users ask of a deployment that lives: to be restarted, to be limited otherwise.

The deployment's record counts how often each was asked; allocations and status carry how far they
have come, so that a change cut short anywhere is finished by the next plan.
"""

from manager_api.core.actions import Action, Reorder, SetStatus
from manager_api.core.fleet import Fleet, Json
from manager_api.core.placement import Placer, Taken
from manager_api.core.progress import unlisted
from manager_api.core.release import task_names
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment


def asked(fleet: Fleet, deployment: str) -> list[Action]:
    """The actions by which allocations and status catch up with their deployment's record."""
    data, status = fleet.deployments[deployment].data, fleet.status[deployment]
    restart = int(data.get("restart", 0))
    behind = int(status.data.get("restarted", 0)) < restart
    cannot = _cannot_restart(fleet, deployment) if behind else None
    if cannot is not None:  # it stays what it is, and says why
        stays = {**status.data, "restarted": restart, "reason": f"cannot be restarted: {cannot}"}
        return [SetStatus(deployment, status.rev, stays, stays["reason"])]
    if not behind and not int(data.get("adjusted", 0)):
        return []  # nobody ever asked for other limits
    changed = {
        alloc_id: (fleet.allocations[alloc_id].rev, new)
        for alloc_id in fleet.plannable(fleet.of_deployment.get(deployment, ()))
        if (new := _caught_up(fleet.allocations[alloc_id].data, data, status.data, behind=behind)) is not None
    }
    actions: list[Action] = []
    if changed:
        actions.append(Reorder(deployment, changed, "restarted or limited otherwise, as asked for"))
    if behind:
        fresh = {alloc_id: new for alloc_id, (_, new) in changed.items()}
        anew = _begun_anew(fleet, status.data, restart, fresh)
        actions.append(SetStatus(deployment, status.rev, anew, "restarted"))
    return actions


def _cannot_restart(fleet: Fleet, deployment: str) -> str | None:
    """Why what has ended cannot begin again, or None. It reserves nothing meanwhile, and is collected."""
    status = fleet.status[deployment].data
    if Deployment(status["status"]) not in DEPLOYMENT_ENDED:
        return None
    if fleet.obscured(deployment):
        return "an allocation of it cannot be read"
    there = [fleet.allocations[each].data for each in fleet.of_deployment.get(deployment, ())]
    running = [each for each in there if each["wanted"] == "running"]
    ended = [each for each in there if each["wanted"] != "running" and "stopped" not in each]
    lost = any(brief["id"] not in fleet.allocations for brief in status["allocations"])
    if not running or ended or lost or unlisted(fleet, deployment):
        return "it ended too long ago, and was collected"
    return Placer(fleet, Taken()).shortage(running)


def _caught_up(allocation: Json, data: Json, status: Json, *, behind: bool) -> Json | None:
    """An allocation as its deployment's record wants it; None if it is so already."""
    restart, adjusted = int(data.get("restart", 0)), int(data.get("adjusted", 0))
    if allocation["wanted"] != "running":
        return None
    new = allocation
    if behind and int(allocation.get("restarted", int(status.get("restarted", 0)))) < restart:
        new = {key: value for key, value in new.items() if key != "done"}
        new |= {"generation": allocation["generation"] + 1, "restarted": restart}
    if int(allocation.get("adjusted", 0)) < adjusted:
        new = {**new, "adjusted": adjusted, "limits": data["limits"]}
    return None if new is allocation else new


def _begun_anew(fleet: Fleet, status: Json, restart: int, fresh: dict[str, Json]) -> Json:
    """The status of a deployment that is started again; its briefs name all tasks, cut short or not."""
    kept = {key: value for key, value in status.items() if key not in ("tasks", "tasks_left_out", "ended")}
    briefs = [_brief(fleet, brief, fresh.get(brief["id"])) for brief in status["allocations"]]
    began = {"status": Deployment.PENDING, "reason": "waiting for its nodes", "restarted": restart}
    return {**kept, "allocations": briefs, **began}


def _brief(fleet: Fleet, brief: Json, fresh: Json | None) -> Json:
    stored = fleet.allocations.get(brief["id"])
    known = fresh or (stored.data if stored is not None else None)
    if known is None:
        return brief
    return {**brief, "tasks": task_names(fleet, known), "generation": known["generation"]}
