"""The agent's plan, case by case."""

import pytest

from agentd.core.plan import Forget, Kill, Start, Stop, plan
from agentd.core.runs import view
from store.model.lifecycle import Task
from tests.builders import BOOT, a_run, a_task, an_alloc, ended

pytestmark = pytest.mark.unit


def planned(alloc, *runs, now=200.0):
    return plan({alloc.id: alloc}, runs, now, boot=BOOT, keep={alloc.id})


def states(found, alloc):
    return {each.spec.name: str(each.state) for each in found.views[alloc.id]}


def test_what_is_wanted_is_started_once():
    alloc = an_alloc()
    first = planned(alloc)
    assert [type(action) for action in first.actions] == [Start]
    assert first.actions[0].run == "d.0/main/1.0"
    assert planned(alloc, a_run(state="starting")).actions == ()
    assert planned(alloc, a_run()).actions == ()


def test_absence_is_never_an_order():
    found = plan({}, [a_run()], 200.0, boot=BOOT, keep=())
    assert found.actions == ()


def test_what_ended_and_is_wanted_no_more_is_forgotten():
    gone = (Forget(("d.0/main/1.0",), "d.0 is over"),)
    assert plan({}, [ended()], 200.0, boot=BOOT, keep=()).actions == gone
    assert plan({}, [ended()], 200.0, boot=BOOT, keep=None).actions == (), (
        "nothing was obeyed in this life yet"
    )
    assert plan({}, [ended()], 200.0, boot=BOOT, keep={"d.0"}).actions == (), "unreadable is not empty"


def test_exit_0_completes():
    alloc = an_alloc()
    found = planned(alloc, ended(0))
    assert found.actions == ()
    assert states(found, alloc) == {"main": "completed"}


def test_a_failure_is_restarted_after_its_delay():
    alloc = an_alloc(a_task(restart={"delay": "10s", "factor": 2}))
    early = planned(alloc, ended(3, at=195.0), now=200.0)
    assert early.actions == ()
    assert early.wake_at == 205.0
    assert "exit code 3" in early.views["d.0"][0].reason
    late = planned(alloc, ended(3, at=195.0), now=205.0)
    assert late.actions[0].attempt == 1


def test_delays_grow_and_the_budget_ends():
    alloc = an_alloc(a_task(restart={"delay": "1s", "factor": 2, "max_attempts": 2, "max_delay": "60s"}))
    two = [ended(1, at=100.0), ended(1, at=102.0, attempt=1)]
    assert planned(alloc, *two, now=102.5).wake_at == 104.0
    over = planned(alloc, *two, ended(1, at=110.0, attempt=2))
    assert states(over, alloc) == {"main": "failed"}
    assert "given up after 2 restarts" in over.views["d.0"][0].reason


def test_failures_out_of_the_window_are_forgiven():
    alloc = an_alloc(a_task(restart={"max_attempts": 1, "window": "10s", "delay": "1s"}))
    found = planned(alloc, ended(1, at=100.0), ended(1, at=150.0, attempt=1), now=151.0)
    assert [type(action) for action in found.actions] == [Start, Forget]


@pytest.mark.parametrize(
    ("condition", "code", "state"), [("no", 1, "failed"), ("no", 0, "completed"), ("always", 0, "backoff")]
)
def test_restart_conditions(condition, code, state):
    alloc = an_alloc(a_task(restart={"condition": condition, "delay": "10s"}))
    assert states(planned(alloc, ended(code, at=199.0)), alloc) == {"main": state}


def test_a_reboot_is_nobody_s_fault():
    alloc = an_alloc(a_task(restart={"condition": "no"}))
    found = planned(alloc, ended(None, lost="the machine was rebooted"))
    assert [type(action) for action in found.actions] == [Start]


def test_a_failed_exec_is_final():
    alloc = an_alloc()
    found = planned(alloc, a_run(state="failed", error="exec:2", pid=None))
    assert found.actions == ()
    assert states(found, alloc) == {"main": "failed"}


def test_stop_is_a_signal_then_grace_then_sigkill():
    alloc = an_alloc(a_task(stop={"signal": "SIGINT", "timeout": "5s"}), wanted="stopped")
    first = planned(alloc, a_run())
    assert first.actions == (Stop("d.0/main/1.0", "SIGINT", "the allocation was stopped"),)
    waiting = planned(alloc, a_run(stop_at=198.0), now=200.0)
    assert waiting.actions == ()
    assert waiting.wake_at == 203.0
    assert isinstance(planned(alloc, a_run(stop_at=198.0), now=203.0).actions[0], Kill)


def test_a_stopped_allocation_starts_nothing():
    alloc = an_alloc(wanted="stopped")
    assert states(planned(alloc), alloc) == {"main": "stopped"}
    assert states(planned(alloc, ended(143, stop_at=100.5)), alloc) == {"main": "stopped"}
    assert states(planned(alloc, ended(0)), alloc) == {"main": "completed"}
    assert states(planned(alloc, ended(1, at=199.0)), alloc) == {"main": "stopped"}


def test_the_exit_code_of_a_stopped_task_is_shown():
    found = view(an_alloc(wanted="stopped").tasks[0], [ended(137, stop_at=1.0)], wanted="stopped", boot=BOOT)
    assert (found.state, found.reason) == (Task.STOPPED, "killed by SIGKILL (exit code 137)")


CHAIN = (a_task("a"), a_task("b", depends_on={"a": "completed"}), a_task("c", depends_on={"b": "started"}))


def test_dependencies_hold_back():
    alloc = an_alloc(*CHAIN)
    found = planned(alloc, a_run("a"))
    assert found.actions == ()
    assert states(found, alloc) == {"a": "running", "b": "waiting", "c": "waiting"}
    assert "waits for a to be completed; it is running" in found.views["d.0"][1].reason
    after = planned(alloc, ended(0, task="a"))
    assert [action.task.name for action in after.actions] == ["b"]


def test_a_failed_dependency_fails_the_chain_and_says_so():
    alloc = an_alloc(a_task("a", restart={"condition": "no"}), *CHAIN[1:])
    found = planned(alloc, ended(1, task="a"))
    assert states(found, alloc) == {"a": "failed", "b": "failed", "c": "failed"}
    assert found.views["d.0"][1].reason == "depends on a, which failed"


def test_an_older_generation_ends_before_the_newer_starts():
    alloc = an_alloc(generation=2)
    found = planned(alloc, a_run(generation=1))
    assert [type(action) for action in found.actions] == [Stop]
    after = planned(alloc, ended(143, generation=1, stop_at=1.0))
    assert [type(action) for action in after.actions] == [Start, Forget]


def test_runs_that_matter_no_more_are_forgotten():
    alloc = an_alloc(a_task(restart={"max_attempts": 1000, "window": "11s", "delay": "0s"}))
    runs = [ended(1, at=160.0 + 5 * n, attempt=n) for n in range(9)]
    found = planned(alloc, *runs, a_run(attempt=9))
    gone = tuple(f"d.0/main/1.{n}" for n in range(6))
    assert found.actions[-1] == Forget(gone, "they matter no more to d.0")


def test_a_verdict_stays_what_it_was_however_late_it_is_read_again():
    alloc = an_alloc(a_task(restart={"max_attempts": 1, "window": "10s", "delay": "1s"}))
    runs = [ended(1, at=100.0), ended(1, at=105.0, attempt=1)]
    late = planned(alloc, *runs, now=1e6)
    assert late.actions == ()
    assert states(late, alloc) == {"main": "failed"}


def test_times_of_another_boot_are_not_compared_with_this_one_s():
    alloc = an_alloc(a_task(restart={"max_attempts": 1, "window": "10m"}))
    old = ended(1, at=1e6, boot="earlier")
    due = planned(alloc, old, now=60.0)
    assert [type(action) for action in due.actions] == [Start], "a delay that began in another boot is over"
    again = planned(alloc, old, ended(1, at=50.0, attempt=1), now=60.0)
    assert Start in [type(action) for action in again.actions], "failures before the boot do not count"
    given_up = [old, ended(1, at=1e6 + 5, attempt=1, boot="earlier")]
    assert states(planned(alloc, *given_up, now=60.0), alloc) == {"main": "failed"}, "a boot forgives nothing"


@pytest.mark.parametrize("code", [0, 143])
@pytest.mark.parametrize("condition", ["no", "on-failure", "always"])
def test_what_was_stopped_with_its_keeper_runs_again_at_no_cost(code, condition):
    """The machine was shut down, or `agent stop --tasks`: it is wanted, so it is not completed."""
    alloc = an_alloc(a_task(restart={"condition": condition, "max_attempts": 0}))
    found = planned(alloc, ended(code, stop_at=100.0), now=200.0)
    assert [type(action) for action in found.actions] == [Start]
