"""A stolen node credential says nonsense: leader and API go on for everybody else."""

import json

import pytest

from manager_api.controller.executor import Executor
from manager_api.controller.history import History
from manager_api.controller.mirror import Mirror
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments, plan_nodes
from store.kv.lease import Lease
from tests.builders import a_task, a_template
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.integration

DEEP = b'{"a":' * 500 + b"1" + b"}" * 500
"""Can be read, and not be written again."""


@pytest.fixture
def manager(store, monkeypatch):
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)
    return Manager(store)


class Leader:
    """One that leads when a test says so."""

    def __init__(self, store, clock):
        self.store, self.clock = store, clock
        self.token = Lease(store, "leader", "me", 60_000).acquire()
        self.mirror = Mirror(store, clock)
        self.mirror.load()
        self.history = History(store, clock, None)
        self.history.enter()

    def round(self):
        """Look at everything and do what is to be done; what that was."""
        mirror, done = self.mirror, []
        mirror.verify()
        mirror.look(sorted(mirror.fleet.nodes))
        self.history.check(mirror)
        executor = Executor(self.store, mirror, self.token)
        for _ in range(3):
            actions = plan_deployments(
                mirror.fleet, Moment(1e9, 1e3), mirror.fleet.deployments | mirror.fleet.status
            )
            executor.perform(actions)
            more = plan_nodes(mirror.fleet, mirror.fleet.nodes)
            executor.perform(more)
            done += [*actions, *more]
        return done


def says(puppet, raw, alloc_id="d.0"):
    """Put raw bytes where the node reports."""
    puppet.manager.store.client.hset(puppet.manager.store.keys.node(puppet.node).actual, alloc_id, raw)
    puppet.seq += 1
    puppet.beat()


@pytest.mark.parametrize("epoch", ["9" * 5000 + "-x", ["1-x"], {"a": 1}, "7-\n", "\u0663-x"])
def test_an_epoch_that_is_none_ends_no_leadership(manager, clock, epoch):
    bad, good = Puppet(manager), Puppet(manager, "web-2")
    bad.beat(epoch=epoch, rev=5)
    leader = Leader(manager.store, clock)
    leader.round()
    assert not leader.history.settle(leader.mirror, None, leader.token)
    assert leader.mirror.presence.online(good.node)
    assert manager.get("/v1/nodes").status_code == 200
    assert manager.get("/v1/doctor").status_code == 200


def test_what_cannot_be_written_again_is_not_taken_in(manager, clock):
    """The status of an ended deployment holds what its nodes said last."""
    bad, _ = Puppet(manager), Puppet(manager, "web-2")
    ids = {}
    for node in ("web-1", "web-2"):
        body = a_template(a_task(command=f"{node}:/bin/true"), name=node)
        assert manager.post("/api/task/task_group", body).status_code == 200
        answer = manager.post("/api/task/task_group/deploy", {"name": node})
        assert answer.status_code < 300, answer.text
        (ids[node],) = [key for key in manager.store.values("deployments") if key not in ids.values()]
    leader = Leader(manager.store, clock)
    leader.round()
    entry = json.dumps({"uid": bad.uid, "generation": 1, "tasks": [{"name": "main", "state": "failed"}]})
    says(bad, entry.encode().replace(b'"failed"', b'"failed","limits":' + DEEP), f"{ids['web-1']}.0")
    beat = json.dumps({**bad.fields, "actual_seq": bad.seq, "load": "?"}).encode().replace(b'"?"', DEEP)
    manager.store.client.set(manager.store.keys.node(bad.node).beat, beat)
    leader.round()
    listed = manager.get("/v1/nodes")
    assert listed.status_code == 200, listed.text
    assert [row["id"] for row in listed.json["data"]] == ["web-1", "web-2"]
    assert manager.get("/v1/deployments").status_code == 200


NONSENSE = [
    {"order": {}, "tasks": [1]},
    {"order": {}, "tasks": None},
    {"order": {}, "tasks": 7},
    {"order": [], "uid": []},
    {"order": {"deployment": "d"}},
    {"order": {"deployment": "d", "template": [], "tasks": [{}]}},
    {"order": {"deployment": ["d"], "tasks": {}}},
    {"order": {"deployment": "d", "group": {}, "index": "x", "generation": "y", "tasks": []}},
]


@pytest.mark.parametrize("entry", NONSENSE)
def test_nonsense_about_unclaimed_work_stops_nobody(manager, clock, entry):
    bad = Puppet(manager)
    says(bad, json.dumps({"uid": bad.uid, **entry}).encode(), "d.0")
    bad.beat(unclaimed=["d.0", 5, {"x": 1}, "\x1b[2J"])
    listed = manager.get("/v1/unclaimed")
    assert listed.status_code == 200, listed.text
    assert manager.get("/v1/doctor").status_code == 200
    for verb in ("adopt", "stop"):
        assert manager.post(f"/v1/unclaimed/d/{verb}", {}).status_code in (400, 404, 409)
    leader = Leader(manager.store, clock)
    leader.round()
    assert not leader.mirror.fleet.unreadable


@pytest.mark.parametrize("ahead", [10, 10**6, 2**52])
def test_a_node_that_claims_what_was_never_said_costs_no_writes(manager, clock, ahead):
    bad = Puppet(manager)
    leader = Leader(manager.store, clock)
    leader.round()
    epoch, rev = manager.store.epoch, manager.store.seen
    leader.history._doubted[f"node {bad.node}"] = clock.now()  # it made an epoch begin just now
    for number in range(5):
        bad.beat(epoch=epoch, rev=rev + ahead, time=number)
        assert leader.round() == []
    assert manager.store.seen == rev


def test_who_meddled_with_what_a_node_obeyed_is_noticed(manager, clock):
    node = Puppet(manager)
    leader = Leader(manager.store, clock)
    leader.round()
    leader.round()
    keys = manager.store.keys
    pulse = node.beat()
    manager.store.put("templates", "x", b"{}")
    manager.store.client.hset(keys.node(node.node).desired, "@rev", 0)
    node.beat(epoch=pulse.epoch, rev=pulse.rev)
    leader.round()
    assert int(manager.store.client.hget(keys.node(node.node).desired, "@rev")) > pulse.rev
