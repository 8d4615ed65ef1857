"""What a node's report makes of one allocation: worked out once for each report, and kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from manager_api.core.fleet import Fleet, Json
from manager_api.core.release import task_names
from manager_api.core.removal import NOBODY
from store.errors import BadRecord
from store.keys import NODES
from store.model import status as model
from store.model.lifecycle import TASK_ENDED, Task
from store.model.status import UNHEALTHY

_RANKS = (Task.FAILED, Task.LOST, Task.BACKOFF, Task.EXITED, Task.STOPPED, Task.FETCHING, Task.WAITING)
NOTHING_SAID: Json = {}
"""Of a node that has said nothing of an allocation."""


class Where(NamedTuple):
    """What counts of a node for the allocations on it."""

    uid: str | None
    """None: its record is not there, or cannot be read."""
    gone: bool
    """It is known to be offline, and not only unseen."""
    draining: bool
    removing: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """One allocation, as far as its node has told."""

    data: Json
    said: Json
    where: Where
    lost: bool
    up: bool
    ended: bool
    states: frozenset[Task]
    unhealthy: bool
    trouble: tuple[int, str] | None
    """How grave, smaller is graver, and the words."""

    @property
    def done(self) -> str | None:
        """How it ended for good, if it did."""
        if self.data.get("done"):
            return str(self.data["done"])
        if not self.ended or self.lost:
            return None
        if self.states == {Task.COMPLETED}:
            return "completed"
        return "failed" if Task.FAILED in self.states else None


def where(fleet: Fleet, node: str) -> Where:
    """What counts of a node just now; the last one, if nothing that it is made of has changed since."""
    record, state = fleet.nodes.get(node), fleet.states[node]
    known = record is not None and not (fleet.unreadable and (NODES, node) in fleet.unreadable)
    gone = state.settled and not state.online
    kept = fleet.memory.places.get(node)
    if kept is not None and kept[0] is record and kept[1] is known and kept[2].gone is gone:
        last: Where = kept[2]
        return last
    data = record.data if record is not None else NOTHING_SAID
    uid = data["uid"] if known else None
    found = Where(uid, gone, bool(data.get("drain")), bool(data.get("removing")))
    fleet.memory.places[node] = record, known, found
    return found


def summarize(fleet: Fleet, alloc_id: str, data: Json, at: Where) -> Summary:
    """The summary of an allocation; the last one, if nothing that it is made of has changed since."""
    said = fleet.states[data["node"]].actual.get(alloc_id, NOTHING_SAID)
    kept: Summary | None = fleet.memory.summaries.get(alloc_id)
    if kept is not None and kept.data is data and kept.said is said and kept.where == at:
        return kept
    try:
        names = task_names(fleet, data)
    except (BadRecord, IndexError, KeyError):
        names = [task["name"] for task in said.get("tasks", ())]
    found = _summary(data, said, at, rows(fleet, alloc_id, data, data["node"], names))
    fleet.memory.summaries[alloc_id] = found
    return found


def _summary(data: Json, said: Json, at: Where, found: list[Json]) -> Summary:
    states = frozenset(row["task_state"] for row in found)
    if data.get("done"):  # whatever became of its node since
        states = frozenset({Task.COMPLETED if data["done"] == "completed" else Task.FAILED})
    lost = data["uid"] == NOBODY or (at.uid is not None and at.uid != data["uid"])
    current = bool(said) and not is_past(data, said) and not lost
    return Summary(
        data=data,
        said=said,
        where=at,
        lost=lost,
        up=current and not at.gone and model.is_up(said),
        ended=bool(found) and states <= TASK_ENDED,
        states=states,
        unhealthy=any(row.get("health") == UNHEALTHY for row in found),
        trouble=trouble(found),
    )


def trouble(found: list[Json]) -> tuple[int, str] | None:
    """What is worst about some rows, in words."""
    worst: tuple[int, str] | None = None
    for row in found:
        text, state = f"task {row['name']} on {row['node']}", row["task_state"]
        each: tuple[int, str] | None = None
        if state in _RANKS:
            said = f"{text} {state}"
            each = _RANKS.index(state), f"{said}: {row['reason']}" if row["reason"] else said
        elif state is Task.PENDING and row["reason"]:
            each = len(_RANKS), f"{text}: {row['reason']}"
        elif row.get("health") == UNHEALTHY:
            each = len(_RANKS), f"{text} is unhealthy: {row.get('health_reason', '')}"
        if each is not None and (worst is None or each[0] < worst[0]):
            worst = each
    return worst


def rows(fleet: Fleet, alloc_id: str, data: Json | None, node: str, names: list[str]) -> list[Json]:
    """A row for each task of one allocation, as the API shows it, and its `task_state`.

    `data` is None where the store has lost the allocation: what its node says of it counts.
    """
    actual = fleet.states[node].actual.get(alloc_id, NOTHING_SAID)
    unsaid = {"reason": actual.get("note")}
    if data is not None and is_past(data, actual):
        actual = NOTHING_SAID
    said = {task["name"]: task for task in actual.get("tasks", ())}
    lost = data is not None and is_lost(fleet, data) and not data.get("done")
    return [_row(name, node, said.get(name, unsaid), lost=lost) for name in names]


def is_past(allocation: Json, actual: Json) -> bool:
    """Whether a node tells of what was replaced, or of an order to stop that the store has forgotten."""
    stopped = actual.get("wanted") == "stopped" and allocation["wanted"] == "running"
    return stopped or int(actual.get("generation", 0)) < int(allocation["generation"])


def _row(name: str, node: str, said: Mapping[str, Any], *, lost: bool) -> Json:
    state = Task.LOST if lost else model.task_states({"tasks": [said]})[0]
    reason = f"node {node} was replaced by another machine" if lost else said.get("reason") or ""
    return {
        "name": name,
        "node": node,
        "state": state,
        "pid": said.get("pid"),
        "exit_code": said.get("exit_code"),
        "restarts": said.get("restarts", 0),
        "reason": reason,
        "started": said.get("started"),
        **{key: said[key] for key in model.DETAILS if key in said},
        "task_state": state,
    }


def is_lost(fleet: Fleet, allocation: Json) -> bool:
    """Whether the machine that an allocation was given to is no longer that node.

    Not where the node's record is missing: the store has lost it, and the agent joins again; but for what
    is nobody's, since people removed its node.
    """
    if allocation["uid"] == NOBODY:
        return True
    record = fleet.nodes.get(allocation["node"])
    if (NODES, allocation["node"]) in fleet.unreadable or record is None:
        return False
    return bool(record.data["uid"] != allocation["uid"])


def is_gone(fleet: Fleet, node: str) -> bool:
    """Whether a node is known to be offline, and not only unseen."""
    state = fleet.states[node]
    return state.settled and not state.online


def obeyed(fleet: Fleet, node: str, alloc_id: str) -> bool:
    """Whether the machine that a tombstone was written for has said, in this epoch, that it ended by it."""
    state, record = fleet.states[node], fleet.nodes[node].data
    known, said = state.desired.get(alloc_id), state.actual.get(alloc_id)
    if known is None or known["wanted"] != "stopped" or said is None:
        return False
    return (
        said.get("wanted") == "stopped"
        and said.get("uid") == record["uid"]
        and said.get("epoch") == fleet.epoch
        and int(said.get("rev", 0)) >= known["rev"]
        and model.ended(model.task_states(said))
    )
