"""Real containers under podman, and a docker client that is a script: what their main process promises."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from agentd.containers import commands, engine, outcome
from agentd.containers.engine import Engine
from agentd.driver import Driver
from store.model import spec
from tests.conftest import eventually, need

pytestmark = pytest.mark.integration

IMAGE = "localhost/bb:1"
ENV = engine.client_env(os.environ)
TOOLS = ["sh", "sleep", "cat", "id", "true", "touch", "head", "grep", "env"]


@pytest.fixture(scope="session")
def podman(tmp_path_factory):
    """The node's podman, with an image of busybox."""
    found = engine.detect(ENV) if shutil.which("podman") and shutil.which("busybox") else None
    need(found is not None and found.name == "podman" and found.detached, "podman 4, runc or busybox-static")
    if subprocess.run([found.path, "image", "exists", IMAGE], env=ENV, check=False).returncode != 0:
        root = tmp_path_factory.mktemp("bb")
        (root / "bin").mkdir()
        shutil.copy(shutil.which("busybox"), root / "bin/busybox")
        for tool in TOOLS:
            (root / "bin" / tool).symlink_to("busybox")
        for name in ("tmp", "proc", "sys", "dev", "etc"):
            (root / name).mkdir()
        tar = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
        subprocess.run([found.path, "import", "-", IMAGE], stdin=tar.stdout, env=ENV, check=True)
        assert tar.wait() == 0
    return found


class Box:
    """One task's container, run after run, with the files that an agent would give it."""

    def __init__(self, engine, directory):
        self.engine = engine
        self.home = directory / "home"
        self.home.mkdir(mode=0o700)
        self.name = commands.container_name(str(directory), "a.0", "t")
        self.labels = commands.labels(str(directory), "a.0", "a.0/t/1.0")
        self.out, self.err = directory / "out", directory / "err"
        self.started = []

    def task(self, *argv, config=None, **more):
        words = {"command": argv[0], "args": list(argv[1:])} if argv else {}
        whole = {"driver": "container", "image": IMAGE, "network": "none", **words, **(config or {})}
        return spec.task({"name": "t", "config": whole, **more})

    def line(self, task, env=None):
        commands.write_env(self.home, env or {})
        return commands.run_argv(self.engine, self.name, task, self.labels, self.home)

    def start(self, *argv, env=None, config=None, client_env=ENV, **more):
        line = self.line(self.task(*argv, config=config, **more), env)
        with self.out.open("ab") as out, self.err.open("ab") as err:
            main = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=client_env, start_new_session=True
            )
        self.started.append(main)
        return main

    def run(self, *argv, **more):
        return self.start(*argv, **more).wait()

    def outcome(self, main=None):
        return outcome.read(self.home, main or self.started[-1].pid)

    def running(self, main=None):
        """The pid of the container's first process, once it runs."""
        found = eventually(lambda: (got := self.outcome(main)) and got.state == "running" and got)
        return found.pid

    def says(self, word):
        eventually(lambda: self.out.exists() and word in self.out.read_text())

    def remove(self):
        return subprocess.run(
            commands.remove_argv(self.engine, self.name), env=ENV, capture_output=True, check=False
        )

    def left(self):
        line = commands.list_argv(self.engine, self.labels["muster.node"])
        return subprocess.run(line, env=ENV, capture_output=True, text=True, check=True).stdout.split()

    def end(self):
        for main in self.started:
            if main.poll() is None:
                main.kill()
            main.wait()
        with contextlib.suppress(FileNotFoundError):
            self.remove()


@pytest.fixture
def box(podman, tmp_path):
    found = Box(podman, tmp_path)
    yield found
    found.end()


def waiter(main):
    """The shell that removes a container whose main process is killed."""
    return next(child for child in psutil.Process(main.pid).children() if child.name() != "conmon")


TRAP = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"
FOREVER = "echo ready; exec sleep 600"


def test_exit_codes_and_logs_go_where_a_process_s_would(box):
    assert box.run("/bin/sh", "-c", "echo out; echo err >&2; exit 9") == 9
    assert (box.out.read_text(), box.err.read_text()) == ("out\n", "err\n")
    assert box.outcome().code == 9
    assert box.left() == []
    assert box.run("/bin/true") == 0


def test_what_is_inside_is_what_was_asked_for(box, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "a,b").mkdir(mode=0o777)
    (tmp_path / "a,b").chmod(0o777)
    script = """
        id -u; id -g; pwd; umask; ulimit -n
        touch /ro/x 2>/dev/null || echo read-only
        touch /rw/x && echo writable
        grep -E 'NoNewPrivs|SigIgn' /proc/self/status
    """
    code = box.run(
        "/bin/sh", "-c", script,
        config={"user": "1234:5678", "cwd": "/tmp", "umask": "0027",
                "mounts": [f"{tmp_path}/data:/ro:ro", f"{tmp_path}/a,b:/rw"]},
        ulimits={"nofile": 77},
    )  # fmt: skip
    assert (code, box.err.read_text()) == (0, "")
    said = box.out.read_text().split()
    assert said[:7] == ["1234", "5678", "/tmp", "0027", "77", "read-only", "writable"]
    assert (said[7], said[9:]) == ("SigIgn:", ["NoNewPrivs:", "1"])
    assert not int(said[8], 16) & 1 << signal.SIGPIPE - 1, (
        "Python ignores it; a container must not inherit that"
    )
    assert (tmp_path / "a,b/x").stat().st_uid == 1234


def test_the_environment_is_exact_and_in_no_command_line(box):
    value = """s3cr3t #"'$HOME\\ ü"""
    seen, over = set(), threading.Event()

    def look():
        while not over.is_set():
            for process in psutil.process_iter(["cmdline"]):
                line = " ".join(process.info["cmdline"] or ())
                seen.add("s3cr3t" in line or ("muster" if box.name in line else ""))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        main = box.start(
            "/bin/sh", "-c", "env; exec sleep 600", env={"TOKEN": value, "LD_PRELOAD": "/evil.so"}
        )
        box.running()
        box.says("TOKEN")
    finally:
        over.set()
        looking.join()
    assert f"TOKEN={value}\n" in box.out.read_text()
    assert "LD_PRELOAD=/evil.so\n" in box.out.read_text()
    assert "muster" in seen
    assert True not in seen
    for process in [psutil.Process(main.pid), *psutil.Process(main.pid).children()]:
        assert not {"TOKEN", "LD_PRELOAD"} & process.environ().keys()


def test_the_stop_signal_reaches_the_program_and_its_code_comes_back(box):
    main = box.start("/bin/sh", "-c", TRAP)
    box.says("ready")
    os.killpg(main.pid, signal.SIGTERM)
    assert main.wait(30) == 42


def test_any_signal_is_passed_on(box):
    main = box.start("/bin/sh", "-c", TRAP.replace("TERM", "USR1"), stop={"signal": "SIGUSR1"})
    box.says("ready")
    main.send_signal(signal.SIGUSR1)
    assert main.wait(30) == 42


def test_a_stop_during_the_pull_ends_it(box):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        image = f"localhost:{silent.getsockname()[1]}/never:1"
        main = box.start("/bin/true", config={"image": image})
        silent.settimeout(30)
        pulling, _ = silent.accept()
        main.terminate()
        assert main.wait(30) != 0
        pulling.close()
    assert box.left() == []


def test_kill_9_of_the_main_process_ends_the_container(box):
    main = box.start("/bin/sh", "-c", FOREVER)
    inside = box.running()
    main.kill()
    eventually(lambda: not psutil.pid_exists(inside))
    eventually(lambda: box.left() == [])


def test_the_next_run_outlives_the_end_of_the_last(box):
    """The last one's removal comes late: it must not hit the next one, which has the same name."""
    for number in range(3):
        main = box.start("/bin/sh", "-c", FOREVER)
        box.running()
        box.says("ready\n" * number + "ready")
        main.kill()
    main = box.start("/bin/sh", "-c", TRAP)
    box.says("ready\nready\nready\nready")
    assert len(box.left()) == 1
    main.terminate()
    assert main.wait(30) == 42


def orphan(box):
    """A container with nobody left who knows it, as after a crash of everything but conmon."""
    main = box.start("/bin/sh", "-c", FOREVER)
    inside, shell = box.running(), waiter(main)
    shell.kill()
    main.kill()
    main.wait()
    assert psutil.pid_exists(inside)
    assert box.left() == [box.name]
    return inside


def test_an_orphan_is_removed_on_request(box):
    inside = orphan(box)
    done = box.remove()
    assert commands.is_gone(done.returncode, done.stderr.decode())
    assert not psutil.pid_exists(inside)
    assert box.left() == []
    assert box.remove().returncode == 0  # and again, with nothing there


def test_an_orphan_makes_way_for_the_next_run_never_two(box):
    inside = orphan(box)
    box.start("/bin/sh", "-c", FOREVER)
    assert box.running() != inside
    assert not psutil.pid_exists(inside)
    assert box.left() == [box.name]


def test_a_second_main_process_ends_the_first(box):
    first = box.start("/bin/sh", "-c", FOREVER)
    inside = box.running()
    second = box.start("/bin/sh", "-c", FOREVER)
    assert first.wait(30) == 137
    assert box.running() != inside
    assert second.poll() is None
    assert box.left() == [box.name]


def test_a_container_outlives_its_parent_s_parent(box, tmp_path):
    line = box.line(box.task("/bin/sh", "-c", FOREVER))
    parent = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True).wait()"
    keeper = subprocess.Popen([sys.executable, "-c", parent, *line], env=ENV)
    (main,) = eventually(lambda: psutil.Process(keeper.pid).children())
    inside = box.running(main.pid)
    keeper.kill()
    keeper.wait()
    assert psutil.pid_exists(inside)
    main.terminate()  # `sleep` as process 1 has no answer to that: the grace time's end is SIGKILL
    assert main.is_running()
    main.kill()
    eventually(lambda: not psutil.pid_exists(inside))


def names_of_children(process):
    names = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just been buried
            names.append(child.name())
    return names


def test_conmon_s_death_costs_no_exit_code(box):
    main = box.start("/bin/sh", "-c", TRAP)
    box.says("ready")
    box.running()  # its client has gone
    (conmon,) = (child for child in psutil.Process(main.pid).children() if child.name() == "conmon")
    conmon.kill()
    eventually(lambda: names_of_children(main).count("sh") >= 2)
    main.terminate()
    assert main.wait(30) == 42
    assert box.left() == []


def test_limits_are_the_container_s_cgroup_s(box):
    box.start("/bin/sh", "-c", FOREVER, resources={"limits": {"memory": "64M", "cpus": 0.5, "pids": 20}})
    assert effective(box.running()) == (64 * 1024**2, 0.5, 20)


def effective(pid):
    """Memory, cpus and pids as the kernel has them, under cgroup v1 or v2."""
    where = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().split():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            where[controller] = Path("/sys/fs/cgroup") / controllers / path.lstrip("/")
    if "memory" in where:
        quota = int((where["cpu"] / "cpu.cfs_quota_us").read_text())
        period = int((where["cpu"] / "cpu.cfs_period_us").read_text())
        memory = int((where["memory"] / "memory.limit_in_bytes").read_text())
        return memory, quota / period, int((where["pids"] / "pids.max").read_text())
    here = where[""]
    quota, period = (int(word) for word in (here / "cpu.max").read_text().split())
    return int((here / "memory.max").read_text()), quota / period, int((here / "pids.max").read_text())


def test_out_of_memory_is_said(box):
    limits = {"limits": {"memory": "16M"}}
    script = "read _ </gate; x=$(head -c 99999999 /dev/zero | cat -v); echo $?"
    gate = box.home.parent / "gate"
    os.mkfifo(gate)
    main = box.start("/bin/sh", "-c", script, config={"mounts": [f"{gate}:/gate"]}, resources=limits)
    box.running()
    gate.write_text("go\n")
    code = main.wait(60)
    task = box.task(resources=limits)
    assert code == 137
    assert "its limit of 16777216 bytes" in outcome.explain(task, code, box.outcome())


@pytest.mark.parametrize(
    ("argv", "config", "sentence"),
    [
        (["/bin/true"], {"image": "nosuchimage:1"}, "image nosuchimage:1 is not on this node"),
        (["/bin/true"], {"mounts": ["/nope/nope:/x"]}, "mount /nope/nope does not exist on this node"),
        (["/bin/true"], {"user": "zork"}, f"user zork does not exist in image {IMAGE}"),
        (["nope"], {}, f"nope does not exist in image {IMAGE}"),
        (["/etc"], {}, f"/etc in image {IMAGE} is not executable"),
    ],
)
def test_what_cannot_be_started_is_said(box, argv, config, sentence):
    code = box.run(*argv, config=config)
    assert code in (125, 126, 127)
    found = box.outcome()
    assert (found.state, found.code) == ("refused", code)
    assert sentence in outcome.explain(box.task(*argv, config=config), code, found)
    assert box.left() == []


def test_a_code_of_the_program_s_own_is_not_the_engine_s(box):
    assert box.run("/bin/sh", "-c", "echo Error: mine >&2; exit 125") == 125
    assert box.outcome().state == "ended"


def test_commands_run_inside(box):
    box.start("/bin/sh", "-c", FOREVER)
    box.running()

    def inside(*argv, user=None):
        line = commands.exec_argv(box.engine, box.name, argv, user)
        return subprocess.run(line, env=ENV, capture_output=True, text=True, check=False)

    assert inside("/bin/sh", "-c", "echo here; exit 3").returncode == 3
    assert inside("id", "-u", user="7").stdout == "7\n"


def test_the_keeper_runs_containers_as_it_runs_processes(box, tmp_path):
    driver = Driver(tmp_path, lambda: None)
    driver.connect()
    try:
        line = box.line(box.task("/bin/sh", "-c", TRAP))
        for number in (0, 1):
            run = {"id": f"a/t/1.{number}", "alloc": "a", "task": "t", "generation": 1, "attempt": number}
            driver.spawn(
                {
                    "run": run, "path": line[0], "argv": line, "env": ENV, "cwd": "/", "uid": None, "gid": None,
                    "rlimits": [], "stdout": str(box.out), "stderr": str(box.err), "stop_signal": 15, "grace": 9.0,
                }
            )  # fmt: skip
            box.says("ready\n" * (number + 1))
            inside = box.running(driver.runs()[-1].pid)
            if number == 0:
                driver.stop(run["id"], signal.SIGTERM)
            else:
                driver.kill(run["id"])
            eventually(lambda: not driver.runs()[-1].live)
            assert driver.runs()[-1].code == (42, 137)[number]
            eventually(lambda pid=inside: not psutil.pid_exists(pid))
    finally:
        driver.end(force=True)
        assert driver.wait_gone(20)


DOCKER = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
    info) echo '{{"ServerVersion": "{version}"}}' ;;
    rm) mv {hold} {hold}ing 2>/dev/null && {{ until [ -e {go} ]; do sleep 0.02; done; echo removed >> {log}; }} ;;
    run) for image; do :; done; . {script} ;;
esac
"""


@pytest.fixture
def docker(tmp_path):
    """A docker client of which `run` does what a test says."""
    path, log, script = tmp_path / "docker", tmp_path / "log", tmp_path / "script"
    text = DOCKER.format(log=log, script=script, version="28.2.2", hold=tmp_path / "hold", go=tmp_path / "go")
    path.write_text(text)
    path.chmod(0o755)
    found = Box(Engine(name="docker", path=str(path), version="28.2.2"), tmp_path)
    found.does, found.calls = script.write_text, log.read_text
    yield found
    found.end()


def test_a_client_that_stays_is_the_container_to_us(docker):
    docker.does("trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done")
    main = docker.start("x", "--detach", "--")
    docker.says("ready")
    os.killpg(main.pid, signal.SIGTERM)
    assert main.wait(30) == 42
    assert docker.outcome().state == "ended"
    first, second = docker.calls().splitlines()
    assert first.startswith("rm --force")
    assert second.startswith("run --log-driver=none")
    assert second.endswith(f"{IMAGE} x --detach --")


def test_a_client_that_stays_is_told_from_its_program(docker):
    docker.does("echo 'docker: Cannot connect to the Docker daemon at unix:///x.' >&2; exit 125")
    assert docker.run("x") == 125
    said = outcome.explain(docker.task("x"), 125, docker.outcome())
    assert said == "the node's container engine does not answer"
    docker.does("echo 'my own trouble' >&2; exit 126")
    assert docker.run("x") == 126
    assert docker.outcome().state == "ended"


def test_a_client_dies_with_its_main_process_and_what_it_ran_is_removed(docker):
    docker.does("echo ready $$; exec sleep 600")
    main = docker.start("x")
    docker.says("ready")
    client = int(docker.out.read_text().split()[1])
    main.kill()
    eventually(lambda: not psutil.pid_exists(client))
    eventually(lambda: docker.calls().count("rm --force") == 2)


def test_a_run_waits_until_the_last_one_s_removal_is_over(docker, tmp_path):
    docker.does("echo ready; exec sleep 600")
    first = docker.start("x")
    docker.says("ready")
    (tmp_path / "hold").touch()
    first.kill()
    eventually((tmp_path / "holding").exists)
    second = docker.start("x")
    eventually(lambda: docker.calls().count("rm --force") == 3)
    eventually(lambda: not psutil.Process(second.pid).children())
    (tmp_path / "go").touch()
    docker.says("ready\nready")
    called = [line.split()[0] for line in docker.calls().splitlines()]
    assert called == ["rm", "run", "rm", "rm", "removed", "run"]


def test_the_engine_that_answers_is_taken(docker, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SEARCH", str(tmp_path))
    found = engine.detect({"PATH": "/bin"})
    assert (found.name, found.version) == ("docker", "28.2.2")
    for script in ("exit 1", "echo nonsense", "echo '[]'", "echo '{}'", 'echo \'{"ServerVersion": ""}\''):
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
        assert engine.detect({"PATH": "/bin"}) is None
    (tmp_path / "docker").rename(tmp_path / "podman")
    (tmp_path / "podman").write_text("#!/bin/sh\necho '{\"host\": null}'\n")
    assert engine.detect({"PATH": "/bin"}) is None


def test_containers_that_belong_to_nothing_are_swept_and_others_are_not(podman, tmp_path):
    from agentd.containers.desk import Desk
    from agentd.policy import Policy

    owner = str(tmp_path)
    desk = Desk(podman, ENV, tmp_path, owner, Policy(tmp_path / "policy.yaml"))
    names = {task: desk.name("a.0", task) for task in ("wanted", "stray")}
    run = [podman.path, "run", "--detach", "--network=none", "--log-driver=none"]
    run += [*([f"--runtime={podman.runtime}"] if podman.runtime else [])]
    run += [f"--ulimit={key}={soft}:{hard}" for key, (soft, hard) in podman.ulimits.items()]
    try:
        for name in names.values():
            label = f"--label=muster.node={owner}"
            subprocess.run(
                [*run, f"--name={name}", label, IMAGE, "/bin/sleep", "600"],
                env=ENV,
                check=True,
                capture_output=True,
            )
        desk.sweep({names["wanted"]})
        listed = subprocess.run(
            commands.list_argv(podman, owner), env=ENV, check=True, capture_output=True, text=True
        )
        assert listed.stdout.split() == [names["wanted"]]
    finally:
        desk.sweep(())
