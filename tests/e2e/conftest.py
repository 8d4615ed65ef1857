"""The programs as users run them: a manager, agents, and hands that kill them."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import psutil
import pytest

from store.embedded import _quiet_port
from store.kv.connection import connect
from tests.conftest import eventually

UNANSWERED = (OSError, ValueError, http.client.HTTPException)
"""What a client sees of a manager that is killed while it answers."""
PYTHON = [sys.executable, "-P", "-m"]


def free_port():
    """Below the ports that outgoing connections are given, so that none takes it in between."""
    return _quiet_port("127.0.0.1")


def shell(script):
    return ["/bin/sh", "-c", script]


class Cluster:
    """One manager and its agents, in a directory of their own."""

    def __init__(self, home):
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.db = home / "m" / "resource_monitor.db"
        self.db.parent.mkdir()
        self.faults = home / "faults"
        self.faults.mkdir()
        self.ledger = home / "ledger"
        self.ledger.touch()
        self.manager = None
        self.agents = {}
        self.started = []
        self.ended = False
        self.interval = "0.5"

    # -- programs

    def environment(self):
        known = {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")}
        # Asking podman what it can do takes a second of processor time, at every start of every agent.
        return {"MUSTER_CONTAINERS": "none", **known, "MUSTER_FAULTS": str(self.faults)}

    def run(self, log, module, *flags, cwd=None):
        with (self.home / log).open("ab") as out:
            process = subprocess.Popen(
                [*PYTHON, module, *flags], stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                env=self.environment(), cwd=cwd or self.home, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def start_manager(self, *flags, wait=True, port=None):
        where = ["--port", str(self.port if port is None else port), "--db-path", str(self.db)]
        self.manager = self.run("manager.log", "manager_api", *where, *flags)
        if wait:
            eventually(lambda: self.ready() or self.manager.poll() is not None, 40)
            assert self.manager.poll() is None, self.log("manager.log")
        return self.manager

    def agent_flags(self, name, **more):
        flags = {"manager-url": self.url, "hostname": name, "interval": self.interval, "port": "0",
                 "data-dir": str(self.home / f"agent-{name}"), **more}  # fmt: skip
        return [word for key, value in flags.items() for word in (f"--{key}", value)]

    def start_agent(self, name="web-1", *, wait=True, log=None, **more):
        process = self.run(log or f"agent-{name}.log", "agentd", *self.agent_flags(name, **more))
        if wait:
            self.agents[name] = process
            eventually(lambda: self.online(name), 40)
        return process

    def muster(self, *words):
        argv = [*PYTHON, "muster", *words]
        env = {**self.environment(), "MUSTER_URL": self.url}
        return subprocess.run(
            argv, env=env, capture_output=True, text=True, timeout=60, check=False, cwd=self.home
        )

    def log(self, name):
        return (self.home / name).read_text(errors="replace")

    # -- the API

    def call(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data)
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def ready(self):
        with contextlib.suppress(*UNANSWERED):
            return self.call("/readyz")[0] == 200
        return False

    def nodes(self):
        with contextlib.suppress(*UNANSWERED):
            return {row["id"]: row for row in self.call("/v1/nodes")[1].get("data", [])}
        return {}

    def online(self, name):
        return self.nodes().get(name, {}).get("status") == 0

    def post(self, name, *tasks, **group):
        body = {"name": name, "task_groups": [{"tasks": list(tasks), **group}]}
        status, answer = self.call("/api/task/task_group", body)
        assert status == 200, answer
        return name

    def deploy(self, name):
        status, answer = self.call("/api/task/task_group/deploy", {"name": name})
        assert status == 200, answer
        return answer["id"]

    def deployment(self, deployment):
        with contextlib.suppress(*UNANSWERED):
            status, answer = self.call(f"/deployments/{deployment}")
            if status == 200:
                return answer
        return {"status": "?", "tasks": []}

    def wait(self, deployment, *wanted, seconds=30):
        eventually(lambda: self.deployment(deployment)["status"] in wanted, seconds)
        return self.deployment(deployment)

    def stop(self, deployment):
        status, answer = self.call("/api/task/task_group/stop", {"id": deployment})
        assert status == 200, answer

    # -- hands

    def part(self, name):
        """The pids of a part of the manager: api, worker, controller, store, manager."""
        if name == "manager":
            return [self.manager.pid]
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.manager.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    words = " ".join(child.cmdline())
                    if (name == "controller" and "manager_api.controller" in words) or (
                        name == "store" and "server" in words and "gunicorn" not in words
                    ):
                        found.append(child.pid)
                    elif name in ("api", "worker") and "gunicorn" in words:
                        found += [child.pid] if name == "api" else [each.pid for each in child.children()]
        return found

    def kill(self, name):
        """`kill -9` to one process of a part, if there is one just now."""
        for pid in self.part(name)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def mend(self):
        """Start again what nobody else would: the manager and the agents' brains."""
        if self.ended:
            return
        if self.manager.poll() is not None:
            self.start_manager(wait=False)
        for name, process in list(self.agents.items()):
            if process.poll() is not None:
                self.agents[name] = self.start_agent(name, wait=False)

    def client(self):
        home = self.db.with_name(self.db.name + ".d")
        url = f"redis://127.0.0.1:{(home / 'port').read_text()}/0"
        return connect(url, name="test", password=(home / "password").read_text())

    def written(self):
        return self.ledger.read_text().split("\n")[:-1]

    def end(self):
        self.ended = True  # a thread of a failed test must not start anything any more
        for name in {path.name.removeprefix("agent-") for path in self.home.glob("agent-*") if path.is_dir()}:
            argv = [*PYTHON, "agentd", "stop", "--tasks", "--data-dir", str(self.home / f"agent-{name}")]
            subprocess.run(argv, timeout=60, check=False, env=self.environment(), capture_output=True)
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def forget(cluster, *deployments):
    """The store loses some deployments and a few revisions, as a fail-over to a lagging replica would."""
    store = cluster.client()
    for deployment in deployments:
        for name in ("deployments", "deployments:status"):
            store.hdel(f"muster:{name}", deployment)
            store.hdel(f"muster:{name}:rev", deployment)
        for alloc in [
            key for key in store.hkeys("muster:allocations") if key.startswith(deployment.encode())
        ]:
            store.hdel("muster:allocations", alloc)
            store.hdel("muster:allocations:rev", alloc)
            for desired in store.keys("muster:n:*:desired"):
                store.hdel(desired, alloc)
    store.decrby("muster:rev", 3)


@pytest.fixture
def cluster(tmp_path):
    found = Cluster(tmp_path)
    yield found
    found.end()


@pytest.fixture
def running(cluster):
    """A manager and one agent."""
    cluster.start_manager()
    cluster.start_agent()
    return cluster


def pid_and_start(task):
    """Who a running task is: its pid and start time."""
    return task["pid"], psutil.Process(task["pid"]).create_time()
