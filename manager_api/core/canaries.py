"""Canaries: allocations of a new release beside the old ones, until somebody promotes it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from manager_api.core.draft import AGAIN, Draft
from manager_api.core.placement import Refused
from manager_api.core.slots import Key
from store.model.spec import GroupSpec


def drop_stale(draft: Draft) -> None:
    """Canaries of an earlier change, or of a slot that is gone."""
    for key, alloc_id in sorted(draft.canaries.items(), key=str):
        if draft.is_old(draft.live[alloc_id]) or key not in draft.slots:
            draft.stop(alloc_id, "a canary of a change that is not meant any more")


def promote(draft: Draft, canaries: Iterable[str], stop: Iterable[str]) -> None:
    """Canaries become ordinary: each takes the place of one that is stopped for it, or an empty one."""
    olds = {draft.key(draft.live[each]): each for each in stop if each in draft.live}
    for alloc_id in canaries:
        if draft.full or alloc_id not in draft.live:
            return
        key = _place_for(draft, alloc_id, olds)
        if key is None:
            continue
        if key in olds:
            draft.stop(olds.pop(key), f"canary {alloc_id} was promoted")
        _take_slot(draft, key, alloc_id)


def _place_for(draft: Draft, alloc_id: str, olds: Mapping[Key, str]) -> Key | None:
    """Its own slot, if it is among those to be had; else the first of the same part."""
    mine = draft.key(draft.live[alloc_id])
    free = [
        key for key in draft.slots if key[0] == mine[0] and key[2] == mine[2] and not draft.by_slot.get(key)
    ]
    possible = [*sorted(olds, key=str), *free]
    same = [key for key in possible if key[2] == mine[2]]
    return mine if mine in possible else next(iter(same), None)


def _take_slot(draft: Draft, key: Key, alloc_id: str) -> None:
    del draft.canaries[draft.key(draft.live[alloc_id])]
    data = {name: value for name, value in draft.live[alloc_id].items() if name != "canary"}
    data["index"] = key[1]
    draft.write(alloc_id, data, "it was promoted")
    draft.summaries[alloc_id] = replace(draft.summaries[alloc_id], data=data)
    draft.by_slot.setdefault(key, []).append(alloc_id)


def needed_for(draft: Draft, group: GroupSpec) -> bool:
    """Copies beside the old ones are not for groups that may not have any, or have one for each node."""
    if not group.policy.update.canary or group.everywhere or group.policy.duplicates == "never":
        return False
    return any(
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
