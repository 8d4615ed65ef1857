"""Why a deployment is as it is, what a dry run and a drain would come to: pure, and nothing is changed by it."""

import copy

import pytest

from manager_api.core import effort, removal
from manager_api.core.actions import Collect, Reorder
from manager_api.core.dryrun import drain_plan, plan_new
from manager_api.core.explain import explain
from manager_api.core.fleet import Stored
from manager_api.core.judge import Judge
from manager_api.core.moment import Moment
from muster.explaining import lines
from tests.builders import GB, a_fleet, a_task, a_template, add_deployment, add_node, add_template

pytestmark = pytest.mark.unit
NOW = Moment(1e9 + 100, 1e4)


def a_case(*nodes, count=3, tasks=(), **group):
    fleet = a_fleet()
    for node in nodes:
        add_node(fleet, node)
    add_template(fleet, a_template(*tasks, count=count, **group))
    add_deployment(fleet)
    fleet.status["dep"] = Stored({"v": 1, "status": "PENDING", "reason": "", "allocations": []}, 4)
    return fleet


def put(fleet, number, node, deployment="dep", **more):
    record = {
        "v": 1, "deployment": deployment, "template": "etl", "version": 1, "group": "group-0", "index": number,
        "part": 0, "node": node, "uid": f"uid-{node}", "generation": 1, "wanted": "running", "memory": 0, "cpus": 0.0,
        "why": "the least loaded", **more,
    }  # fmt: skip
    fleet.put_allocation(f"{deployment}.{number}", Stored(record, 5))


def say(fleet, node, alloc_id, *states, since=NOW.steady - 60, **more):
    tasks = [{"name": f"t{n}", "state": state, "reason": ""} for n, state in enumerate(states)]
    fleet.states[node].actual[alloc_id] = {"generation": 1, "wanted": "running", "tasks": tasks, **more}
    if set(states) == {"running"}:
        fleet.states[node].up_since[alloc_id] = 1, since


def go_away(fleet, node, seconds):
    state = fleet.states[node]
    state.online, state.settled, state.away_since = False, True, NOW.steady - seconds


def the_group(said):
    (group,) = said["groups"]
    return group


def picture(fleet):
    """All that a question could change of a fleet, but for caches."""
    names = (
        "deployments",
        "status",
        "versions",
        "allocations",
        "nodes",
        "claims",
        "states",
        "of_deployment",
        "on_node",
        "due",
    )
    return copy.deepcopy({name: dict(getattr(fleet, name)) for name in names})


def test_each_allocation_says_why_it_is_there_and_how_it_is():
    fleet = a_case("a", "b", "c", count=4)
    for number, node in enumerate("aabc"):
        put(fleet, number, node)
    say(fleet, "a", "dep.0", "running")
    say(fleet, "a", "dep.1", "running", "backoff")
    fleet.states["a"].actual["dep.1"]["tasks"][1]["reason"] = "exit code 3"
    go_away(fleet, "c", 10)
    before = picture(fleet)
    group = the_group(explain(fleet, "dep", NOW))
    assert picture(fleet) == before
    assert (group["wanted"], group["placed"], group["up"], group["missing"]) == (4, 4, 1, [])
    rows = {row["id"]: row for row in group["allocations"]}
    assert list(rows) == ["dep.0", "dep.1", "dep.2", "dep.3"]
    assert (rows["dep.0"]["state"], rows["dep.0"]["since"]) == ("up", NOW.wall - 60)
    assert rows["dep.0"]["why"] == "the least loaded"
    assert (rows["dep.1"]["state"], rows["dep.1"]["reason"]) == ("starting", "task t1 backoff: exit code 3")
    assert (rows["dep.2"]["state"], rows["dep.2"]["node"]) == ("sent", "b")
    assert (rows["dep.3"]["state"], rows["dep.3"]["reason"]) == ("away", "node c is offline")
    assert rows["dep.3"]["moves"] == "in 20 s it is placed elsewhere, unless its node is back"
    assert "moves" not in rows["dep.0"]


@pytest.mark.parametrize(
    ("group", "brake", "says"),
    [
        ({}, False, "it can go to node a"),
        ({}, True, "the brake is engaged"),
        ({"reschedule": "never"}, False, "nothing: its group is never rescheduled"),
        ({"placement": {"node": "b"}}, False, "nothing: it belongs to its node"),
        ({"tasks": [a_task(config={"node": "b"})]}, False, "nothing: it belongs to its node"),
    ],
)
def test_what_becomes_of_an_allocation_whose_node_is_lost(group, brake, says):
    fleet = a_case("a", "b", **{"count": 1, **group})
    put(fleet, 0, "b")
    go_away(fleet, "b", 3600)
    if brake:
        fleet.brake.since, fleet.brake.lost, fleet.brake.of = 1e9, ("b",), 2
    said = explain(fleet, "dep", NOW)
    assert the_group(said)["allocations"][0]["moves"].startswith(says)
    assert any("the brake" in text for text in said["waits"]) is brake


def test_every_node_says_why_it_does_not_take_what_is_missing():
    fleet = a_case("a", "b", "c", "d", count=2, tasks=[a_task(resources={"reservations": {"memory": "30G"}})])
    go_away(fleet, "a", 1)
    fleet.nodes["b"].data["cordoned"] = {"since": 1.0}
    group = the_group(explain(fleet, "dep", NOW))
    (missing,) = group["missing"]
    assert (missing["count"], missing["indexes"]) == (2, [0, 1])
    reasons = {row["node"]: row["reason"] for row in missing["nodes"]}
    assert reasons["a"] == "is offline"
    assert reasons["b"] == "is cordoned"
    assert "30.0 GiB" in reasons["c"]
    assert missing["reasons"][reasons["c"]] == 2
    text = "\n".join(lines(explain(fleet, "dep", NOW)))
    assert "group group-0: 0 of 2 up, 0 placed" in text
    assert f"2 nodes: {reasons['c']}" in text
    assert "node a: is offline" in text


def test_of_many_nodes_some_are_named_and_all_are_counted(monkeypatch):
    monkeypatch.setattr("manager_api.core.explain.MOST_NODES", 5)
    fleet = a_case(*(f"n{number}" for number in range(12)), count=1)
    for node in fleet.nodes:
        go_away(fleet, node, 1)
    (missing,) = the_group(explain(fleet, "dep", NOW))["missing"]
    assert len(missing["nodes"]) == 5
    assert missing["reasons"] == {"is offline": 12}
    assert "    12 nodes: is offline" in lines(explain(fleet, "dep", NOW))


def test_of_many_allocations_some_are_named_and_all_are_counted(monkeypatch):
    monkeypatch.setattr("manager_api.core.explain.MOST_LISTED", 2)
    fleet = a_case("a", count=5)
    for number in range(5):
        put(fleet, number, "a")
    group = the_group(explain(fleet, "dep", NOW))
    assert (len(group["allocations"]), group["left_out"], group["placed"]) == (2, 3, 5)
    assert "  and 3 more" in lines(explain(fleet, "dep", NOW))


@pytest.mark.parametrize(
    ("record", "status", "says"),
    [
        ({"paused": True}, {}, "its update is paused"),
        ({}, {"rollout": {"state": "promotion"}}, "its canaries are well"),
        (
            {},
            {"rollout": {"state": "failed", "reason": "dep.3 failed"}},
            "its update is failed: dep.3 failed",
        ),
        ({"ttl": 150.0}, {}, "its time to live ends in 50 s"),
        ({}, {"status": "COMPLETED"}, "it ended (COMPLETED)"),
        ({"wanted": "stopped"}, {}, "it was stopped by people"),
    ],
)
def test_what_it_waits_for(record, status, says):
    fleet = a_case("a", count=1)
    fleet.deployments["dep"].data.update(record)
    fleet.status["dep"].data.update(status)
    assert any(text.startswith(says) for text in explain(fleet, "dep", NOW)["waits"]), explain(
        fleet, "dep", NOW
    )


def two_groups(depends_on, **db):
    fleet = a_case("a", "b")
    web = {"name": "web", "count": 1, "tasks": [a_task(depends_on=depends_on)]}
    body = {"name": "etl", "task_groups": [{"name": "db", "count": 2, "tasks": [a_task()], **db}, web]}
    add_template(fleet, body)
    return fleet


def test_what_other_groups_lack_is_said_before_any_node_says_so():
    fleet = two_groups({"db": "2 started"})
    put(fleet, 0, "a", group="db", index=0)
    say(fleet, "a", "dep.0", "running")
    before = picture(fleet)
    said = explain(fleet, "dep", NOW)
    assert "tasks of group web wait for db: 1 of 2 of db are started" in said["waits"]
    assert picture(fleet) == before
    put(fleet, 1, "gone", group="db", index=1)
    said = explain(fleet, "dep", NOW)
    assert "tasks of group web wait for db: 1 of 2 of db are started" in said["waits"]
    assert "gone" not in fleet.states, "what is asked adds nothing"
    put(fleet, 1, "b", group="db", index=1)
    say(fleet, "b", "dep.1", "running")
    assert not [text for text in explain(fleet, "dep", NOW)["waits"] if "wait for" in text]


def test_nobody_waits_for_other_groups_any_more():
    fleet = two_groups({"db": "started"})
    put(fleet, 0, "a", group="web", index=0)
    say(fleet, "a", "dep.0", "running")
    waits = explain(fleet, "dep", NOW)["waits"]
    assert not [text for text in waits if "wait for" in text], "it runs already"
    fleet.drop_allocation("dep.0")
    fleet.deployments["dep"].data["wanted"] = "stopped"
    waits = explain(fleet, "dep", NOW)["waits"]
    assert not [text for text in waits if "wait for" in text]


def test_what_is_not_decided_yet_says_what_for():
    fleet = a_case("a", count=1)
    del fleet.status["dep"]
    fleet.states["a"].online = fleet.states["a"].settled = False
    fleet.deployments["dep"].data["wait"] = True
    fleet.due["dep"] = NOW.steady + 4
    waits = " | ".join(explain(fleet, "dep", NOW)["waits"])
    assert "not known yet whether 1 nodes are online, such as a" in waits
    assert "it waits for room" in waits
    assert "looked at again in 4 s" in waits


def test_what_is_left_to_stop_says_what_it_waits_for():
    fleet = a_case("a", count=1)
    put(fleet, 0, "a", wanted="stopped", stopped="node a is being drained")
    go_away(fleet, "a", 5)
    (row,) = explain(fleet, "dep", NOW)["stopping"]
    assert (row["why"], row["waits"]) == (
        "node a is being drained",
        "node a is offline: it stops there when it is back",
    )


def test_records_that_cannot_be_read_and_nodes_that_are_gone_do_not_end_an_explanation():
    fleet = a_case("a", count=2)
    put(fleet, 0, "gone")
    put(fleet, 1, "a", uid="another machine")
    before = picture(fleet)
    rows = the_group(explain(fleet, "dep", NOW))["allocations"]
    assert [row["state"] for row in rows] == ["away", "lost"]
    assert picture(fleet) == before, "no state was made up for the node that is gone"
    fleet.versions.clear()
    fleet._groups.clear()
    said = explain(fleet, "dep", NOW)
    assert said["groups"] == []
    assert any("cannot be read" in text for text in said["waits"])


# -- dry runs


def a_record(**more):
    return {"v": 1, "template": "etl", "version": 1, "wanted": "running", "created": NOW.wall, **more}


def test_a_dry_run_names_nodes_and_changes_nothing():
    fleet = a_case("a", "b", count=4)
    before = picture(fleet)
    said = plan_new(fleet, a_record(), NOW)
    assert picture(fleet) == before
    assert (said["would"], said["counts"]["place"]) == ("place", 4)
    assert sorted(row["node"] for row in said["allocations"]) == ["a", "a", "b", "b"]


@pytest.mark.parametrize(("wait", "word"), [(False, "refuse"), (True, "wait")])
def test_a_dry_run_says_of_each_node_why_it_would_not_do(wait, word):
    fleet = a_case("a", "b", count=2, tasks=[a_task(resources={"reservations": {"memory": "5G"}})])
    go_away(fleet, "b", 1)
    said = plan_new(fleet, a_record(wait=wait), NOW)
    assert said["would"] == word
    assert said["reason"].startswith("group 'group-0': ")
    assert {"node": "b", "reason": "is offline"} in said["nodes"]


def test_a_dry_run_of_an_update_says_what_begins_anew():
    fleet = a_case("a", count=3)
    add_template(fleet, a_template(a_task(command="/bin/other"), count=2), version=2)
    for number in range(3):
        put(fleet, number, "a")
    same = plan_new(fleet, a_record(), NOW, "dep")
    assert (same["would"], same["counts"]["stay"]) == ("nothing", 3)
    said = plan_new(fleet, a_record(version=2, change=1), NOW, "dep")
    assert said["would"] == "update"
    assert [row["would"] for row in said["allocations"]] == ["restart", "restart", "stop"]
    assert fleet.deployments["dep"].data["version"] == 1


def test_a_drain_says_where_each_would_go_and_how_much_of_its_group_that_is():
    fleet = a_case("a", "b", count=5)
    for number, node in enumerate("aaaab"):
        put(fleet, number, node)
    put(fleet, 5, "a", done="completed")
    before = picture(fleet)
    said = drain_plan(fleet, "a", NOW)
    assert picture(fleet) == before
    assert [(row["id"], row["to"]) for row in said["allocations"]] == [(f"dep.{n}", "b") for n in range(4)]
    assert said["groups"] == [{"deployment": "dep", "group": "group-0", "here": 4, "of": 5}]


def test_a_drain_says_what_cannot_go():
    fleet = a_case("a", "b", count=1, tasks=[a_task(resources={"reservations": {"memory": "5G"}})])
    put(fleet, 0, "a", memory=5 * GB)
    add_template(fleet, a_template(a_task(config={"node": "a"}), name="pinned"))
    add_deployment(fleet, "pin", "pinned")
    put(fleet, 0, "a", deployment="pin", template="pinned")
    add_template(fleet, a_template(name="each", count="all"))
    add_deployment(fleet, "all", "each")
    put(fleet, 0, "a", deployment="all", template="each")
    go_away(fleet, "b", 1)
    reasons = {row["id"]: (row["to"], row["reason"]) for row in drain_plan(fleet, "a", NOW)["allocations"]}
    assert reasons["dep.0"][1].startswith("cannot be moved: ")
    assert reasons["pin.0"][1].startswith("is pinned to its node")
    assert reasons["all.0"][1].startswith("belongs to its node")
    assert {to for to, _ in reasons.values()} == {None}


# -- how long who leads takes for it


@pytest.fixture
def looks(monkeypatch):
    found = []
    look = Judge.look

    def counted(self, request, want, node):
        found.append(node)
        return look(self, request, want, node)

    monkeypatch.setattr(Judge, "look", counted)
    monkeypatch.setattr(effort, "MOST_LOOKS", 1000)
    return found


def a_large_fleet(sizes, nodes=600):
    """Of deployments that want so many GB each there is one on the first node, and no room elsewhere."""
    fleet = a_fleet()
    for number in range(nodes):
        add_node(fleet, f"n{number:03}")
    for number, size in enumerate(sizes):
        task = a_task(resources={"reservations": {"memory": f"{size}G"}})
        add_template(fleet, a_template(task, name=f"t{number}"))
        add_deployment(fleet, f"d{number}", f"t{number}")
        put(fleet, 0, "n000", deployment=f"d{number}", template=f"t{number}")
    return fleet


def test_what_is_alike_and_cannot_leave_a_node_is_looked_at_once(looks):
    said = drain_plan(a_large_fleet([100] * 50), "n000", NOW)
    assert {row["reason"] for row in said["allocations"]} == {"cannot be moved: no node can take it"}
    assert len(looks) < 2000


def test_the_drain_of_much_that_differs_ends(looks):
    said = drain_plan(a_large_fleet(range(100, 150)), "n000", NOW)
    reasons = [row["reason"] for row in said["allocations"]]
    assert (reasons[0], reasons[-1]) == ("cannot be moved: no node can take it", effort.NOT_LOOKED_AT)
    assert len(said["groups"]) == 50, "what share of what is moved is known all the same"
    assert len(looks) < 4000


def many_groups(fleet):
    tasks = [a_task(resources={"reservations": {"memory": f"{size}G"}}) for size in range(100, 150)]
    groups = [{"name": f"g{n}", "count": 1, "tasks": [task]} for n, task in enumerate(tasks)]
    add_template(fleet, {"name": "many", "task_groups": groups})
    add_deployment(fleet, "many", "many")
    return fleet


def test_many_groups_without_room_do_not_keep_who_leads(looks):
    fleet = many_groups(a_large_fleet([]))
    reasons = [group["missing"][0]["reason"] for group in explain(fleet, "many", NOW)["groups"]]
    assert (reasons[0], reasons[-1]) == ("no node can take it", effort.NOT_LOOKED_AT)
    assert len(looks) < 4000
    del looks[:]
    said = plan_new(fleet, fleet.deployments["many"].data, NOW, "another")
    assert (said["would"], said["reason"]) == ("refuse", "group 'g0': no node can take it")
    assert len(looks) < 4000


def test_what_leaves_many_drained_nodes_is_looked_at_once(looks):
    fleet = a_large_fleet([])
    add_template(fleet, a_template(a_task(resources={"reservations": {"memory": "100G"}}), count=50))
    add_deployment(fleet)
    for number in range(50):
        node = f"n{number:03}"
        put(fleet, number, node)
        say(fleet, node, f"dep.{number}", "running")
        fleet.nodes[node].data["drain"] = {"since": 1.0}
    rows = the_group(explain(fleet, "dep", NOW))["allocations"]
    assert {row["moves"] for row in rows} == {"it cannot: no node can take it"}
    assert len(looks) < 2000


# -- removal


def removed(fleet, node="a"):
    fleet.nodes[node].data["removing"] = 1.0
    return fleet


def test_what_lives_keeps_a_node_that_is_to_go():
    fleet = removed(a_case("a", "b", count=1))
    put(fleet, 0, "a")
    go_away(fleet, "a", 1)
    assert removal.removing(fleet) == ["a"]
    assert "dep.0" in removal.waits_for(fleet, "a")
    assert removal.bound(fleet, "a") == []
    put(fleet, 0, "a", wanted="stopped")
    assert removal.waits_for(fleet, "a") is None


@pytest.mark.parametrize("group", [{"reschedule": "never"}, {"placement": {"node": "a"}}, {"count": "all"}, {"tasks": [a_task(config={"node": "a"})]}])  # fmt: skip
def test_what_has_no_other_place_is_stopped(group):
    fleet = removed(a_case("a", "b", **{"count": 1, **group}))
    put(fleet, 0, "a")
    (order,) = removal.bound(fleet, "a")
    ((rev, data),) = order.allocations.values()
    assert (rev, data["wanted"], data["stopped"]) == (5, "stopped", "node a is being removed")


def test_an_agent_that_is_there_may_say_that_it_has_stopped():
    fleet = removed(a_case("a", count=1))
    put(fleet, 0, "a", wanted="stopped")
    say(fleet, "a", "dep.0", "running")
    assert "stopping" in removal.waits_for(fleet, "a")
    fleet.states["a"].online = fleet.states["a"].settled = False
    assert removal.waits_for(fleet, "a") == "it is not known whether its agent is gone"
    fleet.states["a"].settled = True
    assert removal.waits_for(fleet, "a") is None


def test_what_a_living_deployment_counts_stays_as_nobodys_and_the_rest_goes():
    fleet = removed(a_case("a", count=3))
    put(fleet, 0, "a", done="completed")
    put(fleet, 1, "a", wanted="stopped")
    add_deployment(fleet, "over", wanted="stopped")
    put(fleet, 0, "a", deployment="over", wanted="stopped")
    fleet.status["over"] = Stored({"v": 1, "status": "STOPPING", "reason": "", "allocations": []}, 4)
    go_away(fleet, "a", 1)
    found = removal.leftovers(fleet, "a")
    nobodys = {
        each: data
        for action in found
        if isinstance(action, Reorder)
        for each, (_, data) in action.allocations.items()
    }
    assert {each: data["uid"] for each, data in nobodys.items()} == {"dep.0": "", "over.0": ""}
    assert [record[1] for action in found if isinstance(action, Collect) for record in action.records] == [
        "dep.1"
    ]
    for each, data in nobodys.items():
        fleet.put_allocation(each, Stored(data, 6))
    fleet.drop_allocation("dep.1")
    assert removal.leftovers(fleet, "a") == []
    assert removal.waits_for(fleet, "a") is None
