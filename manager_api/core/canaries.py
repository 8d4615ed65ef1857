"""Canaries: allocations of a new release beside the old ones, until somebody promotes it."""

from dataclasses import replace

from manager_api.core.draft import AGAIN, Draft
from manager_api.core.handover import settled_for
from manager_api.core.placement import Refused
from manager_api.core.slots import Key
from store.model.spec import GroupSpec


def drop_stale(draft: Draft) -> None:
    """Canaries of an earlier change, or of a slot that is gone."""
    for key, alloc_id in sorted(draft.canaries.items(), key=str):
        if draft.is_old(draft.live[alloc_id]) or key not in draft.slots:
            draft.stop(alloc_id, "a canary of a change that is not meant any more")


def promote(draft: Draft) -> None:
    """A canary that is well takes its slot, once the change is promoted: what was there is stopped."""
    _promote_by_itself(draft)
    if not draft.promoted or draft.record.data.get("paused"):
        return
    for key, alloc_id in sorted(draft.canaries.items(), key=str):
        group = draft.slots[key].group
        up_for = settled_for(draft, alloc_id)
        if draft.full or up_for is None or up_for < group.policy.update.min_healthy:
            continue
        olds = [each for each in draft.by_slot.get(key, ()) if draft.is_old(draft.live[each])]
        if draft.by_slot.get(key) and not olds:
            draft.stop(alloc_id, "a canary whose slot is filled already")
            continue
        for each in olds:
            draft.stop(each, f"canary {alloc_id} was promoted")
        _take_slot(draft, key, alloc_id)


def _take_slot(draft: Draft, key: Key, alloc_id: str) -> None:
    del draft.canaries[key]
    data = {name: value for name, value in draft.live[alloc_id].items() if name != "canary"}
    draft.write(alloc_id, data, "it was promoted")
    draft.summaries[alloc_id] = replace(draft.summaries[alloc_id], data=data)
    draft.by_slot.setdefault(key, []).append(alloc_id)


def _promote_by_itself(draft: Draft) -> None:
    """`auto_promote`: all canaries of every group have been well for long enough."""
    trying = [group for group in draft.groups.values() if needed_for(draft, group)]
    if draft.rollout is None or not trying or not all(group.policy.update.auto_promote for group in trying):
        return
    for group in trying:
        there = [each for key, each in draft.canaries.items() if key[0] == group.name]
        needed = min(group.policy.update.canary, sum(1 for key in draft.slots if key[0] == group.name))
        if len(there) < needed:
            return
        for each in there:
            up_for = settled_for(draft, each)
            if up_for is None or up_for < group.policy.update.min_healthy:
                return
    draft.rollout = {**draft.rollout, "promoted": True}


def needed_for(draft: Draft, group: GroupSpec) -> bool:
    """Copies beside the old ones are not for groups that may not have any, or have one for each node."""
    if not group.policy.update.canary or group.everywhere or group.policy.duplicates == "never":
        return False
    return not draft.promoted and any(
        draft.is_old(draft.live[each])
        for key, ids in draft.by_slot.items()
        if key[0] == group.name
        for each in ids
    )


def place(draft: Draft, group: GroupSpec, count: int) -> None:
    """Place canaries: beside the old allocations with the lowest indices."""
    if count <= 0 or group.everywhere:
        return
    free = [
        key
        for key, ids in draft.by_slot.items()
        if key[0] == group.name and key in draft.slots and key not in draft.canaries and ids
        if draft.is_old(draft.live[ids[0]])
    ]
    for key in sorted(free, key=lambda key: (int(key[1]), key[2]))[:count]:
        if draft.full:
            return
        chosen = draft.find(draft.slots[key])
        if isinstance(chosen, Refused):
            draft.unmoved[draft.by_slot[key][0]] = f"no canary can be placed beside it: {chosen.reason}"
            draft.wake(draft.now.steady + AGAIN, "to place a canary")
            return
        draft.add(draft.slots[key], chosen, f"a canary of change {draft.release.change}", canary=True)
