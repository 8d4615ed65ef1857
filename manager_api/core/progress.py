"""What the nodes' reports make of a deployment's status."""

from collections.abc import Mapping
from typing import Any

from manager_api.core.draft import Draft
from manager_api.core.fleet import Fleet, Json
from manager_api.core.records import named, number_of
from manager_api.core.release import task_names
from manager_api.core.summary import Summary, is_gone, rows, summarize, trouble, where
from store.errors import BadRecord
from store.keys import ALLOCATIONS
from store.model import status as model
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment, Task, may_become
from store.model.placed import MOST_BRIEFS, numbers, ranges
from store.model.status import UNHEALTHY


class Sight:
    """All allocations of a deployment, as one."""

    def __init__(self) -> None:
        self.states: set[Task] = set()
        self.unhealthy = False
        self.trouble: tuple[int, str] | None = None
        self.offline: str | None = None

    def take(self, summary: Summary) -> None:
        """Count one allocation in."""
        self.states |= summary.states
        self.unhealthy |= summary.unhealthy
        if summary.where.gone:
            self._away(summary.data["node"])
        if not summary.data.get("done"):
            self._worse(summary.trouble)

    def take_rows(self, fleet: Fleet, brief: Mapping[str, Any]) -> None:
        """Count in what the store has lost: what its node says of it counts."""
        found = rows(fleet, brief["id"], None, brief["node"], brief["tasks"])
        self.states |= {row["task_state"] for row in found}
        self.unhealthy |= any(row.get("health") == UNHEALTHY for row in found)
        if is_gone(fleet, brief["node"]):
            self._away(brief["node"])
        self._worse(trouble(found))

    def _away(self, node: str) -> None:
        self.offline = min(node, self.offline or node)

    def _worse(self, found: tuple[int, str] | None) -> None:
        if found is not None and (self.trouble is None or found[0] < self.trouble[0]):
            self.trouble = found

    def reason(self, state: Deployment) -> str:
        """Why it is not as it should be."""
        if state in (Deployment.RUNNING, Deployment.COMPLETED, Deployment.STOPPED):
            return ""
        if self.offline is not None and state not in DEPLOYMENT_ENDED:
            return f"node {self.offline} is offline"
        if self.trouble is not None:
            return self.trouble[1]
        return "waiting for its nodes" if state is Deployment.PENDING else "tasks are stopping"


def judge(draft: Draft) -> Json:
    """The status that a draft's step leads to."""
    old, sight = draft.status.data, Sight()
    members = _members(draft.fleet, draft.deployment, draft.live)
    up = dict.fromkeys(draft.groups, 0)
    placed = dict.fromkeys(draft.groups, 0)
    for alloc_id in members:
        data = draft.live.get(alloc_id)
        summary = draft.summaries.get(alloc_id)
        if data is None or summary is None or summary.data is not data:
            data = data or draft.stopped[alloc_id]
            summary = summarize(draft.fleet, alloc_id, data, draft.where(data["node"]))
        sight.take(summary)
        if data["group"] in up and not data.get("canary"):  # beside what is wanted
            placed[data["group"]] += 1
            up[data["group"]] += summary.up
    missing = unlisted(draft.fleet, draft.deployment)
    for brief in missing:
        sight.take_rows(draft.fleet, brief)
    status = {key: value for key, value in old.items() if key != "placed"}
    status |= {**_named(draft.fleet, members, missing, draft.live), "next": draft.next}
    wanted = dict.fromkeys(draft.groups, 0)
    for key in draft.slots:
        wanted[key[0]] += 1
    status["groups"] = {
        name: {"wanted": wanted[name], "placed": placed[name], "up": up[name]} for name in draft.groups
    }
    _released(draft, status, whole=all(up[name] >= wanted[name] for name in up))
    short = _short(draft, wanted)
    state = _state(draft, sight, empty=not members and not missing)
    status |= {"status": state, "reason": short or sight.reason(state)}
    if state is Deployment.RUNNING:
        status["reason"] = ""
    _list_missing(draft, status)
    if state in DEPLOYMENT_ENDED:
        _close(draft.fleet, status, members, missing, draft.now.wall)
    return status


def _released(draft: Draft, status: Json, *, whole: bool) -> None:
    """The release, how far it is, and the last one that came up wholly."""
    if draft.release.change or "release" in status:
        status["release"] = draft.release.as_record()
    if draft.rollout is not None:
        status["rollout"] = draft.rollout
    stable = draft.stable
    if stable is None and draft.rollout is None and whole and not draft.missing:
        stable = draft.release.as_record()
    if stable is not None:
        status["stable"] = stable


def _list_missing(draft: Draft, status: Json) -> None:
    status.pop("missing", None)
    if draft.missing:
        status["missing"] = named(draft.missing)


def _short(draft: Draft, wanted: Mapping[str, int]) -> str:
    """What is missing, and why, or nothing."""
    if draft.unmoved:
        first = min(draft.unmoved)
        return f"{first} {draft.unmoved[first]}"
    if draft.missing:
        name, why = draft.missing[0].slot.group.name, draft.missing[0].refused.reason
        lacking = sum(1 for each in draft.missing if each.slot.group.name == name)
        return f"{lacking} of {wanted[name]} of group {name} cannot be placed: {why}"
    return draft.held


def _state(draft: Draft, sight: Sight, *, empty: bool) -> Deployment:
    """The next state: what still has something to come has not ended."""
    old = Deployment(draft.status.data["status"])
    going = draft.rollout is not None and (
        draft.rollout["state"] in ("running", "paused", "promotion") or _goes_back(draft)
    )
    unfilled = bool(draft.missing or draft.unmoved or draft.more or going)
    if empty:
        nowhere = unfilled or any(group.everywhere for group in draft.groups.values())
        new = Deployment.DEGRADED if nowhere else Deployment.RUNNING
        if nowhere and old is Deployment.PENDING:
            new = old
    elif model.ended(sight.states) and (unfilled or _awaited(draft)):
        new = Deployment.DEGRADED
    else:
        new = model.deployment_state(old, list(sight.states), wanted="running", unhealthy=sight.unhealthy)
    if new is Deployment.RUNNING and (draft.missing or draft.unmoved):
        new = Deployment.DEGRADED
    if new is Deployment.RUNNING and draft.more and old is Deployment.PENDING:
        new = old
    return new if new is old or may_become(old, new) else old


def _goes_back(draft: Draft) -> bool:
    """Whether an update was taken back, and some of what it changed has yet to be what it was."""
    reverted = draft.rollout is not None and draft.rollout["state"] == "reverted"
    return reverted and any(draft.is_old(data) for data in draft.live.values())


def _awaited(draft: Draft) -> bool:
    """Whether something lost has yet to be replaced."""
    from manager_api.core.loss import loss

    return any(
        summary.lost and each in draft.live and loss(draft, each) is not None
        for each, summary in draft.summaries.items()
    )


def next_status(fleet: Fleet, deployment: str, now: float) -> Json | None:
    """The status of a deployment that is to stop, or None when it is as it should be."""
    old = fleet.status[deployment].data
    state, sight = Deployment(old["status"]), Sight()
    live = {
        each: fleet.allocations[each].data
        for each in fleet.plannable(fleet.of_deployment.get(deployment, ()))
    }
    members = _members(fleet, deployment, live)
    for alloc_id in members:
        data = live[alloc_id]
        sight.take(summarize(fleet, alloc_id, data, where(fleet, data["node"])))
    missing = unlisted(fleet, deployment)
    for brief in missing:
        sight.take_rows(fleet, brief)
    new = model.deployment_state(state, list(sight.states), wanted="stopped", unhealthy=sight.unhealthy)
    if new is not state and not may_become(state, new):
        new = state
    reason = sight.reason(new)
    if new is state and (reason == old["reason"] or state in DEPLOYMENT_ENDED):
        return None
    status = {**old, "status": new, "reason": reason}
    if new in DEPLOYMENT_ENDED:
        _close(fleet, status, members, missing, now)
    return status


def _members(fleet: Fleet, deployment: str, live: Mapping[str, Json]) -> list[str]:
    """What makes a deployment: all but those that were stopped for a reason of their own.

    In order, unless there are too many to be named.
    """
    found = [each for each, data in live.items() if "stopped" not in data]
    found += [
        each
        for each in fleet.of_deployment.get(deployment, ())
        if each not in live
        and (ALLOCATIONS, each) not in fleet.unreadable
        and _halted(fleet.allocations[each].data)
    ]
    return sorted(found, key=_order) if len(found) <= MOST_BRIEFS else found


def _halted(data: Json) -> bool:
    return data["wanted"] == "stopped" and "stopped" not in data


def _order(alloc_id: str) -> tuple[int, str]:
    return number_of(alloc_id), alloc_id


def _close(fleet: Fleet, status: Json, members: list[str], missing: list[Json], now: float) -> None:
    """Keep how its tasks ended; unless that was cut short before: these rows would be shorter still."""
    status["ended"] = now
    if "tasks_left_out" in status:
        return
    found = []
    for alloc_id in sorted(members, key=_order):
        data = fleet.allocations[alloc_id].data if alloc_id in fleet.allocations else None
        if data is not None:
            whose = {"allocation": alloc_id, "group": data["group"], "index": data["index"]}
            mine = rows(fleet, alloc_id, data, data["node"], _names(fleet, alloc_id, data))
            found += [row | whose for row in mine]
    for brief in missing:
        found += rows(fleet, brief["id"], None, brief["node"], brief["tasks"])
    status["tasks"] = [{key: row[key] for key in row if key != "task_state"} for row in found]


def _names(fleet: Fleet, alloc_id: str, data: Json) -> list[str]:
    try:
        return task_names(fleet, data)
    except (BadRecord, IndexError, KeyError):
        said = fleet.states[data["node"]].actual.get(alloc_id, {})
        return [task["name"] for task in said.get("tasks", ())]


def unlisted(fleet: Fleet, deployment: str) -> list[Json]:
    """Briefs of live allocations whose records are lost or unreadable, and that may still run."""
    status = fleet.status[deployment].data
    found = [
        brief
        for brief in status["allocations"]
        if brief["id"] not in fleet.allocations or (ALLOCATIONS, brief["id"]) in fleet.unreadable
    ]
    if status.get("placed"):
        known = fleet.of_deployment.get(deployment, set())
        if sum(last - first + 1 for first, last in status["placed"]) > len(known):
            ids = [f"{deployment}.{number}" for number in numbers(status["placed"])]
            lost = [each for each in ids if each not in known and (ALLOCATIONS, each) not in fleet.unreadable]
            found += [{"id": each, "node": "", "tasks": []} for each in lost]
    return [brief for brief in found if not _forgotten(fleet, brief)]


def _forgotten(fleet: Fleet, brief: Json) -> bool:
    """Whether its node is there, follows this history, and knows nothing of it, or has stopped it."""
    if brief["node"] not in fleet.nodes:
        return False
    state = fleet.states[brief["node"]]
    if not state.online or state.beat.get("epoch") != fleet.epoch:
        return False
    said = state.actual.get(brief["id"])
    return said is None or (said.get("wanted") == "stopped" and model.ended(model.task_states(said)))


def _named(fleet: Fleet, members: list[str], missing: list[Json], live: Mapping[str, Json]) -> Json:
    """The allocations as a status names them."""
    if len(members) + len(missing) > MOST_BRIEFS:
        found = [number_of(each) for each in members] + [number_of(brief["id"]) for brief in missing]
        return {"allocations": [], "placed": ranges(found)}
    briefs = [brief_of(fleet, each, live.get(each) or fleet.allocations[each].data) for each in members]
    listed = sorted(
        [*briefs, *(each for each in missing if each["node"])], key=lambda each: number_of(each["id"])
    )
    return {"allocations": listed}


def brief_of(fleet: Fleet, alloc_id: str, data: Json) -> Json:
    """An allocation as its deployment's status names it."""
    brief: Json = {"id": alloc_id, "node": data["node"], "tasks": _names(fleet, alloc_id, data)}
    brief |= {"group": data["group"], "index": data["index"]}
    return brief | ({"generation": data["generation"]} if data["generation"] != 1 else {})
