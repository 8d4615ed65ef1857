"""Nodes that people remove: nothing of them is left, and nothing is lost that somebody counts."""

import pytest
import redis

from manager_api.controller.caretaker import GLANCE, Caretaker
from manager_api.controller.executor import Executor
from manager_api.controller.mirror import Mirror
from manager_api.controller.node_status import say
from store.codec import dumps, loads
from store.errors import Fenced
from store.keys import ALLOCATIONS, CLAIMS, DEPLOYMENTS, NODES, NODES_STATUS, STATUS, VERSIONS
from store.kv.connection import connect
from store.kv.presence import Apart, grant_beats
from store.kv.server import Server, user_of
from store.recipes.election import Election
from tests.builders import a_task, a_template
from tests.conftest import eventually, fresh_store
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.integration


class Leader:
    """One that looks after its fleet when a test says so."""

    def __init__(self, store, clock):
        self.store, self.clock = store, clock
        self.election = Election(store, "me", clock, ttl=600)
        assert self.election.campaign()
        self.mirror = Mirror(store, clock)
        self.mirror.load()
        executor = Executor(store, self.mirror, self.election.token)
        self.caretaker = Caretaker(store, self.mirror, executor, clock, self.election.campaign)

    def look(self, *, gone=()):
        """Read all anew, and see to it; nodes that are `gone` have been away for long."""
        self.clock.advance(GLANCE)
        self.mirror.verify()
        for node in gone:
            state = self.mirror.fleet.states[node]
            state.online, state.settled = False, True
        self.caretaker.glance()


@pytest.fixture(params=["redis", "valkey"])
def store(request, servers):
    return fresh_store(servers(request.param).client("test"))


@pytest.fixture
def manager(store):
    return Manager(store)


@pytest.fixture
def nodes(manager):
    """Two nodes whose names no other test has."""
    start = manager.store.keys.prefix[:-1]
    return [Puppet(manager, f"{start}.web-{number}") for number in (1, 2)]


def put(store, node, number, deployment="dep", **more):
    record = {
        "v": 1, "deployment": deployment, "template": "etl", "version": 1, "group": "group-0", "index": number, "part": 0,
        "node": node, "uid": f"uid-{node}", "generation": 1, "wanted": "running", "memory": 0, "cpus": 0.0, **more,
    }  # fmt: skip
    store.put(ALLOCATIONS, f"{deployment}.{number}", dumps(record))


def put_deployment(store, deployment="dep", wanted="running", state="RUNNING", **template):
    body = a_template(a_task(), **template)
    store.put(VERSIONS, "1:etl", dumps({"v": 1, "version": 1, "body": body}))
    store.put(
        DEPLOYMENTS,
        deployment,
        dumps({"v": 1, "template": "etl", "version": 1, "wanted": wanted, "created": 1e9}),
    )
    store.put(STATUS, deployment, dumps({"v": 1, "status": state, "reason": "", "allocations": []}))


def keys_of(store, node):
    return list(store.client.scan_iter(f"{store.keys.prefix}n:{{{node}}}:*"))


def users(store):
    return {name.decode() if isinstance(name, bytes) else name for name in store.client.acl_users()}


def is_gone(store, node):
    return not keys_of(store, node) and user_of(node) not in users(store) and store.get(NODES, node) is None


def remove(manager, puppet, *, away=True):
    if away:
        puppet.link.leave()
    answer = manager.http.simulate_delete(f"/v1/nodes/{puppet.node}", query_string="" if away else "force=1")
    assert answer.status_code == 202, answer.text


def test_all_of_a_node_goes(manager, nodes, store, clock):
    bad, good = nodes
    put_deployment(store, "over", "stopped", "STOPPED")
    put(store, bad.node, 0, "over", wanted="stopped")
    put_deployment(store)
    put(store, bad.node, 1, wanted="stopped")
    put(store, good.node, 2)
    claim = {
        "v": 1,
        "node": bad.node,
        "uid": bad.uid,
        "alloc": "x.0",
        "wanted": "stopped",
        "order": {"deployment": "x"},
        "asked": 1.0,
    }
    store.put(CLAIMS, f"{bad.node}/x.0", dumps(claim))
    store.client.hset(store.keys.node(bad.node).facts, "a", "b")
    store.client.hset(store.keys.node(bad.node).desired, "over.0", "{}")
    store.put(NODES_STATUS, bad.node, dumps({"v": 1, "drain": {"state": "done", "left": 0, "of": 1}}))
    remove(manager, bad)
    leader = Leader(store, clock)
    leader.look(gone=[bad.node])
    assert is_gone(store, bad.node)
    assert set(store.values(ALLOCATIONS)) == {"dep.2"}
    assert store.values(NODES_STATUS) == {}
    assert store.values(CLAIMS) == {}
    assert set(leader.mirror.fleet.nodes) == {good.node}
    assert user_of(good.node) in users(store)
    leader.look()
    assert keys_of(store, good.node)
    assert manager.post("/v1/nodes/join", bad.join_body()).status_code == 200, "it may join as a new one"


def test_what_lives_there_is_waited_for_and_it_is_said(manager, nodes, store, clock):
    bad, _ = nodes
    put_deployment(store)
    put(store, bad.node, 0)
    remove(manager, bad)
    leader = Leader(store, clock)
    leader.look(gone=[bad.node])
    assert store.get(NODES, bad.node) is not None
    assert "such as dep.0" in manager.get(f"/v1/nodes/{bad.node}").json["removal"]
    rev = store.meta().rev
    leader.look(gone=[bad.node])
    assert store.meta().rev == rev, "it is said once"
    put(store, bad.node, 0, wanted="stopped")
    leader.look(gone=[bad.node])
    assert is_gone(store, bad.node)
    assert store.values(NODES_STATUS) == {}


def test_what_is_pinned_to_it_is_stopped(manager, nodes, store, clock):
    bad, _ = nodes
    put_deployment(store, placement={"node": bad.node})
    put(store, bad.node, 0)
    remove(manager, bad)
    leader = Leader(store, clock)
    leader.look(gone=[bad.node])
    assert is_gone(store, bad.node)
    assert store.values(ALLOCATIONS) == {}


def test_a_job_that_ended_there_is_not_run_again(manager, nodes, store, clock):
    bad, _ = nodes
    put_deployment(store, count=2)
    put(store, bad.node, 0, done="completed")
    remove(manager, bad)
    leader = Leader(store, clock)
    leader.look(gone=[bad.node])
    assert is_gone(store, bad.node)
    left = loads(store.get(ALLOCATIONS, "dep.0").value)
    assert (left["uid"], left["done"]) == ("", "completed")


def test_an_agent_that_is_there_stops_first(manager, nodes, store, clock):
    bad, _ = nodes
    put_deployment(store)
    put(store, bad.node, 0, wanted="stopped")
    entry = {
        "v": 1,
        "uid": bad.uid,
        "epoch": store.epoch,
        "rev": 1,
        "generation": 1,
        "wanted": "running",
        "tasks": [],
    }
    bad.link.report({"dep.0": dumps(entry)}, [])
    remove(manager, bad, away=False)
    leader = Leader(store, clock)
    leader.look()
    assert store.get(NODES, bad.node) is not None
    assert "stopping" in manager.get(f"/v1/nodes/{bad.node}").json["removal"]
    leader.look(gone=[bad.node])
    assert is_gone(store, bad.node)


def test_a_node_that_is_only_unseen_stays(manager, nodes, store, clock):
    bad, _ = nodes
    remove(manager, bad)
    leader = Leader(store, clock)
    leader.mirror.fleet.states[bad.node].settled = False
    leader.look()
    assert store.get(NODES, bad.node) is not None


def test_who_leads_no_more_removes_nothing(manager, nodes, store, clock):
    bad, _ = nodes
    remove(manager, bad)
    leader = Leader(store, clock)
    store.client.delete(store.keys.lease("leader"))
    assert Election(store, "other", clock, ttl=600).campaign()
    with pytest.raises(Fenced):
        leader.look(gone=[bad.node])
    assert store.get(NODES, bad.node) is not None


def test_its_user_for_heartbeats_goes_too(manager, nodes, store, clock, servers):
    bad, good = nodes
    client = servers("redis").client("presence")
    store.presence = Apart(client, clock)
    store.presence.ask(lambda each: grant_beats(each, store.keys, {node.node: "0" * 64 for node in nodes}))
    remove(manager, bad)
    Leader(store, clock).look(gone=[bad.node])
    names = {name.decode() if isinstance(name, bytes) else name for name in client.acl_users()}
    assert user_of(bad.node) not in names
    assert user_of(good.node) in names
    Server(client).revoke_node(good.node)


def test_a_presence_store_that_is_away_holds_nothing_up(manager, nodes, store, clock):
    bad, _ = nodes
    remove(manager, bad)
    store.presence = Apart(connect("redis://127.0.0.1:1/0", name="x", within=0.2), clock)
    leader = Leader(store, clock)
    leader.look(gone=[bad.node])
    assert store.get(NODES, bad.node) is None


def test_two_words_on_a_node_do_not_take_each_other_away(store, clock):
    election = Election(store, "me", clock, ttl=600)
    assert election.campaign()

    def word(key, value):
        say(store, "web-1", key, value, token=election.token)
        found = store.get(NODES_STATUS, "web-1")
        return found and loads(found.value)

    assert word("drain", {"left": 3}) == {"v": 1, "drain": {"left": 3}}
    rev = store.meta().rev
    assert word("drain", {"left": 3}) == {"v": 1, "drain": {"left": 3}}
    assert store.meta().rev == rev
    assert word("barred", {"since": 1.0}) == {"v": 1, "drain": {"left": 3}, "barred": {"since": 1.0}}
    assert word("drain", None) == {"v": 1, "barred": {"since": 1.0}}
    assert word("barred", None) is None
    assert word("barred", None) is None
    store.put(NODES_STATUS, "web-1", b"nonsense")
    assert word("drain", {"left": 1}) == {"v": 1, "drain": {"left": 1}}


def test_a_barred_node_that_is_drained_keeps_both_words(manager, nodes, store, clock):
    bad, _ = nodes
    leader = Leader(store, clock)
    say(store, bad.node, "drain", {"state": "draining", "left": 1, "of": 1}, token=leader.election.token)
    police = leader.caretaker._police
    police.bar(bad.node, "its hb takes too much")
    assert loads(store.get(NODES_STATUS, bad.node).value).keys() == {"v", "drain", "barred"}
    clock.advance(3600)
    police.enforce()
    assert loads(store.get(NODES_STATUS, bad.node).value).keys() == {"v", "drain"}
    again = Leader(store, clock)
    assert again.caretaker._police.barred == {}, "a word on a drain is no bar"


def test_a_node_being_drained_is_granted_after_a_restart_of_the_store(manager, nodes, store):
    """The one whose status says something, but not that it is barred, has its user pushed with all others."""
    bad, _ = nodes
    store.put(NODES_STATUS, bad.node, dumps({"v": 1, "drain": {"state": "draining", "left": 1, "of": 1}}))
    Server(store.client).revoke_node(bad.node)
    manager.lead()
    try:
        eventually(lambda: user_of(bad.node) in users(store))
    finally:
        manager.end()


def test_a_real_leader_removes_a_node(manager, nodes, store):
    bad, good = nodes
    manager.lead()
    try:
        eventually(lambda: manager.controller.mirror is not None)
        remove(manager, bad)
        eventually(lambda: is_gone(store, bad.node), 60)
        assert manager.get(f"/v1/nodes/{bad.node}").status_code == 404
        assert manager.get(f"/v1/nodes/{good.node}").status_code == 200
    finally:
        manager.end()


def test_its_credential_is_worth_nothing_any_more(manager, nodes, store, clock):
    bad, _ = nodes
    port = store.client.connection_pool.connection_kwargs["port"]
    thief = connect(f"redis://127.0.0.1:{port}/0", name="thief", username=user_of(bad.node), password="x")
    assert thief.ping()
    remove(manager, bad)
    Leader(store, clock).look(gone=[bad.node])
    with pytest.raises((redis.AuthenticationError, redis.ConnectionError)):
        thief.ping()
