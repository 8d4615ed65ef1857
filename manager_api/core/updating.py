"""Allocations go to the release that is meant: relabelled, updated in place, replaced, tried as canaries."""

from dataclasses import replace
from math import inf

from manager_api.core import canaries
from manager_api.core.draft import AGAIN, Draft
from manager_api.core.fleet import Json
from manager_api.core.handover import settled_for
from manager_api.core.placement import Need, Refused, matching
from manager_api.core.quiet import QUIET, carried
from manager_api.core.records import released
from manager_api.core.release import DIFFERENT, LIMITS, Release, part_of, same
from manager_api.core.rollout import PAUSED, Group, Step, Unit, step, tried
from manager_api.core.slots import Slot
from store.model.lifecycle import Task
from store.model.placing import NEVER
from store.model.spec import GroupSpec

OVER = frozenset({"done", "reverted"})


def update(draft: Draft) -> None:
    """Take the next steps of the rollout, if there is one."""
    olds = [each for each, data in draft.live.items() if draft.is_old(data) and _filled(draft, data)]
    rollout = draft.rollout
    if not olds and (rollout is None or rollout["state"] in OVER) and not draft.canaries:
        return
    if rollout is None:
        rollout = {"state": "running", "change": draft.release.change, "began": draft.now.wall, "reason": ""}
        rollout["groups"] = {}
        draft.rollout = rollout
    if rollout["state"] == "failed":
        return
    if not draft.record.data.get("paused"):
        _relabel(draft, sorted(olds))
    canaries.drop_stale(draft)
    groups = {name: _group(draft, group) for name, group in draft.groups.items()}
    trying = {name for name, group in groups.items() if tried(group)}
    steps = {name: step(replace(group, others_tried=bool(trying - {name}))) for name, group in groups.items()}
    _note(draft, groups, steps)
    failed = [each for each in steps.values() if each.state == "failed"]
    if failed and rollout["state"] != "reverted":
        _fail(draft, failed[0].reason)
        return
    for name, each in steps.items():
        _apply(draft, draft.groups[name], each)


def _filled(draft: Draft, data: Json) -> bool:
    return draft.key(data) in draft.slots


def _relabel(draft: Draft, olds: list[str]) -> None:
    """What would run the same is not touched: it only says that it is of the new release."""
    known: dict[tuple[Release, str], str] = {}
    for alloc_id in olds:
        data = draft.live[alloc_id]
        key = Release.of(data), data["group"]
        if key not in known:
            known[key] = same(draft.fleet, data["template"], key[0], draft.release, data["group"])
        if known[key] == DIFFERENT or draft.unsuited(data):
            continue
        if draft.full:
            return
        why = (
            "other limits, while it runs"
            if known[key] == LIMITS
            else "its tasks are the same in the new release"
        )
        draft.write(alloc_id, _labelled(draft, data), why)
        draft.summaries[alloc_id] = replace(draft.summaries[alloc_id], data=draft.live[alloc_id])


def _labelled(draft: Draft, data: Json) -> Json:
    kept = {key: value for key, value in data.items() if key not in ("change", "parameters", QUIET)}
    group = draft.group(data)
    noted = carried(draft.fleet, data, group) if group and group.policy.duplicates == NEVER else {}
    return {**kept, "version": draft.release.version, **released(draft.release), **noted}


def _group(draft: Draft, group: GroupSpec) -> Group:
    mine = [
        (draft.live[each]["index"], draft.live[each]["part"], each)
        for key, ids in draft.by_slot.items()
        if key[0] == group.name and key in draft.slots
        for each in _standing(draft, ids)
    ]
    mine += [
        (draft.live[each]["index"], draft.live[each]["part"], each)
        for key, each in draft.canaries.items()
        if key[0] == group.name
    ]
    return Group(
        name=group.name,
        update=group.policy.update,
        wanted=sum(1 for key in draft.slots if key[0] == group.name),
        units=tuple(_unit(draft, each) for _, _, each in sorted(mine)),
        paused=bool(draft.record.data.get("paused")),
        promoted=draft.promoted,
        first=not draft.release.change,
        state=_recorded(draft, group.name),
        needs_canary=canaries.needed_for(draft, group),
    )


def _recorded(draft: Draft, name: str) -> str:
    """What is on record of this change for a group."""
    rollout = draft.rollout or {}
    if rollout.get("state") in ("failed", "reverted", "done"):
        return str(rollout["state"])
    return str((rollout.get("groups") or {}).get(name, {}).get("state", ""))


def _standing(draft: Draft, ids: list[str]) -> list[str]:
    """Of a slot that is being handed over the successor counts."""
    replaced = {draft.live[each].get("replaces") for each in ids}
    return [each for each in ids if each not in replaced] if len(ids) > 1 else ids


def _unit(draft: Draft, alloc_id: str) -> Unit:
    data, summary = draft.live[alloc_id], draft.summaries[alloc_id]
    state = draft.fleet.states[data["node"]]
    generation = int(data["generation"])
    ordered = draft.fleet.ordered.get(alloc_id)
    since = ordered[1] if ordered is not None and ordered[0] == generation else draft.now.steady
    return Unit(
        id=alloc_id,
        current=not draft.is_old(data),
        canary=bool(data.get("canary")),
        generation=generation,
        up_for=settled_for(draft, alloc_id),
        ordered_for=max(0.0, draft.now.steady - since),
        failed=summary.done == "failed",
        trouble=summary.trouble[1] if summary.trouble is not None else "",
        away=not state.online or summary.lost,
        files_for=_files_for(draft, alloc_id, generation),
        seen_for=inf if state.online_since is None else max(0.0, draft.now.steady - state.online_since),
    )


def _files_for(draft: Draft, alloc_id: str, generation: int) -> float:
    """How long its files have been there; their node has a deadline of its own for them."""
    fetched = draft.fleet.memory.fetched
    if Task.FETCHING in draft.summaries[alloc_id].states:
        fetched[alloc_id] = generation, None
        return 0.0
    known, since = fetched.get(alloc_id, (0, None))
    if known != generation:
        return inf
    if since is None:
        since = draft.now.steady
        fetched[alloc_id] = generation, since
    return max(0.0, draft.now.steady - since)


def _note(draft: Draft, groups: dict[str, Group], steps: dict[str, Step]) -> None:
    """Write down how far the rollout is; a revert stays one."""
    old = draft.rollout or {}
    states = {each.state for each in steps.values()}
    order = ("failed", "paused", "promotion", "running")
    state = next((each for each in order if each in states), "done")
    said = {
        name: {
            "updated": each.updated,
            "of": groups[name].wanted,
            "healthy": each.healthy,
            "state": groups[name].state if each.state == PAUSED else each.state,
        }
        for name, each in steps.items()
    }
    reasons = [each.reason for each in steps.values() if each.reason and each.state == state]
    if old.get("state") == "reverted":
        draft.rollout = {**old, "groups": said}
        return
    if state == "done":
        draft.stable = draft.release.as_record()
    draft.rollout = {**old, "state": state, "reason": reasons[0] if reasons else "", "groups": said}
    for each in steps.values():
        if each.wake is not None:
            draft.wake(draft.now.steady + each.wake, "the next step of its update")


def _fail(draft: Draft, reason: str) -> None:
    """The new release does not come up: back to the last good one, or nothing more is updated."""
    rollout = draft.rollout or {}
    revert = any(group.policy.update.auto_revert for group in draft.groups.values())
    stable = draft.stable
    if not revert or stable is None or Release.of(stable).runs_as(draft.release):
        draft.rollout = {**rollout, "state": "failed", "reason": reason}
        return
    back = replace(Release.of(stable), change=draft.release.change)
    draft.rollout = {**rollout, "state": "reverted", "reason": f"{reason}; back to version {back.version}"}
    draft.use(back)
    _relabel(draft, sorted(each for each, data in draft.live.items() if draft.is_old(data)))
    draft.wake(draft.now.steady, "to go back")


def _apply(draft: Draft, group: GroupSpec, said: Step) -> None:
    canaries.promote(draft, said.promote, said.stop)
    for alloc_id in said.stop:
        if alloc_id in draft.live and draft.live[alloc_id].get("canary"):
            draft.stop(alloc_id, "a canary that is not wanted any more")
    for alloc_id in said.update:
        if draft.full:
            return
        if alloc_id in draft.live and alloc_id not in draft.puts:
            _bring_up(draft, alloc_id)
    canaries.place(draft, group, said.canaries)


def _bring_up(draft: Draft, alloc_id: str) -> None:
    """Take one allocation to the release: in place where it fits, else elsewhere."""
    data, why = draft.live[alloc_id], f"to version {draft.release.version}, change {draft.release.change}"
    slot = draft.slots[draft.key(data)]
    new = None if draft.unsuited(data) else _in_place(draft, alloc_id, slot)
    if new is not None:
        draft.write(alloc_id, new, why)
        return
    if len(draft.by_slot[slot.key]) > 1:
        return  # it is on its way already
    if slot.group.policy.duplicates == "never":
        draft.stop(alloc_id, f"{why}, which does not fit its node")
        return
    chosen = draft.find(slot, (data["node"],))
    if isinstance(chosen, Refused):
        draft.unmoved[alloc_id] = f"cannot be updated: {chosen.reason}"
        draft.wake(draft.now.steady + AGAIN, "to update what has no room")
        return
    draft.add(slot, chosen, f"replaces {alloc_id}: {why}", replaces=alloc_id)


def _in_place(draft: Draft, alloc_id: str, slot: Slot) -> Json | None:
    """An allocation as the release has it, on its node; None if it does not fit there."""
    data, need = draft.live[alloc_id], Need.of(slot.part)
    node, ports = data["node"], data.get("ports") or {}
    if slot.pinned and slot.part.pin is not None and node not in matching(draft.fleet, slot.part.pin):
        return None
    published = data.get("published") or []
    if not _fits_as_it_is(draft, data, slot, need):
        chosen = draft.find(replace(slot, node=node), (), None, (alloc_id,))
        if isinstance(chosen, Refused) or chosen.victims:
            return None
        ports = {task: dict(given) for task, given in chosen.ports.items()}
        published = list(chosen.published)
    ours = ("done", "ports", "published")
    kept = {key: value for key, value in _labelled(draft, data).items() if key not in ours}
    new = {**kept, "generation": int(data["generation"]) + 1, "memory": need.memory, "cpus": need.cpus}
    return new | ({"ports": ports} if ports else {}) | ({"published": published} if published else {})


def _fits_as_it_is(draft: Draft, data: Json, slot: Slot, need: Need) -> bool:
    """Whether it asks its node for nothing that it does not have there."""
    if not need.features <= set(draft.fleet.nodes[data["node"]].data["features"]):
        return False
    before = {task.name: task for task in part_of(draft.fleet, data).tasks}
    same_ports = all(
        task.name in before
        and task.ports == before[task.name].ports
        and task.container == before[task.name].container
        for task in slot.part.tasks
    )
    grows = need.memory > int(data["memory"]) or need.cpus > float(data["cpus"])
    return same_ports and not grows and len(before) == len(slot.part.tasks)
