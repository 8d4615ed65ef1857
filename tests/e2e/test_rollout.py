"""Updates of real processes: what a change leaves alone, and ports that have one holder at a time."""

import sys

import pytest

from tests.builders import a_task
from tests.conftest import eventually
from tests.e2e.conftest import free_port, pid_and_start

pytestmark = pytest.mark.e2e

UPDATE = {"max_parallel": 2, "min_healthy": "0s", "healthy_deadline": "40s"}

HOLDER = """
import pathlib, signal, socket, sys, time
node, port, ledger, version = sys.argv[1:]
held = socket.socket()
held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    held.bind(("127.0.0." + node[-1], int(port)))
    held.listen()
except OSError as error:
    with pathlib.Path(ledger).open("a") as out:
        out.write(f"taken {version} {node}: {error}\\n")
    raise
def slowly(*_):
    time.sleep(1)
    sys.exit(0)
signal.signal(signal.SIGTERM, slowly)
with pathlib.Path(ledger).open("a") as out:
    out.write(f"holds {version} {node}\\n")
while True:
    signal.pause()
"""


def rows(cluster, deployment):
    return cluster.deployment(deployment)["tasks"]


def pids(cluster, deployment):
    return {row["node"]: pid_and_start(row) for row in rows(cluster, deployment) if row["pid"]}


def update(cluster, deployment, what="update", **body):
    status, answer = cluster.call(f"/v1/deployments/{deployment}/{what}", {"confirm": True, **body})
    assert status == 200, answer
    return answer["change"]


def done(cluster, deployment, change):
    rollout = cluster.call(f"/v1/deployments/{deployment}")[1].get("rollout") or {}
    return (rollout.get("change"), rollout.get("state")) == (change, "done")


def limits_of(cluster, deployment):
    return [row.get("limits", {}).get("memory") for row in rows(cluster, deployment)]


def test_other_limits_and_another_count_restart_nothing(running):
    def version(memory, count):
        task = a_task("web", "/bin/sleep 1000", resources={"limits": {"memory": memory}})
        return running.post("web", task, count=count, update=UPDATE)

    deployment = running.deploy(version("256M", 1))
    running.wait(deployment, "RUNNING")
    (before,) = pids(running, deployment).values()
    version("128M", 1)
    change = update(running, deployment)
    eventually(lambda: limits_of(running, deployment) == [128 << 20])
    eventually(lambda: done(running, deployment, change))
    assert list(pids(running, deployment).values()) == [before]

    version("128M", 2)
    change = update(running, deployment)
    eventually(lambda: done(running, deployment, change) and len(rows(running, deployment)) == 2)
    running.wait(deployment, "RUNNING")
    assert before in [pid_and_start(row) for row in rows(running, deployment)]
    status, answer = running.call(f"/v1/deployments/{deployment}/scale", {"groups": {"group-0": 1}})
    assert status == 200, answer
    eventually(lambda: len(rows(running, deployment)) == 1)
    running.wait(deployment, "RUNNING")
    assert list(pids(running, deployment).values()) == [before]


def test_a_fixed_port_has_one_holder_at_a_time_through_update_and_rollback(cluster):
    # One node: two of them on one machine would find each other's holder at the port, as sometimes they did.
    cluster.start_manager()
    cluster.start_agent("web-1")
    script = cluster.home / "holder.py"
    script.write_text(HOLDER)
    port = free_port()

    def version(word):
        words = ["${node.id}", "${port.http}", str(cluster.ledger), word]
        task = a_task("web", [sys.executable, str(script), *words], ports={"http": port})
        return cluster.post("web", task, update=UPDATE)

    def holds(word):
        return sorted(line for line in cluster.written() if line.startswith(f"holds {word}"))

    deployment = cluster.deploy(version("one"))
    eventually(lambda: holds("one") == ["holds one web-1"])
    cluster.wait(deployment, "RUNNING")
    version("two")
    change = update(cluster, deployment)
    eventually(lambda: done(cluster, deployment, change), 40)
    eventually(lambda: holds("two") == ["holds two web-1"])
    change = update(cluster, deployment, "rollback")
    eventually(lambda: done(cluster, deployment, change), 40)
    cluster.wait(deployment, "RUNNING")
    eventually(lambda: len(holds("one")) == 2)
    assert [line for line in cluster.written() if line.startswith("taken")] == []
