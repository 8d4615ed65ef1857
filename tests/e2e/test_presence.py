"""Heartbeats on a server of their own, and connections taken by a thief: the programs as users run them."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from store.embedded import EmbeddedServer
from store.home import Files
from tests.conftest import eventually, server_binary
from tests.e2e.conftest import PYTHON
from tests.e2e.test_skew import LAST
from tests.e2e.test_supervision import a_task
from tests.flood import Flood

pytestmark = pytest.mark.e2e


@pytest.fixture
def apart(tmp_path):
    """A server for heartbeats."""
    home = tmp_path / "presence"
    home.mkdir()
    server = EmbeddedServer(Files(home), binary=server_binary("redis"))
    server.start()
    yield server
    if server.pid:
        os.kill(server.pid, signal.SIGCONT)
    server.stop()


def url_of(server):
    return f"redis://:{server._password()}@127.0.0.1:{server.port}/0"


def beat_key(node):
    return f"muster:n:{{{node}}}:hb"


def test_nodes_beat_apart_and_live_on_without(cluster, apart, tmp_path):
    cluster.interval = "2"  # nobody may be offline for a moment, however busy the machine is
    cluster.start_manager("--presence-store", url_of(apart))
    for process in [cluster.manager, *psutil.Process(cluster.manager.pid).children(recursive=True)]:
        with contextlib.suppress(FileNotFoundError):  # one that was only there to save
            assert apart._password() not in Path(f"/proc/{process.pid}/cmdline").read_text()
    cluster.start_agent("web-1")
    beats, main = apart.client("test"), cluster.client()
    eventually(lambda: beats.exists(beat_key("web-1")) and not main.exists(beat_key("web-1")))
    assert {row["name"] for row in beats.client_list() if row["user"] == "node:web-1"} == {
        "muster-web-1-presence"
    }
    # An agent of the last release knows no presence store.
    shutil.unpack_archive(LAST, tmp_path / "last")
    env = cluster.environment() | {"PYTHONPATH": str(tmp_path / "last")}
    with (cluster.home / "old.log").open("ab") as out:
        argv = [*PYTHON, "agentd", *cluster.agent_flags("old-1")]
        cluster.started.append(subprocess.Popen(argv, env=env, stdout=out, stderr=out, cwd=cluster.home))
    eventually(lambda: cluster.online("old-1"), 40)
    eventually(lambda: main.exists(beat_key("old-1")))
    # Without it, those who beat there come to the store; nobody is lost on the way, and work goes on.
    os.kill(apart.pid, signal.SIGKILL)
    deployment = cluster.deploy(cluster.post("x", a_task()))
    cluster.wait(deployment, "RUNNING")
    eventually(lambda: main.exists(beat_key("web-1")) and cluster.online("web-1"))
    assert "is offline" not in cluster.log("manager.log")
    # Another process of it knows no users until the leader has granted them.
    eventually(lambda: apart.poll() is not None)
    apart.start()
    eventually(lambda: beats.exists(beat_key("web-1")) and not main.exists(beat_key("web-1")), 60)
    eventually(lambda: cluster.online("web-1"))
    assert "is offline" not in cluster.log("manager.log")


def test_a_presence_store_of_another_cluster_is_refused(cluster, apart):
    apart.client("test").set("muster:presence", "another")
    process = cluster.start_manager("--presence-store", url_of(apart), wait=False)
    assert process.wait(40) == 1
    assert "in use by cluster another" in cluster.log("manager.log")


def test_a_presence_store_that_is_away_holds_nothing_up(cluster, apart):
    apart.stop()
    cluster.start_manager("--presence-store", url_of(apart))
    cluster.start_agent("web-1")
    cluster.wait(cluster.deploy(cluster.post("x", a_task())), "RUNNING")


def test_a_flood_of_connections_shuts_nobody_out_for_long(cluster):
    """Thief of one node's credential; API and controller must come back through the crowd."""
    cluster.start_manager()
    cluster.start_agent("web-1")
    cluster.start_agent("web-2")
    admin = cluster.client()
    secret = json.loads((cluster.home / "agent-web-1" / "identity.json").read_text())["secret"]
    admin.config_set("maxclients", 80)
    flood = Flood(admin.connection_pool.connection_kwargs["port"], "web-1", secret)
    try:
        assert flood.refused.wait(20)
        cluster.kill("controller")
        cluster.kill("worker")
        eventually(lambda: "dropped, and shut out" in cluster.log("manager.log"), 60)
        began = time.time()
        deployment = eventually(lambda: cluster.ready() and cluster.online("web-2") and deploy(cluster), 60)
        cluster.wait(deployment, "RUNNING", seconds=60)
        # Who looks, and its heartbeat, may meet the crowd, too.
        row = eventually(lambda: (row := cluster.nodes().get("web-2", {})).get("status") == 0 and row, 40)
        assert row["last_seen"] >= began - 60
    finally:
        flood.end()
    eventually(lambda: cluster.online("web-1"), 60)


def deploy(cluster):
    """An accepted deployment on web-2, as soon as one is."""
    name = "crowd"
    cluster.call("/api/task/task_group", {"name": name, "task_groups": [{"tasks": [pinned()]}]})
    status, answer = cluster.call("/api/task/task_group/deploy", {"name": name})
    return answer["id"] if status == 200 and cluster.is_taken(answer["id"]) else None


def pinned():
    """A task on web-2."""
    task = a_task()
    return {**task, "config": {**task["config"], "node": "web-2"}}
