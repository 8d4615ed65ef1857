"""What the plan found, as `actual` entries: joined with what the executor and the launcher know."""

from collections.abc import Mapping

from agentd.containers.outcome import explain
from agentd.core.obey import UNCLAIMED, Orders
from agentd.core.plan import Plan
from agentd.core.runs import MAIN, TaskView, is_port_held, run_id
from agentd.executor import Executor
from agentd.identity import Identity
from agentd.launch import Launcher
from agentd.report import Json, Progress, entry, task_row, unread
from agentd.told import ports_of
from store.clock import Clock
from store.model.spec import AllocSpec


class Reporter:
    """Makes the entries of one node."""

    def __init__(self, executor: Executor, launcher: Launcher, identity: Identity, clock: Clock) -> None:
        self._executor = executor
        self._launcher = launcher
        self._identity = identity
        self._progress = Progress(clock)
        self._rows: dict[tuple[str, str], tuple[TaskView, Json]] = {}

    def entries(
        self, planned: Plan, desired: Mapping[str, AllocSpec], orders: Orders, oddities: Mapping[str, str]
    ) -> dict[str, Json]:
        """By allocation; `oddities` are orders that are not obeyed, with the reason."""
        only_here = {key: orders.entries[key] for key, why in oddities.items() if why == UNCLAIMED}
        self._rows = {key: known for key, known in self._rows.items() if key[0] in desired}
        self._progress.keep(desired)
        uid = self._identity.uid
        never = {
            alloc_id: unread(why, epoch=orders.epoch, uid=uid)
            for alloc_id, why in oddities.items()
            if alloc_id not in desired
        }
        return never | {
            alloc_id: entry(
                alloc,
                [self._row(alloc, view) for view in planned.views[alloc_id]],
                epoch=orders.epoch,
                uid=uid,
                oddity=oddities.get(alloc_id),
                order=only_here.get(alloc_id),
            )
            for alloc_id, alloc in desired.items()
        }

    def _row(self, alloc: AllocSpec, view: TaskView) -> Json:
        """A task's row; that of a view which only says what it said is not made anew."""
        key = (alloc.id, view.spec.name)
        known = self._rows.get(key)
        if known is not None and known[0] is view:
            return known[1]
        row = self._make(alloc, view)
        plain = view.next is None and not view.spec.limits and view.spec.container is None
        if plain and view.files is None:
            self._rows[key] = view, row
        return row

    def _make(self, alloc: AllocSpec, view: TaskView) -> Json:
        last = view.last
        living = last is not None and last.live and last.role == MAIN
        limits = self._executor.limits_of(last, view.spec) if living and last is not None else None
        desk = self._launcher.desk
        ended = view.spec.container is not None and last is not None and not last.live and not last.stop_at
        said = desk.outcome(last) if desk is not None and ended and last is not None else None
        fetch = self._progress.of(alloc, view)
        row = task_row(view, self._reason(alloc, view), limits, ports_of(alloc, view.spec), fetch)
        if said is not None and last is not None:
            why = explain(view.spec, last.code, said)
            row["reason"] = f"{why}; {row['reason']}".removesuffix("; ") if why else row["reason"]
            row |= {"oom_kills": said.oom_kills} if said.oom_kills else {}
        return row

    def _reason(self, alloc: AllocSpec, view: TaskView) -> str:
        last = view.last
        if last is not None and last.state == "failed" and not is_port_held(last):
            return self._launcher.explain(last, alloc, view.spec)
        if view.next is not None:
            waiting = run_id(alloc.id, view.spec.name, alloc.generation, view.attempt, view.next)
            return self._executor.trouble(waiting) or view.reason
        return view.reason
