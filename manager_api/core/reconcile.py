"""What a deployment that lives needs next: level-triggered, a bounded step at a time.

What each step does is stated with its reason; a step cut short is finished by the next.
"""

from math import inf

from manager_api.core import calm, loss, peering, updating
from manager_api.core.actions import Action, Advance, Collect, SetStatus
from manager_api.core.draft import AGAIN, Draft
from manager_api.core.drain import drain
from manager_api.core.fleet import Fleet, Json
from manager_api.core.handover import hand_over
from manager_api.core.moment import Moment
from manager_api.core.placement import Refused, Taken
from manager_api.core.progress import judge, unlisted
from manager_api.core.quiet import may_run_until
from manager_api.core.records import Missing
from manager_api.core.slots import Slot
from manager_api.core.summary import Where, is_gone, is_lost
from store.keys import ALLOCATIONS

COLLECTED_AT_ONCE = 200


def reconcile(fleet: Fleet, deployment: str, now: Moment, taken: Taken) -> list[Action]:
    """The next step of a deployment that is decided, wanted running, and has not ended."""
    if calm.is_calm(fleet, deployment):
        return []
    draft = Draft(fleet, deployment, now, taken)
    peering.note(fleet, deployment, draft.groups.values())
    note_done(draft)
    loss.replace_lost(draft)
    hand_over(draft)
    drop_surplus(draft)
    drain(draft)
    updating.update(draft)
    fill(draft)
    actions = [*finish(draft), *collect(draft)]
    calm.note(draft, idle=not actions)
    return [*actions, *draft.alarm()]


def note_done(draft: Draft) -> None:
    """A job that is over is over, whatever becomes of its node."""
    fresh = [
        each
        for each, summary in draft.summaries.items()
        if summary.ended and "done" not in summary.data and summary.done
    ]
    if len(fresh) == len(draft.live) and not any(draft.is_old(data) for data in draft.live.values()):
        return  # all of it is: its status will say so
    for alloc_id in sorted(fresh):
        if draft.full:
            return
        done = draft.summaries[alloc_id].done
        draft.write(alloc_id, {**draft.live[alloc_id], "done": done}, f"it {done}")


def drop_surplus(draft: Draft) -> None:
    """Stop what no slot asks for."""
    surplus = [
        (draft.summaries[each].up, -int(draft.live[each]["index"]), each)
        for key in draft.by_slot.keys() - draft.slots.keys()
        for each in draft.by_slot[key]
        if _is_surplus(draft, draft.live[each]["node"], each)
    ]
    for _, _, alloc_id in sorted(surplus):
        if draft.full:
            return
        draft.stop(alloc_id, _why_surplus(draft, alloc_id))


def _is_surplus(draft: Draft, node: str, alloc_id: str) -> bool:
    """On every node: what is offline or cordoned keeps what it has; other labels end it."""
    data = draft.live[alloc_id]
    group = draft.group(data)
    if group is None or not group.everywhere:
        return True
    at: Where = draft.where(node)
    return at.uid is not None and draft.unsuited(data)


def _why_surplus(draft: Draft, alloc_id: str) -> str:
    data = draft.live[alloc_id]
    group = draft.group(data)
    if group is None:
        return f"version {draft.release.version} has no group {data['group']!r}"
    if group.everywhere:
        return f"node {data['node']} is not meant for group {group.name!r} any more"
    return f"group {group.name!r} has fewer instances now"


def fill(draft: Draft) -> None:
    """Place what is missing."""
    missing = [slot for key, slot in draft.slots.items() if not draft.by_slot.get(key)]
    if not missing:
        return
    draft.held = _held(draft)
    if draft.held:
        return
    blocked = loss.still_running(draft)
    for slot in missing:
        if slot.key in draft.blind:
            continue
        until = blocked.get(slot.key)
        if until is not None:
            _wait(draft, slot, until)
            continue
        if draft.filled:
            return
        _place(draft, slot)


def _place(draft: Draft, slot: Slot) -> None:
    release = draft.release_for(slot)
    mine = draft.slot_in(release, slot)
    chosen = draft.find(mine, (), release)
    if isinstance(chosen, Refused):
        draft.missing.append(Missing(slot, chosen))
        draft.wake(draft.now.steady + AGAIN, "to place what is missing")
    else:
        draft.add(mine, chosen, chosen.why, release)


def _wait(draft: Draft, slot: Slot, until: float) -> None:
    why = "the allocation before it may still run, and duplicates are not allowed"
    draft.missing.append(Missing(slot, Refused(why, {})))
    at = until if until < inf else draft.now.steady + AGAIN
    draft.wake(at, "when the allocation before it cannot run any more")


def _held(draft: Draft) -> str:
    """Why nothing missing is placed just now, or nothing."""
    lost = unlisted(draft.fleet, draft.deployment)
    if lost:
        return (
            f"the records of {len(lost)} allocations are lost, or cannot be read: what runs of them may run"
        )
    if draft.fleet.obscured(draft.deployment) and not draft.blind:
        return "an allocation of it cannot be read"
    record = draft.record.data
    if record.get("adopted") and not record.get("scale") and not record.get("change"):
        return "it was adopted: what was not adopted is not placed"
    return ""


def finish(draft: Draft) -> list[Action]:
    """The step, with the status that it leads to."""
    old, new = draft.status.data, judge(draft)
    if draft.missing or draft.unmoved:
        draft.fleet.hungry.add(draft.deployment)
    else:
        draft.fleet.hungry.discard(draft.deployment)
    if draft.puts:
        draft.placer.keep()
        reason = f"{len(draft.puts)} allocations: {next(iter(draft.why.values()))}"
        return [
            Advance(draft.deployment, draft.record.rev, draft.status.rev, draft.puts, new, draft.why, reason)
        ]
    if new == old:
        return []
    return [SetStatus(draft.deployment, draft.status.rev, new, _turn(old, new))]


def _turn(old: Json, new: Json) -> str:
    """What a new status says that the old one did not."""
    if old["status"] != new["status"]:
        return f"{old['status']} -> {new['status']}"
    groups = new.get("groups", {}).values()
    up, wanted = (sum(each[key] for each in groups) for key in ("up", "wanted"))
    return f"{new['status']}: {new['reason'] or f'{up} of {wanted} are up'}"


def collect(draft: Draft) -> list[Action]:
    """Stopped allocations whose machine will never say that they ended."""
    fleet = draft.fleet
    found = [
        (ALLOCATIONS, each, fleet.allocations[each].rev)
        for each in sorted(draft.stopped)
        if each not in draft.puts and _never_told(draft, each)
    ]
    if not found:
        return []
    why = "its machine is gone for good"
    return [Collect(draft.deployment, tuple(found[:COLLECTED_AT_ONCE]), why)]


def _never_told(draft: Draft, alloc_id: str) -> bool:
    data = draft.stopped[alloc_id]
    group = draft.group(data)
    if group is not None and group.policy.duplicates == "never":
        until = may_run_until(draft.fleet, alloc_id, data, draft.now)
        if until > draft.now.steady:
            return False
    if is_lost(draft.fleet, data):
        return True
    record = draft.fleet.nodes.get(data["node"])
    return bool(record is not None and record.data.get("removing") and is_gone(draft.fleet, data["node"]))
