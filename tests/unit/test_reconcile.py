"""What a deployment that lives needs next: scaled, filled up, restarted, ended by its time."""

import pytest

from manager_api.core.actions import Advance, Collect, Place, Refuse, SetStatus, Wake
from manager_api.core.plan import plan_deployments
from tests.core_world import WALL, Case, a_task

pytestmark = pytest.mark.unit
BIG = {"reservations": {"memory": "5G"}}


def test_a_deployment_at_rest_is_left_alone():
    case = Case(count=3).begin()
    assert case.status["status"] == "RUNNING"
    assert case.status["groups"] == {"group-0": {"wanted": 3, "placed": 3, "up": 3}}
    assert case.status["stable"] == {"change": 0, "version": 1, "parameters": {}}
    assert case.plan() == []


def test_a_larger_scale_places_only_what_is_missing_under_new_numbers():
    case = Case(count=2).begin()
    case.ask(scale={"group-0": 4})
    (advance,) = case.step()
    assert isinstance(advance, Advance)
    assert advance.puts.keys() == {"dep.2", "dep.3"}
    assert advance.puts.keys() == advance.why.keys()
    assert case.status["next"] == 4
    assert {each["generation"] for each in case.live.values()} == {1}


def test_a_smaller_scale_stops_the_highest_and_numbers_are_not_used_again():
    case = Case(count=3).begin()
    case.ask(scale={"group-0": 1})
    case.step()
    assert case.live.keys() == {"dep.0"}
    assert case.fleet.allocations["dep.2"].data["stopped"] == "group 'group-0' has fewer instances now"
    case.ask(scale={"group-0": 2})
    case.step()
    assert case.live.keys() == {"dep.0", "dep.3"}


def test_scaled_to_nothing_it_has_not_ended():
    case = Case(count=1).begin()
    case.ask(scale={"group-0": 0})
    case.step()
    case.up()
    case.step()
    assert (case.live, case.status["status"]) == ({}, "RUNNING")


def test_what_cannot_be_placed_is_named_with_a_reason_for_each_node():
    case = Case(a_task("t", resources=BIG), count=3).begin()
    case.ask(scale={"group-0": 4})
    case.step()
    assert case.status["status"] == "DEGRADED"
    assert case.status["reason"].startswith("1 of 4 of group group-0 cannot be placed: ")
    (missing,) = case.status["missing"]
    assert (missing["group"], missing["index"]) == ("group-0", 3)
    assert {each["node"] for each in missing["nodes"]} == {"a", "b", "c"}
    assert not [each for each in case.plan() if not isinstance(each, Wake)], "it is said once"
    case.ask(scale={"group-0": 3})
    case.step()
    assert (case.status["status"], "missing" in case.status) == ("RUNNING", False)


def test_a_job_that_is_over_is_not_run_again_elsewhere():
    case = Case(count=2, reschedule={"after": "0s"}).begin()
    over = next(key for key, each in case.live.items() if each["index"] == 0)
    case.up(state="completed", only=(over,))
    case.step()
    assert case.fleet.allocations[over].data["done"] == "completed"
    case.cut(case.live[over]["node"])
    case.steady += 100
    case.step()
    assert len(case.live) == 2
    assert not any(each.get("replaces") == over for each in case.live.values())


def test_a_restart_of_a_job_that_was_over_runs_it_again():
    case = Case(count=2).begin()
    case.up(state="completed", only=("dep.0",))
    case.step()
    case.ask(restart=1)
    reorder = case.plan()[0]
    assert "done" not in reorder.allocations["dep.0"][1]


def test_a_large_deployment_is_decided_whole_and_written_in_parts():
    case = Case(count=600)
    place, *rest = case.step()
    assert isinstance(place, Place)
    assert [len(place.allocations), *(len(each.puts) for each in rest)] == [250, 250, 100]
    assert (case.status["allocations"], case.status["placed"]) == ([], [[0, 599]])
    case.up()
    case.step()
    assert case.status["status"] == "RUNNING"
    assert case.plan() == []


def test_on_every_node_new_nodes_included():
    from tests.builders import add_node

    case = Case(count="all", nodes=("a", "b"))
    case.cut("b")
    case.begin()
    assert case.nodes() == ["a"]
    add_node(case.fleet, "c", features=["process"])
    case.back("b")
    case.step()
    assert case.nodes() == ["a", "b", "c"]
    assert sorted(each["index"] for each in case.live.values()) == [0, 1, 2]
    case.mark("c", cordoned={"since": WALL})
    case.up()
    case.step()
    assert case.nodes() == ["a", "b", "c"], "a cordon keeps what runs"


def test_labels_that_do_not_match_any_more_end_it_there():
    case = Case(count="all", nodes=("a", "b"), placement={"labels": {"zone": "x"}})
    for node in ("a", "b"):
        case.mark(node, labels={"zone": "x"})
    case.begin()
    assert case.nodes() == ["a", "b"]
    case.mark("b", labels={"zone": "y"})
    case.step()
    assert case.nodes() == ["a"]


def test_no_node_for_a_group_on_every_node_is_refused():
    case = Case(count="all", placement={"labels": {"zone": "x"}})
    (refused,) = case.plan()
    assert isinstance(refused, Refuse)
    assert len(refused.status["nodes"]) == 3


def test_waiting_for_capacity_says_for_what_and_ends_when_there_is_some():
    case = Case(a_task("t", resources=BIG), count=2, nodes=("a",))
    case.ask(wait=True)
    waits, wake = case.step()
    assert isinstance(waits, SetStatus)
    assert waits.status["status"] == "PENDING"
    assert waits.status["reason"].startswith("waits for capacity: group 'group-0': ")
    assert isinstance(wake, Wake)
    assert case.plan() == []
    from tests.builders import add_node

    add_node(case.fleet, "b", features=["process"])
    (advance,) = case.step()
    assert isinstance(advance, Advance)
    assert case.nodes() == ["a", "b"]
    assert "waiting" not in case.status


def test_a_deployment_that_waits_can_be_stopped():
    case = Case(a_task("t", resources=BIG), count=2, nodes=("a",))
    case.ask(wait=True)
    case.step()
    case.ask(wanted="stopped")
    case.step()
    assert case.status["status"] == "STOPPED"


def test_its_time_to_live_ends_it():
    case = Case(count=1)
    case.ask(ttl=2000.0, created=WALL)
    case.begin()
    assert case.fleet.due["dep"] <= 1000.0 + 1000.0
    case.steady = 2000.0
    case.step()
    assert case.status["expired"]
    assert case.status["reason"] == "its time to live of 2000s is over"
    assert not case.live
    case.up()
    case.step()
    assert (case.status["status"], case.plan()) == ("STOPPED", [])


def test_tombstones_on_machines_that_are_gone_are_collected():
    case = Case(count=1, reschedule={"after": "0s"}).begin()
    (old,) = case.live
    node = case.live[old]["node"]
    case.mark(node, uid="another")
    case.step()
    assert case.fleet.allocations[old].data["wanted"] == "stopped"
    collect = next(each for each in case.plan() if isinstance(each, Collect))
    assert [record[1] for record in collect.records] == [old]


def test_a_lost_record_is_not_taken_for_a_missing_instance():
    """What runs of it is unclaimed: a second copy would be one too many."""
    case = Case(count=2).begin()
    case.fleet.drop_allocation("dep.0")
    case.step()
    assert case.live.keys() == {"dep.1"}
    assert [each["id"] for each in case.status["allocations"]] == ["dep.0", "dep.1"]
    node = case.status["allocations"][0]["node"]
    del case.fleet.states[node].actual["dep.0"]  # somebody stopped it
    case.step()
    assert case.live.keys() == {"dep.1", "dep.2"}


def test_an_allocation_that_cannot_be_read_keeps_its_place():
    case = Case(count=2).begin()
    case.fleet.unreadable.add(("allocations", "dep.0"))
    case.step()
    case.step()
    assert len(case.fleet.allocations) == 2
    assert [each["id"] for each in case.status["allocations"]] == ["dep.0", "dep.1"]
    assert case.status["status"] == "RUNNING"


def test_a_look_at_a_large_deployment_at_rest_makes_nothing_anew(monkeypatch):
    from manager_api.core import summary

    case = Case(count=300).begin()
    case.step()
    case.up()
    case.step()
    seen = []
    made = summary._summary
    monkeypatch.setattr(summary, "_summary", lambda *args: seen.append(1) or made(*args))
    assert plan_deployments(case.fleet, case.now, ["dep"]) == []
    assert seen == []


def test_how_tasks_ended_says_of_which_instance():
    case = Case(count=2).begin()
    case.ask(wanted="stopped")
    case.step()
    case.up(state="stopped")
    case.step()
    told = [(row["allocation"], row["group"], row["index"]) for row in case.status["tasks"]]
    assert told == [("dep.0", "group-0", 0), ("dep.1", "group-0", 1)]
