"""Groups of devices as targets, as the leader plans: what follows them, and what their absence does not move."""

import pytest

from manager_api.core.explain import explain
from manager_api.core.fleet import Stored
from manager_api.core.membership import Group
from manager_api.core.moment import Moment
from manager_api.core.regrouping import group_plan, leaving_plan
from tests.core_world import Case

pytestmark = pytest.mark.unit
RULE = {"labels": {"zone": "a"}}


def put(case, name="edge", group="1", **more):
    record = {"v": 1, "id": group, "name": name, **more}
    case.fleet.device_groups[group] = Stored(record, 5)
    case.fleet.targets.put(group, Group.of(record))
    return case


def drop(case, group="1"):
    case.fleet.device_groups.pop(group)
    case.fleet.targets.put(group, None)


def homes(case):
    return sorted(each["node"] for each in case.live.values())


@pytest.fixture
def case():
    made = Case(count="all", placement={"group": "edge"})
    for node in "abc":
        made.mark(node, device=f"d-{node}")
    made.mark("a", member_of=["1"])
    made.mark("b", labels={"zone": "a"})
    return put(made, rule=RULE)


def settle(case):
    for _ in range(4):
        case.step()
        case.up()


def test_on_every_node_of_a_group_follows_members_and_rule(case):
    case.begin()
    assert homes(case) == ["a", "b"]
    case.mark("c", member_of=["1"])
    case.mark("b", labels={"zone": "b"})
    settle(case)
    assert homes(case) == ["a", "c"]
    put(case, rule={"labels": {"zone": "b"}})
    settle(case)
    assert homes(case) == ["a", "b", "c"]


def test_a_group_that_is_not_there_stops_nothing_and_takes_nothing(case):
    case.begin()
    drop(case)
    settle(case)
    assert homes(case) == ["a", "b"]
    case.mark("c", member_of=["1"])
    settle(case)
    assert homes(case) == ["a", "b"]
    said = explain(case.fleet, "dep", Moment(case.now.wall, case.now.steady))["waits"]
    assert any("group edge is not there: what runs stays" in each for each in said)
    put(case, name="rim", rule=RULE)  # renamed: the same
    settle(case)
    assert homes(case) == ["a", "b"]
    put(case)  # back, without its rule: that is somebody's word
    settle(case)
    assert homes(case) == ["a", "c"]


def test_a_record_that_an_earlier_release_wrote_is_no_word_on_groups(case):
    """It left out what it did not know: device, memberships, facts. Nothing stops before they are back."""
    case.begin()
    whole = {node: case.fleet.nodes[node] for node in "ab"}
    for node in "ab":
        lost = {"device", "member_of", "labels", "facts"}
        bare = {key: value for key, value in whole[node].data.items() if key not in lost}
        case.fleet.nodes[node] = Stored(bare, 9)
    settle(case)
    assert homes(case) == ["a", "b"]
    case.fleet.nodes["a"] = whole["a"]
    case.mark("b", device="d-b")  # enrolled, and in no group: that is known
    settle(case)
    assert homes(case) == ["a"]


def test_what_else_ends_it_does_so_without_its_group(case):
    case = Case(count="all", placement={"group": "edge", "labels": {"disk": "ssd"}})
    for node in "ab":
        case.mark(node, member_of=["1"], labels={"disk": "ssd"})
    put(case).begin()
    drop(case)
    case.mark("b", labels={"disk": "old"})
    settle(case)
    assert homes(case) == ["a"]


def test_a_number_of_instances_stays_where_it_is():
    case = Case(count=2, placement={"group": "edge"})
    case.mark("a", member_of=["1"])
    case.mark("b", member_of=["1"])
    put(case).begin()
    assert homes(case) == ["a", "b"]
    case.mark("b", member_of=[])
    settle(case)
    assert homes(case) == ["a", "b"]
    case.ask(scale={"group-0": 3})
    settle(case)
    assert homes(case) == ["a", "a", "b"], "what is placed anew goes by the group"


def test_what_a_change_of_a_group_would_stop(case):
    case.begin()
    record = case.fleet.device_groups["1"].data

    def touched(**more):
        return [(row["here"], row["of"]) for row in group_plan(case.fleet, "1", {**record, **more})["groups"]]

    assert touched() == [(0, 2)]
    assert touched(rule={"labels": {"zone": "b"}}) == [(1, 2)]
    assert touched(rule={"facts": {"node": "*"}}) == [(0, 2)]
    assert touched(name="rim", rule={"labels": {"zone": "b"}}) == [(0, 2)], "absence is no order"
    assert group_plan(case.fleet, "1", None)["groups"][0]["here"] == 0
    other = {"v": 1, "id": "2", "name": "edge"}
    drop(case)
    (row,) = group_plan(case.fleet, "2", other)["groups"]
    assert (row["deployment"], row["here"]) == ("dep", 2), "a new group with its name, and nobody in it"
    assert homes(case) == ["a", "b"]


def test_what_leaving_members_would_stop(case):
    case.begin()
    for node in "abc":
        case.mark(node, device=f"d-{node}")

    def touched(*devices, group="1"):
        return [(row["here"], row["of"]) for row in leaving_plan(case.fleet, group, devices)["groups"]]

    assert touched("d-a") == [(1, 2)]
    assert touched("d-b", "d-c") == [(0, 2)], "one is in it by its rule, one is not in it"
    assert touched("nobody") == [(0, 2)]
    assert case.fleet.nodes["a"].data["member_of"] == ["1"]
    put(case, name="other", group="2")
    assert touched("d-a", group="2") == []
