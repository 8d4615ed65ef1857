"""Two releases side by side: managers, brains and keepers of this one and the last, in every pair.

The last release runs from its source (see `tests/releases/build.sh`), in processes and data directories of
its own, with the dependencies that are installed for ours.
"""

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from store import bootstrap
from store.embedded import EmbeddedServer
from store.home import Files
from store.kv.store import Store
from store.version import VERSION
from tests.conftest import eventually
from tests.e2e.conftest import Cluster, pid_and_start, shell
from tests.e2e.test_supervision import a_task, row, task_of
from tests.e2e.test_tasks import refusal
from tests.releases.record import Recorded

pytestmark = pytest.mark.e2e
LAST = Path(__file__).parents[1] / "releases" / "0.1.0.tar.gz"


class TwoReleases(Cluster):
    """A manager and one agent, each now of this release, now of the last."""

    def __init__(self, home):
        super().__init__(home)
        self.last, self.old = home / "last", False
        shutil.unpack_archive(LAST, self.last)

    def environment(self):
        return super().environment() | ({"PYTHONPATH": str(self.last)} if self.old else {})

    @contextlib.contextmanager
    def of(self, *, old):
        """What is started meanwhile is of the last release, or not."""
        self.old = old
        try:
            yield
        finally:
            self.old = False

    def manage(self, *, old):
        """Replace the manager, if there is one, on the same data."""
        if self.manager is None or self.manager.poll() is None:
            self.leave(self.manager)
        with self.of(old=old):
            self.start_manager()
        self.check_source(self.manager, old=old)
        eventually(lambda: not self.agents or self.frozen() is None, 40)

    def attend(self, *, old):
        """Replace the agent's brain; its tasks stay."""
        self.leave(self.agents.get("web-1"))
        with self.of(old=old):
            self.start_agent()
        self.check_source(self.agents["web-1"], old=old)
        eventually(lambda: self.frozen() is None, 40)

    def leave(self, process):
        if process is not None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0

    def check_source(self, process, *, old):
        source = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert (str(self.last).encode() in source) is old

    def frozen(self):
        found = self.nodes().get("web-1", {"frozen": "unknown"})
        return found["frozen"] if found.get("status", 1) == 0 else "offline"

    def launch(self, name, task):
        deployment = self.deploy(self.post(name, task))
        return deployment, pid_and_start(row(self.wait(deployment, "RUNNING"), task["name"]))


@contextlib.contextmanager
def store_of(cluster):
    """A client of the embedded store while no manager runs."""
    server = EmbeddedServer(Files(cluster.db.with_name(cluster.db.name + ".d")))
    server.start()
    try:
        yield server.client("test")
    finally:
        server.stop()


@pytest.fixture
def cluster(tmp_path):
    found = TwoReleases(tmp_path)
    yield found
    found.end()


def gated(cluster, name, code):
    """A task that ends with a code once it may."""
    gate = cluster.home / f"gate-{name}"
    script = f"until [ -e {gate} ]; do sleep 0.05; done; exit {code}"
    return a_task(name, script, restart={"condition": "no"}), gate.touch


def basics(cluster, name):
    """Deployed, running, stopped; ended with its exit code."""
    stays, _ = cluster.launch(f"{name}-stays", a_task())
    task, let_go = gated(cluster, "ends", 7)
    ends, _ = cluster.launch(f"{name}-ends", task)
    cluster.stop(stays)
    let_go()
    cluster.wait(stays, "STOPPED")
    assert row(cluster.wait(ends, "FAILED"), "ends")["exit_code"] == 7
    (cluster.home / "gate-ends").unlink()


def test_a_fleet_is_upgraded_under_its_tasks(cluster):
    """Manager first, then the agent: nothing stops, and nothing is sent to an agent that it did not claim."""
    cluster.manage(old=True)
    cluster.attend(old=True)
    stays, who = cluster.launch("stays", a_task())
    task, let_go = gated(cluster, "t", 21)
    ends, _ = cluster.launch("ends", task)

    cluster.manage(old=False)
    basics(cluster, "new-old")
    assert row(cluster.deployment(stays))["state"] == "running"
    status, answer = cluster.call(f"/v1/deployments/{stays}/logs")
    assert (status, answer["detail"]) == (409, "the agent of node web-1, version 0.1.0, does not serve logs")
    status, answer = cluster.call(f"/v1/deployments/{stays}/limits", {"task": "t", "limits": {"pids": 9}})
    assert (status, answer["detail"]) == (409, "the agent of node web-1 does not offer limits")
    body = {"name": "h", "task_groups": [{"tasks": [a_task(hooks={"pre_start": shell("true")})]}]}
    assert cluster.call("/api/task/task_group", body)[0] == 200
    answer = eventually(lambda: refusal(cluster, "h"))
    assert answer["nodes"][0]["reason"] == "runs agent 0.1.0, which does not offer hooks"
    other, first = cluster.launch("other", a_task())
    cluster.call(f"/v1/deployments/{other}/restart", {})
    eventually(lambda: task_of(cluster, other)["pid"] not in (None, first[0]))
    epoch = bootstrap.mint(Store(cluster.client())).epoch
    eventually(lambda: cluster.client().hget("muster:n:{web-1}:desired", "@epoch") == epoch.encode())
    eventually(lambda: cluster.frozen() is None)
    assert pid_and_start(row(cluster.wait(stays, "RUNNING"))) == who

    cluster.attend(old=False)
    assert pid_and_start(row(cluster.wait(stays, "RUNNING"))) == who
    let_go()
    assert row(cluster.wait(ends, "FAILED"))["exit_code"] == 21
    assert eventually(lambda: cluster.muster("logs", stays[:8], "--tail", "1").returncode == 0)
    cluster.stop(stays)
    cluster.wait(stays, "STOPPED")


def test_a_manager_of_the_last_release_takes_over_newer_data_and_agents(cluster):
    """Downgraded, it serves what it knows; what it does not know keeps running, and is there again later."""
    cluster.manage(old=False)
    cluster.attend(old=False)
    newer = a_task(resources={"limits": {"memory": "64M"}}, hooks={"pre_start": shell("true")})
    limited, who = cluster.launch("newer", newer)
    cluster.call(f"/v1/deployments/{limited}/limits", {"task": "t", "limits": {"memory": "96M"}})
    eventually(lambda: task_of(cluster, limited)["limits"].get("memory") == 96 << 20)

    cluster.manage(old=True)
    basics(cluster, "old-new")
    found = row(cluster.wait(limited, "RUNNING"))
    assert (pid_and_start(found), "limits" in found) == (who, False)

    cluster.manage(old=False)
    basics(cluster, "new-new")
    found = row(cluster.wait(limited, "RUNNING"))
    assert (pid_and_start(found), found["limits"]["memory"]) == (who, 96 << 20)


def test_groups_of_devices_outlive_a_manager_that_does_not_know_them(cluster):
    """Its joins leave out what it does not know of a node. Nothing that is placed on groups stops for it."""
    cluster.manage(old=False)
    cluster.attend(old=False)
    device = cluster.call("/v1/devices")[1]["data"][0]["id"]
    for group, more in (("member", {}), ("ruled", {"rule": {"facts": {"cores": ">=1", "os": "*"}}})):
        made = cluster.call("/v1/groups", {"name": group, **more})[1]["data"]
        if not more:
            assert cluster.call("/v1/memberships", {"device_id": device, "group_id": made})[0] == 200
    running = []
    for group in ("member", "ruled"):
        placed = cluster.post(group, a_task(), count="all", placement={"group": group})
        found = cluster.deploy(placed)
        running.append((found, pid_and_start(row(cluster.wait(found, "RUNNING")))))

    cluster.manage(old=True)
    (cluster.home / "agent-web-1" / "join.json").unlink()
    cluster.attend(old=False)
    client = cluster.client()
    eventually(lambda: "device" not in json.loads(client.hget("muster:nodes", "web-1")))

    cluster.manage(old=False)
    eventually(lambda: cluster.nodes().get("web-1", {}).get("groups") == ["member", "ruled"])
    assert [each["id"] for each in cluster.call("/v1/devices")[1]["data"]] == [device]
    basics(cluster, "after")
    for deployment, who in running:
        assert pid_and_start(row(cluster.wait(deployment, "RUNNING"))) == who


def test_a_snapshot_of_the_last_release_is_restored_under_devices_and_groups(cluster):
    """It knows of none: nodes are devices again, and what runs goes on."""
    cluster.manage(old=True)
    cluster.attend(old=True)
    stays, who = cluster.launch("stays", a_task())
    cluster.leave(cluster.manager)
    snapshot = cluster.home / "of-0.1.0.rdb"
    shutil.copy(cluster.db, snapshot)

    cluster.manage(old=False)
    cluster.attend(old=False)
    device = eventually(lambda: cluster.call("/v1/devices")[1].get("data"))[0]["id"]
    group = cluster.call("/v1/groups", {"name": "edge"})[1]["data"]
    assert cluster.call("/v1/memberships", {"device_id": device, "group_id": group})[0] == 200
    placed = cluster.deploy(cluster.post("placed", a_task(), count="all", placement={"group": "edge"}))
    cluster.wait(placed, "RUNNING")
    dry = cluster.muster("restore", str(snapshot))
    assert "1 devices would be lost, made since" in dry.stdout, dry.stderr
    done = cluster.muster("restore", str(snapshot), "--yes")
    assert done.returncode == 0, done.stderr

    def back():
        return [each["name"] for each in cluster.call("/v1/devices")[1].get("data", [])] == ["web-1"]

    eventually(back, 40)
    client = cluster.client()
    (found,) = client.hkeys("muster:devices")
    assert (
        sorted(line.rpartition(b":")[2] for line in client.zrange("muster:devices:index", 0, -1))
        == [found] * 5
    )
    assert (client.exists("muster:groups"), found != device.encode()) == (0, True)
    eventually(lambda: cluster.nodes().get("web-1", {}).get("version") == VERSION, 60)
    assert pid_and_start(row(cluster.wait(stays, "RUNNING"))) == who


@pytest.mark.parametrize("first", ["old", "new"])
def test_brains_and_keepers_of_two_releases_meet_in_every_pair(cluster, first):
    """A task started under one brain lives and ends, with its exit code, under the other's."""
    cluster.start_manager()
    pairs = []
    for turn, old in enumerate([first == "old", first == "new", first == "old"]):
        cluster.attend(old=old)
        # The last release's brain speaks before it has heard its keeper.
        eventually(lambda: cluster.nodes().get("web-1", {}).get("running") == len(pairs))
        for deployment, who, _ in pairs:
            assert pid_and_start(cluster.wait(deployment, "RUNNING")["tasks"][0]) == who
        task, let_go = gated(cluster, f"t{turn}", 20 + turn)
        pairs.append((*cluster.launch(f"x{turn}", task), let_go))
    for turn, (deployment, _, let_go) in enumerate(pairs):
        let_go()
        assert row(cluster.wait(deployment, "FAILED"), f"t{turn}")["exit_code"] == 20 + turn


def test_what_the_last_release_s_keeper_cannot_do_waits_until_it_is_replaced(cluster):
    cluster.start_manager()
    cluster.attend(old=True)
    first, who = cluster.launch("first", a_task())
    cluster.attend(old=False)
    limited = a_task(resources={"limits": {"memory": "64M"}}, hooks={"pre_start": shell("true")})
    second = cluster.deploy(cluster.post("second", limited))
    eventually(lambda: "the keeper is of an older release" in task_of(cluster, second)["reason"])
    assert pid_and_start(row(cluster.wait(first, "RUNNING"))) == who
    cluster.stop(first)
    cluster.wait(first, "STOPPED")
    assert row(cluster.wait(second, "RUNNING"))["limits"]["memory"] == 64 << 20


def test_the_last_release_s_keeper_starts_what_was_fetched_and_keeps_what_cannot_be(cluster):
    cluster.start_manager()
    cluster.attend(old=True)
    _, who = cluster.launch("first", a_task())
    cluster.attend(old=False)
    program = cluster.home / "run.sh"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    good, bad = a_task("main", "./run.sh"), a_task("main", "./run.sh")
    good["artifacts"] = [{"source": f"file://{program}", "mode": "0755"}]
    bad["artifacts"] = [{"source": f"file://{program}", "sha256": "0" * 64}]
    _, fetched = cluster.launch("good", good)
    failed = cluster.deploy(cluster.post("bad", bad))
    cluster.wait(failed, "FAILED")
    cluster.attend(old=False)
    assert "SHA-256" in row(cluster.wait(failed, "FAILED"), "main")["reason"]
    assert all(psutil.Process(pid).create_time() == began for pid, began in (who, fetched))


def test_a_running_manager_whose_store_was_upgraded_stops_writing_and_says_so(cluster):
    """And none of its release starts on that store; nothing stops meanwhile."""
    cluster.manage(old=False)
    cluster.attend(old=False)
    stays, who = cluster.launch("stays", a_task())
    client = cluster.client()
    client.hset("muster:meta", mapping={"schema_max": 2, "schema_release": "9.9.0"})
    says = f"the store holds records of schema 2, and muster {VERSION} reads 1: nothing was done; use muster 9.9.0 or later"
    status, answer = cluster.call("/api/task/task_group/stop", {"id": stays})
    assert (status, answer["detail"]) == (503, says)
    assert cluster.call("/readyz")[1]["checks"]["store"] == says
    eventually(lambda: f"not leading: {says}" in cluster.log("manager.log"))
    rev = client.get("muster:rev")
    cluster.leave(cluster.manager)
    manager = cluster.start_manager(wait=False)
    assert manager.wait(40) == 1
    assert cluster.log("manager.log").rstrip().endswith(says)
    assert psutil.pid_exists(who[0])
    with store_of(cluster) as again:
        assert again.get("muster:rev") == rev
        again.hset("muster:meta", "schema_max", 1)
    cluster.manage(old=False)
    assert pid_and_start(row(cluster.wait(stays, "RUNNING"))) == who


def test_an_agent_says_what_it_cannot_read_and_leaves_it_alone(cluster):
    cluster.manage(old=False)
    cluster.attend(old=False)
    stays, who = cluster.launch("stays", a_task())
    client, key = cluster.client(), "muster:n:{web-1}:desired"
    (controller,) = cluster.part("controller")
    os.kill(controller, signal.SIGSTOP)  # it would put right at once what we do here
    try:
        entry = json.loads(client.hget(key, f"{stays}.0"))
        client.hset(key, f"{stays}.0", json.dumps({**entry, "v": 2, "wanted": "stopped"}))
        client.hset(key, "later.0", json.dumps({**entry, "v": 2}))
        client.hincrby(key, "@rev", 1)

        def notes():
            said = client.hgetall("muster:n:{web-1}:actual")
            return {alloc.decode(): json.loads(raw).get("note") or "" for alloc, raw in said.items()}

        eventually(
            lambda: (
                {key for key, note in notes().items() if "is of schema 2" in note}
                == {f"{stays}.0", "later.0"}
            )
        )
        assert pid_and_start(row(cluster.deployment(stays))) == who
    finally:
        os.kill(controller, signal.SIGCONT)
    eventually(lambda: not notes()[f"{stays}.0"])
    assert pid_and_start(row(cluster.wait(stays, "RUNNING"))) == who


def missing(old, new, where=""):
    """What an earlier release said and a later one does not, by path; null may become anything."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{where}.{key}" for key in old if key not in new]
        return gone + [
            each for key in old.keys() & new.keys() for each in missing(old[key], new[key], f"{where}.{key}")
        ]
    if isinstance(old, list) and isinstance(new, list) and old and new:
        return missing(old[0], new[0], f"{where}[]")
    same = isinstance(new, type(old)) or {type(old), type(new)} <= {int, float} or None in (old, new)
    return [] if same else [where]


def test_what_earlier_releases_look_for_is_still_said(tmp_path):
    """Fields may be added; none that a release two back may rely on goes, or changes its type."""
    found = Recorded(tmp_path)
    try:
        today = found.record()
    finally:
        found.end()
    for path in LAST.parent.glob("*.json"):
        earlier = json.loads(path.read_text())
        usage = earlier["heartbeat"].pop("tasks"), dict(today["heartbeat"]).pop("tasks")
        assert missing(earlier, today) == []
        assert missing(*[next(iter(tasks.values())) for tasks in usage]) == []
