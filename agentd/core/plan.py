"""The agent's plan: from orders, runs and the time to actions, each with its reason."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from agentd.core.restart import within
from agentd.core.runs import Run, TaskView, run_id, view
from store.model.lifecycle import TASK_ENDED, Task, TaskEvent, step
from store.model.spec import AllocSpec, TaskSpec

KILL_AGAIN = 1.0
"""Seconds between two SIGKILLs to a group that is still there."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to everything of a run."""

    run: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The stop signal to a run."""

    run: str
    signal: str
    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """A new run of a task."""

    alloc: AllocSpec
    task: TaskSpec
    attempt: int
    reason: str

    @property
    def run(self) -> str:
        """The id of the run."""
        return run_id(self.alloc.id, self.task.name, self.alloc.generation, self.attempt)


@dataclass(frozen=True, slots=True)
class Forget:
    """Runs that matter no more."""

    runs: tuple[str, ...]
    reason: str


Action = Kill | Stop | Start | Forget
ORDER = {Kill: 0, Stop: 1, Start: 2, Forget: 3}
"""What makes room goes first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in order, the tasks as they are, and when to plan again at the latest."""

    actions: tuple[Action, ...]
    views: Mapping[str, tuple[TaskView, ...]]
    wake_at: float | None = None


@dataclass(slots=True)
class _Draft:
    now: float
    boot: str
    actions: list[Action] = field(default_factory=list)
    wake_at: float | None = None

    def wake(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


def plan(
    desired: Mapping[str, AllocSpec],
    runs: Iterable[Run],
    now: float,
    *,
    boot: str,
    keep: Collection[str] | None = None,
) -> Plan:
    """What to do now. Live runs of what is not desired are left alone: they are unclaimed.

    `keep` are the allocations of all orders, unreadable ones included; ended runs of others are
    forgotten. None: nothing was obeyed in this life yet, so nothing is forgotten either.

    Cut short after any action, the next plan finishes the work.
    """
    draft = _Draft(now, boot)
    by_alloc: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_alloc[run.alloc].append(run)
    views = {
        alloc_id: _allocation(draft, alloc, by_alloc.get(alloc_id, []))
        for alloc_id, alloc in sorted(desired.items())
    }
    over = by_alloc.keys() - desired.keys() - set(keep) if keep is not None else ()
    for alloc_id in sorted(over):
        gone = tuple(run.id for run in by_alloc[alloc_id] if not run.live)
        if gone:
            draft.actions.append(Forget(gone, f"{alloc_id} is over"))
    actions = sorted(draft.actions, key=lambda action: ORDER[type(action)])
    return Plan(tuple(actions), views, draft.wake_at)


def _allocation(draft: _Draft, alloc: AllocSpec, runs: list[Run]) -> tuple[TaskView, ...]:
    old = [run for run in runs if run.generation != alloc.generation]
    for run in old:
        if run.live:
            _end(draft, run, "SIGTERM", 10.0, "an older generation")
    by_task: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.generation == alloc.generation:
            by_task[run.task].append(run)
    views = {
        task.name: view(task, by_task[task.name], wanted=alloc.wanted, boot=draft.boot)
        for task in alloc.tasks
    }
    for name in _in_order(alloc.tasks):
        views[name] = _task(draft, alloc, views, views[name], held=any(run.live for run in old))
    _forget_old(draft, alloc, old, views.values())
    return tuple(views[task.name] for task in alloc.tasks)


def _task(
    draft: _Draft, alloc: AllocSpec, views: Mapping[str, TaskView], task: TaskView, *, held: bool
) -> TaskView:
    last = task.last
    if alloc.wanted == "stopped":
        if last is not None and last.live:
            _end(draft, last, task.spec.stop.signal, task.spec.stop.timeout, "the allocation was stopped")
        return task
    if last is not None and last.live and last.stop_at is not None:
        _end(draft, last, task.spec.stop.signal, task.spec.stop.timeout, "it was being stopped")
        return task
    if task.state is Task.BACKOFF and task.retry_at is not None and task.retry_at > draft.now:
        draft.wake(task.retry_at)
        return task
    if task.state not in (Task.PENDING, Task.BACKOFF):
        return task
    if held:
        return replace(task, reason="waits for its older generation to end")
    if task.state is Task.PENDING:
        waiting = _waits_for(task.spec, views)
        if waiting is not None:
            return waiting_view(task, *waiting)
    why = "wanted" if task.last is None else task.reason
    draft.actions.append(Start(alloc, task.spec, task.attempt, why))
    return task


def waiting_view(task: TaskView, reason: str, over: bool) -> TaskView:  # noqa: FBT001 - a pair taken apart
    """A task held back by a dependency; `over`: for good."""
    event = TaskEvent.GIVE_UP if over else TaskEvent.HELD
    return replace(task, state=step(task.state, event), reason=reason)


def _waits_for(spec: TaskSpec, views: Mapping[str, TaskView]) -> tuple[str, bool] | None:
    for name, condition in sorted(spec.depends_on.items()):
        other = views.get(name)
        if other is None:
            return f"depends on {name}, which is not in this allocation", True
        if other.state is Task.COMPLETED or (condition == "started" and other.state is Task.RUNNING):
            continue
        if other.state in TASK_ENDED:
            return f"depends on {name}, which {other.state}", True
        return f"waits for {name} to be {condition}; it is {other.state}", False
    return None


def _end(draft: _Draft, run: Run, signal: str, timeout: float, reason: str) -> None:
    """Signal, grace, SIGKILL: one step of it."""
    if run.stop_at is None:
        draft.actions.append(Stop(run.id, signal, reason))
        draft.wake(draft.now + timeout)
        return
    deadline = run.stop_at + timeout
    if draft.now < deadline:
        draft.wake(deadline)
        return
    draft.actions.append(Kill(run.id, f"{reason}; still there after {timeout:g} s"))
    draft.wake(draft.now + KILL_AGAIN)


def _in_order(tasks: Iterable[TaskSpec]) -> list[str]:
    """Dependencies before those who need them, so that a failure runs down the chain in one plan."""
    left = {task.name: set(task.depends_on) for task in tasks}
    order: list[str] = []
    while left:
        ready = sorted(name for name, needs in left.items() if not needs & left.keys()) or sorted(left)
        order += ready
        for name in ready:
            del left[name]
    return order


def _forget_old(draft: _Draft, alloc: AllocSpec, old: list[Run], views: Iterable[TaskView]) -> None:
    """Runs whose part in restart policy is over."""
    gone = [run.id for run in old if not run.live]
    for task in views:
        gone += [run.id for run in task.runs[:-1] if not run.live and _is_past(draft, task, run)]
    if gone:
        draft.actions.append(Forget(tuple(gone), f"they matter no more to {alloc.id}"))


def _is_past(draft: _Draft, task: TaskView, run: Run) -> bool:
    """Whether a run can no longer count: not now, and not when the verdict on the last is read again."""
    policy, last = task.spec.restart, task.runs[-1]
    if not last.live:
        return not within(policy, run, last)
    return run.boot != draft.boot or draft.now - (run.ended or 0.0) > policy.window
