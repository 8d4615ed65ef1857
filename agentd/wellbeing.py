"""The health of running tasks: what is probed, what probes said, what that makes of each run."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from agentd import sentences
from agentd.core.health import Health, HealthView, Result, begin, fold
from agentd.core.plan import Plan
from agentd.core.runs import Run
from agentd.driver import Driver, KeeperError
from agentd.launch import Launcher
from agentd.probes.prober import Prober
from agentd.sentences import CannotStart
from store.clock import Clock
from store.model.lifecycle import Task
from store.model.policies import HealthCheck
from store.model.spec import AllocSpec, TaskSpec

log = logging.getLogger("agent")

Patient = tuple[AllocSpec, TaskSpec, Run]


class Wellbeing:
    """Kept by the brain's thread; the prober and the keeper only leave word."""

    def __init__(self, driver: Driver, launcher: Launcher, clock: Clock, kick: Callable[[], None]) -> None:
        self._driver = driver
        self._launcher = launcher
        self._clock = clock
        self._kick = kick
        self._patients: dict[str, Patient] = {}
        self._results: deque[tuple[str, Result]] = deque()
        self._due: deque[str] = deque()
        self._running: set[str] = set()
        self._lock = threading.Lock()
        self._prober = Prober(self._heard, self._exec_due, clock)
        self.views: dict[str, HealthView] = {}
        """Health by run id."""

    def settle(self) -> None:
        """Take in what probes have said since."""
        while self._results:
            run_id, result = self._results.popleft()
            patient = self._patients.get(run_id)
            check = patient[1].health if patient else None
            if patient is None or check is None:
                continue
            run = patient[2]
            before = self.views.get(run_id, begin(check, run.started))
            after = fold(before, check, result, run.started, self._clock.now())
            if after.state is not before.state:
                log.info("%s is %s%s", run_id, after.state, f": {after.reason}" if after.reason else "")
            self.views[run_id] = after

    def watch(self, planned: Plan, desired: Mapping[str, AllocSpec]) -> None:
        """Probe what runs now, and start the commands of exec probes that are due."""
        patients = dict(_patients(planned, desired))
        wanted = {
            key: self._launcher.filled(alloc, task, task.health)
            for key, (alloc, task, _) in patients.items()
            if task.health is not None
        }
        self._patients = patients
        for run_id in self.views.keys() - wanted.keys():
            del self.views[run_id]
        self._prober.watch(wanted)
        while self._due:
            self._execute(self._due.popleft())

    def stop(self) -> None:
        """Probe no more."""
        self._prober.stop()

    def keeper_lost(self) -> None:
        """What the lost keeper was running will not be told of."""
        with self._lock:
            lost, self._running = self._running, set()
        for run_id in lost:
            self._prober.broken_off(run_id)

    def executed(self, run_id: str, code: int | None, error: str | None) -> None:
        """The keeper says how an exec probe ended. From any thread."""
        with self._lock:
            self._running.discard(run_id)
        patient = self._patients.get(run_id)
        check = patient[1].health if patient else None
        late = f"no answer within {check.timeout:g} s" if check and code is None and not error else ""
        why = (
            sentences.explain(error, check.argv[0] if check and check.argv else "its probe", "")
            if error
            else late
        )
        self._prober.executed(run_id, code, why)

    def _heard(self, run_id: str, result: Result) -> None:
        self._results.append((run_id, result))
        known = self.views.get(run_id)
        if known is None or not result.ok or known.state is not Health.HEALTHY:
            self._kick()  # what was well and still is, is no news

    def _exec_due(self, run_id: str, _check: HealthCheck) -> None:
        self._due.append(run_id)
        self._kick()

    def _execute(self, run_id: str) -> None:
        patient = self._patients.get(run_id)
        check = patient[1].health if patient else None
        if patient is None or check is None:
            self._prober.broken_off(run_id)
            return
        alloc, task, run = patient
        with self._lock:
            self._running.add(run_id)
        try:
            self._driver.probe(run_id, self._launcher.probe(alloc, task, run, check.argv), check.timeout)
        except (CannotStart, KeeperError) as error:
            self.executed(run_id, None, str(error))


def _patients(planned: Plan, desired: Mapping[str, AllocSpec]) -> Iterable[tuple[str, Patient]]:
    for alloc_id, views in planned.views.items():
        for view in views:
            if view.state is Task.RUNNING and view.spec.health is not None and view.last is not None:
                yield view.last.id, (desired[alloc_id], view.spec, view.last)
