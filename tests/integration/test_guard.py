"""Keeper and guard under attack: killed by the dozen, replaced in place, told to be dead men's hands."""

import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import agentd
from agentd import calling
from agentd import driver as driver_module
from agentd.cgroups import places
from agentd.cgroups.groups import Groups, limit
from agentd.driver import Driver, KeeperError, KeeperGone
from agentd.keeper import cgroup, proc
from agentd.keeper.journal import Journal
from store.model.policies import Limits
from tests.conftest import SOAK, eventually
from tests.integration.test_keeper import Desk

pytestmark = pytest.mark.integration
ROUNDS, TASKS = (100, 200) if SOAK else (12, 60)


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    yield found
    found.driver.connect()
    found.driver.end(force=True)
    assert found.driver.wait_gone(60)


class Storm:
    """A brain that goes on ordering while keeper, guard and it itself are killed."""

    def __init__(self, desk):
        self.desk = desk
        self.kills = []
        """When, and which process: (seconds since boot, pid)."""

    def again(self, do):
        while True:
            try:
                return do()
            except (KeeperGone, KeeperError, OSError):
                self.desk.driver = Driver(self.desk.directory, lambda: None)  # the brain's next life
                try:
                    self.desk.driver.connect()
                except KeeperGone:
                    continue

    def kill(self):
        driver = self.desk.driver
        victims = random.choice([["keeper"], ["guard"], ["keeper", "guard"], ["guard", "keeper"], ["brain"]])
        for victim in victims:
            pid = {"keeper": driver.pid, "guard": driver.guard}.get(victim, 0)
            if victim == "brain":
                driver._disconnect()
            elif pid and psutil.pid_exists(pid):
                self.kills.append((time.clock_gettime(time.CLOCK_BOOTTIME), pid))
                os.kill(pid, signal.SIGKILL)
        self.again(self.desk.runs)


def test_kill_9_of_keeper_guard_and_brain_while_tasks_start_run_and_exit(desk):
    """Nothing runs twice, nothing is disturbed, and each exit code is right, or said to be unknown."""
    storm, ledger = Storm(desk), desk.directory / "ledger"
    ledger.touch()
    for number in range(TASKS):
        code = number % 100 + 1
        script = f"echo {number} >> {ledger}; sleep {random.uniform(0, 1.5):.2f}; exit {code}"
        storm.again(lambda number=number, script=script: desk.spawn(number, script))
        if number % max(1, TASKS // ROUNDS) == 0:
            storm.kill()
    eventually(lambda: not any(run.live for run in storm.again(desk.runs)), 120)
    found = {run.attempt: run for run in storm.again(desk.runs)}
    assert len(found) == TASKS
    written = collections.Counter(ledger.read_text().split())
    for number, run in found.items():
        assert written[str(number)] <= 1, "twice"
        if run.code is not None:
            assert run.code == number % 100 + 1
            assert written[str(number)] == 1
            continue
        if "before it began" in run.lost:
            assert written[str(number)] == 0
            continue
        assert "keeper and guard were both killed" in run.lost
        died = [when for when, _ in storm.kills if run.started - 0.1 <= when <= run.ended + 0.1]
        assert len(died) >= 2, "one death alone loses nothing"


def test_a_thousand_tasks_at_once(desk):
    count = 1000 if SOAK else 150
    numbers = [
        desk.driver.begin_spawn(desk.order(number, "/bin/sh", "-c", f"exit {number % 100}"))
        for number in range(count)
    ]
    for number in numbers:
        desk.driver.finish(number)
    eventually(lambda: not any(run.live for run in desk.driver.runs()), 60)
    assert {run.attempt: run.code for run in desk.driver.runs()} == {n: n % 100 for n in range(count)}


# -- upgrade


@pytest.fixture
def release(tmp_path, monkeypatch):
    """Gives the driver another release's program: the same code, with another digest."""
    source = Path(agentd.__file__).parent / "keeper"

    def make(name):
        home = tmp_path / name / "agentd"
        shutil.copytree(source, home / "keeper", ignore=shutil.ignore_patterns("__pycache__"))
        (home / "__init__.py").write_text("")
        (home / "keeper" / "marker.py").write_text(f'"""{name}."""\n')
        program = [sys.executable, "-I", "-S", str(home / "keeper")]
        monkeypatch.setattr(calling, "PROGRAM", program)
        code = "import sys; sys.path.insert(0, sys.argv[1]); from agentd.keeper import version; print(version.build())"
        out = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, str(home.parent)],
            capture_output=True,
            text=True,
            check=True,
        )
        monkeypatch.setattr(driver_module.version, "build", out.stdout.strip)
        return out.stdout.strip()

    return make


def test_keeper_and_guard_are_replaced_in_place_and_lose_neither_task_nor_exit_code(tmp_path, release):
    home = tmp_path / "home"
    home.mkdir()
    desk = Desk(home)
    count = 500 if SOAK else 80
    for number in range(count):
        desk.spawn(number, f"sleep {random.uniform(0, 3):.2f}; exit {number % 100}")
    who = desk.driver.pid, desk.driver.guard
    for number in range(10 if SOAK else 3):
        build = release(f"release-{number}")
        desk.driver = Driver(home, lambda: None)
        desk.driver.connect()
        assert desk.driver._said["build"] == build
        assert (desk.driver.pid, desk.driver.guard) == who, "replaced in place: they keep their children"
    eventually(lambda: not any(run.live for run in desk.driver.runs()), 60)
    assert {run.attempt: run.code for run in desk.driver.runs()} == {n: n % 100 for n in range(count)}
    assert [run.lost for run in desk.driver.runs() if run.lost] == []
    os.kill(desk.driver.pid, signal.SIGKILL)  # and the new guard guards
    assert desk.driver.wait_gone(10)
    desk.driver.connect()
    desk.driver.end(force=True)
    assert desk.driver.wait_gone(20)


def test_an_upgrade_to_a_program_that_does_not_run_is_refused(desk, release, monkeypatch):
    run = desk.spawn(0, "exec sleep 600")
    pid = desk.wait(run, "running").pid
    with pytest.raises(KeeperError, match=r"not replaced: .*No such file"):
        desk.driver._ask({"verb": "upgrade", "program": ["/nope/python", "x"]})
    assert desk.run(run).pid == pid
    release("broken")
    monkeypatch.setattr(calling, "PROGRAM", [sys.executable, "-c", "raise SystemExit(3)"])
    again = Driver(desk.directory, lambda: None)
    again.connect()  # says so in the log, and goes on with the keeper that is there
    assert next(found.pid for found in again.runs()) == pid


# -- the dead man's switch


def test_a_run_whose_deadline_nobody_moves_is_stopped_without_a_brain(desk):
    moved = desk.spawn(0, "exec sleep 600")
    left = desk.spawn(1, "trap '' TERM; echo set; while :; do sleep 0.05; done", grace=0.2)
    for run in (moved, left):
        desk.wait(run, "running")
    eventually(lambda: (desk.directory / "out").read_text() == "set\n")
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    desk.driver.expire(moved, now + 5.0)
    desk.driver.expire(left, now + 5.0)
    desk.driver.expire(moved, now + 3600)
    os.kill(desk.driver.pid, signal.SIGKILL)  # deadlines are journalled
    desk.driver._disconnect()
    desk.driver.connect()
    ended = desk.wait(left, "exited")
    assert (ended.code, ended.why) == (137, "its deadline passed and nobody renewed it")
    assert desk.run(moved).state == "running"


# -- probes


def test_short_commands_are_run_for_the_brain_and_told_to_it_only(tmp_path):
    told, threads = {}, threading.Condition()

    def on_probe(name, code, error):
        with threads:
            told[name] = code, error
            threads.notify_all()

    desk = Desk(tmp_path)
    desk.driver = Driver(tmp_path, lambda: None, on_probe)
    desk.driver.connect()
    null = {"stdout": os.devnull, "stderr": os.devnull}
    for name, argv, timeout in (
        ("ok", ["/bin/true"], 5.0),
        ("bad", ["/bin/false"], 5.0),
        ("slow", ["/bin/sleep", "600"], 0.2),
        ("none", ["/nope"], 5.0),
    ):
        desk.driver.probe(name, desk.order(0, *argv, **null), timeout)
    eventually(lambda: len(told) == 4)
    assert told == {"ok": (0, None), "bad": (1, None), "slow": (None, None), "none": (None, "exec:2")}
    assert desk.driver.runs() == []
    assert psutil.Process(desk.driver.pid).num_fds() < 30
    desk.driver.end(force=True)
    assert desk.driver.wait_gone(10)


# -- after a reboot, and other people's processes


def ended_journal(home, **changes):
    """The journal of a machine whose keeper died with one task running."""
    desk = Desk(home)
    run = desk.spawn(0, "exec sleep 600")
    desk.wait(run, "running")
    raw = dict(next(each for each in desk.driver._ask({"verb": "list"})["runs"] if each["id"] == run))
    desk.driver.end(force=True)
    assert desk.driver.wait_gone(10)
    (home / "keeper.journal").unlink()
    journal = Journal(str(home / "keeper.journal"))
    journal.append("run", run={**raw, "stop_at": None, **changes})
    journal.sync()
    return run


def test_after_a_reboot_the_old_tasks_are_known_to_be_gone(tmp_path):
    """Even if another process has the pid of one by now: it is left alone."""
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        run = ended_journal(
            tmp_path, boot="another boot", pid=bystander.pid, start=proc.start_time(bystander.pid)
        )
        desk = Desk(tmp_path)
        assert desk.run(run).lost == "the machine was rebooted"
        assert bystander.poll() is None
        desk.driver.end(force=True)
        assert desk.driver.wait_gone(10)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a pid namespace of its own")
def test_a_reused_pid_is_a_stranger(tmp_path):
    """In a pid namespace, by ns_last_pid: the very pid, another start time."""
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "tests.integration.pid_reuse", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False, cwd=Path(agentd.__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the stranger lives" in done.stdout


# -- what an attacker found


def test_a_thousand_exits_at_once_do_not_jam_guard_and_keeper(desk):
    """Their socket holds a few hundred messages each way; neither may wait for the other."""
    count = 1000 if SOAK else 700
    gate = desk.directory / "gate"
    script = f"until [ -e {gate} ]; do sleep 1; done; exit 3"
    numbers = [desk.driver.begin_spawn(desk.order(n, "/bin/sh", "-c", script)) for n in range(count)]
    for number in numbers:
        desk.driver.finish(number)
    eventually(lambda: all(run.state == "running" for run in desk.driver.runs()), 60)
    desk.kill_keeper()
    gate.touch()
    eventually(lambda: not any(run.live for run in desk.driver.runs()), 120)
    assert {run.code for run in desk.driver.runs()} == {3}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs control groups")
def test_a_guard_that_can_fork_nobody_just_now_tries_again(desk):
    found = places.find("muster-test-fork")
    if found is None or "pids" not in found.controllers:
        pytest.skip("no pids controller here")
    made = Groups(found).make("cage", Limits(pids=1000))
    try:
        run = desk.spawn(0, "sleep 600 & wait; exit 9")
        desk.wait(run, "running")
        for directory in made:
            (Path(directory) / "cgroup.procs").write_text(str(desk.driver.guard))
        limit(made, Limits(pids=1))
        guard, old = desk.driver.guard, desk.driver.pid
        os.kill(old, signal.SIGKILL)
        log = desk.directory / "keeper.log"
        eventually(lambda: "no keeper: Resource temporarily unavailable" in log.read_text())
        limit(made, Limits(pids=1000))
        desk.driver.connect()
        assert desk.driver.guard == guard
        desk.driver.stop(run, 15)
        assert desk.wait(run, "exited").code == 143
    finally:
        for directory in made:
            for pid in cgroup.members(directory):
                (Path(directory).parent.parent / "cgroup.procs").write_text(str(pid))
        cgroup.remove(made)
        cgroup.remove([found.kill, *found.limits.values()])


def test_an_order_to_end_outlives_the_keeper_that_was_given_it(desk):
    script = "trap 'sleep 8; exit 5' TERM; echo set; while :; do sleep 0.05; done"
    run = desk.spawn(0, script, grace=30.0)
    desk.wait(run, "running")
    eventually(lambda: (desk.directory / "out").read_text() == "set\n")
    guard = desk.driver.guard
    desk.driver.end(force=True)
    eventually(lambda: desk.run(run).stop_at)
    os.kill(desk.driver.pid, signal.SIGKILL)
    eventually(lambda: proc.start_time(guard) is None)
    desk.driver.connect()
    assert desk.run(run).code == 5


def test_a_root_task_that_leaves_its_group_is_killed_all_the_same(desk):
    found = places.find("muster-test-leave")
    if found is None:
        pytest.skip("no control groups here")
    made = Groups(found).make("run", Limits())
    above = Path(made[0]).parent / "cgroup.procs"
    try:
        run = desk.spawn(
            0, f"trap '' TERM; echo 0 > {above}; echo left; while :; do sleep 0.05; done", cgroups=made
        )
        desk.wait(run, "running")
        eventually(lambda: (desk.directory / "out").read_text() == "left\n")
        desk.driver.kill(run)
        assert desk.wait(run, "exited").code == 137
    finally:
        eventually(lambda: cgroup.remove([found.kill, *found.limits.values()]))


def test_a_task_of_another_user_may_open_its_own_output_anew(desk):
    if os.geteuid() != 0:
        pytest.skip("other users are root's to become")
    run = desk.spawn(0, "echo again > /dev/stderr", uid=65534, gid=65534)
    for parent in (desk.directory, *desk.directory.parents):
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    again = desk.spawn(1, "echo again > /dev/stderr", uid=65534, gid=65534)
    desk.wait(run, "exited")
    assert desk.wait(again, "exited").code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="other users are root's to become")
def test_the_keeper_s_socket_is_its_owner_s_and_hears_nobody_else(desk):
    """Closed to others by its mode; and where that was opened by mistake, by who is at the other end."""
    sock = desk.directory / "keeper.sock"
    assert sock.stat().st_mode & 0o777 == 0o600
    for path in (desk.directory, *desk.directory.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(0o755)
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        's.sendall(b\'{"verb": "list", "re": 1}\\n\'); print(s.recv(100))'
    )
    argv = ["/usr/bin/python3", "-c", code, str(sock)]
    refused = subprocess.run(
        argv, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False
    )
    assert "PermissionError" in refused.stderr
    sock.chmod(0o666)
    ignored = subprocess.run(
        argv, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False
    )
    assert "seq" not in ignored.stdout
    assert desk.wait(desk.spawn(0, "exit 0"), "exited").code == 0
