"""`muster events` as its users run it: what happened and why, followed across a manager's restart."""

import json
import subprocess

import pytest

from tests.conftest import eventually
from tests.e2e.conftest import PYTHON

pytestmark = pytest.mark.e2e

TASK = {"name": "a", "config": {"command": "sleep 600"}}


def told(cluster, *words):
    done = cluster.muster("events", "-o", "json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Follower:
    """`muster events -f`, and what it has printed."""

    def __init__(self, cluster, *words):
        self.path = cluster.home / "followed"
        argv = [*PYTHON, "muster", "events", "-f", *words]
        env = {**cluster.environment(), "MUSTER_URL": cluster.url}
        with self.path.open("wb") as out, (cluster.home / "followed.err").open("wb") as err:
            self.process = subprocess.Popen(argv, env=env, stdout=out, stderr=err, cwd=cluster.home)
        cluster.started.append(self.process)

    def rows(self):
        return [
            json.loads(line)
            for line in self.path.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]


def test_events_are_printed_filtered_and_followed_across_a_restart(running):
    cluster = running
    follower = Follower(cluster, "-o", "json", "-n", "100000")
    first = cluster.deploy(cluster.post("x", TASK))
    cluster.wait(first, "RUNNING")
    eventually(lambda: any(each["subject"].get("deployment") == first for each in follower.rows()))

    cluster.manager.terminate()
    cluster.manager.wait(60)
    cluster.start_manager()
    eventually(lambda: cluster.online("web-1"), 40)
    second = cluster.deploy("x")
    cluster.wait(second, "RUNNING")
    cluster.stop(second)
    cluster.wait(second, "STOPPED")

    def caught_up():
        ids, rows = [each["id"] for each in told(cluster, "-n", "100000")], follower.rows()
        return (ids, rows) if ids and ids == [each["id"] for each in rows][-len(ids) :] else None

    ids, rows = eventually(caught_up, 40, every=0.5)
    assert len(ids) == len(set(ids))
    assert [each["id"] for each in rows] == ids  # nothing is missing, nothing came twice
    assert "gap" not in [each["kind"] for each in rows]
    assert "going on when it is back" in (cluster.home / "followed.err").read_text()

    mine = told(cluster, "--deployment", second[:8])
    assert {each["subject"]["deployment"] for each in mine} == {second}
    assert {"api", "deployment.state", "allocation.stopped"} <= {each["kind"] for each in mine}
    assert len(told(cluster, "--kind", "leader")) >= 2
    assert (
        told(cluster, "--node", "web-1", "--kind", "allocation.placed", "-n", "1")[0]["subject"]["node"]
        == "web-1"
    )
    assert told(cluster, "-n", "0") == []
    lines = cluster.muster("events", "-n", "3").stdout.splitlines()
    assert len(lines) == 3
    assert all("  " in line for line in lines)


def test_what_cannot_be_asked_is_a_sentence(running):
    done = running.muster("events", "--since", "yesterday")
    assert done.returncode == 1
    assert "since: 'yesterday' is neither a duration such as 10m" in done.stderr
    assert running.muster("events", "--url", "http://127.0.0.1:1").returncode == 6


def test_a_damaged_history_costs_nothing_but_itself(cluster):
    cluster.start_manager()
    eventually(lambda: told(cluster, "--kind", "leader"))
    cluster.manager.terminate()
    cluster.manager.wait(60)
    path = cluster.db.with_name(cluster.db.name + ".d") / "events.db"
    path.write_bytes(b"nonsense " * 5000)
    cluster.start_manager()
    eventually(lambda: len(told(cluster, "--kind", "leader")) >= 2)  # from the stream, which it still holds
    assert told(cluster, "-n", "1000")[0]["kind"] == "gap"
    assert path.with_name("events.db.corrupt").exists()
    assert cluster.log("manager.log").count("is damaged") == 1
