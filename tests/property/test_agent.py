"""The agent's plan under any history: cut short anywhere, it converges and never runs a task twice."""

import dataclasses
import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agentd.core.actions import Forget, Kill, Limit, Refuse, Start, Stop
from agentd.core.contact import Contact
from agentd.core.draft import Observed
from agentd.core.files.views import Files, FilesView
from agentd.core.health import Health, HealthView
from agentd.core.plan import plan
from store.model.lifecycle import TASK_ENDED, Task
from tests.builders import BOOT, a_run, a_task, an_alloc
from tests.conftest import SOAK

pytestmark = pytest.mark.property

CUT = "cut off from the store for 20 s"
TASKS = (
    a_task("a", restart={"condition": "on-failure", "delay": "1s", "max_attempts": 2, "window": "1m"}),
    a_task(
        "b", restart={"condition": "always", "delay": "100ms", "max_attempts": 100}, stop={"timeout": "3s"}
    ),
    a_task("c", depends_on={"a": "completed", "b": "started"}, restart={"condition": "no"}),
    a_task(
        "d",
        hooks={"pre_start": "/bin/x", "post_stop": "/bin/y"},
        healthcheck={"tcp": "127.0.0.1:1"},
        duration="5m",
        restart={"delay": "1s", "max_attempts": 3},
        stop={"timeout": "3s"},
    ),
    a_task("e", depends_on={"d": "healthy"}, hooks={"post_stop": "/bin/y"}, stop={"timeout": "3s"}),
)


class Node(RuleBasedStateMachine):
    """A keeper that obeys, a brain that may die after any action, tasks that do what they like."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0
        self.generation = 1
        self.wanted = "running"
        self.runs = {}
        self.stubborn = set()
        self.health = {}
        self.begun = set()

    # -- what the world does

    @rule(seconds=st.sampled_from([0.05, 0.5, 1.0, 5.0, 90.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(data=st.data(), code=st.sampled_from([0, 0, 1, 137]))
    @precondition(lambda self: any(run.live for run in self.runs.values()))
    def a_task_ends(self, data, code):
        run = data.draw(
            st.sampled_from(sorted((r for r in self.runs.values() if r.live), key=lambda r: r.id))
        )
        self._end(run.id, code)

    @rule(data=st.data())
    @precondition(lambda self: any(run.live for run in self.runs.values()))
    def a_task_will_not_hear(self, data):
        self.stubborn.add(data.draw(st.sampled_from(sorted(r.id for r in self.runs.values() if r.live))))

    @rule(data=st.data(), state=st.sampled_from([Health.HEALTHY, Health.UNHEALTHY]))
    @precondition(lambda self: any(run.live and run.task == "d" for run in self.runs.values()))
    def a_probe_says(self, data, state):
        ids = sorted(
            run.id for run in self.runs.values() if run.live and run.task == "d" and run.role == "main"
        )
        if ids:
            self.health[data.draw(st.sampled_from(ids))] = HealthView(state=state)

    @rule()
    def the_machine_reboots(self):
        for run in [run for run in self.runs.values() if run.live]:
            self._end(run.id, None, lost="the machine was rebooted")

    @rule()
    @precondition(lambda self: self.wanted == "running")
    def it_is_ordered_to_stop(self):
        self.wanted = "stopped"

    @rule()
    def it_is_ordered_anew(self):
        self.generation += 1
        self.wanted = "running"

    # -- what the brain does

    def _alloc(self):
        return an_alloc(*TASKS, wanted=self.wanted, generation=self.generation)

    def _seen(self):
        return Observed(runs=list(self.runs.values()), boot=BOOT, health=self.health)

    def _plan(self):
        alloc = self._alloc()
        return plan({alloc.id: alloc}, self._seen(), self.now, keep={alloc.id})

    @rule(cut=st.integers(0, 6))
    def the_brain_plans_and_may_die(self, cut):
        for action in self._plan().actions[:cut]:
            self._perform(action)

    def _perform(self, action):
        match action:
            case Start():
                assert action.run not in self.runs, "a run is started once"
                self._may_start(action)
                self._count(action)
                generation = action.alloc.generation
                self.runs[action.run] = a_run(
                    task=action.task.name,
                    attempt=action.attempt,
                    generation=generation,
                    role=action.role,
                    started=self.now,
                    deadline=action.deadline,
                )
            case Limit():
                raise AssertionError("nothing is limited here")
            case Stop():
                run = self.runs[action.run]
                assert run.stop_at is None, "why it was stopped is said once"
                assert run.role != "post_stop" or action.why == CUT, "what cleans up is not stopped"
                self.runs[action.run] = dataclasses.replace(run, stop_at=self.now, why=action.why)
                if action.run not in self.stubborn:
                    self._end(action.run, 143)
            case Kill():
                run = self.runs[action.run]
                if run.role == "main":
                    assert run.stop_at is not None
                    assert self.now - run.stop_at >= 3.0, "nobody is killed within its grace"
                else:
                    early = run.stop_at is not None and (run.role == "pre_start" or run.why == CUT)
                    assert early or self.now - run.started >= 60.0, "a hook has a minute"
                self._end(action.run, 137)
            case Forget():
                for run_id in action.runs:
                    assert not self.runs[run_id].live, "nothing that lives is forgotten"
                    del self.runs[run_id]

    def _count(self, action):
        task, generation, attempt = action.task.name, action.alloc.generation, action.attempt
        assert attempt == 0 or (task, generation, attempt - 1) in self.begun, "what never ran does not count"
        self.begun.add((task, generation, attempt))

    def _may_start(self, action):
        def of(role):
            return next(
                (
                    run
                    for run in self.runs.values()
                    if (run.task, run.attempt, run.role) == (action.task.name, action.attempt, role)
                    and run.generation == action.alloc.generation
                ),
                None,
            )

        if action.role == "main" and action.task.pre_start:
            assert of("pre_start").code == 0
            assert not of("pre_start").live
        if action.role == "post_stop":
            assert not of("main").live
        for other in self.runs.values():
            assert other.task != action.task.name or not other.live, "main run and hooks take turns"

    def _end(self, run_id, code, lost=None):
        run = self.runs[run_id]
        self.runs[run_id] = dataclasses.replace(run, state="exited", code=code, ended=self.now, lost=lost)

    # -- what must hold, always

    @invariant()
    def no_task_lives_twice(self):
        living = [run.task for run in self.runs.values() if run.live]
        assert len(living) == len(set(living))

    @invariant()
    def what_was_planned_can_be_shown(self):
        for views in self._plan().views.values():
            assert all(isinstance(each.state, Task) for each in views)

    @invariant()
    def nothing_is_over_while_anything_of_it_lives(self):
        (views,) = self._plan().views.values()
        if self.wanted == "stopped" and all(each.state in TASK_ENDED for each in views):
            assert not any(run.live for run in self.runs.values())

    @invariant()
    def memory_is_bounded(self):
        assert len(self.runs) < 400

    def teardown(self):
        """Left alone, it comes to rest: stopped if so ordered, else nothing left to do."""
        for _ in range(200):
            found = self._plan()
            for action in found.actions:
                self._perform(action)
            if not found.actions:
                if found.wake_at is None:
                    break
                self.now = max(self.now, found.wake_at)
            for run in [run for run in self.runs.values() if run.live and run.role != "main"]:
                self._end(run.id, 0)
        else:
            raise AssertionError("it never comes to rest")
        (views,) = found.views.values()
        if self.wanted == "stopped":
            assert all(each.state in TASK_ENDED for each in views)
            assert not any(run.live for run in self.runs.values())
        else:
            assert all(each.state in TASK_ENDED | {Task.RUNNING, Task.WAITING} for each in views)


TestNode = Node.TestCase
TestNode.settings = settings(max_examples=1500 if SOAK else 75, stateful_step_count=40, deadline=None)


class TiedNode(Node):
    """The same, for work that ends when the store is out of reach; heartbeats come as they like."""

    def __init__(self):
        super().__init__()
        self.tied = True
        self.acked, self.gap = None, math.inf

    @rule()
    def a_heartbeat_is_acknowledged(self):
        self.gap = max(self.gap, self.now - self.acked) if self.acked is not None else math.inf
        self.acked = self.now

    @rule()
    def the_store_s_orders_are_obeyed(self):
        self.a_heartbeat_is_acknowledged()
        self.gap = 0.0

    @rule()
    def another_brain_takes_over(self):
        self.acked, self.gap = None, math.inf

    def _alloc(self):
        return dataclasses.replace(super()._alloc(), stop_after=20.0 if self.tied else None)

    def _seen(self):
        return dataclasses.replace(super()._seen(), contact=Contact(self.acked, self.gap))

    def _may_start(self, action):
        if self.tied:
            assert self.acked is not None, "nothing starts from what lies on disk"
            assert self.now < self.acked + 20.0, "nothing starts while cut off"
            assert action.deadline == self.acked + 20.0
            assert self.gap < 20.0, "nothing starts that may have been moved meanwhile"
        super()._may_start(action)

    @invariant()
    def what_is_cut_off_is_being_ended(self):
        if self.acked is None or self.now < self.acked + 20.0:
            return
        actions = self._plan().actions
        assert not any(isinstance(each, Start) for each in actions)
        stopped = {each.run for each in actions if isinstance(each, Stop)}
        assert all(run.stop_at is not None or run.id in stopped for run in self.runs.values() if run.live)

    def teardown(self):
        """Freed of its tie, it comes to rest like any other."""
        self.tied = False
        super().teardown()


TestTiedNode = TiedNode.TestCase
TestTiedNode.settings = settings(max_examples=1500 if SOAK else 75, stateful_step_count=40, deadline=None)


FETCHED = ("a", "b", "d", "e")
"""The tasks that have files, where tasks have any."""


class WithFiles:
    """The same, for tasks whose files come, go and fail as they like."""

    def __init__(self):
        super().__init__()
        self.files = {}

    @rule(name=st.sampled_from(FETCHED), state=st.sampled_from(Files))
    def files_come_go_or_fail(self, name, state):
        self.files["d.0", name, self.generation] = FilesView(state=state, reason="so it is:11")

    @rule(gone=st.sampled_from([(), ("a",), ("b", "d")]))
    def all_files_are_there_but(self, gone):
        for name in FETCHED:
            state = Files.FETCHING if name in gone else Files.READY
            self.files["d.0", name, self.generation] = FilesView(state=state)

    @rule(state=st.sampled_from(Files), cut=st.integers(0, 6))
    def it_is_updated_while_it_runs(self, state, cut):
        self.all_files_are_there_but(())
        self.the_brain_plans_and_may_die(99)
        self.it_is_ordered_anew()
        self.files_come_go_or_fail("b", state)
        self.the_brain_plans_and_may_die(cut)

    @rule()
    def a_brain_takes_over_that_knows_of_no_files(self):
        self.files = {}

    def _alloc(self, *, bare=False):
        alloc = super()._alloc()
        if bare:
            return alloc
        return dataclasses.replace(
            alloc,
            tasks=tuple(dataclasses.replace(task, fetch=task.name in FETCHED) for task in alloc.tasks),
        )

    def _seen(self):
        return dataclasses.replace(super()._seen(), files=self.files)

    def _state(self, name):
        view = self.files.get(("d.0", name, self.generation))
        return view.state if view is not None else Files.FETCHING

    def _written(self):
        """The tasks of this generation of which it is written down that their files cannot be had."""
        mine = (run for run in self.runs.values() if run.generation == self.generation)
        return {run.task for run in mine if run.state == "failed"}

    def _may_start(self, action):
        if action.role != "post_stop" and action.task.has_files:
            assert self._state(action.task.name) is Files.READY, "nothing starts without its files"
        assert action.role == "post_stop" or action.task.name not in self._written(), "a verdict stays"
        super()._may_start(action)

    def _perform(self, action):
        match action:
            case Refuse():
                start = action.start
                assert start.run not in self.runs
                assert self._state(start.task.name) is Files.FAILED
                self._count(start)
                self.runs[start.run] = a_run(
                    task=start.task.name,
                    attempt=start.attempt,
                    generation=start.alloc.generation,
                    state="failed",
                    error=action.reason,
                    pid=None,
                    ended=self.now,
                )
                return
            case Stop() if self.runs[action.run].generation < self.generation and action.why is None:
                states = {self._state(name) for name in FETCHED}
                hopeless = Files.FAILED in states or self._written()
                assert self.wanted == "stopped" or Files.FETCHING not in states or hopeless, (
                    "what runs goes on until the files of what replaces it are there"
                )
        super()._perform(action)

    @invariant()
    def only_what_may_start_or_lives_has_its_files_fetched(self):
        found = self._plan()
        named = [each.task.name for each in found.fetches]
        assert len(named) == len(set(named))
        if self.wanted == "stopped":
            assert not named
        assert not set(named) & self._written()
        starts = [each for each in found.actions if isinstance(each, Start) and each.role != "post_stop"]
        (views,) = found.views.values()
        fetching = {each.spec.name for each in views if each.state is Task.FETCHING}
        assert fetching | {each.task.name for each in starts if each.task.has_files} <= set(named)

    @invariant()
    def files_that_are_there_change_nothing(self):
        if any(self._state(name) is not Files.READY for name in FETCHED):
            return
        alloc = self._alloc(bare=True)
        bare = plan({alloc.id: alloc}, self._seen(), self.now, keep={alloc.id})
        assert outline(self._plan()) == outline(bare)

    def teardown(self):
        """Once all files are there for good, all is as it is where nothing has files."""
        for name in FETCHED:
            self.files["d.0", name, self.generation] = FilesView(state=Files.READY)
        super().teardown()


def outline(planned):
    """What a plan comes to."""
    actions = [(type(each), getattr(each, "run", None) or each.runs, each.reason) for each in planned.actions]
    views = [(each.spec.name, each.state, each.reason, each.next) for each in planned.views["d.0"]]
    return actions, views, planned.wake_at


class FilesNode(WithFiles, Node):
    """Files, and a store that is always there."""


class TiedFilesNode(WithFiles, TiedNode):
    """Files, and a store that is not."""


TestFilesNode = FilesNode.TestCase
TestFilesNode.settings = settings(max_examples=1500 if SOAK else 75, stateful_step_count=40, deadline=None)
TestTiedFilesNode = TiedFilesNode.TestCase
TestTiedFilesNode.settings = settings(
    max_examples=1000 if SOAK else 50, stateful_step_count=40, deadline=None
)
