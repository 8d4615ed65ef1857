"""Two live allocations of one slot: the old one goes when the new one is up."""

from manager_api.core.draft import Draft


def settled_for(draft: Draft, alloc_id: str) -> float | None:
    """Seconds that an allocation has been up as it is ordered; None: it is not up."""
    summary, data = draft.summaries[alloc_id], draft.live[alloc_id]
    known = draft.fleet.states[data["node"]].up_since.get(alloc_id)
    if not summary.up or summary.data is not data:
        return None
    if known is None or known[0] != int(data["generation"]):
        return 0.0
    return max(0.0, draft.now.steady - known[1])


def hand_over(draft: Draft) -> None:
    """Stop what was replaced once its successor is well; of other copies all but the best."""
    for key in sorted((key for key, ids in draft.by_slot.items() if len(ids) > 1), key=str):
        if draft.full:
            return
        _settle(draft, list(draft.by_slot[key]))


def _settle(draft: Draft, ids: list[str]) -> None:
    replaced = {draft.live[each].get("replaces") for each in ids}
    newest = max(ids, key=lambda each: (each not in replaced, draft.summaries[each].up, _number(each)))
    if draft.live[newest].get("replaces") not in ids:  # copies without a cause: adopted, say
        for each in sorted(set(ids) - {newest}):
            draft.stop(each, f"{newest} fills its slot")
        return
    group = draft.group(draft.live[newest])
    needed = group.policy.update.min_healthy if group is not None else 0.0
    olds = sorted(set(ids) - {newest})
    up_for = settled_for(draft, newest)
    if up_for is not None and up_for >= needed:
        for each in olds:
            draft.stop(each, f"{newest} has taken its place")
    elif not any(_must_go(draft, each) for each in olds):
        draft.stop(newest, "what it was to replace stays after all")
    elif up_for is not None:
        draft.wake(draft.now.steady + needed - up_for, "until its successor counts as healthy")


def _must_go(draft: Draft, alloc_id: str) -> bool:
    summary, data = draft.summaries[alloc_id], draft.live[alloc_id]
    at = summary.where
    return at.draining or at.removing or at.gone or summary.lost or draft.is_old(data) or draft.unsuited(data)


def _number(alloc_id: str) -> int:
    return int(alloc_id.rpartition(".")[2])


def in_motion(draft: Draft, group: str) -> int:
    """How many slots of a group are just being handed over, or are empty because of it."""
    moving = sum(1 for key, ids in draft.by_slot.items() if key[0] == group and len(ids) > 1)
    empty = 0
    for key, slot in draft.slots.items():
        if key[0] != group:
            continue
        ids = draft.by_slot.get(key, ())
        if not ids or (len(ids) == 1 and _fresh(draft, ids[0], slot.group.policy.update.min_healthy)):
            empty += 1
    return moving + empty


def _fresh(draft: Draft, alloc_id: str, needed: float) -> bool:
    """Whether it came for another one and is not well yet."""
    data = draft.live[alloc_id]
    if not data.get("replaces") or data.get("done"):
        return False
    up_for = settled_for(draft, alloc_id)
    if up_for is not None and up_for < needed:
        draft.wake(draft.now.steady + needed - up_for, "until a replacement counts as healthy")
    return up_for is None or up_for < needed
