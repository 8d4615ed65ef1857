"""`muster` with names, as users type it."""

import json

import pytest

from tests.conftest import eventually

pytestmark = pytest.mark.e2e


def test_a_named_deployment_is_the_same_until_it_is_stopped(cluster):
    cluster.start_manager()
    cluster.start_agent()
    template = cluster.home / "shop.json"
    task = {"name": "web", "config": {"command": ["sleep", "1000"]}}
    template.write_text(json.dumps({"name": "shop", "task_groups": [{"name": "web", "tasks": [task]}]}))
    first = cluster.muster("deploy", str(template), "--name", "web", "--ttl", "8h")
    assert first.returncode == 0, first.stderr
    again = cluster.muster("deploy", "shop", "--name", "web", "--ttl", "480m")
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert "is web already, and the same" in again.stderr
    other = cluster.muster("deploy", "shop", "--name", "web")
    assert other.returncode == 1
    assert "ttl 28800, not none" in other.stderr
    shown = cluster.muster("ps", "--template", "shop")
    assert [line.split()[1] for line in shown.stdout.splitlines()] == ["NAME", "web"]
    assert cluster.muster("stop", "web").stdout == first.stdout
    assert cluster.muster("stop", "nobody").returncode == 4
    eventually(lambda: cluster.muster("deploy", "shop", "--name", "web").returncode == 0)
    (row,) = json.loads(cluster.muster("ps", "-o", "json").stdout)
    assert (row["name"], row["id"] in first.stdout) == ("web", False)
