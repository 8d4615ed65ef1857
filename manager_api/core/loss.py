"""Work whose node is lost: when it is placed elsewhere, and when it may not be."""

from dataclasses import dataclass
from math import inf

from manager_api.core import brake
from manager_api.core.draft import AGAIN, Draft
from manager_api.core.placement import Refused
from manager_api.core.quiet import may_run_until
from manager_api.core.slots import Key


@dataclass(frozen=True, slots=True)
class Loss:
    """Why an allocation is to be replaced, and from when on (steady seconds)."""

    reason: str
    at: float


def loss(draft: Draft, alloc_id: str) -> Loss | None:
    """Whether a live allocation's node is lost, and when it is to be replaced for that."""
    summary, data = draft.summaries[alloc_id], draft.live[alloc_id]
    group, at = draft.group(data), summary.where
    if data.get("done") or group is None or not (summary.lost or at.removing or at.gone):
        return None
    slot = draft.slots.get(draft.key(data))
    pinned = slot is None or slot.pinned
    after = group.policy.reschedule_after
    node, now = data["node"], draft.now.steady
    if summary.lost:
        if after is None and not pinned:
            return None
        found = Loss(f"node {node} was replaced by another machine", now)
    elif group.everywhere or pinned or after is None:
        return None
    elif at.removing:
        found = Loss(f"node {node} is being removed", now)
    else:
        since = draft.fleet.states[node].away_since
        if since is None:
            return None
        found = Loss(f"node {node} has been offline for {max(now - since, after):.0f} s", since + after)
    told = at.removing and not (at.gone or summary.lost)  # to stop: what replaces it begins when it has
    if group.policy.duplicates == "never" and not told:
        until = may_run_until(draft.fleet, alloc_id, data, draft.now)
        found = Loss(found.reason, max(found.at, until))
    return found


def replace_lost(draft: Draft) -> None:
    """Place elsewhere what is lost, as far as there is room and the brake lets it."""
    lost = [
        (alloc_id, found)
        for alloc_id in draft.unsettled
        if alloc_id in draft.live and (found := loss(draft, alloc_id)) is not None
    ]
    blocked = still_running(draft) if lost else {}
    for alloc_id, found in sorted(lost):
        if draft.full:
            return
        at = max(found.at, blocked.get(draft.key(draft.live[alloc_id]), 0.0))
        if at > draft.now.steady:
            draft.wake(at if at < inf else draft.now.steady + AGAIN, found.reason)
            continue
        _replace(draft, alloc_id, found)


def still_running(draft: Draft) -> dict[Key, float]:
    """Slots of which a stopped allocation may still run, where that forbids another; until when."""
    found: dict[Key, float] = {}
    for alloc_id, data in draft.stopped.items():
        group = draft.group(data)
        if group is None or group.policy.duplicates != "never":
            continue
        until = may_run_until(draft.fleet, alloc_id, data, draft.now)
        if until > draft.now.steady:
            key = draft.key(data)
            found[key] = max(until, found.get(key, 0.0))
    return found


def _replace(draft: Draft, alloc_id: str, found: Loss) -> None:
    data = draft.live[alloc_id]
    summary = draft.summaries[alloc_id]
    key = draft.key(data)
    others = [each for each in draft.by_slot.get(key, ()) if each != alloc_id]
    slot = draft.slots.get(key)
    if others or data.get("canary") or slot is None:
        draft.stop(alloc_id, found.reason)  # another one fills its slot, or a canary is placed anew
        return
    stopping = brake.engaged(draft.fleet, draft.now)
    if stopping is not None:
        draft.unmoved[alloc_id] = stopping
        draft.wake(draft.now.steady + AGAIN, "to see whether the brake is released")
        return
    release = draft.release_for(slot)
    slot = draft.slot_in(release, slot)
    avoid = () if summary.lost else (data["node"],)
    chosen = draft.find(slot, avoid, release, (alloc_id,))
    if isinstance(chosen, Refused):
        draft.unmoved[alloc_id] = f"cannot be moved: {chosen.reason}"
        draft.wake(draft.now.steady + AGAIN, "to move what is on lost nodes")
        return
    draft.stop(alloc_id, found.reason)
    draft.add(slot, chosen, f"replaces {alloc_id}: {found.reason}", release, replaces=alloc_id)
