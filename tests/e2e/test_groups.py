"""Nodes as devices, groups as targets: real agents, put into groups by people and by rule, and what follows."""

import pytest

from tests.conftest import eventually
from tests.e2e.conftest import shell

pytestmark = pytest.mark.e2e


def test_agents_are_devices_and_what_is_placed_on_their_groups_follows_them(cluster):
    cluster.interval = "5"  # nobody is offline for a moment, however busy the machine is
    cluster.start_manager()
    cluster.start_agent("web-1", labels="zone=a")
    cluster.start_agent("web-2", labels="zone=b")
    _, found = cluster.call("/v1/devices")
    devices = {each["name"]: each for each in found["data"]}
    assert {name: (each["node"], each["status"]) for name, each in devices.items()} == {
        "web-1": ("web-1", "online"), "web-2": ("web-2", "online"),
    }  # fmt: skip
    one = devices["web-1"]
    assert (one["hardware"]["cores"] >= 1, one["hardware"]["memory"] > 1 << 20) == (True, True)
    assert (one["software"]["agent"], bool(one["software"]["kernel"])) == (cluster_version(cluster), True)
    assert one["nic"]
    assert " cores, " in cluster.muster("node", "show", "web-1").stdout

    _, made = cluster.call(
        "/v1/groups", {"name": "edge", "rule": {"labels": {"zone": "a"}, "facts": {"cores": ">=1"}}}
    )
    edge = made["data"]
    task = {"name": "t", "config": {"command": shell("exec sleep 1000")}}
    deployment = cluster.deploy(cluster.post("everywhere", task, count="all", placement={"group": "edge"}))
    eventually(lambda: homes(cluster, deployment) == {"web-1"})

    status, said = cluster.call("/v1/memberships", {"device_id": devices["web-2"]["id"], "group_id": edge})
    assert status == 200, said
    eventually(lambda: homes(cluster, deployment) == {"web-1", "web-2"})
    assert cluster.nodes()["web-2"]["groups"] == ["edge"]

    assert cluster.muster("node", "label", "web-1", "zone=c").returncode == 0
    eventually(lambda: homes(cluster, deployment) == {"web-2"})
    assert cluster.muster("node", "group", "web-2", "edge-").returncode == 0
    assert cluster.muster("node", "label", "web-1", "zone=a").returncode == 0
    eventually(lambda: homes(cluster, deployment) == {"web-1"})

    cluster.agents["web-2"].terminate()
    eventually(lambda: status_of(cluster, "web-2") == "offline")
    assert status_of(cluster, "web-1") == "online"


def cluster_version(cluster):
    return cluster.nodes()["web-1"]["version"]


def status_of(cluster, name):
    _, found = cluster.call("/v1/devices")
    return {each["name"]: each["status"] for each in found["data"]}[name]


def homes(cluster, deployment):
    """The nodes on which the deployment runs and is meant to."""
    tasks = cluster.deployment(deployment)["tasks"]
    return {each["node"] for each in tasks if each["state"] == "running"}
