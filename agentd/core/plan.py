"""The agent's plan: from orders, runs and the time to actions, each with its reason."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from agentd.core.actions import ORDER, Action, Fetch, Forget, Limit, Start, Stop
from agentd.core.dependencies import dependents, in_order, still_needed, waits_for
from agentd.core.draft import STRANGERS, Draft, Observed, end, overtime, sever, stop
from agentd.core.fetching import MEANWHILE, OTHERS, lacking, note, older_go_on, see_to_older
from agentd.core.health import Health
from agentd.core.restart import OVER, blamed, within
from agentd.core.runs import MAIN, POST_STOP, Run, TaskView, view
from store.model.lifecycle import TASK_ENDED, Task, TaskEvent, step
from store.model.policies import Limits
from store.model.spec import AllocSpec, TaskSpec

OLDER = "waits for its older generation to end"


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in order, the tasks as they are, and when to plan again at the latest."""

    actions: tuple[Action, ...]
    views: Mapping[str, tuple[TaskView, ...]]
    wake_at: float | None = None
    fetches: tuple[Fetch, ...] = ()
    """The files that are needed now: no steps, but what holds as long as plans say so."""


def plan(
    desired: Mapping[str, AllocSpec], seen: Observed, now: float, *, keep: Collection[str] | None = None
) -> Plan:
    """What to do now. Live runs of what is not desired are left alone: they are unclaimed.

    `keep` are the allocations of all orders, unreadable ones included; ended runs of others are
    forgotten. None: nothing was obeyed in this life yet, so nothing is forgotten either.

    Cut short after any action, the next plan finishes the work.
    """
    draft = Draft(now, seen)
    seen.views.keep(desired.keys())
    by_alloc: dict[str, list[Run]] = defaultdict(list)
    for run in seen.runs:
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
    return Plan(tuple(actions), views, draft.wake_at, tuple(draft.fetches))


def _allocation(draft: Draft, alloc: AllocSpec, runs: list[Run]) -> tuple[TaskView, ...]:
    seen = draft.seen
    sever(draft, alloc, runs)
    by_task: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.generation == alloc.generation:
            by_task[run.task].append(run)
    views = {
        task.name: seen.views.of(alloc.id, task, by_task[task.name], alloc.wanted, seen.boot, seen.health)
        for task in alloc.tasks
    }
    old = [run for run in runs if run.generation != alloc.generation]
    if older_go_on(draft, alloc, views, old):
        see_to_older(draft, alloc, old)
        held = MEANWHILE
    else:
        held = OLDER if _replace_old(draft, alloc, old) else ""
    if alloc.wanted == "stopped":
        needed_by = dependents(alloc.tasks)
        for task in alloc.tasks:
            views[task.name] = _ending(draft, alloc, views[task.name], needed_by.get(task.name, ()), views)
    else:
        for name in in_order(alloc.tasks):
            views[name] = _task(draft, alloc, views, views[name], held=held)
        note(draft, alloc, views.values())
    if held:  # nothing is over before what it was to replace has ended
        over = {name: task for name, task in views.items() if task.state in TASK_ENDED}
        views |= {name: replace(task, state=Task.WAITING, reason=OLDER) for name, task in over.items()}
    _forget_old(draft, alloc, [] if held else old, views.values(), by_task)
    return tuple(views[task.name] for task in alloc.tasks)


def _replace_old(draft: Draft, alloc: AllocSpec, old: list[Run]) -> bool:
    """Bring runs of older generations to their end, as an order to stop would; whether to wait for it."""
    by_generation: dict[int, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in old:
        by_generation[run.generation][run.task].append(run)
    held = False
    needed_by = dependents(alloc.tasks) if old else {}
    for generation, by_task in by_generation.items():
        former = replace(alloc, generation=generation, wanted="stopped")
        views = {
            task.name: view(task, by_task.get(task.name, ()), wanted="stopped", boot=draft.seen.boot)
            for task in alloc.tasks
        }
        for task in alloc.tasks:
            _ending(draft, former, views[task.name], needed_by.get(task.name, ()), views)
        strangers = [run for name in by_task.keys() - views.keys() for run in by_task[name] if run.live]
        for run in strangers:
            end(draft, run, *STRANGERS, "an older generation")
        held = held or bool(strangers) or any(each.busy for each in views.values())
    return held


def _ending(
    draft: Draft, alloc: AllocSpec, task: TaskView, needed_by: Iterable[str], views: Mapping[str, TaskView]
) -> TaskView:
    """A task that is not wanted any more: it stops after those who need it."""
    if _sees_to_hooks(draft, alloc, task) or task.last is None or not task.last.live:
        return task
    needed = still_needed(needed_by, views) if task.last.stop_at is None else None
    if needed is not None:
        return replace(task, reason=f"stops after {needed}, which needs it")
    stop(draft, task.spec, task.last, "the allocation was stopped")
    return task


def _task(
    draft: Draft, alloc: AllocSpec, views: Mapping[str, TaskView], task: TaskView, *, held: str
) -> TaskView:
    if _sees_to_hooks(draft, alloc, task):
        return task
    if task.last is not None and task.last.live:
        return task if task.last.id in draft.severed else _living(draft, task, task.last)
    return _due(draft, alloc, views, task, held=held)


def _sees_to_hooks(draft: Draft, alloc: AllocSpec, task: TaskView) -> bool:
    """Whether a hook is under way or due: it comes before all else."""
    if task.next == POST_STOP and task.last is not None:
        if draft.seen.contact.refusal(alloc, draft.now) is None:
            _start(draft, alloc, task, task.last.attempt, "its main run has ended")
        return True
    if task.hook is None:
        return False
    if task.hook.id in draft.severed:
        return True
    return overtime(draft, task.hook) or task.hook.role == POST_STOP


def _living(draft: Draft, task: TaskView, run: Run) -> TaskView:
    """A run that is wanted: stop it if it is ill, over its time or its due; else see to its limits."""
    spec = task.spec
    if run.stop_at is not None:
        stop(draft, spec, run, "it was being stopped")
        return task
    if run.role != MAIN:
        return task
    why = _fault(draft, task, run)
    if why is not None:
        draft.actions.append(Stop(run.id, spec.stop.signal, why, why))
        draft.wake(draft.now + spec.stop.timeout)
    elif task.state is Task.RUNNING and _limits_differ(draft.seen.limited.get(run.id), run, spec):
        draft.actions.append(Limit(run, spec.limits, "its limits were changed"))
    return task


def _limits_differ(known: Limits | None, run: Run, spec: TaskSpec) -> bool:
    """Whether limits have to be written; a brain that has not done so yet cannot know what they are."""
    if known is None:
        return bool(run.cgroups) or bool(spec.limits)
    return known != spec.limits


def _fault(draft: Draft, task: TaskView, run: Run) -> str | None:
    """Why a run is not to go on, although it is wanted."""
    spec = task.spec
    if run.id in draft.seen.excess:
        return draft.seen.excess[run.id]
    restarts = spec.health is not None and spec.health.on_failure == "restart"
    if restarts and task.health.state is Health.UNHEALTHY:
        return f"unhealthy: {task.health.reason}"
    if spec.duration is not None and run.boot == draft.seen.boot:
        if draft.now >= run.started + spec.duration:
            return f"{OVER} ({spec.duration:g} s)"
        draft.wake(run.started + spec.duration)
    return None


def _due(
    draft: Draft, alloc: AllocSpec, views: Mapping[str, TaskView], task: TaskView, *, held: str
) -> TaskView:
    """Start what is to be started, if nothing holds it back; `held` says why runs of older ones do."""
    if task.next is None:
        return task
    if task.state is Task.BACKOFF and task.retry_at is not None and task.retry_at > draft.now:
        draft.wake(task.retry_at)
        return task
    waiting = None
    if not held and (task.state is Task.PENDING or (task.last is not None and not blamed(task.last))):
        waiting = waits_for(task.spec, views, alloc.peers)
    if waiting is None or not waiting[1]:  # files are fetched meanwhile, but not for nothing
        fetching = lacking(draft, alloc, task)
        if fetching is not None:
            return replace(fetching, reason="; ".join(filter(None, (fetching.reason, held))))
    if held:
        return replace(task, reason=OTHERS if held == MEANWHILE else held)
    refused = draft.seen.contact.refusal(alloc, draft.now)
    if refused is not None:
        begun = task.state is Task.STARTING  # its pre_start hook is done
        return replace(task, reason=refused) if begun else waiting_view(task, refused, over=False)
    if waiting is not None:
        return waiting_view(task, *waiting)
    why = "wanted" if task.last is None else task.reason or "its pre_start hook has done its work"
    _start(draft, alloc, task, task.attempt, why)
    return task


def _start(draft: Draft, alloc: AllocSpec, task: TaskView, attempt: int, why: str) -> None:
    """Start the run that is due, tied to the contact with the store if the allocation is."""
    deadline = draft.seen.contact.deadline(alloc)
    draft.actions.append(Start(alloc, task.spec, attempt, why, task.next or MAIN, deadline))


def waiting_view(task: TaskView, reason: str, over: bool) -> TaskView:  # noqa: FBT001 - a pair taken apart
    """A task held back by a dependency; `over`: for good."""
    event = TaskEvent.GIVE_UP if over else TaskEvent.HELD
    return replace(task, state=step(task.state, event), reason=reason, next=None, retry_at=None)


def _forget_old(
    draft: Draft,
    alloc: AllocSpec,
    old: list[Run],
    views: Iterable[TaskView],
    by_task: Mapping[str, Iterable[Run]],
) -> None:
    """Runs whose part in restart policy is over, and the hooks around them."""
    gone = [run.id for run in old if not run.live]
    for task in views:
        past = {run.attempt for run in task.runs[:-1] if not run.live and _is_past(draft, task, run)}
        if past:
            gone += [run.id for run in by_task[task.spec.name] if run.attempt in past and not run.live]
    if gone:
        draft.actions.append(Forget(tuple(gone), f"they matter no more to {alloc.id}"))


def _is_past(draft: Draft, task: TaskView, run: Run) -> bool:
    """Whether a run can no longer count: not now, and not when the verdict on the last is read again."""
    policy, last = task.spec.restart, task.runs[-1]
    if not last.live:
        return not within(policy, run, last)
    return run.boot != draft.seen.boot or draft.now - (run.ended or 0.0) > policy.window
