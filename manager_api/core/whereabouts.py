"""What is known of single allocations, in words: for people who ask. Reads, and adds nothing to the fleet."""

from collections.abc import Iterable

from manager_api.core.fleet import Fleet, Json, NodeState
from manager_api.core.moment import Moment
from store.model import status
from store.model.lifecycle import Task

_NOTHING: Json = {}
_WELL = (Task.RUNNING, Task.COMPLETED)


def ordered(alloc_ids: Iterable[str]) -> list[str]:
    """Allocations by their numbers."""

    def number(alloc_id: str) -> tuple[int, str]:
        text = alloc_id.rpartition(".")[2]
        return (int(text) if text.isascii() and text.isdigit() else -1, alloc_id)

    return sorted(alloc_ids, key=number)


def state(fleet: Fleet, alloc_id: str, now: Moment) -> Json:
    """`state` in a word, its `reason`, and (where it is known) `since`, in seconds since 1970.

    `up`; `starting` (not everything of it is up yet); `sent` (its node has not spoken of it); `completed`
    and `failed` for good; `away` (its node is offline: it may well run); `lost` (its machine is gone).
    """
    data = fleet.allocations[alloc_id].data
    node, seen = data["node"], fleet.states.get(data["node"])
    record = fleet.nodes.get(node)
    if data.get("done"):
        return {"state": str(data["done"]), "reason": "it ended for good", "since": None}
    if record is None or seen is None:
        return {"state": "away", "reason": f"the record of node {node} is not there", "since": None}
    if record.data["uid"] != data["uid"]:
        return {"state": "lost", "reason": f"node {node} was replaced by another machine", "since": None}
    if seen.settled and not seen.online:
        return {"state": "away", "reason": f"node {node} is offline", "since": _wall(now, seen.away_since)}
    return _said(seen, alloc_id, data, now)


def _said(seen: NodeState, alloc_id: str, data: Json, now: Moment) -> Json:
    said = seen.actual.get(alloc_id, _NOTHING)
    if int(said.get("generation", -1)) < int(data["generation"]):
        reason = str(said.get("note") or "its node has not said anything of it yet")
        if seen.beat.get("frozen"):
            reason = f"its node is frozen: {seen.beat['frozen']}"
        return {"state": "sent", "reason": reason, "since": None}
    if status.is_up(said):
        known = seen.up_since.get(alloc_id)
        return {"state": "up", "reason": "", "since": _wall(now, known[1] if known else None)}
    return {"state": "starting", "reason": _trouble(said), "since": None}


def _trouble(said: Json) -> str:
    """What its tasks wait for, or suffer from."""
    found = []
    for task, its in zip(said.get("tasks", ()), status.task_states(said), strict=True):
        if its in _WELL and task.get("health") in (None, "none", "healthy"):
            continue
        word = task.get("health") if its in _WELL else its
        why = task.get("reason") or (task.get("health_reason") if its in _WELL else "")
        found.append(f"task {task['name']} {word}" + (f": {why}" if why else ""))
    return "; ".join(found[:5])


def is_up(fleet: Fleet, alloc_id: str) -> bool:
    """Whether all of it is up, and its node there, as far as is known."""
    data = fleet.allocations[alloc_id].data
    seen, record = fleet.states.get(data["node"]), fleet.nodes.get(data["node"])
    if seen is None or record is None or record.data["uid"] != data["uid"] or not seen.online:
        return False
    said = seen.actual.get(alloc_id, _NOTHING)
    return int(said.get("generation", -1)) >= int(data["generation"]) and status.is_up(said)


def is_leaving(fleet: Fleet, node: str) -> bool:
    """Whether everything on a node is to go elsewhere."""
    record = fleet.nodes.get(node)
    return record is not None and bool(record.data.get("drain") or record.data.get("removing"))


def ending(fleet: Fleet, alloc_id: str) -> str:
    """What keeps an allocation that was told to stop."""
    data = fleet.allocations[alloc_id].data
    node, seen, record = data["node"], fleet.states.get(data["node"]), fleet.nodes.get(data["node"])
    if record is None or seen is None:
        return f"the record of node {node} is not there"
    if record.data["uid"] != data["uid"]:
        return f"node {node} was replaced by another machine"
    if seen.settled and not seen.online:
        return f"node {node} is offline: it stops there when it is back"
    return f"node {node} has not said yet that it ended"


def _wall(now: Moment, then: float | None) -> float | None:
    """A steady time as people read it."""
    return None if then is None else now.wall - (now.steady - then)
