"""What a node says of its tasks, and what that makes of a deployment."""

from collections.abc import Iterable, Mapping
from typing import Any

from store.model.lifecycle import TASK_ENDED, Deployment, Task

_UP = frozenset({Task.RUNNING, Task.COMPLETED})
_WELL = frozenset({None, "none", "healthy"})
_TROUBLED = frozenset({Task.FAILED, Task.LOST, Task.BACKOFF, Task.EXITED, Task.STOPPED})


UNHEALTHY = "unhealthy"
DETAILS = ("health", "health_reason", "limits", "oom_kills", "fetch")
"""What a node may say of a task beside its state."""


def task_states(actual: Mapping[str, Any]) -> list[Task]:
    """The states in one `actual` entry; what this release does not know counts as pending."""
    return [_state(each.get("state")) for each in actual.get("tasks", ())]


def _state(text: object) -> Task:
    try:
        return Task(str(text))
    except ValueError:
        return Task.PENDING


def is_up(actual: Mapping[str, Any]) -> bool:
    """Whether each task of an allocation runs and is well, or has completed, by what its node says."""
    tasks = actual.get("tasks", ())
    for task in tasks:
        if task.get("state") not in _UP or task.get("health") not in _WELL:
            return False
    return bool(tasks)


def ended(states: Iterable[Task]) -> bool:
    """Whether nothing of it will run again."""
    return all(state in TASK_ENDED for state in states)


def deployment_state(
    old: Deployment, states: list[Task], *, wanted: str, unhealthy: bool = False
) -> Deployment:
    """The state of a deployment whose tasks are in `states` (one for each task it should have)."""
    if wanted == "stopped":
        return Deployment.STOPPED if ended(states) else Deployment.STOPPING
    if ended(states):
        good = all(state is Task.COMPLETED for state in states)
        return Deployment.COMPLETED if good else Deployment.FAILED
    if unhealthy or any(state in _TROUBLED for state in states):
        return Deployment.DEGRADED
    if all(state in _UP for state in states):
        return Deployment.RUNNING
    # Something has yet to start: that is news only before everything was up once.
    return Deployment.PENDING if old is Deployment.PENDING else old
