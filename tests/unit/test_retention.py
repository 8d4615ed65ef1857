"""What goes with time, and what must not: tombstones, ended deployments, old versions, empty places."""

import pytest

from manager_api.core import retention
from manager_api.core.actions import Collect, Project
from manager_api.core.fleet import Stored
from manager_api.core.plan import plan_nodes
from manager_api.core.retention import KEPT, MOST_VERSIONS, SUPERSEDED_FOR, Retention
from tests.builders import a_fleet, a_template, add_deployment, add_node, add_template

pytestmark = pytest.mark.unit

WALL = 1.7e9


def ended(fleet, deployment="dep", at=WALL, status="COMPLETED"):
    add_deployment(fleet, deployment, created=at - 10)
    fleet.status[deployment] = Stored({"status": status, "ended": at, "allocations": []}, 4)


def a_tombstone(**said):
    """A node with one entry that should stop, and what it says of it."""
    fleet = a_fleet()
    state = add_node(fleet)
    add_template(fleet, a_template())
    ended(fleet)
    record = {
        "deployment": "dep", "template": "etl", "version": 1, "group": "group-0", "index": 0, "part": 0, "node": "web-1",
        "uid": "uid-web-1", "generation": 2, "wanted": "stopped", "memory": 0, "cpus": 0, "tasks": ["main"],
    }  # fmt: skip
    fleet.put_allocation("dep.0", Stored(record, 6))
    state.desired = {"dep.0": {"rev": 9, "generation": 2, "wanted": "stopped", "adjusted": 0}}
    state.actual["dep.0"] = {
        "uid": "uid-web-1", "epoch": fleet.epoch, "wanted": "stopped", "rev": 9, "generation": 2,
        "tasks": [{"name": "main", "state": "stopped"}], **said,
    }  # fmt: skip
    return fleet


def test_a_tombstone_goes_once_all_is_said():
    collect, project = plan_nodes(a_tombstone(), ["web-1"])
    assert isinstance(collect, Collect)
    assert collect.records == (("allocations", "dep.0", 6),)
    assert isinstance(project, Project)
    assert project.deletes == ("dep.0",)


@pytest.mark.parametrize(
    "said",
    [
        {"uid": "another machine"}, {"epoch": "another history"}, {"wanted": "running"}, {"rev": 8},
        {"tasks": [{"name": "main", "state": "running"}]}, {"tasks": [{"name": "main", "state": "stopping?"}]},
        {"tasks": [{"name": "main", "state": "stopped"}, {"name": "b", "state": "backoff"}]},
    ],
)  # fmt: skip
def test_a_tombstone_stays_while_one_word_is_missing(said):
    assert plan_nodes(a_tombstone(**said), ["web-1"]) == []


def test_a_tombstone_stays_while_nothing_is_said_however_long():
    fleet = a_tombstone()
    fleet.states["web-1"].actual.clear()
    fleet.states["web-1"].online = False
    fleet.retiring = {"dep"}
    assert plan_nodes(fleet, ["web-1"]) == []


def test_a_tombstone_stays_until_the_status_holds_what_the_node_said():
    fleet = a_tombstone()
    fleet.status["dep"].data["status"] = "STOPPING"
    assert plan_nodes(fleet, ["web-1"]) == []


def test_in_another_epoch_everything_is_projected_and_nothing_dropped():
    fleet = a_tombstone()
    fleet.states["web-1"].desired_epoch = "an older one"
    (project,) = plan_nodes(fleet, ["web-1"])
    assert project.deletes == ()
    assert project.puts.keys() == {"dep.0"}


def test_an_ended_deployment_goes_when_it_is_old_by_its_date_and_by_our_watch():
    fleet, keeper = a_fleet(), Retention()
    ended(fleet)
    assert keeper.retire(fleet, WALL, 0.0) == set()
    assert keeper.retire(fleet, WALL + KEPT + 1, KEPT) == set()
    assert keeper.retire(fleet, WALL + KEPT + 1, KEPT + 1) == {"dep"}


@pytest.mark.parametrize("wall", [WALL + 50 * 365 * 86400, WALL - 50 * 365 * 86400])
def test_a_stepped_clock_collects_nothing_early(wall):
    fleet, keeper = a_fleet(), Retention()
    ended(fleet)
    keeper.retire(fleet, WALL, 0.0)
    assert keeper.retire(fleet, wall, 60.0) == set()


def test_one_that_was_restarted_meanwhile_is_watched_anew():
    fleet, keeper = a_fleet(), Retention()
    ended(fleet)
    keeper.retire(fleet, WALL, 0.0)
    fleet.status["dep"].data["status"] = "RUNNING"
    keeper.retire(fleet, WALL, 10.0)
    fleet.status["dep"].data["status"] = "COMPLETED"
    keeper.retire(fleet, WALL, 20.0)
    assert keeper.retire(fleet, WALL + 2 * KEPT, KEPT + 10) == set()
    fleet.retiring = keeper.retire(fleet, WALL + 2 * KEPT, KEPT + 30)
    assert fleet.retiring == {"dep"}
    fleet.status["dep"].data["status"] = "RUNNING"
    assert keeper.retire(fleet, WALL + 2 * KEPT, KEPT + 40) == set(), "nor does it go on going"


def test_one_that_shall_be_forgotten_goes_at_once_unless_it_lived_on():
    fleet, keeper = a_fleet(), Retention()
    ended(fleet, "asked", WALL)
    ended(fleet, "other", WALL)
    fleet.deployments["asked"].data[retention.FORGET] = WALL
    assert keeper.retire(fleet, WALL, 0.0) == {"asked"}
    fleet.status["asked"].data["status"] = "RUNNING"
    assert keeper.retire(fleet, WALL, 10.0) == set()
    fleet.status["asked"].data.update(status="STOPPED", ended=WALL + 50)
    assert keeper.retire(fleet, WALL + 50, 20.0) == set(), "what was meant ended earlier"


def test_of_too_many_the_oldest_go_and_not_all_at_once(monkeypatch):
    monkeypatch.setattr(retention, "MOST_ENDED", 3)
    monkeypatch.setattr(retention, "RETIRED_AT_ONCE", 2)
    fleet, keeper = a_fleet(), Retention()
    for number in range(8):
        ended(fleet, f"d{number}", WALL + number)
    add_deployment(fleet, "living")
    fleet.status["living"] = Stored({"status": "RUNNING"}, 4)
    fleet.retiring = keeper.retire(fleet, WALL, 0.0)
    assert fleet.retiring == {"d0", "d1"}
    fleet.retiring = keeper.retire(fleet, WALL, 15.0)
    assert fleet.retiring == {"d0", "d1", "d2", "d3"}, "those that cannot go yet do not hold up others"
    fleet.retiring = keeper.retire(fleet, WALL, 30.0)
    assert fleet.retiring == {f"d{number}" for number in range(5)}
    assert keeper.retire(fleet, WALL, 45.0) == fleet.retiring


def test_old_versions_go_that_nothing_names():
    fleet, keeper = a_fleet(), Retention()
    for name in ("etl", "other:2"):
        for version in range(1, MOST_VERSIONS + 4):
            add_template(fleet, a_template(name=name), version)
    add_deployment(fleet, "dep", version=2)
    fleet.put_allocation("x.0", Stored({"deployment": "x", "node": "n", "template": "other:2", "version": 1, "wanted": "stopped"}, 1))  # fmt: skip
    assert keeper.collect(fleet, 0.0) == []
    assert keeper.collect(fleet, SUPERSEDED_FOR) == []
    (collect,) = keeper.collect(fleet, SUPERSEDED_FOR + 1)
    assert {field for _, field, _ in collect.records} == {"1:etl", "3:etl", "2:other:2", "3:other:2"}
    del fleet.deployments["dep"]
    (collect,) = keeper.collect(fleet, SUPERSEDED_FOR + 2)
    assert ("templates:versions", "2:etl", 1) not in collect.records, "only now nothing names it"


def test_all_versions_of_a_deleted_template_go_once_nothing_names_them():
    fleet, keeper = a_fleet(), Retention()
    for version in (1, 2):
        add_template(fleet, a_template(name="gone"), version)
    add_template(fleet, a_template(), 1)
    add_deployment(fleet, "dep", version=2)
    fleet.deployments["dep"].data["template"] = "gone"
    assert keeper.collect(fleet, 0.0, {"etl"}) == []
    (collect,) = keeper.collect(fleet, SUPERSEDED_FOR + 1, {"etl"})
    assert {field for _, field, _ in collect.records} == {"1:gone"}
    del fleet.deployments["dep"]
    assert len(keeper.collect(fleet, SUPERSEDED_FOR + 2, {"etl"})) == 1, "only now nothing names it"
    (collect,) = keeper.collect(fleet, 2 * SUPERSEDED_FOR + 4, {"etl"})
    assert {field for _, field, _ in collect.records} == {"1:gone", "2:gone"}
    unknowing = Retention()
    assert unknowing.collect(fleet, 0.0) == unknowing.collect(fleet, 9 * SUPERSEDED_FOR) == []


def test_a_fleet_forgets_empty_places():
    fleet = a_tombstone()
    fleet.groups("1:etl")
    fleet.drop_allocation("dep.0")
    fleet.states["gone"].online = False
    fleet.on_node["gone"].discard("x")
    del fleet.versions["1:etl"]
    fleet.prune()
    assert (dict(fleet.of_deployment), fleet._groups) == ({}, {})
    assert (fleet.states.keys(), fleet.on_node.keys()) == ({"web-1"}, {"web-1"})


def test_names_go_once_their_deployment_is_gone_and_nobody_takes_them_anew():
    fleet, keeper = a_fleet(), Retention()
    add_deployment(fleet, "there")
    fleet.unreadable.add(("deployments", "dark"))
    for name, deployment in {"kept": "there", "old": "gone", "unread": "dark"}.items():
        fleet.names[name] = Stored({"v": 1, "deployment": deployment}, 3)
    assert keeper.collect(fleet, 0.0) == []
    (collect,) = keeper.collect(fleet, SUPERSEDED_FOR + 1)
    assert collect.records == (("deployments:names", "old", 3),)
    fleet.names["old"] = Stored({"v": 1, "deployment": "there"}, 9)
    assert keeper.collect(fleet, SUPERSEDED_FOR + 2) == []


def test_versions_to_go_back_to_stay():
    fleet, keeper = a_fleet(), Retention()
    for number in range(1, MOST_VERSIONS + 6):
        add_template(fleet, a_template(), version=number)
    add_deployment(fleet, "dep")
    fleet.deployments["dep"].data.update(version=MOST_VERSIONS + 5, before={"version": 1})
    fleet.status["dep"] = Stored(
        {"status": "RUNNING", "stable": {"version": 2}, "release": {"version": 3}, "allocations": []}, 4
    )
    keeper.collect(fleet, 0.0)
    (collect,) = keeper.collect(fleet, SUPERSEDED_FOR + 1)
    assert {field for _, field, _ in collect.records} == {"4:etl", "5:etl"}
