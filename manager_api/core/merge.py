"""A node may have obeyed more than the store remembers: what the store lost, the nodes still know."""

from manager_api.core.actions import Action, Reorder
from manager_api.core.fleet import Fleet, Json
from manager_api.core.layout import Part
from store.model import status

MOST_RAISED = 10**6
"""Generations; a node that claims more is not believed."""


def remembered(fleet: Fleet, node: str) -> list[Action]:
    """Raise allocations to what their node has obeyed of them, so that it can obey again.

    Nothing that runs is restarted by it. What the node was told to stop stays stopped, since stopped
    is terminal; unless this epoch began from a backup that somebody put in place: then what the
    backup says is meant, and it runs again, as a later generation.
    """
    found: dict[str, dict[str, tuple[int, Json]]] = {}
    record, said_of = fleet.nodes[node].data, fleet.states[node].actual
    for alloc_id in sorted(fleet.on_node.get(node, ())):
        stored, said = fleet.allocations[alloc_id], said_of.get(alloc_id)
        if said is None or said.get("uid") != record["uid"] or stored.data["uid"] != record["uid"]:
            continue
        new = _raised(stored.data, said, restored=fleet.restored)
        if new is not None:
            found.setdefault(stored.data["deployment"], {})[alloc_id] = stored.rev, new
    why = f"node {node} has obeyed more than the store remembers"
    return [Reorder(deployment, orders, why) for deployment, orders in found.items()]


def _raised(stored: Json, said: Json, *, restored: bool) -> Json | None:
    generation, stopped = int(said.get("generation", 0)), said.get("wanted") == "stopped"
    ours = int(stored["generation"]), stored["wanted"] == "stopped"
    if (generation, stopped) <= ours or generation > ours[0] + MOST_RAISED:
        return None
    if not stopped or ours[1]:
        return {**stored, "generation": generation}
    if restored:
        return {**stored, "generation": generation + 1}
    return {**stored, "generation": generation, "wanted": "stopped"}


def running_already(fleet: Fleet, deployment: str) -> dict[str, tuple[str, Json]]:
    """Allocations of a deployment whose placing the store has lost: id to the node and what it says of it.

    Also of those that ended: a job must not run again. Only of deployments older than this epoch, or that
    may have been decided before: nothing else can run.
    """
    if fleet.deployments[deployment].rev > fleet.began and deployment not in fleet.doubtful:
        return {}
    prefix = f"{deployment}."
    found = [
        (status.ended(status.task_states(said)), alloc_id, (node, said))
        for node, state in fleet.states.items()
        if node in fleet.nodes
        for alloc_id, said in state.actual.items()
        if alloc_id.startswith(prefix)
        and said.get("uid") == fleet.nodes[node].data["uid"]
        and said.get("wanted") == "running"
    ]
    found.sort(key=lambda each: not each[0])  # what runs counts more than what ended
    return {alloc_id: where for _, alloc_id, where in found}


def is_part(said: Json, part: Part) -> bool:
    """Whether what a node runs are the tasks of this part of a group."""
    return {task["name"] for task in said.get("tasks", ())} == {task.name for task in part.tasks}
