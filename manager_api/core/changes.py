"""What users ask of a deployment: to be restarted, to be limited otherwise, to live again as another release.

The deployment's record counts how often each was asked; allocations and status carry how far they
have come, so that a change cut short anywhere is finished by the next plan.
"""

from manager_api.core.actions import Action, Reorder, SetStatus
from manager_api.core.fleet import Fleet, Json
from manager_api.core.placement import Placer, Taken
from manager_api.core.progress import unlisted
from manager_api.core.records import released
from manager_api.core.release import DIFFERENT, Release, same, target, task_names
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment


def asked(fleet: Fleet, deployment: str) -> list[Action]:
    """The actions by which allocations and status catch up with their deployment's record."""
    data, status = fleet.deployments[deployment].data, fleet.status[deployment]
    if revives(data, status.data):
        return _revived(fleet, deployment)
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


def revives(data: Json, status: Json) -> bool:
    """Whether a deployment has ended and was updated since, or just before: it is to live as that release."""
    if Deployment(status["status"]) not in DEPLOYMENT_ENDED or data["wanted"] != "running":
        return False
    known = int((status.get("release") or {}).get("change", 0))
    return not (status.get("refused") or status.get("expired")) and int(data.get("change", 0)) > known


def _revived(fleet: Fleet, deployment: str) -> list[Action]:
    """What has ended begins again: what the new release runs the same at once, the rest by its rollout."""
    data, status = fleet.deployments[deployment].data, fleet.status[deployment]
    release, restart = target(fleet, deployment), int(data.get("restart", 0))
    cannot = _cannot_restart(fleet, deployment)
    if cannot is not None:
        why = f"cannot be updated: {cannot}"
        rollout = {"state": "failed", "change": release.change, "reason": why, "groups": {}}
        stays = {**status.data, "release": release.as_record(), "rollout": rollout, "reason": why}
        return [SetStatus(deployment, status.rev, {**stays, "restarted": restart}, why)]
    anew = {
        alloc_id: (stored.rev, new)
        for alloc_id in fleet.plannable(fleet.of_deployment.get(deployment, ()))
        if (new := _as_released((stored := fleet.allocations[alloc_id]).data, fleet, release)) is not None
    }
    actions: list[Action] = []
    if anew:
        actions.append(Reorder(deployment, anew, f"begun anew as change {release.change}"))
    fresh = {alloc_id: new for alloc_id, (_, new) in anew.items()}
    living = _begun_anew(fleet, status.data, restart, fresh) | {"release": release.as_record()}
    return [*actions, SetStatus(deployment, status.rev, living, "updated: it lives again")]


def _as_released(data: Json, fleet: Fleet, release: Release) -> Json | None:
    """An allocation that the release runs the same, begun anew; None: it is no such one, or has begun."""
    old = Release.of(data)
    if data["wanted"] != "running" or old == release:
        return None
    if same(fleet, data["template"], old, release, data["group"]) == DIFFERENT:
        return None
    kept = {key: value for key, value in data.items() if key not in ("change", "parameters", "done")}
    again = {"version": release.version, "generation": int(data["generation"]) + 1}
    return {**kept, **again, **released(release)}


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
