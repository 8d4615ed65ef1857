"""The programs as users run them: a manager, agents, and hands that kill them."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import weakref

import psutil
import pytest
from redis.exceptions import RedisError

from store.embedded import _quiet_port
from store.kv.connection import connect
from store.model.lifecycle import DEPLOYMENT_ENDED
from tests.conftest import eventually

UNANSWERED = (OSError, ValueError, http.client.HTTPException)
"""What a client sees of a manager that is killed while it answers."""

USUAL_NAMES = ("x", "old", "service")
"""Templates of most tests."""

UNDECIDED = "no controller has decided yet"
PASSING = ("is offline", "is frozen", "is not known")
"""Why a node takes nothing just now, and may in a moment: a heartbeat that came late, say."""

PYTHON = [sys.executable, "-P", "-m"]


def content(path):
    """What a file has that may be written anew just now."""
    try:
        return path.read_bytes()
    except FileNotFoundError:  # it had another name for a moment only
        return b""


def free_port():
    """Below the ports that outgoing connections are given, so that none takes it in between."""
    return _quiet_port("127.0.0.1")


def shell(script):
    return ["/bin/sh", "-c", script]


TAKEN = "Address already in use"
CLUSTERS = weakref.WeakSet()
LINES_SHOWN = 60


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What fails shows how the logs of its programs end: the directory may be gone by the time somebody looks."""
    report = yield
    if report.failed:
        for cluster in CLUSTERS:
            if not cluster.ended:
                report.sections += [
                    (f"{path.parent.name}/{path.name}", tail(path)) for path in cluster.logs()
                ]
    return report


def tail(path):
    return "\n".join(path.read_text(errors="replace").splitlines()[-LINES_SHOWN:])


class Cluster:
    """One manager and its agents, in a directory of their own."""

    def __init__(self, home):
        self.home = home
        self._move()
        self.was_up = False
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
        self.interval = "1"  # a heartbeat that is two seconds late makes nobody offline
        CLUSTERS.add(self)

    def _move(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

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

    def start_manager(self, *flags, wait=True):
        where = ["--port", str(self.port), "--db-path", str(self.db)]
        log = self.home / "manager.log"
        self.manager = self.run(log.name, "manager_api", *where, *flags)
        if wait:
            eventually(lambda: self.ready() or self.manager.poll() is not None, 40)
            if self.manager.poll() is not None and not self.was_up and TAKEN in self.log(log.name):
                log.unlink()
                self._move()  # another test's program was quicker
                return self.start_manager(*flags)
            assert self.manager.poll() is None, self.log(log.name)
            self.was_up = True
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

    def logs(self):
        return sorted(self.home.glob("*.log"))

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

    def delete(self, path):
        request = urllib.request.Request(self.url + path, method="DELETE")
        with urllib.request.urlopen(request, timeout=40):
            pass

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
        """A deployment that is accepted; asked for again while its node is away for a moment only."""
        return eventually(lambda: self._deployed(name), 60, every=0.1)

    def _deployed(self, name):
        status, answer = self.call("/api/task/task_group/deploy", {"name": name})
        assert status == 200 or (status == 409 and is_passing(answer)), answer
        return answer["id"] if status == 200 and self.is_taken(answer["id"]) else None

    def is_taken(self, deployment):
        """Whether it is not refused, once that is decided: a leader who is late decides after the answer."""
        eventually(lambda: self.deployment(deployment).get("reason", UNDECIDED) != UNDECIDED, 60)
        found = self.deployment(deployment)
        return found["status"] != "FAILED" or not is_passing(found)

    def deployment(self, deployment):
        with contextlib.suppress(*UNANSWERED):
            status, answer = self.call(f"/deployments/{deployment}")
            if status == 200:
                return answer
        return {"status": "?", "tasks": []}

    def wait(self, deployment, *wanted, seconds=30):
        return eventually(lambda: (now := self.deployment(deployment))["status"] in wanted and now, seconds)

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

    def children(self, module):
        """The pids of the manager's children that run a module."""
        found = psutil.Process(self.manager.pid).children()
        return [child.pid for child in found if module in child.cmdline()]

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

    def _stop_agent(self, name):
        argv = [*PYTHON, "agentd", "stop", "--tasks", "--data-dir", str(self.home / f"agent-{name}")]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(argv, env=self.environment(), **quiet)

    def end(self):
        self.ended = True  # a thread of a failed test must not start anything any more
        names = {path.name.removeprefix("agent-") for path in self.home.glob("agent-*") if path.is_dir()}
        ending = [self._stop_agent(name) for name in names]
        if self.manager is not None and self.manager.poll() is None:
            self.manager.terminate()
        for process in ending:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def is_passing(refusal):
    """Whether a deployment was refused for something that is over in a moment."""
    return any(each["reason"].startswith(PASSING) for each in refusal.get("nodes", ()))


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
def alone(cluster):
    """A manager and one agent that nobody has used before."""
    return started(cluster)


def started(cluster):
    cluster.start_manager()
    cluster.start_agent()
    return cluster


@pytest.fixture(scope="session")
def at_rest():
    """Clusters that tests left as they had found them: at most one in each test process."""
    found = []
    yield found
    for house in found:
        house.cluster.end()


class House:
    """A cluster that is used by several tests, one after another, while nobody has changed what it is made of."""

    def __init__(self, cluster):
        self.cluster = cluster
        self._files = set(cluster.home.iterdir())
        self._live_in()
        self._made_of = self._parts()

    def _live_in(self):
        """What earlier tests leave is always there, so that a test that cannot bear it always fails."""
        for name in USUAL_NAMES:
            self.cluster.post(name, {"name": "before", "config": {"command": shell("exec sleep 600")}})
            self.cluster.deploy(name)
        assert self._emptied(60)

    def _parts(self):
        """Processes, records, and how the node is; deployments that have ended may be added to."""
        pids = [self.cluster.part(name) for name in ("manager", "api", "worker", "controller", "store")]
        store = self.cluster.client()
        records = {
            name: store.hgetall(f"muster:{name}") for name in ("nodes", "devices", "groups", "controls")
        }
        with contextlib.closing(store):
            return pids, records, self.cluster.call("/v1/brake"), store.hget("muster:meta", "epoch")

    def is_as_it_was(self):
        """Whether the next test may have it: nobody lives there, and all is as it was."""
        cluster = self.cluster
        if len(cluster.started) > 2 or any(process.poll() is not None for process in cluster.started):
            return False
        try:
            row = cluster.nodes()["web-1"]
            same = self._parts() == self._made_of and not any(cluster.faults.iterdir())
            policy = cluster.home / "agent-web-1" / "policy.yaml"
            sound = row["status"] == 0 and row["frozen"] is None and not policy.exists()
            return same and sound and self._emptied()
        except (*UNANSWERED, KeyError, AssertionError, pytest.fail.Exception, psutil.Error, RedisError):
            return False

    def _emptied(self, seconds=8):
        for row in self._living():
            self.cluster.stop(row["id"])
        eventually(lambda: not self._living(), seconds)
        for row in self.cluster.call("/v1/templates")[1]["data"]:
            self.cluster.delete(f"/v1/templates/{row['name']}")
        self.cluster.ledger.write_text("")
        for path in set(self.cluster.home.iterdir()) - self._files:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return True

    def _living(self):
        rows = self.cluster.call("/v1/deployments")[1]["data"]
        return [row for row in rows if row["status"] not in DEPLOYMENT_ENDED]


@pytest.fixture
def running(at_rest, tmp_path_factory):
    """A manager and one agent; tests before may have used them, and have left them as they were."""
    house = at_rest.pop() if at_rest else None
    if house is None:
        cluster = Cluster(tmp_path_factory.mktemp("cluster"))
        try:
            house = House(started(cluster))
        except BaseException:
            cluster.end()
            raise
    yield house.cluster
    if house.is_as_it_was():
        at_rest.append(house)
    else:
        house.cluster.end()


def pid_and_start(task):
    """Who a running task is: its pid and start time."""
    return task["pid"], psutil.Process(task["pid"]).create_time()
