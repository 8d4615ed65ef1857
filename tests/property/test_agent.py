"""The agent's plan under any history: cut short anywhere, it converges and never runs a task twice."""

import dataclasses
import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agentd.core.actions import Forget, Kill, Limit, Start, Stop
from agentd.core.contact import Contact
from agentd.core.draft import Observed
from agentd.core.health import Health, HealthView
from agentd.core.plan import plan
from store.model.lifecycle import TASK_ENDED, Task
from tests.builders import BOOT, a_run, a_task, an_alloc

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

    def _plan(self):
        alloc = an_alloc(*TASKS, wanted=self.wanted, generation=self.generation)
        seen = Observed(runs=list(self.runs.values()), boot=BOOT, health=self.health)
        return plan({alloc.id: alloc}, seen, self.now, keep={alloc.id})

    @rule(cut=st.integers(0, 6))
    def the_brain_plans_and_may_die(self, cut):
        for action in self._plan().actions[:cut]:
            self._perform(action)

    def _perform(self, action):
        match action:
            case Start():
                assert action.run not in self.runs, "a run is started once"
                self._may_start(action)
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
TestNode.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


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

    def _plan(self):
        alloc = an_alloc(*TASKS, wanted=self.wanted, generation=self.generation)
        alloc = dataclasses.replace(alloc, stop_after=20.0 if self.tied else None)
        contact = Contact(self.acked, self.gap)
        seen = Observed(runs=list(self.runs.values()), boot=BOOT, health=self.health, contact=contact)
        return plan({alloc.id: alloc}, seen, self.now, keep={alloc.id})

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
TestTiedNode.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
