"""Runs of tasks as the keeper tells of them, and what they make of a task's state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agentd.core.restart import Again, Done, Enough, judge
from store.model.lifecycle import Task, TaskEvent, step
from store.model.spec import TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process of a task, once. Times are seconds since its own `boot`, `_wall` since 1970."""

    id: str
    alloc: str
    task: str
    generation: int
    attempt: int
    state: str
    pid: int | None
    start: int | None
    code: int | None
    error: str | None
    lost: str | None
    started: float
    started_wall: float
    ended: float | None
    ended_wall: float | None
    stop_at: float | None
    boot: str
    role: str = "main"
    """`main`, or the hook `pre_start` or `post_stop` around the main run of the same attempt."""
    why: str | None = None
    """Why it was stopped, if that was not by order: it was unhealthy, say."""
    oom: int = 0
    left: tuple[tuple[int, str], ...] = ()
    """Processes (pid, command) that outlived the main one and were killed."""
    cgroups: tuple[str, ...] = ()

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Run":
        """From the keeper's words; newer keepers may say more, older ones less."""
        known = {key: raw[key] for key in cls.__slots__ if key in raw}
        left = tuple((pid, command) for pid, command in raw.get("left", ()))
        return cls(**{**known, "left": left, "cgroups": tuple(raw.get("cgroups", ()))})

    @property
    def live(self) -> bool:
        """Whether a process of it may still be there."""
        return self.state in ("starting", "running", "draining")


def run_id(alloc: str, task: str, generation: int, attempt: int) -> str:
    """The name of a run; asking the keeper twice for the same one is harmless."""
    return f"{alloc}/{task}/{generation}.{attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task as it is now."""

    spec: TaskSpec
    state: Task
    runs: tuple[Run, ...]
    reason: str = ""
    retry_at: float | None = None

    @property
    def last(self) -> Run | None:
        """The latest run."""
        return self.runs[-1] if self.runs else None

    @property
    def attempt(self) -> int:
        """The number that the next run gets."""
        return self.runs[-1].attempt + 1 if self.runs else 0


def view(spec: TaskSpec, runs: Iterable[Run], *, wanted: str, boot: str) -> TaskView:
    """Fold the runs of one generation of a task through its lifecycle; `boot` is the present one."""
    ordered = tuple(sorted(runs, key=lambda run: run.attempt))
    state = Task.PENDING
    for _ in ordered[:-1]:  # another run followed: policy said so then
        for event in (TaskEvent.START, TaskEvent.EXECED, TaskEvent.EXIT, TaskEvent.RETRY):
            state = step(state, event)
    now = TaskView(spec=spec, state=state, runs=ordered)
    if ordered:
        now = _last_run(replace(now, state=step(state, TaskEvent.START)), ordered[-1], wanted, boot)
    if wanted == "stopped" and now.state in (Task.PENDING, Task.BACKOFF):
        return replace(now, state=step(now.state, TaskEvent.STOP), retry_at=None)
    return now


def _last_run(now: TaskView, run: Run, wanted: str, boot: str) -> TaskView:
    """What the latest run, which was asked for, makes of a task."""
    if run.state == "starting":
        return now
    if run.state == "failed":
        return replace(now, state=step(now.state, TaskEvent.EXEC_FAILED), reason=run.error or "")
    running = step(now.state, TaskEvent.EXECED)
    if run.live:
        return replace(now, state=running, reason="stopping" if run.stop_at is not None else "")
    exited = step(running, TaskEvent.EXIT)
    if run.stop_at is not None and wanted == "stopped":
        return replace(now, state=step(exited, TaskEvent.STOP), reason=exit_reason(run))
    match judge(now.spec.restart, now.runs, boot):
        case Again(at, why):
            return replace(now, state=step(exited, TaskEvent.RETRY), reason=why, retry_at=at)
        case Done():
            return replace(now, state=step(exited, TaskEvent.FINISH))
        case Enough(why):
            return replace(now, state=step(exited, TaskEvent.GIVE_UP), reason=why)


def exit_reason(run: Run) -> str:
    """How a run ended, for people."""
    if run.lost:
        return run.lost
    if run.code is None:
        return "exit code unknown"
    if run.code > 128:
        return f"killed by {signal_name(run.code - 128)} (exit code {run.code})"
    return f"exit code {run.code}"


def signal_name(number: int) -> str:
    """SIGTERM for 15."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
