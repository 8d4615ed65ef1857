"""Backup and return, as users do it: under a running fleet, killed in the middle, over the wrong store."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request

import psutil
import pytest

from store.kv.connection import connect
from tests.conftest import eventually, need, server_binary
from tests.e2e.conftest import PYTHON, pid_and_start

pytestmark = pytest.mark.e2e

SLEEP = {"name": "t", "config": {"command": "sleep 600"}}


def good(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def home_of(cluster):
    return cluster.db.with_name(cluster.db.name + ".d")


def runs_as(cluster, deployment, who):
    """Whether its only task runs, and is still that very process."""
    found = cluster.deployment(deployment)
    pids = [task["pid"] for task in found["tasks"]]
    return found["status"] == "RUNNING" and pids == [who[0]] and pid_and_start(found["tasks"][0]) == who


def test_yesterday_s_backup_under_a_running_fleet(alone, tmp_path):
    """What runs goes on with the same pids, in the backup or not; writes and orders work afterwards."""
    old = alone.deploy(alone.post("old", SLEEP))
    before = pid_and_start(alone.wait(old, "RUNNING")["tasks"][0])
    file = tmp_path / "yesterday"
    said = good(alone.muster("backup", str(file)))
    assert "1 templates, 1 deployments, 1 nodes" in said
    assert "loaded by" in said
    assert oct(file.stat().st_mode)[-3:] == "600"
    assert list(tmp_path.glob("*.part")) == []
    young = alone.deploy(alone.post("young", SLEEP))
    other = pid_and_start(alone.wait(young, "RUNNING")["tasks"][0])

    dry = alone.muster("restore", str(file))
    assert "1 templates would be lost, made since: young" in good(dry)
    assert f"1 deployments would be lost, made since: {young} (young)" in dry.stdout
    assert "nothing was changed" in dry.stderr
    assert alone.deployment(young)["status"] == "RUNNING"

    assert "restored: epoch 2-" in good(alone.muster("restore", str(file), "--yes"))
    eventually(lambda: alone.online("web-1") and alone.nodes()["web-1"]["frozen"] is None, 40)
    eventually(lambda: runs_as(alone, old, before))
    assert alone.call(f"/deployments/{young}")[0] == 404
    assert psutil.Process(other[0]).create_time() == other[1], "unclaimed, and not stopped"
    third = alone.deploy(alone.post("third", SLEEP))
    alone.wait(third, "RUNNING")
    alone.stop(old)
    alone.wait(old, "STOPPED")
    assert psutil.Process(other[0]).create_time() == other[1]
    assert alone.client().keys("muster:restoring*") == []


def test_a_backup_is_a_db_path_too(running, tmp_path):
    old = running.deploy(running.post("old", SLEEP))
    before = pid_and_start(running.wait(old, "RUNNING")["tasks"][0])
    file = tmp_path / "backup"
    good(running.muster("backup", str(file)))
    running.post("young", SLEEP)
    running.manager.terminate()
    assert running.manager.wait(40) == 0
    shutil.copy(file, running.db)
    running.start_manager()
    assert names(running) == {"old"}
    eventually(lambda: running.online("web-1") and running.nodes()["web-1"]["frozen"] is None, 40)
    eventually(lambda: runs_as(running, old, before))


def test_a_file_that_is_there_is_not_replaced_without_force(running, tmp_path):
    file = tmp_path / "backup"
    file.write_text("precious")
    done = running.muster("backup", str(file))
    assert (done.returncode, file.read_text()) == (1, "precious")
    assert "--force replaces it" in done.stderr
    about = json.loads(good(running.muster("backup", str(file), "--force", "-o", "json")))
    assert about["size"] == file.stat().st_size
    assert running.muster("backup", str(tmp_path / "no" / "x")).returncode == 1
    assert running.muster("restore", str(tmp_path / "nothing")).returncode == 2
    assert running.muster("backup", str(tmp_path / "x"), "--url", "http://127.0.0.1:9").returncode == 6
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "x.part").exists()


def test_a_killed_manager_leaves_nothing_of_a_backup(running, tmp_path):
    """It dies with the snapshot in its spool: the client fails, the next manager's spool is empty."""
    (running.faults / "backup.check.before").touch()
    done = running.muster("backup", str(tmp_path / "backup"))
    assert done.returncode == 6
    assert list(tmp_path.glob("backup*")) == []
    assert (home_of(running) / "spool").exists(), "it was killed in the middle"
    running.kill("manager")
    running.manager.wait()
    running.start_manager()
    eventually(lambda: not (home_of(running) / "spool").exists())
    eventually(running.ready, 40)
    good(running.muster("backup", str(tmp_path / "backup")))


def test_a_worker_killed_around_the_swap_leaves_one_state_or_the_other(running, tmp_path):
    running.post("old", SLEEP)
    file = str(tmp_path / "backup")
    good(running.muster("backup", file))
    running.post("young", SLEEP)

    (running.faults / "restore.swap.before").touch()
    assert running.muster("restore", file, "--yes").returncode == 6
    eventually(running.ready, 40)
    assert names(running) == {"old", "young"}
    # Its turn runs out after a minute; what it staged, by itself, and is no part of any state.
    assert "another restore is under way" in running.muster("restore", file, "--yes").stderr
    running.client().delete("muster:restoring")
    (running.faults / "restore.swap.after").touch()
    assert running.muster("restore", file, "--yes").returncode == 6
    eventually(running.ready, 40)
    assert names(running) == {"old"}
    staged = running.client().keys("muster:restoring:*")
    assert all(0 < running.client().pttl(key) <= 900_000 for key in staged)


def test_two_restores_at_once(running, tmp_path):
    running.post("old", SLEEP)
    file = str(tmp_path / "backup")
    good(running.muster("backup", file))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(running.muster("restore", file, "--yes")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted(done.returncode for done in found)
    assert codes[0] == 0
    for done in found:
        if done.returncode:
            assert "under way" in done.stderr or "busy with another" in done.stderr or "by now" in done.stderr
    epoch = running.client().hget("muster:meta", "epoch")
    assert int(epoch.split(b"-")[0]) == 1 + codes.count(0), "each that succeeded is an epoch of its own"


def damaged(data):
    """(damage, bytes, what is said of it): every way in which a copy may have gone wrong."""
    middle = len(data) // 2
    flipped = data[: middle + 1] + bytes([data[middle + 1] ^ 0x41]) + data[middle + 2 :]
    return [
        ("empty", b"", "it is empty"),
        ("rubbish", b"rubbish" * 99, "does not begin as a snapshot"),
        ("cut off", data[:middle], "it is cut off"),
        ("holes", data[:middle] + bytes(len(data) - middle), "it is cut off"),
        ("flipped", flipped, "load it"),
        ("newer", b"REDIS0099" + data[9:], "form 99"),
    ]


def names(cluster):
    return {row["name"] for row in cluster.call("/v1/templates")[1]["data"]}


def test_a_damaged_file_is_not_restored(cluster, tmp_path):
    cluster.start_manager("--store-server", str(server_binary("redis")))
    cluster.post("kept", SLEEP)
    file = tmp_path / "backup"
    good(cluster.muster("backup", str(file)))
    for damage, data, words in damaged(file.read_bytes()):
        file.write_bytes(data)
        done = cluster.muster("restore", str(file), "--yes")
        assert done.returncode == 1, damage
        assert words in done.stderr, done.stderr
        assert "Nothing was changed" in done.stderr
        assert not (home_of(cluster) / "spool").exists()
    request = urllib.request.Request(f"{cluster.url}/v1/restore?sha256=00", data=data, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=40)
    assert refused.value.code == 400
    assert "did not arrive whole" in json.load(refused.value)["detail"]
    assert names(cluster) == {"kept"}


def test_a_damaged_file_is_not_started_with(cluster, tmp_path):
    redis = ("--store-server", str(server_binary("redis")))
    cluster.start_manager(*redis)
    cluster.post("kept", SLEEP)
    file = tmp_path / "backup"
    good(cluster.muster("backup", str(file)))
    cluster.manager.terminate()
    cluster.manager.wait(40)
    kept = cluster.db.read_bytes()
    for damage, data, words in damaged(file.read_bytes())[2:]:  # the rest: see the embedded server's tests
        cluster.db.unlink()
        cluster.db.write_bytes(data)
        cluster.start_manager(*redis, wait=False)
        assert cluster.manager.wait(40) == 1, damage
        said = cluster.log("manager.log").splitlines()[-1]
        assert (words if damage != "flipped" else "is not a snapshot that") in said
        assert "was not touched" in said
        assert cluster.db.read_bytes() == data
    cluster.db.write_bytes(kept)
    cluster.start_manager(*redis)
    assert names(cluster) == {"kept"}


@contextlib.contextmanager
def another(tmp_path, kind="redis"):
    """A cluster of its own, its server of a kind."""
    from tests.e2e.conftest import Cluster

    (tmp_path / "other").mkdir()
    other = Cluster(tmp_path / "other")
    try:
        other.start_manager("--store-server", str(server_binary(kind)))
        yield other
    finally:
        other.end()


def test_the_file_of_another_cluster_and_of_another_kind_of_server(cluster, tmp_path):
    cluster.start_manager("--store-server", str(server_binary("redis")))
    cluster.post("kept", SLEEP)
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    good(cluster.muster("backup", str(mine)))
    with another(tmp_path, "valkey") as other:
        done = other.muster("restore", str(mine), "--yes")
        assert done.returncode == 1
        assert "it is a backup of cluster" in done.stderr
        good(other.muster("backup", str(theirs)))
        done = cluster.muster("restore", str(theirs), "--yes")
        assert done.returncode == 1
        assert "it was written by valkey" in done.stderr
        assert "redis 7" in done.stderr
    assert names(cluster) == {"kept"}


def test_a_flushed_store_comes_back(alone, tmp_path):
    old = alone.deploy(alone.post("old", SLEEP))
    before = pid_and_start(alone.wait(old, "RUNNING")["tasks"][0])
    file = str(tmp_path / "backup")
    good(alone.muster("backup", file))
    alone.client().flushall()
    said = alone.muster("restore", file)
    assert "the store: empty" in good(said)
    assert "1 deployments would come back" in said.stdout
    good(alone.muster("restore", file, "--yes"))
    eventually(lambda: alone.online("web-1") and alone.nodes()["web-1"]["frozen"] is None, 40)
    eventually(lambda: runs_as(alone, old, before))


@pytest.fixture
def external(tmp_path):
    """A server that is nobody's child."""
    need(shutil.which("redis-server"), "redis-server")
    from tests.e2e.conftest import free_port

    port = free_port()
    (tmp_path / "server").mkdir()
    process = subprocess.Popen(
        [
            "redis-server",
            "--port",
            str(port),
            "--dir",
            str(tmp_path / "server"),
            "--save",
            "",
            "--appendonly",
            "yes",
        ],
        stdout=subprocess.DEVNULL,
    )
    client = connect(f"redis://127.0.0.1:{port}/0", name="test")
    eventually(lambda: _pings(client))
    yield f"redis://127.0.0.1:{port}/0", client
    process.terminate()
    process.wait()


def _pings(client):
    try:
        return client.ping()
    except Exception:
        return False


def test_an_external_store(cluster, external, tmp_path):
    """Backed up and restored in place; what others keep on the same server is left alone."""
    url, client = external
    client.set("theirs", "x")
    cluster.start_manager("--store", url)
    cluster.start_agent()
    old = cluster.deploy(cluster.post("old", SLEEP))
    before = pid_and_start(cluster.wait(old, "RUNNING")["tasks"][0])
    file = str(tmp_path / "backup")
    assert "redis 7" in good(cluster.muster("backup", file))
    client.set("theirs", "y")
    young = cluster.deploy(cluster.post("young", SLEEP))
    cluster.wait(young, "RUNNING")
    run_id = client.info("server")["run_id"]
    good(cluster.muster("restore", file, "--yes"))
    eventually(lambda: cluster.online("web-1") and cluster.nodes()["web-1"]["frozen"] is None, 40)
    eventually(lambda: runs_as(cluster, old, before))
    assert client.get("theirs") == b"y"
    assert client.info("server")["run_id"] == run_id
    assert client.pttl("muster:deployments") == -1, "what was staged must not run out"


def test_a_node_that_joined_since_joins_again(running, tmp_path):
    file = str(tmp_path / "backup")
    good(running.muster("backup", file))
    running.start_agent("web-2")
    assert "1 nodes would be lost, made since: web-2" in good(running.muster("restore", file))
    good(running.muster("restore", file, "--yes"))
    eventually(lambda: running.online("web-2") and running.nodes()["web-2"]["frozen"] is None, 40)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB."""
    need(os.geteuid() == 0 and shutil.which("mount"), "root, to mount a small disk")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", str(where)], check=False)
    need(mounted.returncode == 0, "the right to mount")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def fill(where, leave=0):
    """Fill a disk; the file to remove."""
    ballast = where / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    if leave:
        os.truncate(ballast, ballast.stat().st_size - leave)
    return ballast


def test_a_full_disk_of_the_manager(cluster, external, small_disk, tmp_path):
    """While it spools: nothing is left, nothing was changed."""
    url, client = external
    cluster.db = small_disk / "m" / "resource_monitor.db"
    cluster.db.parent.mkdir()
    cluster.start_manager("--store", url)
    cluster.post("kept", SLEEP)
    client.hset("noise", "x", os.urandom(1 << 20))
    file = tmp_path / "backup"
    good(cluster.muster("backup", str(file)))
    ballast = fill(small_disk, leave=128 << 10)
    for words in (("backup", str(tmp_path / "x")), ("restore", str(file), "--yes")):
        done = cluster.muster(*words)
        assert done.returncode == 1
        assert "is full: nothing was done" in done.stderr
        assert not (home_of(cluster) / "spool").exists()
    ballast.unlink()
    good(cluster.muster("restore", str(file), "--yes"))


def test_a_full_disk_of_the_client(running, small_disk):
    running.client().hset("noise", "x", os.urandom(1 << 20))
    ballast = fill(small_disk, leave=128 << 10)
    done = running.muster("backup", str(small_disk / "mine"))
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert list(small_disk.iterdir()) == [ballast]
    running.client().delete("noise")


def test_a_killed_client_leaves_no_file_that_looks_whole(running, tmp_path):
    file = tmp_path / "backup"
    store = running.client()
    for n in range(40):
        store.hset("noise", str(n), os.urandom(1 << 20))
    client = subprocess.Popen([*PYTHON, "muster", "backup", str(file)], env={**running.environment(), "MUSTER_URL": running.url})  # fmt: skip
    eventually(lambda: (tmp_path / "backup.part").exists() or client.poll() is not None)
    client.send_signal(signal.SIGTERM)
    client.wait(40)
    if file.exists():  # it was told once the file was there: whole, as it looks
        good(running.muster("restore", str(file), "--yes"))
    assert list(tmp_path.glob("backup*")) in ([], [file])
    # The manager notices only when it is done with the snapshot.
    eventually(lambda: running.muster("backup", str(file), "--force").returncode == 0, 40)
    assert list(tmp_path.glob("*.part")) == []
    store.delete("noise")


def test_what_was_stopped_since_runs_again(running, tmp_path):
    """The dry run says so, and so it comes: as a new process, not as a row about one that is gone."""
    old = running.deploy(running.post("old", SLEEP))
    before = pid_and_start(running.wait(old, "RUNNING")["tasks"][0])
    file = str(tmp_path / "backup")
    good(running.muster("backup", file))
    running.stop(old)
    running.wait(old, "STOPPED")
    assert f"1 deployments would run again, stopped since: {old} (old)" in good(
        running.muster("restore", file)
    )
    good(running.muster("restore", file, "--yes"))

    def runs_anew():
        tasks = running.deployment(old)["tasks"]
        return tasks and tasks[0]["pid"] not in (None, before[0]) and psutil.pid_exists(tasks[0]["pid"])

    eventually(runs_anew, 40)
