"""The agent's plan, case by case."""

import pytest

from agentd.core.actions import Forget, Kill, Limit, Start, Stop
from agentd.core.draft import Observed
from agentd.core.health import Health, HealthView
from agentd.core.plan import plan
from agentd.core.runs import view
from store.model.lifecycle import Task
from tests.builders import BOOT, a_run, a_task, an_alloc, ended

pytestmark = pytest.mark.unit


def planned(alloc, *runs, now=200.0, **seen):
    return plan({alloc.id: alloc}, Observed(runs=runs, boot=BOOT, **seen), now, keep={alloc.id})


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
    found = plan({}, Observed(runs=[a_run()], boot=BOOT), 200.0, keep=())
    assert found.actions == ()


def test_what_ended_and_is_wanted_no_more_is_forgotten():
    gone = (Forget(("d.0/main/1.0",), "d.0 is over"),)
    assert plan({}, Observed(runs=[ended()], boot=BOOT), 200.0, keep=()).actions == gone
    assert plan({}, Observed(runs=[ended()], boot=BOOT), 200.0, keep=None).actions == (), (
        "nothing was obeyed in this life yet"
    )
    assert plan({}, Observed(runs=[ended()], boot=BOOT), 200.0, keep={"d.0"}).actions == (), (
        "unreadable is not empty"
    )


def test_exit_0_completes():
    alloc = an_alloc()
    found = planned(alloc, ended(0))
    assert found.actions == ()
    assert states(found, alloc) == {"main": "completed"}


def test_a_failure_is_restarted_after_its_delay():
    alloc = an_alloc(a_task(restart={"delay": "10s", "factor": 2}))
    early = planned(alloc, ended(3, at=195.0), now=200.0)
    assert early.actions == ()
    assert 205.0 <= early.wake_at <= 207.0
    assert "exit code 3" in early.views["d.0"][0].reason
    late = planned(alloc, ended(3, at=195.0), now=early.wake_at)
    assert late.actions[0].attempt == 1


def test_delays_grow_and_the_budget_ends():
    alloc = an_alloc(a_task(restart={"delay": "1s", "factor": 2, "max_attempts": 2, "max_delay": "60s"}))
    two = [ended(1, at=100.0), ended(1, at=102.0, attempt=1)]
    assert 104.0 <= planned(alloc, *two, now=102.5).wake_at <= 104.4
    over = planned(alloc, *two, ended(1, at=110.0, attempt=2))
    assert states(over, alloc) == {"main": "failed"}
    assert "given up after 2 restarts" in over.views["d.0"][0].reason


def test_failures_out_of_the_window_are_forgiven():
    alloc = an_alloc(a_task(restart={"max_attempts": 1, "window": "10s", "delay": "1s"}))
    found = planned(alloc, ended(1, at=100.0), ended(1, at=150.0, attempt=1), now=151.2)
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


# -- hooks

HOOKED = a_task(
    hooks={"pre_start": "/bin/prepare", "post_stop": "/bin/clean"},
    restart={"max_attempts": 1, "delay": "0s"},
)


def starts(found):
    return [(action.run, action.role) for action in found.actions if isinstance(action, Start)]


def test_a_pre_start_hook_comes_first_and_the_main_run_only_after_its_success():
    alloc = an_alloc(HOOKED)
    assert starts(planned(alloc)) == [("d.0/main/1.0:pre_start", "pre_start")]
    running = planned(alloc, a_run(role="pre_start", started=199.0))
    assert (running.actions, states(running, alloc)) == ((), {"main": "starting"})
    assert running.wake_at == 259.0
    assert starts(planned(alloc, ended(0, role="pre_start"))) == [("d.0/main/1.0", "main")]


def test_a_failed_pre_start_is_a_failed_start():
    alloc = an_alloc(HOOKED)
    found = planned(alloc, ended(3, role="pre_start"))
    assert starts(found) == [("d.0/main/1.1:pre_start", "pre_start")]
    over = planned(alloc, ended(3, role="pre_start"), ended(3, role="pre_start", attempt=1))
    assert states(over, alloc) == {"main": "failed"}
    assert over.views["d.0"][0].reason == "pre_start hook: exit code 3; given up after 1 restarts"


@pytest.mark.parametrize("code", [0, 9, 137])
def test_a_post_stop_hook_runs_after_every_end_and_the_verdict_waits_for_it(code):
    alloc = an_alloc(HOOKED)
    over = [ended(0, role="pre_start"), ended(code)]
    found = planned(alloc, *over)
    assert starts(found) == [("d.0/main/1.0:post_stop", "post_stop")]
    assert states(planned(alloc, *over, a_run(role="post_stop")), alloc) == {"main": "exited"}
    after = planned(alloc, *over, ended(0, role="post_stop"))
    assert starts(after) == ([] if code == 0 else [("d.0/main/1.1:pre_start", "pre_start")])


def test_a_stopped_task_is_over_when_its_post_stop_hook_is():
    alloc = an_alloc(HOOKED, wanted="stopped")
    over = [ended(0, role="pre_start"), ended(143, stop_at=100.0)]
    assert starts(planned(alloc, *over)) == [("d.0/main/1.0:post_stop", "post_stop")]
    assert states(planned(alloc, *over, a_run(role="post_stop")), alloc) == {"main": "exited"}
    done = planned(alloc, *over, ended(4, role="post_stop"))
    assert states(done, alloc) == {"main": "stopped"}
    assert "post_stop hook: exit code 4" in done.views["d.0"][0].reason


def test_a_hook_has_a_minute():
    alloc = an_alloc(HOOKED)
    found = planned(alloc, a_run(role="pre_start", started=100.0), now=160.0)
    why = "the pre_start hook took longer than 60 s"
    assert found.actions == (Kill("d.0/main/1.0:pre_start", why, why),)
    over = [ended(137, role="pre_start", attempt=n, stop_at=160.0, why=why) for n in range(2)]
    assert states(planned(alloc, *over), alloc) == {"main": "failed"}, "and that counts as its failure"


def test_after_a_reboot_dependencies_are_waited_for_again():
    alloc = an_alloc(
        a_task("db", healthcheck={"tcp": "127.0.0.1:1"}), a_task("app", depends_on={"db": "healthy"})
    )
    gone = [ended(None, task=name, lost="the machine was rebooted") for name in ("db", "app")]
    found = planned(alloc, *gone)
    assert starts(found) == [("d.0/db/1.1", "main")]
    assert states(found, alloc)["app"] == "waiting"


@pytest.mark.parametrize(
    ("error", "state"), [("exec:26", "backoff"), ("exec:12", "backoff"), ("exec:2", "failed")]
)
def test_a_start_that_failed_for_now_is_tried_again(error, state):
    alloc = an_alloc(a_task(restart={"delay": "10s", "max_attempts": 1}))
    once = a_run(state="failed", error=error, pid=None, ended=199.0)
    assert states(planned(alloc, once), alloc) == {"main": state}
    twice = a_run(state="failed", error=error, pid=None, ended=199.0, attempt=1)
    assert states(planned(alloc, once, twice), alloc) == {"main": "failed"}


def test_a_code_above_128_is_a_signal_only_if_it_was_one():
    alloc = an_alloc(a_task(restart={"condition": "no"}))
    assert planned(alloc, ended(255, signal=0)).views["d.0"][0].reason == "exit code 255"
    assert planned(alloc, ended(137, signal=9)).views["d.0"][0].reason == "killed by SIGKILL (exit code 137)"


def test_always_is_always_for_what_ends_well():
    alloc = an_alloc(a_task(restart={"condition": "always", "max_attempts": 2, "delay": "1s"}))
    runs = [ended(0, at=100.0 + n, attempt=n) for n in range(9)]
    assert states(planned(alloc, *runs, now=109.0), alloc) == {"main": "backoff"}
    runs += [ended(1, at=110.0 + n, attempt=9 + n) for n in range(3)]
    assert states(planned(alloc, *runs, now=113.0), alloc) == {"main": "failed"}


def test_the_hooks_of_an_older_generation_are_run_before_the_newer_starts():
    alloc = an_alloc(HOOKED, generation=2)
    over = [ended(0, role="pre_start"), ended(143, stop_at=100.0)]
    assert starts(planned(alloc, *over)) == [("d.0/main/1.0:post_stop", "post_stop")]
    assert starts(planned(alloc, *over, a_run(role="post_stop"))) == []
    after = planned(alloc, *over, ended(0, role="post_stop"))
    assert starts(after) == [("d.0/main/2.0:pre_start", "pre_start")]


# -- health, duration, limits

PROBED = a_task(healthcheck={"tcp": "127.0.0.1:1"}, restart={"delay": "5s"})
ILL = HealthView(state=Health.UNHEALTHY, reason="connection refused")
WELL = HealthView(state=Health.HEALTHY)


def test_an_unhealthy_task_is_stopped_and_that_counts_as_its_failure():
    alloc = an_alloc(PROBED)
    found = planned(alloc, a_run(), health={"d.0/main/1.0": ILL})
    why = "unhealthy: connection refused"
    assert found.actions == (Stop("d.0/main/1.0", "SIGTERM", why, why),)
    after = planned(alloc, ended(143, at=199.0, stop_at=198.0, why=why))
    assert states(after, alloc) == {"main": "backoff"}
    assert after.views["d.0"][0].reason.startswith(
        "stopped, unhealthy: connection refused: killed by SIGTERM"
    )


def test_an_unhealthy_task_that_is_only_reported_runs_on():
    alloc = an_alloc(a_task(healthcheck={"tcp": "127.0.0.1:1", "on_failure": "report"}))
    assert planned(alloc, a_run(), health={"d.0/main/1.0": ILL}).actions == ()


def test_a_dependency_on_health():
    alloc = an_alloc({**PROBED, "name": "db"}, a_task("app", depends_on={"db": "healthy"}))
    db = a_run("db")
    waiting = planned(alloc, db)
    assert waiting.actions == ()
    assert waiting.views["d.0"][1].reason == "waits for db to be healthy; it is running, starting"
    assert starts(planned(alloc, db, health={db.id: WELL})) == [("d.0/app/1.0", "main")]
    over = planned(alloc, ended(0, task="db"))
    assert over.views["d.0"][1].reason == "depends on db being healthy, which completed"
    assert states(over, alloc)["app"] == "failed"


def test_a_duration_ends_a_task_as_completed_whatever_its_policy():
    alloc = an_alloc(a_task(duration="1m", restart={"condition": "always"}))
    early = planned(alloc, a_run(started=150.0))
    assert (early.actions, early.wake_at) == ((), 210.0)
    late = planned(alloc, a_run(started=140.0))
    assert late.actions[0].why == "its duration is over (60 s)"
    done = planned(alloc, ended(143, stop_at=200.0, why=late.actions[0].why))
    assert states(done, alloc) == {"main": "completed"}
    assert done.views["d.0"][0].reason == "its duration is over (60 s)"


def test_changed_limits_are_written_to_the_living_run():
    alloc = an_alloc(a_task(resources={"limits": {"memory": "64M"}}))
    wanted = alloc.tasks[0].limits
    run = a_run(cgroups=("/cg/x",))
    assert planned(alloc, run, limited={run.id: wanted}).actions == ()
    assert planned(alloc, run).actions == (Limit(run, wanted, "its limits were changed"),)


def test_what_uses_too_much_where_no_kernel_limits_it_is_stopped_and_blamed():
    alloc = an_alloc(a_task(resources={"limits": {"memory": "64M"}}))
    run = a_run()
    found = planned(alloc, run, limited={run.id: alloc.tasks[0].limits}, excess={run.id: "out of memory: 70"})
    assert found.actions[0].why == "out of memory: 70"


# -- stopping


def test_tasks_stop_in_reverse_order():
    alloc = an_alloc(*CHAIN[1:], a_task("a"), wanted="stopped")
    stopping = planned(alloc, a_run("b"), a_run("c"))
    assert [action.run for action in stopping.actions] == ["d.0/c/1.0"]
    assert stopping.views["d.0"][0].reason == "stops after c, which needs it"
    after = planned(alloc, a_run("b"), ended(143, task="c", stop_at=1.0))
    assert [action.run for action in after.actions] == ["d.0/b/1.0"]


def test_processes_left_behind_are_told_by_pid_and_command():
    found = planned(an_alloc(), ended(0, left=((77, "sleep 600"),)))
    assert found.views["d.0"][0].state is Task.COMPLETED
    found = planned(an_alloc(a_task(restart={"condition": "no"})), ended(1, left=((77, "sleep 600"),), oom=1))
    assert found.views["d.0"][0].reason == (
        "killed for want of memory (OOM): exit code 1; it left processes behind, which were killed: "
        "77 (sleep 600)"
    )


def test_a_generation_that_is_replaced_stops_as_one_that_is_stopped():
    alloc = an_alloc(*CHAIN[1:], a_task("a"), generation=2)
    first = planned(alloc, a_run("b"), a_run("c"))
    assert [action.run for action in first.actions] == ["d.0/c/1.0"]
    hooked = an_alloc(HOOKED, generation=2)
    over = [ended(0, role="pre_start"), ended(143, stop_at=100.0)]
    cleaning = planned(hooked, *over, a_run(role="post_stop", started=150.0))
    assert (cleaning.actions, cleaning.wake_at) == ((), 210.0)


def test_what_is_stopped_while_it_replaces_another_is_not_over_before_that_is():
    alloc = an_alloc(generation=2, wanted="stopped")
    found = planned(alloc, a_run(generation=1, stop_at=199.0))
    assert states(found, alloc) == {"main": "waiting"}
    assert states(planned(alloc, ended(143, generation=1, stop_at=199.0)), alloc) == {"main": "stopped"}


def test_a_brain_that_does_not_know_the_limits_of_a_living_run_writes_them_once():
    alloc, run = an_alloc(), a_run(cgroups=("/cg/x",))
    (limit,) = planned(alloc, run).actions
    assert limit.limits == alloc.tasks[0].limits
    assert planned(alloc, run, limited={run.id: limit.limits}).actions == ()
