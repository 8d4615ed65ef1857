"""Many nodes written in one round trip, and deployments too large for their status to name all of it."""

import pytest

from benchmarks.census import Census
from manager_api.controller.executor import ORDERS_AT_ONCE, Executor
from manager_api.controller.mirror import Mirror
from manager_api.controller.police import Police
from manager_api.core.actions import Project, SetStatus
from manager_api.http.deployments.briefs import briefs
from store.codec import dumps, loads
from store.errors import Fenced
from store.keys import ALLOCATIONS, NODES, NODES_STATUS, STATUS
from store.kv.projection import Order, Projection
from store.model.placed import ranges
from store.recipes.election import Election
from tests.conftest import fresh_store
from tests.fakes import Manager

pytestmark = pytest.mark.integration

SIZE = 600


@pytest.fixture
def token(store, clock):
    election = Election(store, "me", clock, ttl=600)
    assert election.campaign()
    return election.token


def order(node, **entries):
    return Order(node, f"uid-{node}", {key: dumps(entry) for key, entry in entries.items()}, ())


def entry(wanted="running"):
    return {"v": 1, "generation": 1, "wanted": wanted, "tasks": []}


# -- one round trip for many nodes


def test_one_node_that_cannot_be_written_harms_no_other(store, token):
    store.client.set(store.keys.node("bad").desired, "no hash")
    nodes = Projection(store)
    first, refused, last = nodes.project_many(
        [order("a", d0=entry()), order("bad", d1=entry()), order("b", d2=entry())], token=token
    )
    assert isinstance(refused, Exception)
    assert "WRONGTYPE" in str(refused)
    assert last == first + 1 == store.seen
    found = nodes.desired(["a", "b"])
    assert {node: list(each.entries) for node, each in found.items()} == {"a": ["d0"], "b": ["d2"]}
    assert (found["a"].rev, found["a"].uid, found["b"].rev) == (first, "uid-a", last)
    assert store.client.xlen(store.keys.node("b").wake) == 1


def test_an_old_leader_writes_none_of_many(store, token):
    outcomes = Projection(store).project_many([order("a", d0=entry()), order("b")], token=token - 1)
    assert [type(each) for each in outcomes] == [Fenced, Fenced]
    assert store.client.exists(store.keys.node("a").desired, store.keys.node("b").desired) == 0


def test_scripts_that_a_new_server_does_not_know_are_loaded_for_many_too(store, token):
    nodes = Projection(store)
    nodes.project_many([order("a")], token=token)
    store.client.script_flush()
    assert all(isinstance(each, int) for each in nodes.project_many([order("a"), order("b")], token=token))
    assert nodes.project_many([], token=token) == []


@pytest.fixture
def leader(store, clock, token):
    """Mirror and executor over some nodes."""
    names = [f"n{number}" for number in range(ORDERS_AT_ONCE + 3)]
    for name in names:
        store.put(NODES, name, dumps({"v": 1, "uid": f"uid-{name}"}))
    mirror = Mirror(store, clock)
    mirror.load()
    return mirror, Executor(store, mirror, token), names


def test_what_was_written_of_a_plan_is_known_and_what_was_not_is_not(store, leader, caplog):
    mirror, executor, names = leader
    store.client.set(store.keys.node("n1").desired, "no hash")
    plan = [Project(name, f"uid-{name}", {f"{name}.0": entry()}, (), "because") for name in names]
    unsayable = {**entry(), "n": 2**65}
    plan.insert(0, Project("n2", "uid-n2", {"odd.0": unsayable}, (), "odd"))
    plan.append(SetStatus("d", 0, {"v": 1, "status": "RUNNING", "allocations": []}, "after all of them"))
    executor.perform(plan)
    states = mirror.fleet.states
    assert [name for name in names if not states[name].desired] == ["n1"]
    assert states["n2"].desired == {
        "n2.0": {
            "rev": states["n2"].desired_rev,
            "generation": 1,
            "wanted": "running",
            "adjusted": 0,
            "change": 0,
        }
    }
    assert "node n1: its desired state cannot be written" in caplog.text
    assert "node n2: odd: it cannot be carried out" in caplog.text
    assert store.get(STATUS, "d") is not None
    again = Mirror(store, mirror.presence._clock)
    store.client.delete(store.keys.node("n1").desired)
    again.load()
    assert {name: again.fleet.states[name].desired for name in names} == {
        name: states[name].desired for name in names
    }


def test_a_leader_that_is_one_no_more_stops_at_once(store, leader, clock):
    mirror, executor, names = leader
    store.client.delete(store.keys.lease("leader"))
    assert Election(store, "other", clock).campaign()
    with pytest.raises(Fenced):
        executor.perform([Project(name, f"uid-{name}", {"d.0": entry()}, (), "late") for name in names])
    assert not any(mirror.fleet.states[name].desired for name in names)


def test_entries_that_do_not_fit_one_transaction_are_written_in_parts(store, leader):
    mirror, executor, _ = leader
    puts = {f"d.{number}": {**entry(), "text": "x" * 300_000} for number in range(6)}
    executor.perform([Project("n0", "uid-n0", puts, (), "large")])
    assert len(mirror.fleet.states["n0"].desired) == 6
    assert len(Projection(store).desired(["n0"])["n0"].entries) == 6


# -- the whole of a fleet


def test_a_fleet_that_others_left_is_read_as_it_is(store, clock):
    Census(store, nodes=7, allocations=70, per_deployment=10).fill()
    mirror = Mirror(store, clock)
    mirror.load()
    fleet = mirror.fleet
    assert (len(fleet.nodes), len(fleet.allocations), len(fleet.deployments)) == (7, 70, 7)
    assert all(
        state.online and len(state.actual) == len(state.desired) == 10 for state in fleet.states.values()
    )
    assert {len(state.up_since) for state in fleet.states.values()} == {10}
    assert fleet.ordered.keys() == fleet.allocations.keys()
    assert (fleet.undecided, fleet.hungry, fleet.everywhere, fleet.unreadable) == (set(), set(), set(), set())
    assert mirror.dirty_deployments == set(fleet.deployments)
    assert mirror.dirty_nodes == set(fleet.nodes)
    mirror.dirty_nodes = set()
    mirror.verify()
    assert mirror.dirty_nodes == set()


# -- what bars a node is not all that is said of it


def test_a_bar_keeps_what_else_is_said_of_a_node_and_goes_without_it(store, clock, token):
    secrets = {"web-1": "a" * 64}
    store.put(NODES_STATUS, "web-1", dumps({"v": 1, "drain": {"state": "draining"}}))
    police = Police(store, clock, token, lambda: secrets, lambda _: 0, lambda: None)
    police.bar("web-1", "too much")
    police.bar("web-1", "too much")
    said = loads(store.get(NODES_STATUS, "web-1").value)
    assert (said["drain"], said["barred"]["reason"]) == ({"state": "draining"}, "too much")
    secrets["web-1"] = "b" * 64
    police.enforce()
    assert loads(store.get(NODES_STATUS, "web-1").value) == {"v": 1, "drain": {"state": "draining"}}
    store.put(NODES_STATUS, "web-1", dumps({"v": 1}))
    police.bar("web-1", "again")
    secrets["web-1"] = "c" * 64
    police.enforce()
    assert store.get(NODES_STATUS, "web-1") is None


# -- deployments that are too large to be named


@pytest.fixture(params=["redis", "valkey"])
def large(request, servers):
    """A manager with one large deployment, and its id; nobody leads."""
    store = fresh_store(servers(request.param).client("test"))
    census = Census(store, nodes=5, allocations=SIZE, per_deployment=SIZE)
    census.fill()
    (name,) = store.values(STATUS)
    status = loads(store.get(STATUS, name).value)
    groups = {"main": {"wanted": SIZE, "placed": SIZE, "up": SIZE}}
    store.put(
        STATUS, name, dumps({**status, "allocations": [], "placed": ranges(range(SIZE)), "groups": groups})
    )
    return Manager(store), name


def test_a_list_shows_a_large_deployment_by_its_counts(large):
    manager, name = large
    (row,) = manager.get("/v1/deployments").json["data"]
    assert (row["id"], row["tasks"], row["tasks_left_out"]) == (name, [], SIZE)
    assert row["groups"]["main"]["up"] == SIZE


def test_a_large_deployment_by_itself_shows_its_allocations(large):
    manager, name = large
    store = manager.store
    record = loads(store.get(ALLOCATIONS, f"{name}.599").value)
    store.put(ALLOCATIONS, f"{name}.599", dumps({**record, "ports": {"main": {"http": 20001}}}))
    store.client.hset(store.keys.collection(ALLOCATIONS), f"{name}.598", b"{")
    found = manager.get(f"/deployments/{name}").json
    assert len(found["tasks"]) == SIZE - 1  # what cannot be read holds up nothing
    assert "tasks_left_out" not in found
    last = found["tasks"][-1]
    assert last["ports"] == {"http": 20001}
    assert (last["allocation"], last["group"], last["index"], last["version"]) == (
        f"{name}.599",
        "main",
        599,
        1,
    )
    assert (last["state"], last["node"], last["pid"]) == ("running", "sim-4", 4711)


def test_so_many_rows_are_shown_and_the_rest_is_counted(large, monkeypatch):
    manager, name = large
    monkeypatch.setattr("manager_api.http.deployments.views.ROWS_OF_ONE", 100)
    found = manager.get(f"/deployments/{name}").json
    assert (len(found["tasks"]), found["tasks_left_out"]) == (100, SIZE - 100)


def test_one_that_ended_has_its_rows_in_its_status(large):
    manager, name = large
    store = manager.store
    row = {"name": "main", "node": "sim-0", "state": "completed", "pid": None, "exit_code": 0, "restarts": 0}
    status = {**loads(store.get(STATUS, name).value), "status": "COMPLETED", "tasks_left_out": 400}
    store.put(STATUS, name, dumps({**status, "tasks": [{**row, "reason": "", "started": 1.0}] * 200}))
    (listed,) = manager.get("/v1/deployments").json["data"]
    assert (listed["tasks"], listed["tasks_left_out"]) == ([], SIZE)
    found = manager.get(f"/deployments/{name}").json
    assert (len(found["tasks"]), found["tasks_left_out"]) == (200, 400)


def test_logs_of_a_large_deployment_are_found_by_node_and_too_many_are_refused(large):
    manager, name = large
    refused = manager.get(f"/v1/deployments/{name}/logs")
    assert (refused.status_code, refused.json["detail"]) == (
        400, "1200 logs at once, at most 100 are read: say which with task, node or stream",
    )  # fmt: skip
    unknown = manager.get(f"/v1/deployments/{name}/logs?node=web-9")
    assert unknown.status_code == 404
    assert "it has sim-0, sim-1" in unknown.json["detail"]
    there = briefs(manager.store, name, loads(manager.store.get(STATUS, name).value))
    assert [each["id"] for each in there] == [f"{name}.{number}" for number in range(SIZE)]
    assert {tuple(each["tasks"]) for each in there} == {("main",)}
