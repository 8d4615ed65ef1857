"""Logs as users read them: over HTTP and by `muster logs`, whatever is rotated, killed or restarted."""

import json
import math
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.conftest import eventually
from tests.e2e.conftest import PYTHON, shell

pytestmark = pytest.mark.e2e


def a_task(name, script, **more):
    return {"name": name, "config": {"command": shell(script)}, **more}


def logs(cluster, deployment, query=""):
    """(status, body) of a call that comes to its end."""
    try:
        with urllib.request.urlopen(
            f"{cluster.url}/v1/deployments/{deployment}/logs{query}", timeout=60
        ) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


class Follower:
    """`muster logs -f` in the background."""

    def __init__(self, cluster, *words):
        env = {**cluster.environment(), "MUSTER_URL": cluster.url}
        argv = [*PYTHON, "muster", "logs", "-f", *words]
        self.process = subprocess.Popen(
            argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cluster.home
        )
        self.lines, self.said = [], []
        self._readers = [
            threading.Thread(target=self._read, args=each, daemon=True)
            for each in ((self.process.stdout, self.lines), (self.process.stderr, self.said))
        ]
        for each in self._readers:
            each.start()

    @staticmethod
    def _read(pipe, into):
        for line in pipe:
            into.append(line.decode().rstrip("\n"))

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.over(30)

    def over(self, seconds):
        """Its exit code, once all that it has said is read."""
        code = self.process.wait(seconds)
        for each in self._readers:
            each.join(30)
        return code


@pytest.fixture
def follow(running):
    begun = []

    def begin(*words):
        begun.append(Follower(running, *words))
        return begun[-1]

    yield begin
    for each in begun:
        each.end()


COUNT = "i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done"


def test_text_tail_streams_and_several_tasks(running):
    deployment = running.deploy(
        running.post("x", a_task("a", COUNT % 300 + "; echo oops >&2"), a_task("a b", "printf tail"))
    )
    running.wait(deployment, "COMPLETED")
    assert logs(running, deployment, "?task=a&stream=stdout") == (
        200,
        "".join(f"line {n}\n" for n in range(200, 300)),
    )
    assert logs(running, deployment, "?task=a&stream=stderr") == (200, "oops\n")
    assert logs(running, deployment, "?task=a&tail=1&stream=both") == (200, "line 299\noops\n")
    assert logs(running, deployment, "?task=a&tail=all&stream=stdout")[1].count("\n") == 300
    assert logs(running, deployment, "?tail=0") == (200, "")
    assert logs(running, deployment, "?tail=1")[1].splitlines() == [
        "a@web-1 | line 299",
        "a@web-1 | oops",
        "a b@web-1 | tail",
    ]
    assert logs(running, deployment, "?task=a%20b&stream=stdout") == (200, "tail")
    printed = running.muster("logs", deployment[:8], "--task", "a", "--tail", "2", "--stream", "stdout")
    assert (printed.returncode, printed.stdout) == (0, "line 298\nline 299\n")
    assert running.muster("logs", deployment, "--task", "a b", "--stream", "stdout").stdout == "tail"
    assert running.muster("logs", deployment, "--tail", "1").stdout.splitlines()[0] == "a@web-1 | line 299"


def test_json_can_be_resumed_exactly(running):
    deployment = running.deploy(
        running.post("x", a_task("a", r"echo one; printf '\377\376\n'; echo three; printf end"))
    )
    running.wait(deployment, "COMPLETED")
    body = logs(running, deployment, "?format=json&stream=stdout")[1]
    rows = [json.loads(line) for line in body.splitlines()]
    begin, *lines, end = rows
    assert (begin["event"], begin["cursor"], end) == ("begin", "0.0.out.0", {"event": "end"})
    assert [row.get("text") for row in lines] == ["one", None, "three", "end"]
    assert lines[1]["base64"] == "//4="
    assert lines[0] == {"task": "a", "node": "web-1", "alloc": f"{deployment}.0", "stream": "stdout", "cursor": "0.0.out.4", "text": "one"}  # fmt: skip
    assert lines[3]["partial"]
    again = logs(running, deployment, f"?format=json&stream=stdout&cursor={lines[1]['cursor']}")[1]
    assert [json.loads(line).get("text") for line in again.splitlines()] == ["three", "end", None]


def test_since(running):
    script = "echo before; while [ ! -e go ]; do sleep 0.05; done; echo after; exec sleep 600"
    deployment = running.deploy(running.post("x", a_task("a", script)))
    running.wait(deployment, "RUNNING")
    times = running.home / "agent-web-1" / "logs" / f"{deployment}.0" / "a.out.times"
    eventually(lambda: times.exists() and times.stat().st_size)
    noted = math.ceil(time.time() * 1000) / 1000  # not before what was noted, in thousandths
    assert logs(running, deployment, "?since=10m")[1] == "before\n"
    assert logs(running, deployment, f"?since={noted:.3f}")[1] == ""
    (running.home / "agent-web-1" / "alloc" / f"{deployment}.0" / "a" / "go").touch()
    eventually(lambda: logs(running, deployment, f"?since={noted:.3f}")[1] == "after\n")
    assert logs(running, deployment, "?since=2020-01-31T12:00:00Z&tail=1")[1] == "after\n"


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("?tail=-1", 400, "neither a number of lines"), ("?tail=x", 400, "'x'"), ("?tail=1&tail=2", 400, "more than once"),
        ("?since=yesterday", 400, "neither a duration"), ("?since=2026-01-31T12:00:00", 400, "nor a time"),
        ("?follow=maybe", 400, "neither true nor false"), ("?stream=stdin", 400, "stdout, stderr, both"),
        ("?format=xml", 400, "neither text nor json"), ("?cursor=5", 400, "not a cursor"), ("?folow=1", 400, "folow: unknown"),
        ("?task=b", 404, "has no task 'b'; it has a"), ("?node=web-9", 404, "has no node 'web-9'; it has web-1"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_by_name(a_deployment, query, status, says):
    cluster, deployment = a_deployment
    found, body = logs(cluster, deployment, query)
    assert found == status
    assert says in body["detail"]


@pytest.fixture(scope="module")
def a_deployment(tmp_path_factory):
    from tests.e2e.conftest import Cluster

    cluster = Cluster(tmp_path_factory.mktemp("logs"))
    cluster.start_manager()
    cluster.start_agent()
    deployment = cluster.deploy(cluster.post("x", a_task("a", "echo a")))
    cluster.wait(deployment, "COMPLETED")
    yield cluster, deployment
    cluster.end()


def test_unknown_deployments_and_absent_nodes(running):
    assert logs(running, "nope")[0] == 404
    assert running.muster("logs", "nope").returncode == 4
    deployment = running.deploy(running.post("x", a_task("a", "echo a; exec sleep 600")))
    running.wait(deployment, "RUNNING")
    process = running.agents.pop("web-1")
    process.terminate()
    process.wait(30)
    eventually(lambda: not running.online("web-1"))
    status, body = logs(running, deployment)
    assert (status, body["detail"]) == (409, "node web-1 is offline: its logs can be read when it is back")
    refused = running.muster("logs", deployment)
    assert refused.returncode == 1
    assert "node web-1 is offline" in refused.stderr


def test_following_ends_with_the_task_and_goes_on_over_its_restarts(running, follow):
    script = "echo run; while [ ! -e go ]; do sleep 0.05; done; rm go; exit 1"
    policy = {"delay": "50ms", "max_attempts": 2}
    deployment = running.deploy(running.post("x", a_task("a", script, restart=policy)))
    running.wait(deployment, "RUNNING")
    follower = follow(deployment)
    for runs in (1, 2, 3):
        eventually(lambda runs=runs: follower.lines == ["run"] * runs)
        (running.home / "agent-web-1" / "alloc" / f"{deployment}.0" / "a" / "go").touch()
    assert follower.over(30) == 0
    assert follower.lines == ["run"] * 3
    assert logs(running, deployment)[1] == "run\n" * 3, "ended, and still there"


def test_following_ends_when_its_deployment_is_stopped(running, follow):
    deployment = running.deploy(
        running.post("x", a_task("a", "trap 'echo bye; exit 0' TERM; echo hi; while :; do sleep 0.05; done"))
    )
    running.wait(deployment, "RUNNING")
    follower = follow(deployment, "--stream", "stdout")
    eventually(lambda: follower.lines == ["hi"])
    running.stop(deployment)
    assert follower.over(30) == 0
    assert follower.lines == ["hi", "bye"]
    running.wait(deployment, "STOPPED")
    assert logs(running, deployment, "?follow=true&stream=stdout")[1] == "hi\nbye\n", "nothing to wait for"


def test_ctrl_c_ends_it_cleanly(running, follow):
    deployment = running.deploy(running.post("x", a_task("a", "echo hi; exec sleep 600")))
    follower = follow(deployment)
    eventually(lambda: follower.lines == ["hi"])
    assert follower.end() == 0
    assert follower.said == []
    keys = running.client()
    eventually(lambda: not keys.keys("muster:n:{web-1}:ans:*"))


NUMBERED = (
    "import sys, time\n"
    "for n in range(%d):\n"
    "    sys.stdout.write(f'{n:08d} ' + 'x' * 90 + chr(10)); sys.stdout.flush()\n"
    "    if n %% 100 == 0: time.sleep(0.01)\n"
)


def test_each_line_once_over_rotations_agent_kills_and_manager_restarts(running, follow):
    """30,000 lines are 3 MB: some forty rotations of 64 KiB at the most."""
    count = 30_000
    program = running.home / "numbered.py"
    program.write_text(NUMBERED % count)
    task = {
        "name": "a", "config": {"command": ["/usr/bin/env", "PATH=/usr/local/bin:/usr/bin:/bin", "python3", str(program)]},
        "logs": {"max_size": "64K", "max_files": 200},
    }  # fmt: skip
    deployment = running.deploy(running.post("x", task))
    follower = follow(deployment, "--tail", "all")
    eventually(lambda: len(follower.lines) > 1000)
    os.kill(running.agents["web-1"].pid, signal.SIGKILL)
    running.agents["web-1"].wait(30)
    running.start_agent()
    here = len(follower.lines)
    eventually(lambda: len(follower.lines) > here or len(follower.lines) == count, 40)
    running.manager.terminate()
    assert running.manager.wait(40) == 0
    running.start_manager()
    assert follower.over(90) == 0, follower.said
    assert [int(line.split()[0]) for line in follower.lines] == list(range(count))
    directory = running.home / "agent-web-1" / "logs" / f"{deployment}.0"
    assert len(list(directory.glob("a.out.0*-*"))) >= 10
    assert int((logs(running, deployment, "?tail=1")[1]).split()[0]) == count - 1


def test_a_store_that_is_killed_ends_an_answer_with_where_to_go_on(running):
    deployment = running.deploy(running.post("x", a_task("a", "echo hi; exec sleep 600")))
    running.wait(deployment, "RUNNING")
    url = f"{running.url}/v1/deployments/{deployment}/logs?follow=true&format=json&stream=stdout"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert json.loads(answer.readline())["event"] == "begin"
        assert json.loads(answer.readline())["text"] == "hi"
        running.kill("store")
        row = json.loads(answer.readline())
    assert row["event"] == "error"
    assert row["cursor"] == "0.0.out.3"
