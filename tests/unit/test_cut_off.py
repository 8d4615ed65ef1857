"""Work that ends when its node is cut off from the store: what the plan makes of it, case by case."""

import dataclasses
import math

import pytest

from agentd.core.actions import Kill, Start, Stop
from agentd.core.contact import Contact
from agentd.core.draft import Observed
from agentd.core.plan import plan
from agentd.core.restart import severed
from agentd.keeper.events import EXPIRED
from agentd.lifeline import Lifeline
from store.model.lifecycle import Task
from tests.builders import BOOT, a_run, a_task, an_alloc, ended

pytestmark = pytest.mark.unit

WHY = "cut off from the store for 30 s"


def tied(*tasks, stop_after=30.0, **more):
    return dataclasses.replace(an_alloc(*tasks, **more), stop_after=stop_after)


def planned(alloc, *runs, now, contact):
    return plan({alloc.id: alloc}, Observed(runs=runs, boot=BOOT, contact=contact), now, keep={alloc.id})


def heard(at, gap=5.0):
    return Contact(acked=at, gap=gap)


def task_of(found):
    return found.views["d.0"][0]


def test_it_runs_on_until_its_time_is_over_and_is_planned_again_just_then():
    found = planned(tied(), a_run(), now=129.9, contact=heard(100.0))
    assert (found.actions, found.wake_at) == ((), 130.0)
    over = planned(tied(), a_run(), now=130.0, contact=heard(100.0))
    assert over.actions == (Stop("d.0/main/1.0", "SIGTERM", WHY, WHY),)


def test_it_has_its_grace_and_not_more():
    run = a_run(stop_at=130.0, why=WHY)
    alloc = tied(a_task(stop={"timeout": "3s"}))
    assert planned(alloc, run, now=132.0, contact=heard(100.0)).actions == ()
    (kill,) = planned(alloc, run, now=133.0, contact=heard(100.0)).actions
    assert isinstance(kill, Kill)


def test_what_keeps_runs_on_for_ever():
    assert planned(an_alloc(), a_run(), now=1e6, contact=heard(100.0)).actions == ()
    assert planned(an_alloc(), a_run(), now=1e6, contact=Contact()).actions == ()


@pytest.mark.parametrize("role", ["pre_start", "post_stop"])
def test_hooks_end_too(role):
    alloc = tied(a_task(hooks={"pre_start": "/bin/x", "post_stop": "/bin/y"}))
    before = [ended(0, role="pre_start"), ended(1)] if role == "post_stop" else []
    found = planned(alloc, *before, a_run(role=role, started=125.0), now=130.0, contact=heard(100.0))
    assert [(type(each), each.why) for each in found.actions] == [(Stop, WHY)]


def test_no_cleaning_up_before_the_store_is_back():
    alloc = tied(a_task(hooks={"post_stop": "/bin/y"}))
    run = ended(143, stop_at=130.0, why=WHY)
    assert planned(alloc, run, now=131.0, contact=heard(100.0)).actions == ()
    (start,) = planned(alloc, run, now=140.0, contact=heard(139.0)).actions
    assert (start.role, start.deadline) == ("post_stop", 169.0)


def test_older_generations_and_tasks_that_no_order_names_end_too():
    alloc = tied(generation=2)
    runs = [a_run(generation=1), a_run("gone", generation=1)]
    found = planned(alloc, *runs, now=130.0, contact=heard(100.0))
    assert sorted((each.run, each.why) for each in found.actions) == [
        ("d.0/gone/1.0", WHY), ("d.0/main/1.0", WHY),
    ]  # fmt: skip


@pytest.mark.parametrize("why", [WHY, EXPIRED])
@pytest.mark.parametrize("code", [0, 143])
def test_it_stays_stopped_while_cut_off_and_no_budget_is_spent(why, code):
    alloc = tied(a_task(restart={"max_attempts": 0, "condition": "no"}))
    run = ended(code, stop_at=130.0, why=why)
    found = planned(alloc, run, now=200.0, contact=heard(100.0))
    assert found.actions == ()
    assert (task_of(found).state, task_of(found).reason) == (Task.WAITING, f"waits for the store: {WHY}")
    back = planned(alloc, run, now=200.0, contact=heard(199.0, gap=5.0))
    (start,) = back.actions
    assert (start.attempt, start.deadline) == (1, 229.0)
    assert start.reason.startswith("it was stopped, cut off from the store")


def test_back_it_starts_only_what_the_store_still_wants_here():
    """The store is reached, but what is obeyed may be what it wanted before."""
    run = ended(143, stop_at=130.0, why=WHY)
    found = planned(tied(), run, now=200.0, contact=heard(199.0, gap=99.0))
    assert found.actions == ()
    assert "waits for orders" in task_of(found).reason
    moved = planned(tied(wanted="stopped"), run, now=200.0, contact=heard(199.0))
    assert task_of(moved).state is Task.STOPPED


def test_short_troubles_of_the_store_hold_no_restart_up():
    crashed = ended(1, at=100.0)
    found = planned(tied(), crashed, now=120.0, contact=heard(100.0, gap=20.0))
    assert [type(each) for each in found.actions] == [Start]


def test_a_boot_without_a_store_starts_nothing_that_may_have_moved():
    found = planned(tied(), now=1e6, contact=Contact())
    assert found.actions == ()
    assert "has not been reached since the agent started" in task_of(found).reason
    assert task_of(found).state is Task.WAITING
    assert [type(each) for each in planned(an_alloc(), now=1e6, contact=Contact()).actions] == [Start]


def test_a_new_brain_leaves_running_what_its_last_one_had_time_for():
    run = a_run(deadline=500.0)
    found = planned(tied(), run, now=499.0, contact=Contact())
    assert (found.actions, found.wake_at) == ((), 500.0)
    over = planned(tied(), run, now=500.0, contact=Contact())
    assert [each.why for each in over.actions] == [WHY]
    untold = planned(tied(), a_run(), now=499.0, contact=Contact())
    assert [each.why for each in untold.actions] == [WHY], "nobody knows how long it has been cut off"


def test_after_its_pre_start_hook_it_waits_too():
    alloc = tied(a_task(hooks={"pre_start": "/bin/x"}))
    found = planned(alloc, ended(0, role="pre_start"), now=200.0, contact=heard(100.0))
    assert found.actions == ()
    assert (task_of(found).state, task_of(found).reason[:9]) == (Task.STARTING, "waits for")


def test_only_these_ends_are_severed():
    assert severed(ended(143, why=WHY))
    assert severed(ended(143, why=EXPIRED))
    assert not severed(ended(143, why="unhealthy: no answer"))
    assert not severed(ended(143))


# -- the switches


class Keeper:
    def __init__(self):
        self.moved = []

    def expire_all(self, deadlines):
        self.moved.append(dict(deadlines))


@pytest.fixture
def lifeline(clock):
    kicks = []
    found = Lifeline(Keeper(), clock, lambda: kicks.append(clock.now()))
    found.keeper, found.kicks = found._driver, kicks
    return found


def renewed(lifeline, alloc, *runs, current=True):
    contact = lifeline.contact(lifeline.look(), current=current)
    return lifeline.renew(contact, {alloc.id: alloc}, runs)


def test_a_switch_is_set_moved_in_steps_and_taken_away(lifeline, clock):
    lifeline.heard(1000.0, known=True)
    renewed(lifeline, tied(), a_run())
    renewed(lifeline, an_alloc(), a_run(deadline=1030.0))
    renewed(lifeline, tied(stop_after=10.0), a_run(deadline=1030.0))
    lifeline.heard(1005.0, known=True)
    renewed(lifeline, tied(), a_run(deadline=1030.0))
    lifeline.heard(1008.0, known=True)
    renewed(lifeline, tied(), a_run(deadline=1030.0))
    run = "d.0/main/1.0"
    assert lifeline.keeper.moved == [{run: 1030.0}, {run: None}, {run: 1010.0}, {run: 1038.0}]


def test_heartbeats_wake_the_plan_only_when_something_hangs_on_them(lifeline):
    lifeline.heard(1000.0, known=True)
    renewed(lifeline, an_alloc(), a_run())
    lifeline.heard(1e6, known=True)
    assert lifeline.kicks == []
    lifeline.heard(1000.0, known=True)
    renewed(lifeline, tied(), a_run(deadline=1030.0))
    lifeline.heard(1007.0, known=True)
    assert lifeline.kicks == []
    lifeline.heard(1007.5, known=True)
    assert len(lifeline.kicks) == 1


def test_work_that_waits_for_the_store_is_woken_by_the_first_heartbeat(lifeline):
    renewed(lifeline, tied(), current=False)
    lifeline.heard(1000.0, known=False)
    assert len(lifeline.kicks) == 1


def test_what_is_promised_is_used_to_the_end_when_heartbeats_stop(lifeline, clock):
    lifeline.heard(1005.0, known=True)
    run = a_run(deadline=1030.0)
    assert renewed(lifeline, tied(), run) == 1015.0
    assert lifeline.keeper.moved == []
    clock.advance(15)
    assert renewed(lifeline, tied(), run) == 1020.0
    assert lifeline.keeper.moved == [{run.id: 1035.0}]
    clock.advance(5)
    assert renewed(lifeline, tied(), a_run(deadline=1035.0)) is None
    lifeline.heard(1005.1, known=True)
    assert len(lifeline.kicks) == 1, "so near the end, any heartbeat matters"


def test_the_gap_is_over_once_the_store_s_orders_are_obeyed(lifeline):
    assert lifeline.contact(lifeline.look(), current=True).gap == math.inf
    lifeline.heard(1000.0, known=False)
    assert lifeline.contact(lifeline.look(), current=True).gap == math.inf, (
        "it may want something else by now"
    )
    before = lifeline.look()
    lifeline.offered()
    assert lifeline.contact(before, current=True).gap == math.inf, "that offer was not looked at yet"
    assert lifeline.contact(lifeline.look(), current=False).gap == math.inf, "it is not obeyed"
    assert lifeline.contact(lifeline.look(), current=True).gap == 0.0
    lifeline.heard(1005.0, known=False)
    assert lifeline.contact(lifeline.look(), current=True).gap == 5.0
    lifeline.heard(1100.0, known=True)
    assert lifeline.contact(lifeline.look(), current=False).gap == 95.0
    assert lifeline.contact(lifeline.look(), current=True).gap == 0.0


def test_what_was_heard_after_the_look_does_not_hide_its_own_gap(lifeline):
    lifeline.heard(1000.0, known=True)
    looked = lifeline.look()
    lifeline.heard(1090.0, known=True)
    assert lifeline.contact(looked, current=True).gap == 90.0
