"""What this release does not know: fields survive, and records of another schema are not half understood."""

import json

import pytest

from agentd.core import obey
from agentd.identity import Identity
from agentd.memory import Memory
from agentd.report import unread
from manager_api.controller.executor import Executor
from manager_api.controller.mirror import Mirror
from manager_api.core.actions import Complain, Reorder, SetStatus
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments, plan_nodes
from manager_api.http.deployments import changes, deployments, views
from manager_api.http.frame.errors import ApiError
from manager_api.http.nodes import nodes
from manager_api.http.templates import templates
from store.codec import dumps
from store.errors import BadRecord
from store.keys import ALLOCATIONS, DEPLOYMENTS, NODES, STATUS, TEMPLATES, VERSIONS
from store.kv.api import Change
from store.kv.lease import Lease
from store.kv.projection import Projection
from store.model.beat import actual
from tests.builders import a_task, a_template

pytestmark = pytest.mark.unit

NOW = 1e9
NODE = {
    "v": 1, "uid": "u", "hostname": "h", "ip": "10.0.0.1", "addresses": ["10.0.0.1"], "version": "0.3.0",
    "features": ["process", "limits"], "secret_sha256": "0" * 64, "joined": 1.0,
}  # fmt: skip
SAID = {**{key: NODE[key] for key in NODE if key not in ("v", "ip", "joined")}, "id": "web-1"}
BEAT = {
    "v": 1, "uid": "u", "instance": "i", "ttl": 60.0, "memory_total": 1 << 34, "cpus": 4, "time": NOW,
    "actual_seq": 1, "rev": 0, "frozen": None,
}  # fmt: skip
NEWER = {"later": {"than": "us"}}


class World:
    """A leader over a store, one step at a time; every record has a field that nobody here knows."""

    def __init__(self, store, clock):
        self.store, self.clock = store, clock
        self.keys = store.keys.node("web-1")
        self.put(NODES, "web-1", NODE)
        self.put(TEMPLATES, "etl", {"v": 1, "version": 1, "body": a_template()})
        self.put(VERSIONS, "1:etl", {"v": 1, "version": 1, "body": a_template()})
        self.put(
            DEPLOYMENTS, "d", {"v": 1, "template": "etl", "version": 1, "wanted": "running", "created": NOW}
        )
        store.client.set(self.keys.beat, dumps(BEAT), px=60_000)
        self.token = Lease(store, "leader", "me", 60_000).acquire()

    def put(self, collection, field, record):
        self.store.put(collection, field, dumps({**record, **NEWER}))

    def get(self, collection, field):
        return json.loads(self.store.get(collection, field).value)

    def alter(self, collection, field, **changes):
        self.store.put(collection, field, dumps({**self.get(collection, field), **changes}))

    def lead(self):
        """A new leader reads everything, plans and writes; what it did."""
        mirror = Mirror(self.store, self.clock)
        mirror.load()
        executor, done = Executor(self.store, mirror, self.token), []
        for _ in range(5):
            actions = plan_deployments(
                mirror.fleet, Moment(NOW, 1e3), mirror.fleet.deployments | mirror.fleet.status
            )
            executor.perform(actions)
            more = plan_nodes(mirror.fleet, mirror.fleet.nodes)
            executor.perform(more)
            done += [*actions, *more]
        return done

    def desired(self):
        return {
            key: json.loads(raw)
            for key, raw in Projection(self.store).desired(["web-1"])["web-1"].entries.items()
        }

    def report(self, state, **more):
        tasks = [{"name": "main", "state": state, "reason": ""}]
        entry = {"v": 1, "uid": "u", "epoch": self.store.epoch, "generation": 1, "wanted": "running", **more}
        entry["rev"] = self.desired()["d.0"]["rev"]
        self.store.client.hset(self.keys.actual, "d.0", dumps({"tasks": tasks, **entry}))


@pytest.fixture
def world(fake_store, clock):
    found = World(fake_store, clock)
    found.lead()
    found.alter(STATUS, "d", **NEWER)
    found.alter(ALLOCATIONS, "d.0", **NEWER)
    return found


# -- fields


def test_what_the_api_changes_keeps_the_fields_it_does_not_know(world):
    store = world.store
    changes.restart(store, "d")
    changes.limit(store, "d", "main", {"pids": 9})
    deployments.halt(store, "d")
    assert templates.save(store, a_template(a_task(name="other"))) == 2
    nodes.join(store, {**SAID, "version": "0.4.0"}, "10.0.0.1", NOW)
    for collection, field in [(DEPLOYMENTS, "d"), (TEMPLATES, "etl"), (NODES, "web-1")]:
        assert world.get(collection, field)["later"] == NEWER["later"], collection
    assert world.get(NODES, "web-1")["version"] == "0.4.0"
    assert "later" not in world.get(VERSIONS, "2:etl"), "a new record"


def test_another_machine_inherits_nothing(world):
    world.store.client.delete(world.keys.beat)
    nodes.join(world.store, {**SAID, "uid": "other"}, "10.0.0.1", NOW)
    assert "later" not in world.get(NODES, "web-1")


def test_what_the_leader_writes_anew_keeps_the_fields_it_does_not_know(world):
    changes.restart(world.store, "d")
    changes.limit(world.store, "d", "main", {"pids": 9})
    world.lead()
    found = world.get(ALLOCATIONS, "d.0")
    assert (found["generation"], found["adjusted"], found["later"]) == (2, 1, NEWER["later"])
    assert world.desired()["d.0"]["later"] == NEWER["later"], "the agent may know it"
    world.report("running", generation=2)
    world.lead()
    deployments.halt(world.store, "d")
    world.lead()
    assert world.get(ALLOCATIONS, "d.0")["wanted"] == "stopped"
    status = world.get(STATUS, "d")
    assert (status["status"], status["later"]) == ("STOPPING", NEWER["later"])


def test_what_an_agent_is_told_stays_on_its_disk_as_it_was_told(tmp_path):
    memory = Memory(tmp_path / "orders.json", Identity("n", "u", "s", "m"))
    entry = {"rev": 5, "generation": 1, "wanted": "running", "deployment": "d", "template": "t", "group": "g"}
    entry |= {"index": 0, "tasks": [a_task(later=1)], **NEWER}
    found = obey.consider(obey.Offer("1-a", 10, "u", {"d.0": entry}), obey.Orders(), "u")
    memory.remember(found.orders)
    assert memory.recall().entries == {"d.0": entry}


# -- records


def only_counts(action, known):
    """Whether an action only complains, or says how many can be seen and else what was said before."""
    if isinstance(action, Complain):
        return True
    same = ("status", "reason", "allocations", "next")
    return isinstance(action, SetStatus) and all(action.status.get(key) == known.get(key) for key in same)


@pytest.mark.parametrize(
    ("collection", "field"),
    [(DEPLOYMENTS, "d"), (STATUS, "d"), (ALLOCATIONS, "d.0"), (NODES, "web-1"), (VERSIONS, "1:etl")],
)
@pytest.mark.parametrize("wanted", ["running", "stopped"])
@pytest.mark.parametrize("raw", ["v 2", "half", "empty"])
def test_a_record_that_cannot_be_read_is_not_taken_for_absent(world, collection, field, wanted, raw):
    """Nothing of it is stopped, lost or begun anew; its record and its node's orders stay as they are."""
    world.report("running")
    world.lead()
    if wanted == "stopped" and collection in (DEPLOYMENTS, STATUS):
        deployments.halt(world.store, "d")
    record = {"v 2": dumps({**world.get(collection, field), "v": 2}), "half": b'{"v": 1', "empty": b"{}"}[raw]
    world.store.put(collection, field, record)
    desired = world.desired()
    known = None if collection == STATUS else world.get(STATUS, "d")
    assert [each for each in world.lead() if not only_counts(each, known)] == []
    assert world.store.get(collection, field).value == record
    assert world.desired() == desired


def test_one_unreadable_allocation_does_not_hold_up_the_others(world):
    world.put(ALLOCATIONS, "d.1", world.get(ALLOCATIONS, "d.0"))
    world.lead()
    world.alter(ALLOCATIONS, "d.1", v=2)
    deployments.halt(world.store, "d")
    world.lead()
    assert world.get(ALLOCATIONS, "d.0")["wanted"] == "stopped"
    assert {key: each["wanted"] for key, each in world.desired().items()} == {
        "d.0": "stopped",
        "d.1": "running",
    }


def led(world, clock):
    """A leader's memory from before something became unreadable."""
    mirror = Mirror(world.store, clock)
    mirror.load()
    return mirror


def test_what_became_unreadable_while_led_is_planned_no_more_until_it_is_readable(world, clock):
    mirror = led(world, clock)
    world.alter(DEPLOYMENTS, "d", wanted="stopped", v=2)
    mirror.verify()
    assert plan_deployments(mirror.fleet, Moment(NOW, 1e3), ["d"]) == []
    world.alter(DEPLOYMENTS, "d", v=1)
    world.alter(ALLOCATIONS, "d.0", v=2)
    mirror.verify()
    assert mirror.fleet.unreadable == {(ALLOCATIONS, "d.0")}
    orders = [
        each for each in plan_deployments(mirror.fleet, Moment(NOW, 1e3), ["d"]) if isinstance(each, Reorder)
    ]
    assert orders == []
    mirror = led(world, clock)
    world.store.txn([], [Change(ALLOCATIONS, "d.0", None)])
    mirror.verify()
    assert mirror.fleet.unreadable == set()


def test_nothing_is_projected_to_a_node_that_became_unreadable_while_led(world, clock):
    mirror = led(world, clock)
    world.alter(ALLOCATIONS, "d.0", generation=2)
    world.alter(NODES, "web-1", v=2)
    mirror.verify()
    assert plan_nodes(mirror.fleet, ["web-1"]) == []


def over(world):
    """A deployment that was stopped, and reported so, while its allocation cannot be read."""
    deployments.halt(world.store, "d")
    world.lead()
    world.alter(ALLOCATIONS, "d.0", v=2)
    world.report("stopped", wanted="stopped")
    world.lead()
    assert world.get(STATUS, "d")["status"] == "STOPPED"


def test_the_tombstone_of_what_cannot_be_read_stays(world):
    over(world)
    assert "d.0" in world.desired()


def test_a_deployment_is_not_collected_before_its_allocations_can_be_read(world, clock):
    over(world)
    fleet = led(world, clock).fleet
    fleet.retiring = {"d"}
    assert plan_deployments(fleet, Moment(NOW, 1e3), ["d"]) == []


def test_what_has_ended_is_not_begun_again_while_its_allocations_cannot_be_read(world):
    world.report("failed")
    world.lead()
    world.alter(ALLOCATIONS, "d.0", v=2)
    changes.restart(world.store, "d")
    world.lead()
    assert world.get(STATUS, "d")["reason"] == "cannot be restarted: an allocation of it cannot be read"


@pytest.mark.parametrize(
    ("collection", "field", "change"),
    [
        (DEPLOYMENTS, "d", lambda store: changes.restart(store, "d")),
        (DEPLOYMENTS, "d", lambda store: deployments.halt(store, "d")),
        (VERSIONS, "1:etl", lambda store: changes.limit(store, "d", "main", {"pids": 9})),
        (TEMPLATES, "etl", lambda store: templates.save(store, a_template(a_task(name="other")))),
        (TEMPLATES, "etl", lambda store: templates.find(store, "etl")),
        (NODES, "web-1", lambda store: nodes.join(store, {**SAID, "version": "0.1.0"}, "10.0.0.1", NOW)),
    ],
)
def test_the_api_does_not_change_a_record_of_another_schema(world, collection, field, change):
    world.alter(collection, field, v=2)
    before = world.store.get(collection, field)
    with pytest.raises((BadRecord, ApiError), match=r"is of schema 2, and muster .* reads 1"):
        change(world.store)
    assert world.store.get(collection, field) == before


@pytest.mark.parametrize("v", [2, 0, "1", None, True])
def test_an_order_of_another_schema_is_left_alone_and_said_to_be(v):
    entry = {"rev": 5, "generation": 1, "wanted": "running", "deployment": "d", "template": "t", "group": "g"}
    entry |= {"index": 0, "tasks": [a_task()]}
    newer = {**entry, "v": v, "wanted": "stopped", "generation": 2}
    known = obey.Orders("1-a", 9, {"d.0": entry})
    found = obey.consider(obey.Offer("1-a", 10, "u", {"d.0": newer, "e.0": newer}), known, "u")
    assert found.orders.entries == {"d.0": entry}
    says = f"unreadable: allocation {{}} is of schema {v!r}, and muster"
    assert found.oddities["d.0"].startswith(says.format("d.0"))
    assert found.oddities["e.0"].startswith(says.format("e.0"))


def test_what_runs_of_an_order_that_cannot_be_read_is_not_unclaimed():
    """A later release's agent was here before, and took it."""
    orders = obey.Orders("1-a", 9, {"d.0": {"v": 2, "generation": 1, "wanted": "running"}})
    assert obey.allocations(orders) == {}
    assert obey.unclaimed(["d.0", "e.0"], orders.entries, {}) == ["e.0"]


@pytest.mark.parametrize("generation", [1, 2])
def test_that_an_agent_does_not_understand_is_shown_to_users(world, generation):
    """Whether it has an older order of it, or none."""
    if generation == 2:
        world.report("running", note="unreadable: it is of schema 2")
        changes.restart(world.store, "d")
    else:
        entry = unread("unreadable: it is of schema 2", epoch=world.store.epoch, uid="u")
        world.store.client.hset(world.keys.actual, "d.0", dumps(entry))
    world.lead()
    assert world.get(STATUS, "d")["reason"] == "task main on web-1: unreadable: it is of schema 2"
    pair = {"d": (world.store.get(DEPLOYMENTS, "d").value, world.store.get(STATUS, "d").value)}
    (row,) = views.deployments(Projection(world.store), pair)[0]["tasks"]
    assert (row["state"], row["reason"]) == ("pending", "unreadable: it is of schema 2")


def test_an_order_that_is_not_understood_is_never_taken_for_ended(world):
    deployments.halt(world.store, "d")
    world.lead()
    entry = unread("unreadable", epoch=world.store.epoch, uid="u")
    world.store.client.hset(world.keys.actual, "d.0", dumps(entry))
    world.lead()
    assert world.desired()["d.0"]["wanted"] == "stopped"
    assert world.get(STATUS, "d")["status"] == "STOPPING"


@pytest.mark.parametrize("entry", [b"no JSON", b'{"generation":"x"}', b'{"note":[1]}', b'{"tasks":3}', b"{}"])
def test_a_node_that_talks_nonsense_spoils_nobody_s_listing(world, entry):
    world.store.client.hset(world.keys.actual, "d.0", entry)
    pair = {"d": (world.store.get(DEPLOYMENTS, "d").value, world.store.get(STATUS, "d").value)}
    (row,) = views.deployments(Projection(world.store), pair)[0]["tasks"]
    assert row["state"] == "pending"
    assert row["reason"].startswith("what its node says cannot be read") == (entry != b"{}")


def test_actual_entries_of_later_agents_keep_what_they_say():
    assert actual({"tasks": [{"name": "t", "later": 1}], **NEWER}) == {
        "tasks": [{"name": "t", "later": 1}], "rev": 0, "generation": 0, **NEWER,
    }  # fmt: skip
