"""The order in which things are planned, and how much of it at once."""

import pytest

from manager_api.controller import planner as planner_module
from manager_api.controller.planner import LONGEST_ROUND, SHORTEST_ROUND, Planner, Routine
from manager_api.core.fleet import Stored
from tests.builders import a_fleet, a_template, add_template

pytestmark = pytest.mark.unit


class Mirror:
    def __init__(self, fleet):
        self.fleet, self.dirty_deployments, self.dirty_nodes = fleet, set(), set()


class Executor:
    """Notes what is planned; `moves` says which nodes a deployment's plan moves."""

    def __init__(self, mirror):
        self.mirror, self.done, self.moves = mirror, [], {}

    def perform(self, actions):
        self.done.append(actions)
        for name in actions:
            self.mirror.dirty_nodes |= self.moves.get(name, set())


@pytest.fixture
def fleet():
    found = a_fleet()
    for number in range(40):
        found.deployments[f"old-{number:02}"] = Stored({"created": float(number)}, 1)
        found.status[f"old-{number:02}"] = Stored({"status": "RUNNING"}, 1)
    return found


@pytest.fixture
def stage(fleet, clock, monkeypatch):
    monkeypatch.setattr(planner_module, "plan_deployments", lambda _fleet, _now, names: list(names))
    monkeypatch.setattr(planner_module, "plan_nodes", lambda _fleet, names, _now: list(names))
    mirror = Mirror(fleet)
    executor = Executor(mirror)
    renewals = []
    return Planner(mirror, executor, clock, lambda: renewals.append(1)), mirror, executor, renewals


def test_a_new_deployment_and_its_nodes_come_before_everything_else(stage, fleet):
    planner, mirror, executor, renewals = stage
    mirror.dirty_deployments = set(fleet.deployments)
    mirror.dirty_nodes = {f"n{number}" for number in range(1000)}
    planner.work(0.0)
    assert len(executor.done[0]) == planner_module.DEPLOYMENTS_AT_ONCE
    fleet.deployments["new"] = Stored({"created": 99.0}, 2)
    fleet.undecided.add("new")
    executor.moves = {"new": {"special"}}
    executor.done.clear()
    mirror.dirty_deployments.add("new")
    planner.work(0.0)
    assert executor.done[:2] == [["new"], ["special"]]
    assert planner.busy
    planner.work(1e9)
    assert not planner.busy
    seen = [name for batch in executor.done for name in batch]
    assert sum(name.startswith("old-") for name in seen) == 40 - planner_module.DEPLOYMENTS_AT_ONCE
    assert len(renewals) >= len(executor.done)


def test_new_deployments_of_many_allocations_are_few_at_a_time(stage, fleet):
    """All of each is found a place in one go, and the lease has to be renewed between two of them."""
    planner, mirror, executor, renewals = stage
    add_template(fleet, a_template(count=planner_module.ALLOCATIONS_AT_ONCE // 2))
    for number in range(4):
        record = {"template": "etl", "version": 1, "created": float(number)}
        fleet.deployments[f"new-{number}"] = Stored(record, 2)
    fleet.deployments["scaled"] = Stored({**record, "created": 9.0, "scale": {"group-0": 10_000}}, 2)
    fleet.deployments["odd"] = Stored({"created": 10.0, "template": "none", "version": 1}, 2)
    mirror.dirty_deployments = {"new-0", "new-1", "new-2", "new-3", "scaled", "odd"}
    fleet.undecided |= mirror.dirty_deployments
    planner.work(1e9)
    assert [each for each in executor.done if each] == [
        ["new-0", "new-1"], ["new-2", "new-3"], ["scaled"], ["odd"],
    ]  # fmt: skip
    assert len(renewals) >= len(executor.done)


def test_nothing_is_planned_twice_for_having_moved_twice(stage):
    planner, mirror, executor, _ = stage
    mirror.dirty_deployments = {"old-00"}
    mirror.dirty_nodes = {"n"}
    executor.moves = {"old-00": {"n"}}
    planner.work(1e9)
    assert executor.done == [["old-00"], ["n"]]


def test_few_large_deployments_are_enough_at_once(stage, fleet):
    planner, mirror, executor, _ = stage
    for name in ("old-00", "old-01"):
        fleet.of_deployment[name] = {
            f"{name}.{number}" for number in range(planner_module.ALLOCATIONS_AT_ONCE)
        }
    mirror.dirty_deployments = {"old-00", "old-01", "old-02"}
    planner.work(1e9)
    assert executor.done == [["old-00"], ["old-01"], ["old-02"]]


def test_planning_stops_when_its_time_is_over_and_goes_on_later(stage, fleet, clock, monkeypatch):
    planner, mirror, executor, _ = stage
    monkeypatch.setattr(
        executor, "perform", lambda actions: (executor.done.append(actions), clock.advance(1))
    )
    mirror.dirty_deployments = set(fleet.deployments)
    planner.work(1.5)
    assert len(executor.done) == 2
    planner.work(1e9)
    assert sorted(name for batch in executor.done for name in batch) == sorted(fleet.deployments)


def test_a_small_fleet_is_planned_as_a_whole_every_five_seconds(fleet):
    fleet.nodes["web-1"] = Stored({}, 1)
    routine = Routine(fleet, 0.0)
    assert routine.part(SHORTEST_ROUND - 0.1) == ([], [])
    deployments, nodes = routine.part(SHORTEST_ROUND + 0.1)
    assert (sorted(deployments), nodes) == (sorted(fleet.deployments), ["web-1"])
    assert routine.part(SHORTEST_ROUND + 0.2) == ([], [])


def test_a_large_fleet_is_planned_in_even_parts_and_wholly_in_half_a_minute(fleet):
    for number in range(50_000):
        fleet.nodes[f"n{number}"] = Stored({}, 1)
    routine, now, parts = Routine(fleet, 0.0), 0.0, []
    while now < LONGEST_ROUND:
        now += 0.25
        parts.append(routine.part(now))
    assert max(len(deployments) + len(nodes) for deployments, nodes in parts) < 450
    assert {name for deployments, _ in parts for name in deployments} == set(fleet.deployments)
    assert len({node for _, nodes in parts for node in nodes}) >= 49_900
    late = routine.part(now + 3600.0)  # however long we were away, it is one round that is owed
    assert len(late[0]) + len(late[1]) <= 50_040
