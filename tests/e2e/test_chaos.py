"""`kill -9` of everything, everywhere, at any time: nothing acknowledged is lost, nothing runs twice."""

import collections
import concurrent.futures
import contextlib
import random
import threading
import time
import urllib.request

import pytest

from manager_api.http.inventory.device_schema import DEVICE
from store.batches import batches
from store.codec import dumps
from store.errors import StoreError
from store.faults import POINTS
from store.kv.store import Store
from tests.conftest import SOAK, eventually
from tests.e2e.conftest import UNANSWERED, forget, pid_and_start, shell
from tests.web import Page, Web

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3000 if SOAK else 400)]


def job(cluster, code):
    """Says that it runs, then ends with a code of its own; never restarted by policy."""
    script = f'echo "$MUSTER_ALLOC_ID" >> {cluster.ledger}; sleep 0.3; exit {code}'
    return {"name": "t", "config": {"command": shell(script)}, "restart": {"condition": "no"}}


def service(cluster):
    script = f'echo "$MUSTER_ALLOC_ID" >> {cluster.ledger}; exec sleep 600'
    return {"name": "t", "config": {"command": shell(script)}, "stop": {"timeout": "2s"}}


class Persistent:
    """A client that asks again until it is answered; a process that was killed answers nobody."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.mending = threading.Lock()

    def ask(self, path, body, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(*UNANSWERED):
                status, answer = self.cluster.call(path, body)
                if status < 500:
                    return status, answer
            self.mend()
            assert time.monotonic() < deadline, f"{path} was never answered"
            time.sleep(0.05)

    def mend(self):
        with self.mending:
            self.cluster.mend()

    def wait(self, deployment, *wanted):
        """Until it is in one of the wanted states; what dies late is still started again."""

        def found():
            self.mend()
            now = self.cluster.deployment(deployment)
            return now["status"] in wanted and now

        return eventually(found, 60)

    def deploy(self, name):
        while True:
            status, answer = self.ask("/api/task/task_group/deploy", {"name": name})
            if status == 200:
                return answer["id"]
            assert status in (200, 409), (
                answer
            )  # the only node may be away just now; that is an honest answer
            time.sleep(0.05)

    def post(self, name, task):
        status, answer = self.ask("/api/task/task_group", {"name": name, "task_groups": [{"tasks": [task]}]})
        assert status == 200, answer


def check_codes(client, acknowledged, *, may_be_broken_off=False):
    """Every acknowledged job ran, once, and its exit code is known and right.

    A start that was broken off before it began (its keeper was killed) counts as a restart.
    """
    for deployment, code in acknowledged.items():
        found = client.wait(deployment, "COMPLETED", "FAILED")
        (task,) = found["tasks"]
        assert (found["status"], task["exit_code"]) == ("COMPLETED" if code == 0 else "FAILED", code), found
        assert task["restarts"] == 0 or (may_be_broken_off and task["restarts"] == 1)


def check_ledger(cluster, *, must):
    """Nothing ran twice, and what must have run did."""
    counts = collections.Counter(cluster.written())
    assert {key: count for key, count in counts.items() if count > 1} == {}
    assert must <= counts.keys()


@pytest.fixture
def services(running):
    """Three long-running tasks that nothing may disturb."""
    running.post("service", service(running))
    found = [running.deploy("service") for _ in range(3)]
    before = {key: pid_and_start(running.wait(key, "RUNNING")["tasks"][0]) for key in found}
    yield before

    def undisturbed():
        return all(running.deployment(key)["status"] == "RUNNING" for key in before)

    eventually(undisturbed, 40)
    for key, who in before.items():
        assert pid_and_start(running.deployment(key)["tasks"][0]) == who


def lose_records(cluster, client):
    """The store forgets a deployment that runs; what runs is adopted."""
    deployment = client.deploy("service")
    client.wait(deployment, "RUNNING")
    forget(cluster, deployment)

    def adopted():
        client.mend()
        with contextlib.suppress(*UNANSWERED):
            cluster.call(f"/v1/unclaimed/{deployment}/adopt", {})
        return cluster.deployment(deployment)["status"] == "RUNNING"

    eventually(adopted, 60)
    client.ask("/api/task/task_group/stop", {"id": deployment})


def grow(cluster, client):
    """A deployment is scaled while it runs."""
    deployment = client.deploy("service")
    client.wait(deployment, "RUNNING")
    client.ask(f"/v1/deployments/{deployment}/scale", {"groups": {"group-0": 2}})
    eventually(lambda: client.mend() or len(cluster.deployment(deployment)["tasks"]) == 2, 40)
    client.ask("/api/task/task_group/stop", {"id": deployment})


def release_brakes(cluster, client, point):
    """It is said to hold although nothing is lost: people release it, and the leader says what is so."""
    engaged = {"since": 1.0, "lost": 3, "of": 4, "nodes": []}

    def reached():
        client.mend()
        with contextlib.suppress(*UNANSWERED, StoreError):
            store = Store(cluster.client())
            store.attach()
            store.put("controls:status", "brake", dumps({"v": 1, "engaged": engaged, "released": 0}))
            cluster.call("/v1/brake/release", {})
        return not (cluster.faults / point).exists()

    eventually(reached, 60)


def fetch_a_file(cluster, client):
    """A node needs a turn at a server of files."""
    web = Web()
    web.pages["/tool"] = Page(b"#!/bin/sh")
    artifacts = [{"source": f"{web.url}/tool"}]
    client.post("files", {"name": "t", "config": {"command": "/bin/true"}, "artifacts": artifacts})
    client.wait(client.deploy("files"), "COMPLETED")
    web.end()


def remove_a_node(cluster, client, name):
    """A machine that has gone is taken out of the fleet."""
    agent = cluster.start_agent(name, wait=False)
    eventually(lambda: client.mend() or cluster.online(name), 40)
    agent.terminate()
    agent.wait(20)

    def removed():
        client.mend()
        with contextlib.suppress(*UNANSWERED):
            asked = urllib.request.Request(f"{cluster.url}/v1/nodes/{name}?force=1", method="DELETE")
            urllib.request.urlopen(asked, timeout=40).close()
        found = cluster.nodes()  # none at all: nobody answered
        return bool(found) and name not in found

    eventually(removed, 60)


def provoke(cluster, point, client):
    """What else must happen for a point to be reached."""
    if point.startswith("api.join"):
        cluster.start_agent(f"extra-{point.split('.')[-1]}", wait=False)
    elif point.startswith(("brain.claim", "brain.facts")):
        cluster.agents["web-1"].kill()
        cluster.agents["web-1"].wait()
    elif point.startswith("controller.mint"):
        # The store falls back to an earlier revision: the leader begins another epoch.
        store = cluster.client()
        store.decrby("muster:rev", 3)
        # A frozen node takes no new work, and says so; wait until the leader has mended it.
        eventually(lambda: client.mend() or not (cluster.faults / point).exists(), 40)
        eventually(lambda: cluster.nodes().get("web-1", {}).get("frozen", "?") is None, 40)
    elif point.startswith(("controller.adopt", "api.claim")):
        lose_records(cluster, client)
    elif point.startswith("controller.advance"):
        grow(cluster, client)
    elif point.startswith(("controller.control", "api.brake")):
        release_brakes(cluster, client, point)
    elif point.startswith("api.node"):
        client.ask("/v1/nodes/web-1/cordon", {})
        client.ask("/v1/nodes/web-1/uncordon", {})
    elif point.startswith("api.device"):
        client.ask("/v1/devices", DEVICE)
    elif point.startswith("api.group"):
        client.ask("/v1/groups", {"name": point})
    elif point.startswith("controller.remove"):
        remove_a_node(cluster, client, f"gone-{point.split('.')[-1]}")
    elif point.startswith("controller.turns"):
        fetch_a_file(cluster, client)
    elif point.startswith(("controller.refuse", "api.withdraw")):
        nowhere = {"name": "t", "config": {"command": "nowhere.example:/bin/true"}}
        client.post("nowhere", nowhere)
        with contextlib.suppress(*UNANSWERED):
            cluster.call("/api/task/task_group/deploy", {"name": "nowhere"})
    elif point.startswith("api.template"):
        client.post("other", {"name": "t", "config": {"command": f"/bin/echo {point}"}})


def some_points():
    """The points of a part, at most eight at once: tests run beside each other."""
    for who in ("api", "controller", "brain", "keeper", "embedded"):
        points = sorted(point for point in POINTS if point.startswith(f"{who}."))
        for number, some in enumerate(batches(points, 8), 1):
            yield pytest.param(who, some, id=f"{who}-{number}")


@pytest.mark.parametrize(("who", "points"), list(some_points()))
def test_kill_9_at_every_named_point(running, services, who, points):
    client = Persistent(running)
    code, acknowledged, stopping = 0, {}, []
    client.post("service", service(running))
    for point in points:
        code = (code + 1) % 100
        client.post(f"job-{code}", job(running, code))
        victim = client.deploy("service")
        stopping.append(victim)
        eventually(
            lambda victim=victim: client.mend() or running.deployment(victim)["status"] == "RUNNING", 40
        )
        (running.faults / point).touch()
        provoke(running, point, client)
        acknowledged[client.deploy(f"job-{code}")] = code
        client.ask("/api/task/task_group/stop", {"id": victim})
        eventually(lambda point=point: client.mend() or not (running.faults / point).exists(), 40)
        eventually(lambda: client.mend() or (running.ready() and running.online("web-1")), 40)
    check_codes(client, acknowledged, may_be_broken_off=who == "keeper")
    for victim in stopping:
        client.wait(victim, "STOPPED")
    check_ledger(running, must={f"{key}.0" for key in [*acknowledged, *services]})
    eventually(
        lambda: b'"wanted":"stopped"' not in b"".join(running.client().hvals("muster:allocations")), 40
    )


KILLS = 300 if SOAK else 30
DEPLOYS = 500 if SOAK else 50


def test_kill_9_at_random_times_during_concurrent_deploys(running, services):
    client = Persistent(running)
    for code in range(10):
        client.post(f"job-{code}", job(running, code))
    acknowledged = {}

    def deploy(number):
        code = number % 10
        acknowledged[client.deploy(f"job-{code}")] = code

    def kill():
        for _ in range(KILLS):
            time.sleep(random.uniform(0.02, 0.6))
            victim = random.choice(["brain", "controller", "worker", "manager", "store"])
            if victim == "brain":
                with contextlib.suppress(ProcessLookupError):
                    running.agents["web-1"].kill()
                    running.agents["web-1"].wait()
            else:
                running.kill(victim)
            client.mend()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            list(pool.map(deploy, range(DEPLOYS)))
    finally:
        killer.join()
    eventually(lambda: client.mend() or (running.ready() and running.online("web-1")), 40)
    assert len(acknowledged) == DEPLOYS
    check_codes(client, acknowledged)
    check_ledger(running, must={f"{key}.0" for key in [*acknowledged, *services]})
