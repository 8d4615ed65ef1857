"""Moving house as users do it: another server, another kind of store, while what runs goes on."""

import shutil

import psutil
import pytest

from tests.conftest import eventually, need, server_binary
from tests.e2e.conftest import pid_and_start

pytestmark = pytest.mark.e2e

SLEEP = {"name": "t", "config": {"command": "sleep 600"}}


def good(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def move(cluster, *flags):
    """The old manager ends for good; a new one, on another directory, answers where it did."""
    cluster.manager.terminate()
    assert cluster.manager.wait(40) == 0
    cluster.db = cluster.home / "new" / "resource_monitor.db"
    cluster.db.parent.mkdir()
    cluster.start_manager(*flags)


def same_process(cluster, deployment, who):
    found = cluster.deployment(deployment)
    return found["status"] == "RUNNING" and pid_and_start(found["tasks"][0]) == who


def test_from_valkey_to_redis_while_tasks_run(cluster, tmp_path):
    redis = shutil.which("redis-server")
    need(redis, "redis-server")
    cluster.start_manager("--store-server", str(server_binary("valkey")))
    cluster.start_agent()
    device = cluster.call("/v1/devices")[1]["data"][0]["id"]
    group = cluster.call("/v1/groups", {"name": "edge"})[1]["data"]
    assert cluster.call("/v1/memberships", {"device_id": device, "group_id": group})[0] == 200
    deployment = cluster.deploy(cluster.post("old", SLEEP, count="all", placement={"group": "edge"}))
    who = pid_and_start(cluster.wait(deployment, "RUNNING")["tasks"][0])
    file = tmp_path / "house.jsonl"
    assert "records at revision" in good(cluster.muster("export", str(file)))
    assert oct(file.stat().st_mode)[-3:] == "600"
    assert "is there already" in cluster.muster("export", str(file)).stderr

    move(cluster, "--store-server", redis)
    dry = cluster.muster("import", str(file))
    assert "would move in whole" in good(dry)
    assert "nothing was changed" in dry.stderr
    # A manager that dies in the middle leaves a house that is empty, or one that is full.
    (cluster.faults / "import.swap.before").touch()
    assert cluster.muster("import", str(file), "--yes").returncode == 6
    eventually(cluster.ready, 40)
    assert cluster.call("/v1/templates")[1]["total"] == 0
    cluster.client().delete("muster:restoring")
    (cluster.faults / "import.swap.after").touch()
    assert cluster.muster("import", str(file), "--yes").returncode == 6

    eventually(lambda: cluster.ready() and cluster.online("web-1"), 60)
    eventually(lambda: same_process(cluster, deployment, who), 60)
    # A node that is back before the leader is frozen for a moment, and takes no new work.
    eventually(lambda: cluster.nodes().get("web-1", {}).get("frozen", "?") is None, 40)
    assert b"redis" in cluster.client().hget("muster:meta", "flavour")
    assert cluster.nodes()["web-1"]["groups"] == ["edge"]
    assert [each["id"] for each in cluster.call(f"/v1/groups/{group}/devices")[1]["data"]] == [device]
    cluster.wait(cluster.deploy(cluster.post("new", SLEEP)), "RUNNING")
    cluster.stop(deployment)
    cluster.wait(deployment, "STOPPED")
    assert not psutil.pid_exists(who[0])
    # And once more from the beginning: the manager finds its store and its cluster.
    cluster.manager.terminate()
    assert cluster.manager.wait(40) == 0
    cluster.start_manager("--store-server", redis)
    eventually(lambda: cluster.online("web-1"), 40)


def test_into_a_living_system_and_what_can_go_wrong(running, tmp_path):
    running.post("mine", SLEEP)
    file = tmp_path / "house.jsonl"
    good(running.muster("export", str(file)))
    assert "SAME" in good(running.muster("import", str(file), "--yes"))
    assert "moves into a system without" in running.muster("import", str(file), "--mode", "move").stderr

    running.post("mine", {**SLEEP, "config": {"command": "sleep 601"}})
    refused = running.muster("import", str(file), "--yes")
    assert refused.returncode == 1
    assert "conflict=skip" in refused.stderr
    for point in ("import.merge.before", "import.merge.after"):
        (running.faults / point).touch()
        assert running.muster("import", str(file), "--yes", "--conflict", "replace").returncode == 6
        eventually(running.ready, 40)
        running.client().delete("muster:restoring")
    assert "SAME" in good(running.muster("import", str(file), "--yes", "--conflict", "replace"))

    half = tmp_path / "half.jsonl"
    half.write_bytes(file.read_bytes()[:-20])
    broken = running.muster("import", str(half), "--yes")
    assert broken.returncode == 1
    assert "breaks off" in broken.stderr
    assert running.muster("import", str(tmp_path / "none")).returncode == 2
    assert running.muster("export", str(file), "--url", "http://127.0.0.1:1", "--force").returncode == 6
    assert file.stat().st_size > 0, "what was there is not lost"
    assert list(tmp_path.glob("*.part")) == []
