"""Nodes being drained: their work goes elsewhere, healthy there first, a few at a time."""

from dataclasses import replace

from manager_api.core.actions import Action, SetNodeStatus
from manager_api.core.draft import AGAIN, Draft
from manager_api.core.fleet import Fleet, Json
from manager_api.core.handover import in_motion
from manager_api.core.placement import Placer, Refused
from manager_api.core.release import group_of, part_of
from manager_api.core.slots import Slot, request
from store.errors import BadRecord
from store.keys import ALLOCATIONS
from store.model.spec import GroupSpec


def deadline(fleet: Fleet, node: str) -> float | None:
    """When (wall seconds) everything left on a node is stopped; None: never."""
    drain = fleet.nodes[node].data["drain"]
    return float(drain["since"]) + float(drain["deadline"]) if drain.get("deadline") is not None else None


def drain(draft: Draft) -> None:
    """Take the next steps for what is on nodes being drained."""
    leaving = sorted(
        (
            each
            for each in draft.unsettled
            if each in draft.live and draft.summaries[each].where.draining and not draft.summaries[each].lost
        ),
        key=lambda each: (draft.live[each]["group"], draft.live[each]["index"], each),
    )
    moving: dict[str, int] = {}
    for alloc_id in leaving:
        if draft.full:
            return
        data = draft.live[alloc_id]
        group, slot = draft.group(data), draft.slots.get(draft.key(data))
        at = deadline(draft.fleet, data["node"])
        if data.get("done") or group is None:
            continue  # nothing of it runs any more; or it is surplus
        if at is not None and draft.now.wall >= at:
            draft.stop(alloc_id, f"the time to drain node {data['node']} is over")
        elif slot is None or slot.pinned or group.everywhere:
            _stays_last(draft, alloc_id, data, everywhere=group.everywhere, limited=at is not None)
        else:
            if group.name not in moving:
                moving[group.name] = in_motion(draft, group.name)
            moving[group.name] += _move(draft, alloc_id, slot, moving[group.name])
        if at is not None and draft.now.wall < at:
            draft.wake(draft.now.steady + at - draft.now.wall, f"the time to drain node {data['node']}")


def _stays_last(draft: Draft, alloc_id: str, data: Json, *, everywhere: bool, limited: bool) -> None:
    """What belongs to its node goes last: if it is everywhere, or the drain has a deadline."""
    node = data["node"]
    if (everywhere or limited) and not _movables(draft.fleet, node):
        draft.stop(alloc_id, f"node {node} is drained")
    elif not everywhere and not limited:
        _stuck(draft.fleet, node, alloc_id, "is pinned to it, and the drain has no deadline")


def _move(draft: Draft, alloc_id: str, slot: Slot, moving: int) -> int:
    """Begin the move of one allocation, if it may begin; how many began."""
    if len(draft.by_slot[slot.key]) > 1 or moving >= max(1, slot.group.policy.update.max_parallel):
        return 0
    node = draft.live[alloc_id]["node"]
    why = f"node {node} is being drained"
    release = draft.release_for(slot)
    slot = draft.slot_in(release, slot)
    first = slot.group.policy.duplicates != "never"
    if first:
        chosen = draft.find(slot, (node,), release)
    else:  # only to know that there is room: it is placed when the old one has ended
        asked = request(draft.fleet, draft.deployment, slot, release)
        chosen = Placer(draft.fleet, draft.taken).place(replace(asked, avoid=frozenset({node})))
    if isinstance(chosen, Refused):
        draft.unmoved[alloc_id] = f"cannot leave node {node}, which is being drained: {chosen.reason}"
        _stuck(draft.fleet, node, alloc_id, chosen.reason)
        draft.wake(draft.now.steady + AGAIN, "to move what is on drained nodes")
        return 0
    if first:
        draft.add(slot, chosen, f"replaces {alloc_id}: {why}", release, replaces=alloc_id)
    else:
        draft.stop(alloc_id, why)
    _unstuck(draft.fleet, node, alloc_id)
    return 1


def _stuck(fleet: Fleet, node: str, alloc_id: str, why: str) -> None:
    fleet.memory.stuck.setdefault(node, {})[alloc_id] = why


def _unstuck(fleet: Fleet, node: str, alloc_id: str) -> None:
    fleet.memory.stuck.get(node, {}).pop(alloc_id, None)


def _movables(fleet: Fleet, node: str) -> list[str]:
    """Live allocations on a node that have a place elsewhere to go to."""
    return [each for each in _live(fleet, node) if not _stays(fleet, fleet.allocations[each].data)]


def _live(fleet: Fleet, node: str) -> list[str]:
    uid = fleet.nodes[node].data["uid"]
    return [
        each
        for each in fleet.on_node.get(node, ())
        if fleet.allocations[each].data["wanted"] == "running"
        and fleet.allocations[each].data["uid"] == uid
        and not fleet.allocations[each].data.get("done")
        and (ALLOCATIONS, each) not in fleet.unreadable
        and not fleet.is_over(fleet.allocations[each].data["deployment"])
    ]


def _stays(fleet: Fleet, data: Json) -> bool:
    try:
        group: GroupSpec = group_of(fleet, data)
        pinned = part_of(fleet, data).pin is not None or group.policy.placement.node is not None
    except (BadRecord, IndexError, KeyError, TypeError, ValueError):
        return True
    return group.everywhere or pinned


def resume(fleet: Fleet) -> None:
    """A new leader goes on where the last one was: what that wrote is there to be changed, or taken away."""
    for node, said in fleet.nodes_status.items():
        written = said.data.get("drain")
        if isinstance(written, dict):
            fleet.memory.drains[node] = written


def plan_drain(fleet: Fleet, node: str) -> list[Action]:
    """What is to be said of a node's drain: written once whenever it changes."""
    drain_of = fleet.nodes[node].data.get("drain")
    written = fleet.memory.drains.get(node)
    if not drain_of:
        fleet.memory.stuck.pop(node, None)
        if written is None:
            return []
        del fleet.memory.drains[node]
        return [SetNodeStatus(node, None, "it is not being drained any more")]
    live = _live(fleet, node)
    ending = [each for each in fleet.on_node.get(node, ()) if _ending(fleet, each)]
    stuck = {each: why for each, why in fleet.memory.stuck.get(node, {}).items() if each in live}
    left = len(live) + len(ending)
    same = written is not None and written.get("since") == drain_of["since"]
    most = max(left, int(written.get("of", 0)) if written is not None and same else 0)
    if left == 0:
        state, reason = "done", "nothing is left on it"
    elif not live and fleet.states[node].settled and not fleet.states[node].online:
        state, reason = "draining", f"it is offline: {left} of {most} allocations stop there when it is back"
    else:
        waiting = [each for each in live if each not in stuck and _stays(fleet, fleet.allocations[each].data)]
        first = min(stuck, default="")  # what stays last waits for it
        why = f"{first} {stuck[first]}" if stuck else ""
        state, reason = "draining", f"{left} of {most} allocations are still on it" + (why and f"; {why}")
        if stuck and drain_of.get("deadline") is None and len(stuck) + len(waiting) == left:
            state, reason = "stuck", why
    record: Json = {"state": state, "left": left, "of": most, "reason": reason, "since": drain_of["since"]}
    if record == written:
        return []
    fleet.memory.drains[node] = record
    return [SetNodeStatus(node, record, reason)]


def _ending(fleet: Fleet, alloc_id: str) -> bool:
    """Whether it is stopped, and its node has yet to say so."""
    data = fleet.allocations[alloc_id].data
    record = fleet.nodes[data["node"]].data
    return bool(data["wanted"] == "stopped" and data["uid"] == record["uid"])
