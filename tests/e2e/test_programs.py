"""Flags, files, exit codes, beginnings and ends of the programs."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from store.version import VERSION
from tests.conftest import eventually, need
from tests.e2e.conftest import PYTHON, content, free_port

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]


def run(*words, **more):
    return subprocess.run([*PYTHON, *words], capture_output=True, text=True, timeout=60, check=False, **more)


@pytest.mark.parametrize("module", ["manager_api", "agentd", "muster"])
def test_version_and_help(module):
    version = run(module, "--version")
    assert version.returncode == 0
    assert "muster" in version.stdout
    assert VERSION in version.stdout
    assert run(module, "--help").returncode == 0
    assert run(module, "--nope").returncode == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("manager_api", "--port", "x"), "--port: 'x' is not a port"),
        (("manager_api", "--listen", "0.0.0.0"), "add --insecure if everybody"),
        (("manager_api", "--sftp-host", "http://x"), "expected sftp://user:password@host:port/path/"),
        (("manager_api", "--config", "nope.yaml"), "nope.yaml"),
        (
            ("manager_api", "--store", "redis://:se/cret@host:1/0"),
            "expected redis://user:password@host:port/0",
        ),
        (("manager_api", "--db-path", "."), "is not a file's name"),
        (("manager_api", "--fsync", "never"), "neither everysec nor always"),
        (("agentd", "--interval", "0"), "--interval: '0' is not a number of seconds"),
        (("agentd", "--hostname", "a b"), "cannot name a node"),
        (("agentd", "--manager-url", "web"), "is not a URL"),
        (("agentd", "--tasks"), "--tasks goes with stop"),
        (("agentd", "--data-dir", "/proc/nope"), "data directory /proc/nope"),
    ],
)
def test_wrong_settings_are_named_and_nothing_starts(tmp_path, words, says):
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "config", "says"),
    [
        (("--sftp-hots", "sftp://joe:hush@files/a"), "", "--sftp-hots (--sftp-host, perhaps?)"),
        (("--sftp-hots=sftp://joe:hush@files/a",), "", "--sftp-hots (--sftp-host, perhaps?)"),
        (("--sftp-password", "hush"), "", "--sftp-password (--sftp-password-file, perhaps?)"),
        (("sftp://joe:hush@files/a",), "", "something is no flag"),
        (
            (),
            "sftp_host: sftp://joe:hu: hush@files/a\n",
            "config.yaml: line 1, column 25: not YAML: mapping values",
        ),
        ((), 'sftp_host: "sftp://joe:hush@files/a\n', "config.yaml: line 2, column 1: "),
    ],
)
def test_a_mistyped_setting_is_named_without_its_value_which_may_be_a_password(tmp_path, words, config, says):
    if config:
        (tmp_path / "config.yaml").write_text(config)
    done = run("manager_api", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "hush" not in done.stderr


def test_settings_come_from_flag_then_environment_then_file(tmp_path):
    (tmp_path / "config.yaml").write_text("interval: never\n")
    assert "config.yaml: interval: 'never'" in run("agentd", cwd=tmp_path).stderr
    environment = {**os.environ, "MUSTER_INTERVAL": "soon"}
    assert "MUSTER_INTERVAL: 'soon'" in run("agentd", cwd=tmp_path, env=environment).stderr
    assert "--interval: 'x'" in run("agentd", "--interval", "x", cwd=tmp_path, env=environment).stderr
    (tmp_path / "config.yaml").write_text("intervall: 5\n")
    assert "unknown setting 'intervall'; known: " in run("agentd", cwd=tmp_path).stderr


def test_sigterm_ends_both_gracefully_and_logs_go_to_a_file(cluster):
    cluster.start_manager("--log-file", "m.log")
    agent = cluster.start_agent("web-1", **{"log-file": "a.log"})
    parts = [pid for name in ("api", "controller", "store") for pid in cluster.part(name)]
    assert len(parts) == 3
    agent.terminate()
    assert agent.wait(20) == 0
    eventually(lambda: not cluster.online("web-1"))
    cluster.manager.terminate()
    assert cluster.manager.wait(30) == 0
    for log in ("m.log", "a.log"):
        assert "shutting down" in cluster.log(log)
    assert not any(psutil.pid_exists(pid) for pid in parts)


def test_a_taken_port_is_a_sentence(running):
    done = run("manager_api", "--port", str(running.port), "--db-path", str(running.home / "other.db"))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {running.port}: Address already in use" in done.stderr


def test_the_sftp_password_is_nowhere_to_be_seen(cluster):
    cluster.start_manager("--sftp-host", "sftp://joe:hunter2@127.0.0.1:22/files/")
    manager = psutil.Process(cluster.manager.pid)
    for process in [manager, *manager.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # one that was only there to save
            assert "hunter2" not in " ".join(process.cmdline())
    (store,) = cluster.part("store")
    assert "hunter2" not in str(psutil.Process(store).environ()), "it is no business of the store's"
    assert "hunter2" not in cluster.log("manager.log")
    assert "artifacts lie under sftp://joe@127.0.0.1/files" in cluster.log("manager.log")
    assert [path for path in cluster.home.rglob("*") if path.is_file() and b"hunter2" in content(path)] == []


def test_the_sftp_password_lies_in_a_file_or_in_the_environment(tmp_path):
    words = ("manager_api", "--sftp-host", "sftp://joe@127.0.0.1/", "--listen", "127.0.0.1")
    nothing = run(*words, cwd=tmp_path)
    assert (nothing.returncode, "--sftp-host has no password" in nothing.stderr) == (2, True)
    both = {**os.environ, "MUSTER_SFTP_PASSWORD": "hunter2"}
    done = run(*words, "--sftp-password-file", "nope", cwd=tmp_path, env=both)
    assert "in MUSTER_SFTP_PASSWORD and by --sftp-password-file: once is enough" in done.stderr
    done = run(*words, "--sftp-password-file", "nope", cwd=tmp_path)
    assert "--sftp-password-file nope cannot be read: No such file" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_in_node_records_and_health_answers(running):
    assert running.call("/healthz")[1] == {"status": "ok", "version": VERSION}
    assert running.nodes()["web-1"]["version"] == VERSION


def test_the_manager_restarts_what_dies(running):
    for part in ("controller", "api", "worker", "store"):
        before = running.part(part)
        running.kill(part)
        eventually(
            lambda part=part, before=before: running.part(part) not in ([], before) and running.ready(), 30
        )
    assert running.manager.poll() is None
    running.wait(
        running.deploy(running.post("x", {"name": "t", "config": {"command": "sleep 600"}})), "RUNNING"
    )


def who(found):
    return [
        (task["name"], task["node"], task["state"], task["pid"], task["started"]) for task in found["tasks"]
    ]


def test_everything_of_a_killed_manager_dies_and_the_next_one_goes_on(running):
    deployment = running.deploy(running.post("x", {"name": "t", "config": {"command": "sleep 600"}}))
    before = running.wait(deployment, "RUNNING")
    parts = [pid for name in ("api", "controller", "store") for pid in running.part(name)]
    running.kill("manager")
    running.manager.wait()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in parts))
    running.start_manager()
    eventually(lambda: running.online("web-1"))
    eventually(lambda: who(running.deployment(deployment)) == who(before))


def test_listening_for_others_needs_insecure_and_says_so(cluster):
    cluster.start_manager("--listen", "0.0.0.0", "--insecure", "--store-port", "0")
    assert "INSECURE: everybody who reaches 0.0.0.0" in cluster.log("manager.log")
    cluster.start_agent()
    url = (cluster.home / "agent-web-1" / "join.json").read_text()
    assert "redis://127.0.0.1:" in url, "the store is where the caller reached the API"


def test_the_agent_s_own_port(running):
    import json
    import re
    import urllib.request

    port = re.search(r"local port (\d+)", running.log("agent-web-1.log"))[1]
    deployment = running.deploy(running.post("x", {"name": "t", "config": {"command": "sleep 600"}}))
    running.wait(deployment, "RUNNING")

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return json.load(answer)

    assert get("/healthz") == {"status": "ok", "version": VERSION, "node": "web-1", "frozen": None}
    allocation = get("/")["allocations"][f"{deployment}.0"]  # of those that were before the node knows, too
    assert allocation["tasks"][0]["state"] == "running"


def test_only_one_agent_on_a_directory(running):
    done = run("agentd", *running.agent_flags("web-1"))
    assert done.returncode == 1
    assert "another agent runs on" in done.stderr


def test_a_second_machine_s_agent_with_the_same_id_is_refused(running):
    other = running.start_agent(
        "web-1", wait=False, log="other.log", **{"data-dir": str(running.home / "other")}
    )
    assert other.wait(30) == 1
    assert "belongs to a living agent on" in running.log("other.log")
    eventually(lambda: running.online("web-1"))


def test_an_agent_starts_without_its_manager_and_runs_what_it_should(running):
    deployment = running.deploy(running.post("x", {"name": "t", "config": {"command": "sleep 600"}}))
    running.wait(deployment, "RUNNING")
    running.manager.terminate()
    running.manager.wait(30)
    done = run("agentd", "stop", "--tasks", "--data-dir", str(running.home / "agent-web-1"))
    assert done.returncode == 0, done.stderr
    before = len(running.log("agent-web-1.log"))
    running.start_agent("web-1", wait=False)
    eventually(lambda: "start " in running.log("agent-web-1.log")[before:])
    eventually(lambda: [p for p in psutil.process_iter(["cmdline", "cwd"]) if p.info["cmdline"] == ["sleep", "600"] and str(running.home) in (p.info["cwd"] or "")])  # fmt: skip


def test_a_manager_and_an_agent_that_never_met_wait_for_each_other(cluster):
    agent = cluster.start_agent("web-1", wait=False)
    eventually(lambda: "does not answer" in cluster.log("agent-web-1.log"))
    assert agent.poll() is None
    cluster.start_manager()
    eventually(lambda: cluster.online("web-1"))


def test_units_are_valid():
    import shutil

    need(shutil.which("systemd-analyze"), "systemd-analyze")
    units = sorted(str(path) for path in (ROOT / "ops" / "systemd").glob("*.service"))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    agent = next(Path(unit).read_text() for unit in units if "agent" in unit)
    assert "KillMode=process" in agent, "stopping or restarting the agent leaves its tasks"


def test_the_demo_checks_itself_and_leaves_nothing(tmp_path):
    environment = {**os.environ, "CI": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, str(ROOT / "examples" / "demo.py")], env=environment, capture_output=True, text=True, timeout=110, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 values, sum 385" in done.stdout
    eventually(lambda: processes_in(tmp_path) == [])
    assert list(tmp_path.glob("muster-demo-*")) == []


def test_ctrl_c_ends_dev_with_its_tasks(tmp_path):
    environment = {**os.environ, "MUSTER_DATA_DIR": str(tmp_path / "dev")}
    with (tmp_path / "out").open("wb") as out:
        dev = subprocess.Popen(
            [*PYTHON, "muster", "dev", "--port", str(free_port())], env=environment, stdout=out, stderr=out
        )
    try:
        eventually(lambda: "Ctrl-C ends" in (tmp_path / "out").read_text(), 40)
        (tmp_path / "t.yaml").write_text(
            "name: t\ntask_groups: [{tasks: [{name: a, config: {command: sleep 601}}]}]\n"
        )
        deployed = run("muster", "deploy", str(tmp_path / "t.yaml"), env=environment)
        assert deployed.returncode == 0, deployed.stderr
        asked = ("muster", "redis-cli", "HGETALL", "muster:n:{dev-1}:desired")
        eventually(lambda: '"wanted":"running"' in run(*asked, env=environment).stdout)
        second = run("muster", "dev", env=environment)
        assert second.returncode == 1
        assert "muster dev runs on" in second.stderr
        eventually(lambda: run("muster", "ps", env=environment).stdout.count("running") == 1)
        assert run("muster", "dev", "--port", "99999", env=environment).returncode == 2
    finally:
        dev.send_signal(signal.SIGINT)
        assert dev.wait(40) == 0
    eventually(lambda: processes_in(tmp_path) == [])
    assert run("muster", "nodes", "--url", "http://127.0.0.1:9", env=environment).returncode == 6


def processes_in(directory):
    """What still runs in a directory, or names it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, where = " ".join(process.info["cmdline"] or []), process.info["cwd"] or ""
        if str(directory) in words or where.startswith(str(directory)):
            found.append(words)
    return found


def test_a_refused_agent_leaves_no_keeper(running):
    other = running.home / "other"
    agent = running.start_agent("web-1", wait=False, log="other.log", **{"data-dir": str(other)})
    assert agent.wait(30) == 1
    eventually(lambda: processes_in(other) == [])


def test_bodies_as_real_clients_send_them(running):
    """A client that is still sending must get to see the answer; chunked is no other body."""
    import http.client
    import json

    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    connection.request("POST", "/api/task/task_group", b"x" * (10 << 20))
    answer = connection.getresponse()
    assert answer.status == 400
    assert "at most 4194304 are taken" in json.load(answer)["detail"]
    body = json.dumps(
        {"name": "chunked", "task_groups": [{"tasks": [{"name": "t", "config": {"command": "/x"}}]}]}
    )
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    connection.request(
        "POST", "/api/task/task_group", iter([body[:20].encode(), body[20:].encode()]), encode_chunked=True
    )
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["name"]) == (200, "chunked")
    many = (b"y" * 65536 for _ in range(100))
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    connection.request("POST", "/api/task/task_group", many, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["detail"]) == (400, "body: more than 4194304 bytes")


def test_a_manager_waits_for_an_external_store_and_for_the_port_of_its_crashed_self(cluster, server):
    cluster.start_manager("--store", "redis://127.0.0.1:1/0", wait=False)
    eventually(lambda: "waiting for the store at redis://127.0.0.1:1/0" in cluster.log("manager.log"))
    cluster.manager.kill()
    cluster.manager.wait()
    cluster.start_manager()
    with socket.create_connection(("127.0.0.1", cluster.port)) as unfinished:
        unfinished.sendall(b"POST /api/task/query HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        cluster.kill("manager")
        cluster.manager.wait()
        cluster.start_manager()
    assert "Address already in use" not in cluster.log("manager.log")


@pytest.mark.parametrize("address", ["::1", "::"])
def test_ipv6(cluster, address):
    need(socket.has_ipv6 and Path("/proc/net/if_inet6").exists(), "IPv6")
    cluster.url = f"http://[::1]:{cluster.port}"
    flags = ["--insecure"] if address == "::" else []
    cluster.start_manager("--listen", address, "--store-port", "0", *flags)
    cluster.start_agent()
    running = cluster.deploy(cluster.post("x", {"name": "t", "config": {"command": "sleep 600"}}))
    cluster.wait(running, "RUNNING")
    cluster.kill("store")
    eventually(cluster.ready, 30)
    assert "is taken by another program" not in cluster.log("manager.log")


def test_a_relative_data_directory(cluster):
    cluster.start_manager()
    cluster.start_agent("web-1", **{"data-dir": "agent-web-1"})
    cluster.wait(
        cluster.deploy(cluster.post("x", {"name": "t", "config": {"command": "sleep 600"}})), "RUNNING"
    )
