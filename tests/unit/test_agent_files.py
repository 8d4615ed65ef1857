"""The agent's plan where tasks have files, and what starts, refuses and reports them."""

import dataclasses
import os
import stat

import pytest

from agentd.core.actions import Forget, Kill, Refuse, Start, Stop
from agentd.core.contact import Contact
from agentd.core.draft import Observed
from agentd.core.files.views import Files, FilesView
from agentd.core.obey import Orders
from agentd.core.plan import plan
from agentd.executor import Executor
from agentd.identity import Identity
from agentd.launch import Launcher
from agentd.policy import Policy
from agentd.reporter import Reporter
from agentd.sentences import CannotStart, FilesMissing
from tests.builders import BOOT, a_run, a_task, an_alloc, ended

pytestmark = pytest.mark.unit

READY = FilesView(state=Files.READY)
ON_THEIR_WAY = FilesView(
    state=Files.FETCHING, reason="waits for its turn at sftp://files", done=5, total=80, rate=2.5
)
HOPELESS = FilesView(state=Files.FAILED, reason="no such file sftp://files:11")
SENTENCE = "its files cannot be had: no such file sftp://files:11"
ARTIFACTS = [{"source": "app.tgz", "extract": True}]
WHO = Identity("n", "u", "s", "m")


def with_files(name="main", command="/bin/true", **more):
    return a_task(name, command, artifacts=ARTIFACTS, **more)


def planned(alloc, *runs, now=200.0, files=(), **seen):
    known = {(alloc.id, name, alloc.generation): view for name, view in dict(files).items()}
    observed = Observed(runs=runs, boot=BOOT, files=known, **seen)
    return plan({alloc.id: alloc}, observed, now, keep={alloc.id})


def rows(found, alloc):
    return {each.spec.name: (str(each.state), each.reason) for each in found.views[alloc.id]}


def fetched(found):
    return [each.task.name for each in found.fetches]


# -- what is fetched, and when it starts


def test_a_task_starts_when_its_files_are_there_and_not_before():
    alloc = an_alloc(with_files())
    for files, reason in [({}, ""), ({"main": ON_THEIR_WAY}, ON_THEIR_WAY.reason)]:
        found = planned(alloc, files=files)
        assert found.actions == ()
        assert rows(found, alloc) == {"main": ("fetching", reason)}
        assert fetched(found) == ["main"]
        assert found.fetches[0].reason == "it is fetching"
    after = planned(alloc, files={"main": READY})
    assert [action.run for action in after.actions] == ["d.0/main/1.0"]


@pytest.mark.parametrize("role", ["main", "pre_start"])
def test_a_start_whose_files_vanished_under_it_waits_for_them_and_begins_again(role):
    hooks = {"pre_start": "/bin/x"} if role == "pre_start" else {}
    alloc = an_alloc(with_files(restart={"condition": "no"}, hooks=hooks))
    gone = a_run(state="failed", error="cwd:2", role=role, pid=None, ended=150.0)
    waits = planned(alloc, gone, files={"main": ON_THEIR_WAY})
    assert rows(waits, alloc) == {"main": ("fetching", ON_THEIR_WAY.reason)}
    assert fetched(waits) == ["main"]
    again = planned(alloc, gone, files={"main": READY})
    suffix = ":pre_start" if hooks else ""
    assert [action.run for action in again.actions if isinstance(action, Start)] == [f"d.0/main/1.1{suffix}"]


def test_a_working_directory_of_a_tasks_own_that_is_not_there_is_final():
    alloc = an_alloc(with_files(config={"cwd": "/nowhere"}))
    gone = a_run(state="failed", error="cwd:2", pid=None, ended=150.0)
    assert rows(planned(alloc, gone, files={"main": READY}), alloc)["main"][0] == "failed"


def test_files_of_another_generation_are_not_those_of_this_one():
    alloc = an_alloc(with_files(), generation=2)
    found = planned(dataclasses.replace(alloc, generation=1), files={"main": READY})
    assert found.actions
    observed = Observed(runs=(), boot=BOOT, files={("d.0", "main", 1): READY})
    assert plan({"d.0": alloc}, observed, 200.0).actions == ()


def test_tasks_without_files_are_not_held_up_and_nothing_is_fetched_for_them():
    alloc = an_alloc(a_task("plain"), with_files("rich"))
    found = planned(alloc)
    assert [action.task.name for action in found.actions] == ["plain"]
    assert fetched(found) == ["rich"]


def test_a_bare_command_that_may_have_to_be_fetched_waits_for_word_of_it():
    alloc = an_alloc(a_task(command="/opt/app", fetch=True))
    assert rows(planned(alloc), alloc) == {"main": ("fetching", "")}


def test_files_come_before_dependencies_and_before_hooks():
    chain = (a_task("a"), with_files("b", depends_on={"a": "completed"}, hooks={"pre_start": "/bin/x"}))
    alloc = an_alloc(*chain)
    early = planned(alloc, a_run("a"))
    assert rows(early, alloc)["b"] == ("fetching", "")
    waiting = planned(alloc, a_run("a"), files={"b": READY})
    assert rows(waiting, alloc)["b"][0] == "waiting"
    assert fetched(waiting) == ["b"], "what is there has to stay there"
    due = planned(alloc, ended(0, task="a"), files={"b": ON_THEIR_WAY})
    assert due.actions == ()
    ready = planned(alloc, ended(0, task="a"), files={"b": READY})
    assert [action.role for action in ready.actions] == ["pre_start"]


def test_nothing_is_fetched_for_what_can_never_start():
    alloc = an_alloc(a_task("a", restart={"condition": "no"}), with_files("b", depends_on={"a": "started"}))
    found = planned(alloc, ended(1, task="a"))
    assert rows(found, alloc)["b"] == ("failed", "depends on a, which failed")
    assert found.fetches == ()


def test_what_lives_keeps_its_files_and_is_left_alone_even_if_they_are_gone():
    alloc = an_alloc(with_files())
    for files in ({}, {"main": ON_THEIR_WAY}, {"main": HOPELESS}, {"main": READY}):
        found = planned(alloc, a_run(), files=files)
        assert (found.actions, rows(found, alloc)) == ((), {"main": ("running", "")})
        assert fetched(found) == ["main"]


@pytest.mark.parametrize("code", [0, 1])
def test_nothing_is_fetched_for_what_is_over(code):
    alloc = an_alloc(with_files(restart={"condition": "no"}))
    assert planned(alloc, ended(code)).fetches == ()


def test_nothing_is_fetched_for_what_is_to_stop():
    alloc = an_alloc(with_files("a"), with_files("b"), wanted="stopped")
    found = planned(alloc, a_run("b"), files={"a": ON_THEIR_WAY})
    assert found.fetches == ()
    assert rows(found, alloc)["a"] == ("stopped", "")
    assert [type(action) for action in found.actions] == [Stop]


def test_a_restart_without_its_files_waits_for_them_and_costs_nothing():
    alloc = an_alloc(with_files(restart={"delay": "1s", "max_attempts": 1}))
    runs = [ended(1, at=100.0)]
    assert rows(planned(alloc, *runs, now=100.5), alloc)["main"][0] == "backoff", "first its delay"
    found = planned(alloc, *runs, files={"main": ON_THEIR_WAY})
    assert (found.actions, rows(found, alloc)) == ((), {"main": ("fetching", ON_THEIR_WAY.reason)})
    (start,) = planned(alloc, *runs, files={"main": READY}).actions
    assert start.attempt == 1
    rebooted = planned(alloc, ended(None, lost="the machine was rebooted"))
    assert rows(rebooted, alloc)["main"][0] == "fetching"


def test_files_that_go_after_the_pre_start_hook_are_waited_for():
    alloc = an_alloc(with_files(hooks={"pre_start": "/bin/x"}))
    over = ended(0, role="pre_start")
    found = planned(alloc, over, files={"main": ON_THEIR_WAY})
    assert (found.actions, rows(found, alloc)) == ((), {"main": ("starting", ON_THEIR_WAY.reason)})
    assert [action.role for action in planned(alloc, over, files={"main": READY}).actions] == ["main"]


# -- what cannot be had


def test_what_cannot_be_had_fails_its_task_and_those_who_need_it_and_is_written_down():
    alloc = an_alloc(with_files("a"), a_task("b", depends_on={"a": "started"}))
    found = planned(alloc, files={"a": HOPELESS})
    assert rows(found, alloc) == {"a": ("failed", SENTENCE), "b": ("failed", "depends on a, which failed")}
    (refusal,) = found.actions
    assert isinstance(refusal, Refuse)
    assert (refusal.start.run, refusal.reason) == ("d.0/a/1.0", SENTENCE)
    assert fetched(found) == ["a"], "until the verdict is written down"
    written = a_run("a", state="failed", error=SENTENCE, pid=None)
    later = planned(alloc, written)
    assert rows(later, alloc) == rows(found, alloc), "also for a brain that knows nothing of the files"
    assert (later.actions, later.fetches) == ((), ())
    assert rows(planned(alloc, written, files={"a": READY}), alloc)["a"][0] == "failed"


def test_a_task_that_has_run_fails_too_if_its_files_are_gone_for_good():
    alloc = an_alloc(with_files())
    rebooted = ended(None, lost="the machine was rebooted")
    (refusal,) = planned(alloc, rebooted, files={"main": HOPELESS}).actions
    assert refusal.start.run == "d.0/main/1.1"
    hooked = an_alloc(with_files(hooks={"pre_start": "/bin/x"}))
    (refusal,) = planned(hooked, ended(0, role="pre_start"), files={"main": HOPELESS}).actions
    assert refusal.start.run == "d.0/main/1.0", "the main run of the attempt whose hook is done"


def test_reasons_are_capped():
    alloc = an_alloc(with_files())
    long = dataclasses.replace(HOPELESS, reason="x" * 10_000)
    assert len(rows(planned(alloc, files={"main": long}), alloc)["main"][1]) < 600
    slow = dataclasses.replace(ON_THEIR_WAY, reason="x" * 10_000)
    assert len(rows(planned(alloc, files={"main": slow}), alloc)["main"][1]) <= 500


# -- updates in place

NEWER = an_alloc(with_files("a"), a_task("b"), with_files("c"), generation=2)
OLD = (a_run("a"), a_run("b"), a_run("gone"))


def test_an_update_fetches_first_and_what_runs_goes_on():
    found = planned(NEWER, *OLD, files={"a": READY, "c": ON_THEIR_WAY})
    assert found.actions == ()
    meanwhile = "its older generation goes on meanwhile"
    assert rows(found, NEWER) == {
        "a": ("pending", f"waits for the files of other tasks; {meanwhile}"),
        "b": ("pending", f"waits for the files of other tasks; {meanwhile}"),
        "c": ("fetching", f"{ON_THEIR_WAY.reason}; {meanwhile}"),
    }
    assert fetched(found) == ["a", "c"]
    after = planned(NEWER, *OLD, files={"a": READY, "c": READY})
    assert {action.run for action in after.actions} == {run.id for run in OLD}
    assert {type(action) for action in after.actions} == {Stop}


def test_what_runs_is_replaced_by_a_failure_once_the_files_cannot_be_had():
    found = planned(NEWER, *OLD, files={"a": HOPELESS, "c": ON_THEIR_WAY})
    assert [type(action) for action in found.actions] == [Stop, Stop, Stop, Refuse]
    assert rows(found, NEWER)["a"][0] == "waiting", "it has not ended before what it was to replace"
    assert rows(found, NEWER)["c"] == (
        "fetching", f"{ON_THEIR_WAY.reason}; waits for its older generation to end"
    )  # fmt: skip
    written = a_run("a", state="failed", error=SENTENCE, pid=None, generation=2)
    draining = [dataclasses.replace(run, stop_at=199.0) for run in OLD]
    later = planned(NEWER, written, *draining)
    assert (later.actions, rows(later, NEWER)["a"][0]) == ((), "waiting"), "by another brain, too"
    over = [dataclasses.replace(run, stop_at=199.0, state="exited", code=143, ended=199.5) for run in OLD]
    last = planned(NEWER, written, *over)
    assert [type(action) for action in last.actions] == [Start, Forget]
    assert rows(last, NEWER)["a"] == ("failed", SENTENCE)


def test_an_order_to_stop_does_not_wait_for_files():
    stopped = dataclasses.replace(NEWER, wanted="stopped")
    found = planned(stopped, *OLD, files={"a": ON_THEIR_WAY})
    assert [type(action) for action in found.actions] == [Stop] * 3
    assert {state for state, _ in rows(found, stopped).values()} == {"waiting"}
    assert found.fetches == ()


def test_what_goes_on_meanwhile_is_ended_where_the_store_is_out_of_reach():
    tied = dataclasses.replace(NEWER, stop_after=30.0)
    calm = planned(tied, *OLD, contact=Contact(acked=190.0, gap=0.0))
    assert (calm.actions, calm.wake_at) == ((), 220.0)
    cut = planned(tied, *OLD, contact=Contact(acked=160.0, gap=0.0))
    assert [action.why for action in cut.actions] == ["cut off from the store for 30 s"] * 3


def test_what_was_begun_with_older_runs_is_brought_to_its_end_meanwhile():
    alloc = an_alloc(with_files(stop={"timeout": "5s"}), generation=2)
    stopping = planned(alloc, a_run(stop_at=198.0), now=202.0)
    assert (stopping.actions, stopping.wake_at) == ((), 203.0)
    (kill,) = planned(alloc, a_run(stop_at=198.0), now=203.0).actions
    assert isinstance(kill, Kill)
    hook = a_run(role="pre_start", started=100.0)
    assert planned(alloc, hook, now=159.0).wake_at == 160.0
    (kill,) = planned(alloc, hook, now=160.0).actions
    assert "took longer than 60 s" in kill.reason


def test_where_nothing_of_the_older_generation_lives_nothing_waits_for_its_end():
    alloc = an_alloc(with_files(), generation=2)
    found = planned(alloc, ended(0))
    assert rows(found, alloc) == {"main": ("fetching", "")}
    assert [type(action) for action in found.actions] == [Forget]


# -- how it is started


class Shelf:
    """A stock of one home for all, and one program."""

    def __init__(self, home=None, program=None):
        self.at, self.program, self.gone = home, program, []

    def home(self, alloc, task):
        return self.at

    def command(self, alloc, task):
        return self.program

    def missing(self, alloc, task):
        self.gone.append(task.name)


@pytest.fixture
def launcher(tmp_path):
    found = Launcher(tmp_path, WHO, Policy(tmp_path / "policy.yaml"), None)
    home = found.allocs / "d.0" / "main@0123456789ab"
    home.mkdir(parents=True)
    found.stock = Shelf(home)
    return found


def ordered(launcher, role="main", run="r", **task):
    alloc = an_alloc(with_files(**task))
    return launcher.order(alloc, alloc.tasks[0], run, role)


def test_a_task_with_files_runs_in_its_home_and_is_told_of_it(launcher):
    order = ordered(launcher, command=["/bin/echo", "${task.dir}"])
    home = str(launcher.stock.at)
    assert (order["cwd"], order["argv"][1], order["env"]["MUSTER_TASK_DIR"]) == (home, home, home)
    hook = ordered(launcher, "pre_start", hooks={"pre_start": "/bin/x ${task.dir}/y"})
    assert (hook["cwd"], hook["argv"][1]) == (home, f"{home}/y")
    alloc = an_alloc(with_files(config={"cwd": "${task.dir}/sub"}))
    assert launcher.order(alloc, alloc.tasks[0], "r", "main")["cwd"] == f"{home}/sub"
    probe = launcher.probe(alloc, an_alloc(with_files()).tasks[0], a_run(), ["/bin/true"])
    assert probe["cwd"] == home


def test_a_task_without_files_is_told_of_its_directory_too(launcher):
    alloc = an_alloc(a_task(command=["/bin/echo", "${task.dir}"]))
    order = launcher.order(alloc, alloc.tasks[0], "r", "main")
    own = str(launcher.allocs / "d.0" / "main")
    assert (order["cwd"], order["argv"][1], order["env"]["MUSTER_TASK_DIR"]) == (own, own, own)


@pytest.mark.parametrize("written", ["run.sh", "./run.sh", "bin/run.sh"])
def test_relative_commands_are_looked_up_in_the_home(launcher, written):
    path = launcher.stock.at / written
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    for cwd in ({}, {"config": {"cwd": "/srv"}}):
        order = ordered(launcher, command=[written], **cwd)
        assert (order["path"], order["argv"]) == (str(path), [written])
    hook = ordered(launcher, "pre_start", hooks={"pre_start": [written]})
    assert hook["path"] == str(path)


def test_what_the_home_does_not_hold_is_looked_up_as_ever(launcher):
    (launcher.stock.at / "sh").mkdir()
    assert ordered(launcher, command=["sh"])["path"] in ("/bin/sh", "/usr/bin/sh"), (
        "a directory is no program"
    )
    assert ordered(launcher, command=["./x"], config={"cwd": "/srv"})["path"] == "/srv/./x"
    with pytest.raises(CannotStart, match="not in PATH"):
        ordered(launcher, command=["no-such-program"])


def test_a_home_comes_before_path_but_not_for_tasks_without_files(launcher):
    (launcher.stock.at / "sh").write_text("")
    assert ordered(launcher, command=["sh"])["path"] == str(launcher.stock.at / "sh")
    alloc = an_alloc(a_task(command=["sh"]))
    assert launcher.order(alloc, alloc.tasks[0], "r", "main")["path"] != str(launcher.stock.at / "sh")


def test_a_fetched_program_is_executed_under_the_name_that_was_written(launcher):
    launcher.stock.program = str(launcher.stock.at / "app")
    alloc = an_alloc(a_task(command=["/opt/app", "-v"], fetch=True, hooks={"pre_start": "/bin/x"}))
    order = launcher.order(alloc, alloc.tasks[0], "r", "main")
    assert (order["path"], order["argv"]) == (launcher.stock.program, ["/opt/app", "-v"])
    assert launcher.order(alloc, alloc.tasks[0], "r", "pre_start")["path"] == "/bin/x"
    assert launcher.probe(alloc, alloc.tasks[0], a_run(), ["/bin/y"])["path"] == "/bin/y"


def test_fetched_programs_obey_the_policy_like_any_other(launcher, tmp_path):
    (launcher.stock.at / "run.sh").write_text("")
    launcher._policy.path.write_text("commands: ['/opt/*']\n")
    with pytest.raises(CannotStart, match="does not list the command"):
        ordered(launcher, command=["run.sh"])
    launcher._policy.path.write_text(f"commands: ['{tmp_path}/alloc/*', '/opt/*']\n")
    assert ordered(launcher, command=["run.sh"])["path"].endswith("/run.sh")


def test_a_failed_exec_is_explained_with_the_file_in_the_home(launcher):
    script = launcher.stock.at / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o644)
    alloc = an_alloc(with_files(command=["run.sh"]))
    said = launcher.explain(a_run(state="failed", error="exec:13"), alloc, alloc.tasks[0])
    cure = 'mode: "0755" with its artifact, or in the archive that it came in'
    assert said == f"{script} is not executable: it lacks the exec bit ({cure})"
    said = launcher.explain(a_run(state="failed", error="cwd:2"), alloc, alloc.tasks[0])
    assert said == f"could not enter its directory {launcher.stock.at}: No such file or directory"
    assert launcher.explain(a_run(state="failed", error=SENTENCE), alloc, alloc.tasks[0]) == SENTENCE


@pytest.mark.skipif(os.geteuid() != 0, reason="other users are root's to become")
def test_a_home_becomes_that_of_its_user_and_what_lies_in_it_stays_as_it_is(launcher):
    (launcher.stock.at / "app").write_text("")
    ordered(launcher, config={"user": "12345"})
    assert launcher.stock.at.stat().st_uid == 12345
    assert (launcher.stock.at / "app").stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="other users are root's to become")
def test_a_link_in_the_place_of_a_home_is_not_followed(launcher, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    launcher.stock.at.rmdir()
    launcher.stock.at.symlink_to(precious)
    with pytest.raises(FilesMissing):
        ordered(launcher, config={"user": "12345"})
    assert precious.stat().st_uid == 0
    assert stat.S_IMODE(precious.stat().st_mode) == 0o755


def test_what_may_have_to_be_fetched_needs_no_home_where_the_node_has_it(launcher):
    launcher.stock = Shelf()
    here = an_alloc(a_task(command=["/bin/sh"], fetch=True))
    assert launcher.order(here, here.tasks[0], "r", "main")["cwd"] == str(launcher.allocs / "d.0" / "main")
    bare = an_alloc(a_task(command=["sh"], fetch=True))
    assert launcher.order(bare, bare.tasks[0], "r", "main")["path"].endswith("/sh")
    lacked = an_alloc(a_task(command=["/opt/no-such-program"], fetch=True))
    with pytest.raises(FilesMissing):
        launcher.order(lacked, lacked.tasks[0], "r", "main")


# -- how it is carried out


class Keeper:
    """Notes what it is asked to do."""

    protocol = 2

    def __init__(self):
        self.refused, self.spawned = [], []

    def refuse(self, run, error):
        self.refused.append((run["id"], run["role"], error))

    def begin_spawn(self, order):
        self.spawned.append(order)
        return 1

    def finish(self, number):
        pass


@pytest.fixture
def executor(launcher, clock):
    found = Executor(Keeper(), launcher, clock)
    found.keeper = found._driver
    return found


def test_a_missing_home_is_no_failure_of_the_task(executor, launcher, clock):
    alloc, home = an_alloc(with_files()), launcher.stock.at
    start = Start(alloc, alloc.tasks[0], 0, "wanted")
    for gone in (None, home.with_name("gone@0123456789ab")):
        launcher.stock.at = gone
        again = executor.perform([start])
        assert (again, executor.keeper.refused, executor.keeper.spawned) == (clock.now() + 1.0, [], [])
        assert "not there any more" in executor.trouble(start.run)
        assert launcher.stock.gone.pop() == "main", "who keeps the files is told"
        clock.advance(1.0)
    launcher.stock.at, executor.keeper.protocol = home, 1
    assert executor.perform([start]) is None
    assert len(executor.keeper.spawned) == 1, "a keeper of the last release will do"


def test_what_cleans_up_does_so_without_files(executor, launcher):
    alloc = an_alloc(with_files(hooks={"post_stop": "/bin/true"}))
    launcher.stock.at = None
    assert executor.perform([Start(alloc, alloc.tasks[0], 0, "", "post_stop")]) is None
    (order,) = executor.keeper.spawned
    assert order["cwd"] == str(launcher.allocs / "d.0" / "main")


def test_that_files_cannot_be_had_is_written_down_by_the_keeper(executor):
    alloc = an_alloc(with_files())
    executor.perform(planned(alloc, files={"main": HOPELESS}).actions)
    assert executor.keeper.refused == [("d.0/main/1.0", "main", SENTENCE)]


# -- what is said of it


def test_progress_is_said_every_two_seconds_and_all_else_at_once(executor, launcher, clock):
    reporter, alloc = Reporter(executor, launcher, WHO, clock), an_alloc(with_files())

    def row(done, reason="", files=Files.FETCHING):
        view = FilesView(state=files, reason=reason, done=done, total=80, rate=2.25)
        found = planned(alloc, files={"main": view})
        (said,) = reporter.entries(found, {alloc.id: alloc}, Orders(), {})["d.0"]["tasks"]
        return said

    said = row(5)
    assert (said["state"], said["fetch"]) == ("fetching", {"done": 5, "total": 80, "rate": 2})
    clock.advance(1.9)
    assert row(6) == said
    clock.advance(0.1)
    assert row(7)["fetch"]["done"] == 7
    assert row(8, "it waits for its turn")["fetch"]["done"] == 8
    assert "fetch" not in row(80, files=Files.READY)
    assert row(9, "it waits for its turn")["fetch"]["done"] == 9, "begun anew"


def test_each_task_has_a_progress_of_its_own(executor, launcher, clock):
    reporter, alloc = Reporter(executor, launcher, WHO, clock), an_alloc(with_files("a"), with_files("b"))
    files = {"a": ON_THEIR_WAY, "b": FilesView(state=Files.FETCHING)}
    tasks = reporter.entries(planned(alloc, files=files), {alloc.id: alloc}, Orders(), {})["d.0"]["tasks"]
    assert [row["fetch"] for row in tasks] == [
        {"done": 5, "total": 80, "rate": 2},
        {"done": 0, "total": None, "rate": None},
    ]
