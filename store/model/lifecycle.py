"""The state machines of tasks and deployments: one table each; what is not in it raises."""

from enum import StrEnum


class Task(StrEnum):
    """States of a task."""

    PENDING = "pending"
    FETCHING = "fetching"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    BACKOFF = "backoff"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"


class TaskEvent(StrEnum):
    """What happens to a task."""

    FETCH = "fetch"  # its files are not there yet
    HELD = "held"  # a dependency is not there yet
    START = "start"  # the keeper is asked
    EXECED = "execed"
    EXEC_FAILED = "exec failed"
    EXIT = "exit"
    RETRY = "retry"  # policy: again, after a delay
    FINISH = "finish"  # policy: that was success
    GIVE_UP = "give up"  # policy: that was enough
    STOP = "stop"  # ended because it was asked to


class Deployment(StrEnum):
    """States of a deployment."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DEGRADED = "DEGRADED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


TASK_ENDED = frozenset({Task.COMPLETED, Task.FAILED, Task.STOPPED, Task.LOST})
DEPLOYMENT_ENDED = frozenset({Deployment.COMPLETED, Deployment.FAILED, Deployment.STOPPED})

_TASK: dict[tuple[Task, TaskEvent], Task] = {
    (Task.PENDING, TaskEvent.HELD): Task.WAITING,
    (Task.PENDING, TaskEvent.START): Task.STARTING,
    (Task.PENDING, TaskEvent.GIVE_UP): Task.FAILED,
    (Task.PENDING, TaskEvent.STOP): Task.STOPPED,
    (Task.PENDING, TaskEvent.FETCH): Task.FETCHING,
    (Task.FETCHING, TaskEvent.HELD): Task.WAITING,
    (Task.FETCHING, TaskEvent.START): Task.STARTING,
    (Task.FETCHING, TaskEvent.GIVE_UP): Task.FAILED,
    (Task.FETCHING, TaskEvent.STOP): Task.STOPPED,
    (Task.WAITING, TaskEvent.START): Task.STARTING,
    (Task.WAITING, TaskEvent.GIVE_UP): Task.FAILED,
    (Task.WAITING, TaskEvent.STOP): Task.STOPPED,
    (Task.STARTING, TaskEvent.EXECED): Task.RUNNING,
    (Task.STARTING, TaskEvent.EXEC_FAILED): Task.FAILED,
    (Task.STARTING, TaskEvent.EXIT): Task.EXITED,
    (Task.RUNNING, TaskEvent.EXIT): Task.EXITED,
    (Task.EXITED, TaskEvent.RETRY): Task.BACKOFF,
    (Task.EXITED, TaskEvent.FINISH): Task.COMPLETED,
    (Task.EXITED, TaskEvent.GIVE_UP): Task.FAILED,
    (Task.EXITED, TaskEvent.STOP): Task.STOPPED,
    (Task.BACKOFF, TaskEvent.START): Task.STARTING,
    # Begun anew after a reboot, say: its dependencies are as absent as they were at first.
    (Task.BACKOFF, TaskEvent.HELD): Task.WAITING,
    # Its directory was taken away meanwhile.
    (Task.BACKOFF, TaskEvent.FETCH): Task.FETCHING,
    (Task.BACKOFF, TaskEvent.GIVE_UP): Task.FAILED,
    # What could not be executed just now may be in a moment.
    (Task.STARTING, TaskEvent.RETRY): Task.BACKOFF,
    (Task.STARTING, TaskEvent.GIVE_UP): Task.FAILED,
    (Task.BACKOFF, TaskEvent.STOP): Task.STOPPED,
    # An order to stop ends what has already ended, too: nothing will start it again.
    (Task.COMPLETED, TaskEvent.STOP): Task.COMPLETED,
    (Task.FAILED, TaskEvent.STOP): Task.FAILED,
}

_DEPLOYMENT: dict[Deployment, frozenset[Deployment]] = {
    Deployment.PENDING: frozenset(Deployment) - {Deployment.PENDING},
    Deployment.RUNNING: frozenset(Deployment) - {Deployment.RUNNING, Deployment.PENDING},
    Deployment.DEGRADED: frozenset(Deployment) - {Deployment.DEGRADED, Deployment.PENDING},
    Deployment.COMPLETED: frozenset({Deployment.STOPPING, Deployment.STOPPED}),
    Deployment.FAILED: frozenset({Deployment.STOPPING, Deployment.STOPPED}),
    Deployment.STOPPING: frozenset({Deployment.STOPPED}),
    Deployment.STOPPED: frozenset(),
}


class IllegalTransition(ValueError):
    """The table has no such step."""


def step(state: Task, event: TaskEvent) -> Task:
    """The state after `event`.

    Raises:
        IllegalTransition: this cannot happen to a task in `state`.
    """
    try:
        return _TASK[state, event]
    except KeyError:
        raise IllegalTransition(f"a task that is {state} cannot see '{event}'") from None


def may_become(old: Deployment, new: Deployment) -> bool:
    """Whether a deployment may go from `old` to `new`; staying is not going."""
    return new in _DEPLOYMENT[old]


def contract_number(state: Deployment) -> int:
    """Contract 1: 0 pending or running, 1 anything else."""
    return 0 if state in (Deployment.PENDING, Deployment.RUNNING) else 1
