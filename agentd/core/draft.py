"""What a plan is made from and what it grows into; how a run is brought to its end."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from agentd.core.actions import Action, Fetch, Kill, Stop
from agentd.core.contact import Contact, cut_off
from agentd.core.files.views import UNKNOWN, FilesView, Key
from agentd.core.health import HealthView
from agentd.core.runs import HOOK_TIMEOUT, Run, Views
from store.model.policies import Limits
from store.model.spec import AllocSpec, TaskSpec

KILL_AGAIN = 1.0
"""Seconds between two SIGKILLs to a tree that is still there."""
STRANGERS = ("SIGTERM", 10.0)
"""How runs of tasks end that no order names any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is so on this node. Times are seconds since boot."""

    runs: Collection[Run]
    boot: str
    health: Mapping[str, HealthView] = field(default_factory=dict)
    """By run id."""
    limited: Mapping[str, Limits] = field(default_factory=dict)
    """The limits that runs have been given, as far as this brain knows."""
    excess: Mapping[str, str] = field(default_factory=dict)
    """Runs that use more than they may where no kernel enforces it, and what it is."""
    views: Views = field(default_factory=Views)
    """What was folded before."""
    contact: Contact = field(default_factory=Contact)
    files: Mapping[Key, FilesView] = field(default_factory=dict)
    """How far the files of tasks are, as far as anybody asked for them."""


@dataclass(slots=True)
class Draft:
    """A plan in the making."""

    now: float
    seen: Observed
    actions: list[Action] = field(default_factory=list)
    severed: set[str] = field(default_factory=set)
    """Runs that end because the store is out of reach: nothing else is to be done about them."""
    fetches: list[Fetch] = field(default_factory=list)
    wake_at: float | None = None

    def files(self, alloc: AllocSpec, task: TaskSpec) -> FilesView | None:
        """How far the files of a task are; None: it needs none."""
        if not task.has_files:
            return None
        return self.seen.files.get((alloc.id, task.name, alloc.generation), UNKNOWN)

    def wake(self, at: float) -> None:
        """Plan again then, at the latest."""
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


def stop(draft: Draft, spec: TaskSpec, run: Run, reason: str) -> None:
    """Bring a run of a task to its end, as its orders say."""
    end(draft, run, spec.stop.signal, spec.stop.timeout, reason)


def end(draft: Draft, run: Run, signal: str, timeout: float, reason: str, why: str | None = None) -> None:
    """Signal, grace, SIGKILL: one step of it. `why` is kept with the run: it was not by order."""
    if run.id in draft.severed:
        return
    if run.stop_at is None:
        draft.actions.append(Stop(run.id, signal, reason, why))
        draft.wake(draft.now + timeout)
        return
    deadline = run.stop_at + timeout
    if draft.now < deadline:
        draft.wake(deadline)
        return
    draft.actions.append(Kill(run.id, f"{reason}; still there after {timeout:g} s"))
    draft.wake(draft.now + KILL_AGAIN)


def stopping(alloc: AllocSpec, name: str) -> tuple[str, float]:
    """The signal and the grace by which runs of a task end, whether or not an order still names it."""
    found = next((task.stop for task in alloc.tasks if task.name == name), None)
    return (found.signal, found.timeout) if found is not None else STRANGERS


def overtime(draft: Draft, hook: Run) -> bool:
    """Whether a living hook takes longer than it may; then it is killed."""
    deadline = hook.started + HOOK_TIMEOUT
    if draft.now < deadline:
        draft.wake(deadline)
        return False
    why = f"the {hook.role} hook took longer than {HOOK_TIMEOUT:g} s"
    draft.actions.append(Kill(hook.id, why, why))
    draft.wake(draft.now + KILL_AGAIN)
    return True


def sever(draft: Draft, alloc: AllocSpec, runs: Iterable[Run]) -> None:
    """End what must not go on without the store: runs of every generation, hooks, too."""
    if alloc.stop_after is None:
        return
    for run in runs:
        if not run.live:
            continue
        until = draft.seen.contact.until(run, alloc.stop_after)
        if draft.now < until:
            draft.wake(until)
            continue
        why = cut_off(alloc.stop_after)
        end(draft, run, *stopping(alloc, run.task), why, why)
        draft.severed.add(run.id)
