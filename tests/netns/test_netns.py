"""Cables pulled and put back, with real programs: what holds without anything being placed anew."""

import json
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.e2e.conftest import pid_and_start
from tests.netns.conftest import lives, space_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

LIVES = "while :; do sleep 0.1; done"


def a_task(node, script=LIVES, **more):
    config = {"command": ["/bin/sh", "-c", script], "node": node}
    return {"name": "main", "config": config, "stop": {"timeout": "1s"}, **more}


def up(fleet, deployment):
    return next((row for row in fleet.tasks(deployment) if row["state"] == "running" and row["pid"]), None)


def test_a_partition_is_seen_and_heals_and_the_task_runs_through_it(fleet):
    deployment = fleet.deploy(fleet.template({"name": "etl", "task_groups": [{"tasks": [a_task("web-1")]}]}))
    before = pid_and_start(eventually(lambda: up(fleet, deployment)))
    fleet.partition("web-1")
    eventually(lambda: fleet.offline("web-1"))
    eventually(lambda: fleet.online("web-2"))
    assert json.loads(fleet.stored("nodes", "web-1"))["addresses"] == ["10.88.0.10"]
    assert lives(before[0])
    fleet.heal("web-1")
    eventually(lambda: fleet.online("web-1"), 40)
    assert pid_and_start(eventually(lambda: up(fleet, deployment))) == before


def test_what_a_node_did_while_it_was_away_is_told_when_it_is_back(fleet):
    script = f"until [ -e {fleet.home}/go ]; do sleep 0.05; done; exit 0"
    body = {"name": "etl", "task_groups": [{"tasks": [a_task("web-2", script)]}]}
    deployment = fleet.deploy(fleet.template(body))
    pid = eventually(lambda: up(fleet, deployment))["pid"]
    fleet.partition("web-2")
    eventually(lambda: fleet.offline("web-2"))
    (fleet.home / "go").touch()
    eventually(lambda: not lives(pid))
    assert fleet.deployment(deployment)["status"] != "COMPLETED"
    fleet.heal("web-2")
    fleet.wait(deployment, "COMPLETED", seconds=40)


def test_a_lost_machine_is_offline_and_the_others_are_not(fleet):
    deployment = fleet.deploy(fleet.template({"name": "etl", "task_groups": [{"tasks": [a_task("web-3")]}]}))
    pid = eventually(lambda: up(fleet, deployment))["pid"]
    fleet.lose("web-3")
    assert not lives(pid)
    eventually(lambda: fleet.offline("web-3"))
    eventually(lambda: fleet.online("web-1") and fleet.online("web-2"))
    fleet.start_agent("web-3")
    again = eventually(lambda: (now := up(fleet, deployment)) and now["pid"] != pid and now, 40)
    inside = Path(f"/proc/{again['pid']}/ns/net").stat().st_ino
    assert inside == space_of(fleet.net.of("web-3"))
