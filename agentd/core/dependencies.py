"""What the tasks of an allocation wait for: those they need to start, those who need them to stop."""

from collections.abc import Iterable, Mapping

from agentd.core.health import Health
from agentd.core.runs import TaskView
from store.model.lifecycle import TASK_ENDED, Task
from store.model.spec import PeerState, TaskSpec


def waits_for(
    spec: TaskSpec, views: Mapping[str, TaskView], peers: Mapping[str, PeerState]
) -> tuple[str, bool] | None:
    """Why a task cannot start, and whether that is for good; None if it can.

    What is no task of the allocation is a peer: a group of the deployment, wherever it runs.
    """
    for name, condition in sorted(spec.depends_on.items()):
        other = views.get(name)
        if other is None:
            waiting = _waits_for_peer(name, peers.get(name))
            if waiting is not None:
                return waiting, False
            continue
        if _holds(other, condition):
            continue
        if other.state in TASK_ENDED:
            needed = f" being {condition}" if other.state is Task.COMPLETED else ""
            return f"depends on {name}{needed}, which {other.state}", True
        health = f", {other.health.state}" if condition == "healthy" and other.state is Task.RUNNING else ""
        return f"waits for {name} to be {condition}; it is {other.state}{health}", False
    return None


def _waits_for_peer(key: str, peer: PeerState | None) -> str | None:
    """Why a peer holds a task back; None: it does not. What it is now says nothing for good."""
    if peer is None:
        return f"waits to hear of {key}"
    return None if peer.met else f"waits for {key}: {peer.reason}".removesuffix(": ")


def _holds(other: TaskView, condition: str) -> bool:
    if condition == "healthy":
        return other.state is Task.RUNNING and other.health.state is Health.HEALTHY
    return other.state is Task.COMPLETED or (condition == "started" and other.state is Task.RUNNING)


def dependents(tasks: Iterable[TaskSpec]) -> dict[str, list[str]]:
    """Who needs each task."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        for name in task.depends_on:
            found.setdefault(name, []).append(task.name)
    return found


def still_needed(needed_by: Iterable[str], views: Mapping[str, TaskView]) -> str | None:
    """One of those who need a task that is still there; tasks stop in reverse order."""
    return next((name for name in needed_by if views[name].busy), None)


def in_order(tasks: Iterable[TaskSpec]) -> list[str]:
    """Dependencies before those who need them, so that a failure runs down the chain in one plan."""
    left = {task.name: set(task.depends_on) for task in tasks}
    if not any(left.values()):
        return list(left)
    order: list[str] = []
    while left:
        ready = sorted(name for name, needs in left.items() if not needs & left.keys()) or sorted(left)
        order += ready
        for name in ready:
            del left[name]
    return order
