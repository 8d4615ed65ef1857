"""Tasks that depend on other groups are told of them: how many are so, and where."""

import pytest

from manager_api.core.plan import plan_nodes
from tests.core_world import Case, a_task

pytestmark = pytest.mark.unit


def a_case(depends_on, check=None):
    db = a_task("server", ports={"sql": 0}, **({"healthcheck": {"tcp": "127.0.0.1:1"}} if check else {}))
    case = Case(features=("process", "ports", "depends_on", "health", "peers"))
    body = case.fleet.versions["1:etl"].data["body"]
    body["task_groups"] = [
        {"name": "db", "count": 3, "tasks": [db]},
        {"name": "web", "tasks": [a_task("site", depends_on=depends_on)]},
    ]
    case.fleet.memory.slots.clear()
    case.step()
    for number, node in enumerate("abc", 1):
        case.mark(node, ip=f"10.0.0.{number}")
    return case


def entry(case):
    key, data = next((key, each) for key, each in case.live.items() if each["group"] == "web")
    actions = plan_nodes(case.fleet, [data["node"]])
    return next((each.puts[key] for each in actions if key in getattr(each, "puts", {})), None)


def test_until_the_quorum_is_there_it_is_not_met():
    case = a_case({"db.server": "2 started"})
    assert entry(case)["peers"]["db.server"] == {
        "met": False, "reason": "0 of 2 of db.server are started", "addresses": {"": ""},
    }  # fmt: skip
    databases = sorted(key for key, each in case.live.items() if each["group"] == "db")
    case.up(only=databases[:1])
    assert not entry(case)["peers"]["db.server"]["met"]
    case.up(only=databases[:2])
    peer = entry(case)["peers"]["db.server"]
    assert peer["met"]
    assert len(peer["addresses"]["sql"].split(",")) == 2
    for key in databases[:2]:
        data = case.live[key]
        host = case.fleet.nodes[data["node"]].data["ip"]
        assert f"{host}:{data['ports']['server']['sql']}" in peer["addresses"]["sql"]


def test_without_a_quorum_all_of_them_are_meant():
    case = a_case({"db": "started"})
    databases = sorted(key for key, each in case.live.items() if each["group"] == "db")
    case.up(only=databases[:2])
    assert entry(case)["peers"]["db"]["reason"] == "2 of 3 of db are started"
    case.up()
    assert entry(case)["peers"]["db"]["met"]


def test_healthy_means_what_a_check_says_if_there_is_one():
    case = a_case({"db.server": "1 healthy"}, check=True)
    case.up()
    assert not entry(case)["peers"]["db.server"]["met"]
    key = next(key for key, each in case.live.items() if each["group"] == "db")
    said = case.fleet.states[case.live[key]["node"]].actual[key]
    said["tasks"][0]["health"] = "healthy"
    assert entry(case)["peers"]["db.server"]["met"]


def test_a_node_is_told_again_only_when_something_changed():
    case = a_case({"db.server": "1 started"})
    data = next(each for each in case.live.values() if each["group"] == "web")
    key = next(key for key, each in case.live.items() if each["group"] == "web")
    case.up()
    told = entry(case)
    state = case.fleet.states[data["node"]]
    marks = {"rev": 20, "generation": 1, "wanted": "running", "peers": told["peers"]}
    state.desired[key] = marks
    assert entry(case) is None
    other = next(each for each, its in case.live.items() if its["group"] == "db")
    del case.fleet.states[case.live[other]["node"]].actual[other]
    assert entry(case)["peers"] != told["peers"]
    assert "dep" in case.fleet.memory.peered
