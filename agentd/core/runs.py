"""Runs of tasks as the keeper tells of them, and what they make of a task's state."""

import errno
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import is_
from typing import Any

from agentd.core.endings import exit_reason, left_behind
from agentd.core.files.views import FilesView
from agentd.core.health import HealthView, begin
from agentd.core.restart import Again, Done, Enough, judge
from agentd.keeper.events import STATES
from store.model.lifecycle import Task, TaskEvent, step
from store.model.spec import TaskSpec

PASSING = frozenset({
    errno.EAGAIN, errno.ENOMEM, errno.ETXTBSY, errno.ENFILE, errno.EMFILE, errno.ENOSPC, errno.EDQUOT,
    errno.EIO, errno.ESTALE,
})  # fmt: skip
"""Errors of a start that restart policy deals with; the others are final: nothing mends them by itself."""
NO_DIRECTORY = f"cwd:{errno.ENOENT}"
PORT = "port "
"""How an error begins that names a port of the task which somebody else holds."""
NOTHING: Mapping[str, HealthView] = {}
UNPROBED = HealthView()


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
    signal: int | None = None
    """What killed it, 0 for nothing; None where the keeper does not say."""
    left: tuple[tuple[int, str], ...] = ()
    """Processes (pid, command) that outlived the main one and were killed."""
    cgroups: tuple[str, ...] = ()
    deadline: float | None = None
    """When its keeper stops it unless that is put off."""

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Run":
        """From the keeper's words; newer keepers may say more, older ones less.

        To brains that know no hooks, a hook is the run of a task that they were never told of.
        """
        known = {key: raw[key] for key in cls.__slots__ if key in raw}
        task = raw["task"].removesuffix(f":{raw.get('role', MAIN)}")
        left = tuple((pid, command) for pid, command in raw.get("left", ()))
        return cls(**{**known, "task": task, "left": left, "cgroups": tuple(raw.get("cgroups", ()))})

    def after(self, entry: Mapping[str, Any]) -> "Run":
        """The run after an entry of the keeper's journal about it."""
        known = {key: value for key, value in entry.items() if key in _CHANGING}
        for name in ("left", "cgroups"):
            if name in known:
                known[name] = tuple(tuple(each) if name == "left" else each for each in known[name])
        return replace(self, state=STATES.get(entry["kind"], self.state), **known)

    @property
    def live(self) -> bool:
        """Whether a process of it may still be there."""
        return self.state in ("starting", "running", "draining")


_CHANGING = frozenset(Run.__slots__) - {"id", "alloc", "task", "generation", "attempt", "role", "state"}
MAIN, PRE_START, POST_STOP = "main", "pre_start", "post_stop"
HOOK_TIMEOUT = 60.0
"""Seconds that a hook may take."""


def run_id(alloc: str, task: str, generation: int, attempt: int, role: str = MAIN) -> str:
    """The name of a run; asking the keeper twice for the same one is harmless."""
    suffix = "" if role == MAIN else f":{role}"
    return f"{alloc}/{task}/{generation}.{attempt}{suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task as it is now."""

    spec: TaskSpec
    state: Task
    runs: tuple[Run, ...]
    """The run that stands for each attempt: the main one, or the hook that kept it from starting."""
    hook: Run | None = None
    """A hook that runs just now."""
    next: str | None = None
    """The role of the run that is due, if one is."""
    reason: str = ""
    retry_at: float | None = None
    health: HealthView = UNPROBED
    files: FilesView | None = None
    """While it is fetching: how far its files are."""

    @property
    def last(self) -> Run | None:
        """The latest run."""
        return self.runs[-1] if self.runs else None

    @property
    def attempt(self) -> int:
        """The number that the next main run gets."""
        if self.last is None:
            return 0
        return self.last.attempt + (self.last.role == MAIN or self.state is Task.BACKOFF)

    @property
    def busy(self) -> bool:
        """Whether anything of it lives, or has yet to run before it is over."""
        return self.next == POST_STOP or any(run is not None and run.live for run in (self.last, self.hook))


class Views:
    """Folds runs to views; what has not changed since is not folded again: the same records, by identity."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[tuple[Any, ...], TaskView]] = {}

    def of(
        self,
        alloc: str,
        spec: TaskSpec,
        runs: list[Run],
        wanted: str,
        boot: str,
        health: Mapping[str, HealthView],
    ) -> TaskView:
        """The view of the present generation's runs of a task."""
        last = health.get(runs[-1].id) if runs else None
        inputs = (spec, wanted, boot, last, *runs)
        key = (alloc, spec.name)
        known = self._known.get(key)
        if known is not None and len(known[0]) == len(inputs) and all(map(is_, known[0], inputs)):
            return known[1]
        found = view(spec, runs, wanted=wanted, boot=boot, health=health)
        self._known[key] = inputs, found
        return found

    def keep(self, allocs: Collection[str]) -> None:
        """Forget those of other allocations."""
        for key in [key for key in self._known if key[0] not in allocs]:
            del self._known[key]


def view(
    spec: TaskSpec, runs: Iterable[Run], *, wanted: str, boot: str, health: Mapping[str, HealthView] = NOTHING
) -> TaskView:
    """Fold the runs of one generation of a task through its lifecycle; `boot` is the present one."""
    by_attempt: dict[int, dict[str, Run]] = {}
    for run in runs:
        by_attempt.setdefault(run.attempt, {})[run.role] = run
    attempts = [by_attempt[number] for number in sorted(by_attempt)]
    ordered = tuple(each.get(MAIN) or each.get(PRE_START) or each[POST_STOP] for each in attempts)
    state = Task.PENDING
    for _ in ordered[:-1]:  # another attempt followed: policy said so then
        for event in (TaskEvent.START, TaskEvent.EXECED, TaskEvent.EXIT, TaskEvent.RETRY):
            state = step(state, event)
    now = TaskView(spec=spec, state=state, runs=ordered, next=first_role(spec))
    if ordered:
        last = ordered[-1]
        now = replace(now, state=step(state, TaskEvent.START), next=None)
        if last.role == PRE_START:
            now = _pre_start(now, last, wanted, boot)
        else:
            now = _main(now, last, attempts[-1].get(POST_STOP), wanted, boot)
        if now.state is Task.RUNNING:
            now = replace(now, health=health.get(last.id, begin(spec.health, last.started)))
    if wanted == "stopped" and now.state in (Task.PENDING, Task.BACKOFF):
        return replace(now, state=step(now.state, TaskEvent.STOP), retry_at=None, next=None)
    return now


def first_role(spec: TaskSpec) -> str:
    """What an attempt begins with."""
    return PRE_START if spec.pre_start else MAIN


def _pre_start(now: TaskView, hook: Run, wanted: str, boot: str) -> TaskView:
    """The hook before a main run; if it fails, so has the start."""
    if hook.live:
        return replace(now, hook=hook, reason="its pre_start hook runs")
    if _lost_its_files(now.spec, hook):
        return _again(now)
    if hook.state == "failed" and _is_passing(hook.error):
        return _verdict(now, boot, f"{PRE_START} hook: ")
    if hook.state == "failed":
        error = f"{PRE_START}|{hook.error}"
        return replace(now, state=step(now.state, TaskEvent.EXEC_FAILED), reason=error)
    if hook.code == 0 and wanted == "running":
        return replace(now, next=MAIN)
    exited = replace(now, state=step(now.state, TaskEvent.EXIT))
    if wanted == "stopped":
        return replace(exited, state=step(exited.state, TaskEvent.STOP), reason=exit_reason(hook))
    return _verdict(exited, boot, f"{PRE_START} hook: ")


def _main(now: TaskView, run: Run, after: Run | None, wanted: str, boot: str) -> TaskView:
    """What the latest main run, which was asked for, makes of a task."""
    if run.state == "starting":
        return now
    if _lost_its_files(now.spec, run):
        return _again(now)
    if run.state == "failed" and _is_passing(run.error):
        return _verdict(now, boot)
    if run.state == "failed":
        return replace(now, state=step(now.state, TaskEvent.EXEC_FAILED), reason=run.error or "")
    running = step(now.state, TaskEvent.EXECED)
    if run.live:
        return replace(now, state=running, reason=_stopping(run) if run.stop_at is not None else "")
    now = replace(now, state=step(running, TaskEvent.EXIT))
    if now.spec.post_stop and (after is None or after.live):
        return replace(now, hook=after, next=None if after else POST_STOP, reason="its post_stop hook runs")
    if run.stop_at is not None and run.why is None and wanted == "stopped":
        now = replace(now, state=step(now.state, TaskEvent.STOP), reason=exit_reason(run))
    else:
        now = _verdict(now, boot)
    trouble = hook_trouble(after)
    return replace(now, reason=f"{now.reason}; {trouble}".removeprefix("; ")) if trouble else now


def _lost_its_files(spec: TaskSpec, run: Run) -> bool:
    """Whether the directory of a task's files vanished in the moment in which it was started."""
    homely = bool(spec.artifacts) and not spec.cwd and spec.container is None
    return homely and run.state == "failed" and run.error == NO_DIRECTORY


def _again(now: TaskView) -> TaskView:
    """At once, as soon as its files are there again: policy is not asked, as it was nobody's fault."""
    state = step(now.state, TaskEvent.RETRY)
    return replace(now, state=state, reason="its files were gone", next=first_role(now.spec))


def _verdict(now: TaskView, boot: str, what: str = "") -> TaskView:
    """What restart policy says of a task that has ended by itself."""
    match judge(now.spec.restart, now.runs, boot):
        case Again(at, why):
            following, state = first_role(now.spec), step(now.state, TaskEvent.RETRY)
            return replace(now, state=state, reason=what + why, retry_at=at, next=following)
        case Done(why):
            left = left_behind(now.runs[-1])
            reason = f"{why}; {left}".strip("; ")
            return replace(now, state=step(now.state, TaskEvent.FINISH), reason=reason)
        case Enough(why):
            return replace(now, state=step(now.state, TaskEvent.GIVE_UP), reason=what + why)


def is_port_held(run: Run) -> bool:
    """Whether a run was not started because somebody else had a port of its task."""
    return (run.error or "").startswith(PORT)


def _is_passing(error: str | None) -> bool:
    """Whether what kept a run from starting may be over in a moment: a held port, or `step:errno`."""
    if (error or "").startswith(PORT):
        return True
    number = (error or "").partition(":")[2]  # sentences about files may end in a port
    return number.isdigit() and int(number) in PASSING


def hook_trouble(hook: Run | None) -> str:
    """What went wrong with a hook, or nothing."""
    if hook is None or hook.live or hook.code == 0:
        return ""
    return f"{hook.role} hook: {hook.error or exit_reason(hook)}"


def _stopping(run: Run) -> str:
    if run.state != "draining":
        return f"stopping: {run.why}" if run.why else "stopping"
    left = "; ".join(f"{pid} {command}" for pid, command in run.left)
    return f"waits for what it left behind: {left}" if left else "waits for its last processes to end"
