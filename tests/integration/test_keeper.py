"""The keeper by its own socket: what it starts, survives, adopts and ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agentd.driver import Driver, KeeperError
from agentd.keeper import journal as journal_module
from agentd.keeper.journal import Journal
from agentd.keeper.table import Table
from tests.conftest import eventually

pytestmark = pytest.mark.integration


class Desk:
    """A driver on a directory, and runs to order."""

    def __init__(self, directory):
        self.directory = directory
        self.driver = Driver(directory, lambda: None)
        self.driver.connect()

    def order(self, number, *argv, **more):
        run = {"id": f"a/t/1.{number}", "alloc": "a", "task": "t", "generation": 1, "attempt": number}
        return {
            "run": run, "path": argv[0], "argv": list(argv), "env": {"PATH": "/usr/bin:/bin"}, "cwd": "/",
            "uid": None, "gid": None, "rlimits": [], "stdout": str(self.directory / "out"),
            "stderr": str(self.directory / "err"), "stop_signal": 15, "grace": 1.0, **more,
        }  # fmt: skip

    def spawn(self, number, script, **more):
        self.driver.spawn(self.order(number, "/bin/sh", "-c", script, **more))
        return f"a/t/1.{number}"

    def runs(self):
        return self.driver.runs()

    def run(self, run_id):
        return next(run for run in self.driver.runs() if run.id == run_id)

    def wait(self, run_id, state):
        eventually(lambda: self.run(run_id).state == state)
        return self.run(run_id)

    def kill_keeper(self):
        os.kill(self.driver.pid, signal.SIGKILL)
        assert self.driver.wait_gone(10)
        self.driver.connect()


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    yield found
    found.driver.connect()
    found.driver.end(force=True)
    assert found.driver.wait_gone(20)


def sleepers(seconds):
    return [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]


def test_exit_codes_and_signals(desk):
    assert desk.wait(desk.spawn(0, "exit 7"), "exited").code == 7
    assert desk.wait(desk.spawn(1, "kill -9 $$"), "exited").code == 137
    desk.driver.spawn(desk.order(2, "/nope"))
    assert desk.wait("a/t/1.2", "failed").error == "exec:2"
    assert desk.wait(desk.spawn(3, "true", cwd="/nope"), "failed").error == "cwd:2"


def test_asking_twice_starts_once(desk):
    run = desk.spawn(0, "sleep 600")
    pid = desk.wait(run, "running").pid
    desk.spawn(0, "sleep 600")
    assert desk.run(run).pid == pid


def kill_both(desk):
    """The guard first: stopped, so that it cannot take notice of the keeper's end."""
    os.kill(desk.driver.guard, signal.SIGSTOP)
    os.kill(desk.driver.pid, signal.SIGKILL)
    os.kill(desk.driver.guard, signal.SIGKILL)
    assert desk.driver.wait_gone(10)
    desk.driver.connect()


def gated(desk, number, code):
    """A run that exits with `code` once it may; and what lets it."""
    gate = desk.directory / f"gate{number}"
    run = desk.spawn(number, f"until [ -e {gate} ]; do sleep 0.02; done; exit {code}")
    desk.wait(run, "running")
    return run, gate.touch


@pytest.mark.parametrize(
    ("victims", "codes"),
    [
        (["keeper"], [40, 41]),
        (["guard"], [40, 41]),
        (["guard", "keeper"], [40, 41, 42]),  # the old keeper is guard by then: it still has its children
        (["keeper", "guard"], [None, 41, 42]),
        (["guard", "guard"], [None, 41, 42]),
    ],
)
def test_runs_and_exit_codes_outlive_keeper_and_guard(desk, victims, codes):
    """Only what has lost both of its parents ends unseen, and is said to."""
    runs = [gated(desk, 0, 40)]
    for number, victim in enumerate(victims, 1):
        before = desk.driver.pid, desk.driver.guard
        os.kill(desk.driver.pid if victim == "keeper" else desk.driver.guard, signal.SIGKILL)
        assert desk.driver.wait_gone(10)
        desk.driver.connect()
        assert (desk.driver.pid, desk.driver.guard) != before
        runs.append(gated(desk, number, 40 + number))
    pids = {run: desk.run(run).pid for run, _ in runs}
    for _, let_go in runs:
        let_go()
    found = [desk.wait(run, "exited") for run, _ in runs]
    assert [run.code for run in found] == codes
    for run in found:
        assert run.code is not None or "keeper and guard were both killed" in run.lost
    assert {run.id: run.pid for run in found} == pids


def test_what_ends_while_there_is_neither_keeper_nor_guard_is_unknown_and_said_to_be(desk):
    run, let_go = gated(desk, 0, 4)
    survivor = desk.wait(desk.spawn(1, "exec sleep 600"), "running")
    os.kill(desk.driver.guard, signal.SIGSTOP)
    os.kill(desk.driver.pid, signal.SIGKILL)
    os.kill(desk.driver.guard, signal.SIGKILL)
    let_go()
    desk.driver.connect()
    lost = desk.wait(run, "exited")
    assert lost.code is None
    assert "exit code unknown" in lost.lost
    assert desk.run(survivor.id).pid == survivor.pid
    desk.driver.stop(survivor.id, 15)
    assert desk.wait(survivor.id, "exited").stop_at


def test_a_keeper_killed_between_go_and_verdict_leaves_a_run_that_counts_as_running(tmp_path, monkeypatch):
    faults = tmp_path / "faults"
    faults.mkdir()
    monkeypatch.setenv("MUSTER_FAULTS", str(faults))
    home = tmp_path / "home"
    home.mkdir()
    desk = Desk(home)
    (faults / "keeper.spawn.after").touch()
    with pytest.raises(Exception, match=r"keeper|pipe|reset"):
        desk.spawn(0, "exec sleep 600")
    assert desk.driver.wait_gone(10)
    desk.driver.connect()
    assert desk.wait("a/t/1.0", "running").pid
    desk.driver.end(force=True)
    assert desk.driver.wait_gone(10)


def test_a_keeper_killed_before_its_word_leaves_nothing_running(tmp_path, monkeypatch):
    faults = tmp_path / "faults"
    faults.mkdir()
    monkeypatch.setenv("MUSTER_FAULTS", str(faults))
    home = tmp_path / "home"
    home.mkdir()
    desk = Desk(home)
    (faults / "keeper.journal.after").touch()
    with pytest.raises(Exception, match=r"keeper|pipe|reset"):
        desk.spawn(0, f"touch {tmp_path}/ran; exec sleep 600")
    assert desk.driver.wait_gone(10)
    desk.driver.connect()
    assert desk.wait("a/t/1.0", "exited").lost
    assert not (tmp_path / "ran").exists()
    desk.driver.end(force=True)
    assert desk.driver.wait_gone(10)


@pytest.mark.parametrize("adopted", [False, True])
def test_nothing_of_a_session_outlives_its_main_process(desk, adopted):
    """Also a child in a process group of its own, also when the keeper is not the parent."""
    seconds = "611.5" if adopted else "611.25"
    gate = desk.directory / "gate"
    run = desk.spawn(0, f"set -m; sleep {seconds} & until [ -e {gate} ]; do sleep 0.02; done; exit 3")
    desk.wait(run, "running")
    eventually(lambda: sleepers(seconds))
    if adopted:
        desk.kill_keeper()
    gate.touch()
    desk.wait(run, "exited")
    eventually(lambda: not sleepers(seconds))


def test_an_adopted_session_drains_and_is_killed_whole(desk):
    run = desk.spawn(0, "(trap '' TERM; sleep 612.5) & exec sleep 612.25")
    desk.wait(run, "running")
    eventually(lambda: sleepers("612.5"))
    desk.kill_keeper()
    desk.driver.stop(run, 15)
    assert desk.wait(run, "draining")
    desk.driver.kill(run)
    desk.wait(run, "exited")
    eventually(lambda: not sleepers("612.5"))


def test_sigterm_ends_the_keeper_after_its_tasks_each_with_its_grace(desk):
    polite = desk.spawn(0, "trap 'exit 0' TERM; echo set; while :; do sleep 0.02; done", grace=30.0)
    stubborn = desk.spawn(1, "trap '' TERM; echo set; while :; do sleep 0.05; done", grace=0.3)
    out = desk.directory / "out"
    eventually(lambda: out.exists() and out.read_text() == "set\nset\n")
    os.kill(desk.driver.pid, signal.SIGTERM)
    assert desk.driver.wait_gone(20)
    desk.driver.connect()
    assert (desk.run(polite).code, desk.run(stubborn).code) == (0, 137)
    assert desk.run(polite).stop_at, "so that it is known: this was no completion"
    assert desk.run(stubborn).stop_at


def test_no_descriptor_of_the_keeper_reaches_a_task(desk):
    run = desk.spawn(0, "ls /proc/self/fd | wc -l; sleep 600")
    desk.wait(run, "running")
    eventually(lambda: (desk.directory / "out").exists() and (desk.directory / "out").read_text().strip())
    assert int((desk.directory / "out").read_text()) == 4  # 0, 1, 2 and ls's own


def test_many_runs_leave_no_descriptor_behind(desk):
    keeper = psutil.Process(desk.driver.pid)
    before = keeper.num_fds()
    for number in range(60):
        desk.spawn(number, "exit 0")
    desk.wait("a/t/1.59", "exited")
    eventually(lambda: all(run.state == "exited" for run in desk.driver.runs()))
    assert keeper.num_fds() == before
    desk.driver.forget(tuple(run.id for run in desk.driver.runs()))
    assert desk.driver.runs() == []


def test_nonsense_is_answered_and_harms_nobody(desk):
    for message in (
        {"verb": "dance"},
        {"verb": "spawn"},
        {"verb": "spawn", "order": {"run": {"id": "x"}}},
        {},
    ):
        with pytest.raises(KeeperError, match=r"not understood|unknown verb"):
            desk.driver._ask(message)
    for line in (b"5\n", b"[]\n", b"\xff\n", b"\n"):
        desk.driver._socket.sendall(line)
    assert desk.wait(desk.spawn(0, "exit 0"), "exited").code == 0


def test_another_keeper_on_the_same_directory_goes_away(desk):
    keeper = Path(journal_module.__file__).parent
    done = subprocess.run([sys.executable, "-I", "-S", str(keeper), str(desk.directory)], capture_output=True, timeout=20, check=False)  # fmt: skip
    assert done.returncode == 1
    assert b"another keeper" in done.stderr
    desk.driver.runs()


def test_a_torn_line_is_cut_off_and_a_damaged_one_passed_over(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b'{"seq":1,"kind":"x"}\nrubbish\n{"seq":3,"kind":"y"}\n{"seq":4,"ki')
    found = Journal(str(path))
    assert [entry["kind"] for entry in found.replay()] == ["x", "y"]
    assert found.append("z")["seq"] == 4
    assert [entry["seq"] for entry in Journal(str(path)).replay()] == [1, 3, 4]


def test_what_happened_waits_in_memory_while_the_disk_is_full_and_what_must_not_happen_does_not(
    tmp_path, monkeypatch
):
    found, write, full = Journal(str(tmp_path / "j")), os.write, [False]
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2] if full[0] else data))
    found.append("a")
    full[0] = True
    found.append("b")
    with pytest.raises(OSError, match="No space"):
        found.append("c", must=True)
    found.sync()
    assert found.dirty
    full[0] = False
    found.sync()
    assert not found.dirty
    assert [(entry["seq"], entry["kind"]) for entry in Journal(str(tmp_path / "j")).replay()] == [
        (1, "a"),
        (2, "b"),
    ]


def test_the_journal_is_rewritten_when_it_is_mostly_history(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "COMPACT_ABOVE", 2000)
    table = Table(Journal(str(tmp_path / "j")))
    for number in range(50):
        run = {"id": str(number), "alloc": "a", "task": "t", "generation": 1, "attempt": number}
        table.refuse(run, "x" * 50)
        table.forget([str(number - 1)])
        table.sync()
    assert (tmp_path / "j").stat().st_size < 4000
    after = Table(Journal(str(tmp_path / "j")))
    after.replay()
    assert list(after.runs) == ["49"]
    assert after.seq == table.seq


def test_a_rewrite_that_does_not_fit_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    found, write = Journal(str(tmp_path / "j")), os.write
    found.append("a")
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
    found.rewrite([{"seq": 1, "kind": "a"}] * 10)
    monkeypatch.undo()
    assert [entry["kind"] for entry in Journal(str(tmp_path / "j")).replay()] == ["a"]
    assert not (tmp_path / "j.part").exists()
