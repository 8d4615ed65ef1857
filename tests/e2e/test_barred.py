"""A node whose credential was stolen: kept out, told why, its tasks left alone, let in with a new secret."""

import contextlib
import json
import signal

import pytest
import redis

from store.keys import Keys
from store.kv.connection import connect
from store.kv.server import user_of
from tests.conftest import eventually
from tests.e2e.conftest import pid_and_start, shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MB = 1024 * 1024


def test_a_flood_with_a_stolen_credential_costs_the_node_its_access_and_no_task(running):
    cluster = running
    cluster.post("svc", {"name": "t", "config": {"command": shell("exec sleep 600")}})
    deployment = cluster.deploy("svc")
    (task,) = cluster.wait(deployment, "RUNNING")["tasks"]
    before = pid_and_start(task)

    path = cluster.home / "agent-web-1" / "identity.json"
    record = json.loads(path.read_text())
    url = f"redis://127.0.0.1:{(cluster.db.with_name(cluster.db.name + '.d') / 'port').read_text()}/0"
    thief = connect(url, name="thief", username=user_of("web-1"), password=record["secret"])
    key = Keys().node("web-1").actual

    def flooded():
        """Whether the store lets the thief write no more; one that is slow to answer has not said so."""
        with contextlib.suppress(redis.TimeoutError):
            try:
                [thief.hset(key, f"x.{number}", b"x" * MB) for number in range(300)]
            except (redis.ConnectionError, redis.AuthenticationError):
                return True
        return False

    eventually(flooded, 60)

    def shown():
        return str(cluster.nodes().get("web-1", {}).get("frozen"))

    eventually(lambda: "barred from the store" in shown(), 40)
    eventually(lambda: "was barred" in cluster.log("agent-web-1.log"), 40)
    assert pid_and_start(task) == before

    del record["secret"]
    path.write_text(json.dumps(record))
    agent = cluster.agents["web-1"]
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    cluster.start_agent()
    eventually(lambda: "barred" not in shown(), 60)
    assert pid_and_start(cluster.wait(deployment, "RUNNING")["tasks"][0]) == before
    with pytest.raises(redis.AuthenticationError):
        thief.ping()
