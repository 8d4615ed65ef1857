"""A manager looks before it relies on a store; `muster doctor` looks at any time."""

import json
import subprocess

import pytest

from store.kv.connection import connect
from tests.conftest import eventually, server_binary
from tests.e2e.conftest import free_port

pytestmark = pytest.mark.e2e


class External:
    """A server that is not ours."""

    def __init__(self, home, kind):
        self.port = free_port()
        home.mkdir()
        argv = [
            server_binary(kind),
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dir",
            home,
            "--save",
            "",
        ]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = connect(self.url, name="test")
        eventually(self.up)

    def up(self):
        try:
            return self.client.ping()
        except Exception:
            return False

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=["redis", "valkey"])
def external(request, tmp_path):
    found = External(tmp_path / "external", request.param)
    yield found
    found.end()


def test_an_unsafe_store_is_refused_with_all_that_is_unsafe_and_a_cured_one_is_taken(cluster, external):
    external.client.config_set("maxmemory", "1gb")
    external.client.config_set("maxmemory-policy", "allkeys-lru")
    manager = cluster.start_manager("--store", external.url, wait=False)
    assert manager.wait(40) == 1
    said = cluster.log("manager.log")
    assert "a restart of the server loses everything. Cure: redis-cli CONFIG SET appendonly yes" in said
    assert "maxmemory-policy is allkeys-lru" in said
    assert "Traceback" not in said
    assert external.client.keys() == [], "what was refused was not touched"

    external.client.config_set("appendonly", "yes")
    external.client.config_set("maxmemory-policy", "noeviction")
    external.client.config_set("timeout", "30")
    cluster.start_manager("--store", external.url)
    said = cluster.log("manager.log")
    assert "timeout is 30" in said
    assert "appendfsync is everysec" in said
    healthy = cluster.muster("doctor")
    assert "external, primary" in healthy.stdout
    assert "WARN    timeout" in healthy.stdout
    assert healthy.returncode == 0, healthy.stdout

    external.end()
    away = cluster.muster("doctor")
    assert away.returncode == 1
    assert "WRONG   store: the store does not answer" in away.stdout
    assert "-> look at the server" in away.stdout


def test_fsync_is_not_promised_for_a_store_that_is_not_ours(cluster):
    manager = cluster.start_manager("--store", "redis://127.0.0.1:1/0", "--fsync", "always", wait=False)
    assert manager.wait(40) == 2
    assert "set appendfsync always on the server" in cluster.log("manager.log")


def test_the_doctor_of_a_fleet(cluster):
    cluster.start_manager("--fsync", "always")
    cluster.start_agent()
    well = eventually(lambda: (done := cluster.muster("doctor")).returncode == 0 and done)
    assert "embedded, primary" in well.stdout
    assert "ok      appendfsync: appendfsync is always: a power cut loses nothing acknowledged" in well.stdout
    assert "1 of 1 online" in well.stdout
    assert cluster.client().config_get("appendfsync") == {"appendfsync": "always"}
    report = eventually(
        lambda: (said := json.loads(cluster.muster("doctor", "-o", "json").stdout))["ok"] and said
    )
    assert report["store"]["appendfsync"] == "always"
    assert "there is room for" in cluster.log("manager.log")

    def frozen():
        # Again each time: the leader puts it right once it sees it.
        cluster.client().hset(
            "muster:n:{web-1}:desired", mapping={"@node": "another", "@rev": 1, "@epoch": "1-x"}
        )
        done = cluster.muster("doctor")
        return "frozen" in done.stdout and done

    ill = eventually(frozen)
    assert ill.returncode == 1
    assert "WRONG   frozen: node web-1 is frozen (tasks run on, new orders wait)" in ill.stdout
    assert "-> " in ill.stdout

    cluster.agents["web-1"].terminate()
    cluster.agents["web-1"].wait()
    gone = eventually(
        lambda: "WRONG   offline: node web-1" in (done := cluster.muster("doctor")).stdout and done
    )
    assert gone.returncode == 1
    cluster.manager.terminate()
    cluster.manager.wait()
    assert cluster.muster("doctor").returncode == 6
