"""What is found of a deployment after its records were lost: kept as it runs, and never started twice."""

import time

import pytest

from manager_api.core.actions import Place, Reorder
from manager_api.core.fleet import Stored
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments
from tests.builders import a_fleet, a_task, a_template, add_deployment, add_node, add_template

pytestmark = pytest.mark.unit

NOW = Moment(1e9, 1e3)


def a_case(*tasks, nodes=("a", "b", "c"), scale=None, **group):
    fleet = a_fleet("2-bb")
    for node in nodes:
        add_node(fleet, node, features=["process", "ports", "container"])
    add_template(fleet, a_template(*(tasks or [a_task()]), **group))
    add_deployment(fleet)
    fleet.began = 1000
    return fleet


def runs(fleet, node, number, index, *, order=None, ports=None, tasks=("main",), **more):
    rows = [{"name": name, "state": "running", "ports": (ports or {}).get(name, {})} for name in tasks]
    said = {"generation": 3, "wanted": "running", "uid": f"uid-{node}", "rev": 5, "tasks": rows}
    said |= {"group": "group-0", "index": index, **more}
    if order is not None:
        said["order"] = {
            "deployment": "dep", "template": "etl", "group": "group-0", "index": index, "generation": 3,
            "wanted": "running", **order,
        }  # fmt: skip
    fleet.states[node].actual[f"dep.{number}"] = said


def decide(fleet):
    (place,) = plan_deployments(fleet, NOW, ["dep"])
    assert isinstance(place, Place)
    return place


def test_what_was_moved_before_is_known_by_what_it_says_and_not_by_its_number():
    fleet = a_case(count=2)
    runs(fleet, "b", 7, 0)
    runs(fleet, "c", 4, 1)
    place = decide(fleet)
    assert {key: (each["node"], each["index"]) for key, each in place.allocations.items()} == {
        "dep.7": ("b", 0), "dep.4": ("c", 1),
    }  # fmt: skip
    assert place.status["next"] == 8


def test_on_every_node_what_runs_there_is_what_fills_it():
    fleet = a_case(a_task(ports={"http": 8000}), count="all")
    runs(fleet, "b", 5, 3, ports={"main": {"http": 8000}})
    runs(fleet, "c", 1, 0, ports={"main": {"http": 8000}})
    found = decide(fleet).allocations
    assert {each["node"]: (key, each["index"]) for key, each in found.items()} == {
        "a": ("dep.6", 1), "b": ("dep.5", 3), "c": ("dep.1", 0),
    }  # fmt: skip


@pytest.mark.parametrize("order", [None, {"version": 1, "ports": {"main": {"http": 25000}}}])
def test_it_keeps_the_ports_that_its_node_tells_of(order):
    fleet = a_case(a_task(ports={"http": 0}), nodes=("a",))
    runs(fleet, "a", 0, 0, order=order, ports=None if order else {"main": {"http": 25000, "odd": 1}})
    assert decide(fleet).allocations["dep.0"]["ports"] == {"main": {"http": 25000}}


@pytest.mark.parametrize(
    "said", [25000, "x", {"http": "25000"}, {"http": 0}, {"http": 70000}, {"http": True}]
)
def test_ports_that_cannot_be_are_not_believed(said):
    fleet = a_case(a_task(ports={"http": 0}), nodes=("a",))
    runs(fleet, "a", 0, 0, ports={"main": said})
    assert "ports" not in decide(fleet).allocations["dep.0"]


@pytest.mark.parametrize("order", ["nonsense", 5, [1], {"version": "x"}, {"version": 9}])
def test_an_order_that_is_none_harms_nobody(order):
    fleet = a_case(nodes=("a",))
    runs(fleet, "a", 0, 0)
    fleet.states["a"].actual["dep.0"]["order"] = order
    assert decide(fleet).allocations["dep.0"]["generation"] in (1, 3)


def test_what_it_publishes_is_known_again():
    body = {"driver": "container", "image": "nginx", "ports": ["8080:80"]}
    fleet = a_case(a_task(config=body), nodes=("a",))
    runs(fleet, "a", 0, 0)
    assert decide(fleet).allocations["dep.0"]["published"] == [8080]


def test_what_is_placed_beside_it_sees_what_it_takes():
    task = a_task(ports={"http": 8000}, resources={"reservations": {"memory": "5G"}})
    fleet = a_case(task, nodes=("a", "b"), count=2)
    fleet.states["b"].beat["memory_percent"] = 60.0  # the other is better, and taken
    runs(fleet, "a", 1, 1, ports={"main": {"http": 8000}})
    found = decide(fleet).allocations
    assert {key: each["node"] for key, each in found.items()} == {"dep.1": "a", "dep.2": "b"}


def test_what_still_runs_of_the_release_before_is_known_to_be_of_it():
    """Else it would count as updated for ever."""
    fleet = a_case(nodes=("a",))
    add_template(fleet, a_template(a_task(command="/bin/new")), 2)
    stored = fleet.deployments["dep"]
    fleet.deployments["dep"] = Stored({**stored.data, "version": 2, "change": 1}, 3)
    runs(fleet, "a", 0, 0, order={"version": 1})
    found = decide(fleet)
    assert found.allocations["dep.0"]["version"] == 1
    assert "change" not in found.allocations["dep.0"]
    assert found.status["release"]["version"] == 2


def test_it_is_not_refused_because_some_of_it_has_no_room_any_more():
    fleet = a_case(a_task(resources={"reservations": {"memory": "5G"}}), nodes=("a",), count=2)
    runs(fleet, "a", 0, 0)
    place = decide(fleet)
    assert place.allocations.keys() == {"dep.0"}
    assert place.status["status"] == "PENDING"


def large(number):
    fleet = a_case(nodes=[f"n{each:05}" for each in range(number)], count=number)
    for each in range(number):
        runs(fleet, f"n{each:05}", each + number, each)
    return fleet


def test_all_of_a_large_one_has_records_before_anything_of_it_is_placed():
    """With a status and only some records, the others would be placed a second time."""
    fleet = large(600)
    (found,) = plan_deployments(fleet, NOW, ["dep"])
    assert isinstance(found, Reorder)
    assert len(found.allocations) == 600
    for key, (rev, data) in found.allocations.items():
        assert rev == 0
        fleet.put_allocation(key, Stored(data, 9))
    place = decide(fleet)
    assert place.allocations == {}
    assert place.status["placed"] == [[600, 1199]]
    fleet.status["dep"] = Stored(place.status, 10)
    assert all(not getattr(each, "puts", None) for each in plan_deployments(fleet, NOW, ["dep"]))


def test_a_record_that_says_stop_is_not_overwritten_by_what_still_runs():
    fleet = a_case(nodes=("a", "b"))
    runs(fleet, "a", 0, 0)
    (place,) = [decide(fleet)]
    data = {**place.allocations["dep.0"], "wanted": "stopped", "stopped": "moved"}
    fleet.put_allocation("dep.0", Stored(data, 9))
    fleet.doubtful.add("dep")
    assert decide(fleet).allocations.keys() == {"dep.1"}


def test_a_lease_outlives_the_decision_on_a_large_one():
    fleet = large(5000)
    began = time.process_time()
    plan_deployments(fleet, NOW, ["dep"])
    assert time.process_time() - began < 2.5, "half a lease"
