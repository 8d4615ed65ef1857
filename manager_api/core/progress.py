"""What the nodes' reports make of a deployment's status."""

from collections.abc import Mapping
from typing import Any

from manager_api.core.fleet import Fleet, Json
from store.keys import NODES
from store.model import status as model
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment, Task, may_become
from store.model.status import UNHEALTHY


def next_status(fleet: Fleet, deployment: str, now: float) -> Json | None:
    """The status record as it should be now, or None when it is as it should be."""
    old = fleet.status[deployment].data
    state = Deployment(old["status"])
    rows = [row for brief in old["allocations"] for row in _rows(fleet, brief)]
    new = model.deployment_state(
        state,
        [row["task_state"] for row in rows],
        wanted=fleet.deployments[deployment].data["wanted"],
        unhealthy=any(row.get("health") == UNHEALTHY for row in rows),
    )
    if new is not state and not may_become(state, new):
        new = state
    reason = _reason(fleet, new, rows)
    if new is state and (reason == old["reason"] or state in DEPLOYMENT_ENDED):
        return None
    status = {**old, "status": new, "reason": reason}
    if new in DEPLOYMENT_ENDED:
        status["ended"] = now
        if "tasks_left_out" not in old:  # else it was cut short, and these rows would be shorter still
            status["tasks"] = [{key: row[key] for key in row if key != "task_state"} for row in rows]
    return status


def _rows(fleet: Fleet, brief: Mapping[str, Any]) -> list[Json]:
    """A row for each task of one allocation, as the API shows it, and its `task_state`."""
    node, alloc_id = brief["node"], brief["id"]
    actual = fleet.states[node].actual.get(alloc_id, {})
    allocation = fleet.allocations.get(alloc_id)
    unsaid = {"reason": actual.get("note")}
    if allocation and _is_past(allocation.data, actual):
        actual = {}
    said = {task["name"]: task for task in actual.get("tasks", ())}
    lost = allocation is not None and is_lost(fleet, allocation.data)
    return [_row(name, node, said.get(name, unsaid), lost=lost) for name in brief["tasks"]]


def _is_past(allocation: Json, actual: Json) -> bool:
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

    Not where the node's record is missing: the store has lost it, and the agent joins again.
    """
    record = fleet.nodes.get(allocation["node"])
    if (NODES, allocation["node"]) in fleet.unreadable or record is None:
        return False
    return bool(record.data["uid"] != allocation["uid"])


def is_gone(fleet: Fleet, node: str) -> bool:
    """Whether a node is known to be offline, and not only unseen."""
    state = fleet.states[node]
    return state.settled and not state.online


def _reason(fleet: Fleet, state: Deployment, rows: list[Json]) -> str:
    if state in (Deployment.RUNNING, Deployment.COMPLETED, Deployment.STOPPED):
        return ""
    offline = sorted({row["node"] for row in rows if is_gone(fleet, row["node"])})
    if offline and state not in DEPLOYMENT_ENDED:
        return f"node {offline[0]} is offline"
    for wanted in (Task.FAILED, Task.LOST, Task.BACKOFF, Task.EXITED, Task.STOPPED, Task.WAITING):
        for row in rows:
            if row["task_state"] is wanted:
                text = f"task {row['name']} on {row['node']} {wanted}"
                return f"{text}: {row['reason']}" if row["reason"] else text
    for row in rows:
        if row["task_state"] is Task.PENDING and row["reason"]:
            return f"task {row['name']} on {row['node']}: {row['reason']}"
        if row.get("health") == UNHEALTHY:
            return f"task {row['name']} on {row['node']} is unhealthy: {row.get('health_reason', '')}"
    return "waiting for its nodes" if state is Deployment.PENDING else "tasks are stopping"
