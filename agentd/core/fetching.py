"""Files in the plan: who needs them, who waits for them, and what goes on meanwhile.

The rule of `Plan.fetches`: all tasks with files, of allocations that are wanted running, that are not
over. Those that live are among them: their files are there, and stay there because of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from agentd.core.actions import Fetch, Refuse, Start
from agentd.core.draft import Draft, end, overtime, stopping
from agentd.core.files.views import MOST_REASON, Files
from agentd.core.runs import MAIN, Run, TaskView
from store.model.lifecycle import TASK_ENDED, Task, TaskEvent, step
from store.model.spec import AllocSpec

MEANWHILE = "its older generation goes on meanwhile"
OTHERS = f"waits for the files of other tasks; {MEANWHILE}"
UNOBTAINABLE = "its files cannot be had: "


def lacking(draft: Draft, alloc: AllocSpec, task: TaskView) -> TaskView | None:
    """A task that is due, as it is for want of files; None: they are there, or it needs none.

    That they cannot be had is a verdict: written down as a run, no later brain goes back on it. Its
    restart policy is not asked, and no attempt that ran is counted for it.
    """
    files = draft.files(alloc, task.spec)
    if files is None or files.state is Files.READY:
        return None
    reason = files.reason[:MOST_REASON]
    if files.state is Files.FAILED:
        why = UNOBTAINABLE + reason
        draft.actions.append(Refuse(Start(alloc, task.spec, task.attempt, why), why))
        draft.fetches.append(Fetch(alloc, task.spec, "that they cannot be had has yet to be written down"))
        state = step(task.state, TaskEvent.GIVE_UP)
        return replace(task, state=state, reason=why, next=None, retry_at=None)
    if task.state is Task.STARTING:  # its pre_start hook is done
        return replace(task, reason=reason)
    state = step(task.state, TaskEvent.FETCH)
    return replace(task, state=state, reason=reason, next=None, retry_at=None, files=files)


def note(draft: Draft, alloc: AllocSpec, views: Iterable[TaskView]) -> None:
    """List the files that an allocation needs which is wanted running."""
    draft.fetches += [
        Fetch(alloc, task.spec, f"it is {task.state}")
        for task in views
        if task.spec.has_files and task.state not in TASK_ENDED
    ]


def older_go_on(draft: Draft, alloc: AllocSpec, views: Mapping[str, TaskView], old: Iterable[Run]) -> bool:
    """Whether runs of older generations are left alone: files of the new one are still on their way.

    They are until all files of the new one are there, or some cannot be had.
    """
    if alloc.wanted == "stopped" or not any(run.live for run in old):
        return False
    files = [draft.files(alloc, task.spec) for task in views.values() if task.state not in TASK_ENDED]
    states = {each.state for each in files if each is not None}
    refused = Files.FAILED in states or any(task.state is Task.FAILED for task in views.values())
    return Files.FETCHING in states and not refused


def see_to_older(draft: Draft, alloc: AllocSpec, old: Iterable[Run]) -> None:
    """Runs of older generations that go on: what was begun with them is brought to its end, no more.

    Their orders are not known here any more, so they are neither probed nor started again.
    """
    for run in old:
        if not run.live:
            continue
        if run.stop_at is not None:
            end(draft, run, *stopping(alloc, run.task), "it was being stopped")
        elif run.role != MAIN and run.id not in draft.severed:
            overtime(draft, run)
