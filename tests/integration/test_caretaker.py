"""Floods by a stolen credential, and keys that nobody owns, on real servers."""

import hashlib
import threading

import pytest
import redis

from manager_api.controller import caretaker as caretaker_module
from manager_api.controller import police as police_module
from manager_api.controller.caretaker import TURNS, Caretaker
from manager_api.controller.executor import Executor
from manager_api.controller.mirror import Mirror
from manager_api.controller.police import COOL_DOWN
from manager_api.core.retention import KEPT
from store.codec import dumps, loads
from store.errors import Denied
from store.keys import NODES_STATUS
from store.kv.connection import connect
from store.kv.node import RedisNodeLink
from store.kv.projection import Projection
from store.kv.server import Server, user_of
from store.kv.usage import Usage
from store.recipes.election import Election
from tests.conftest import eventually, fresh_store
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.integration

MB = 1024 * 1024


class Leader:
    """One that leads when a test says so."""

    def __init__(self, store, clock):
        self.clock = clock
        self.election = Election(store, "me", clock, ttl=600)
        assert self.election.campaign()
        self.mirror = Mirror(store, clock)
        self.mirror.load()
        executor = Executor(store, self.mirror, self.election.token)
        self.caretaker = Caretaker(store, self.mirror, executor, clock, self.election.campaign)

    def round(self, times=1):
        for _ in range(times):
            self.clock.advance(15)
            self.mirror.verify()
            for _ in self.caretaker.chores():
                self.election.campaign()


@pytest.fixture(params=["redis", "valkey"])
def manager(request, servers):
    client = servers(request.param).client("test")
    # What the tests before had dropped is let go of, or it would hide what grows here.
    eventually(lambda: client.info("memory")["lazyfree_pending_objects"] == 0)
    return Manager(fresh_store(client))


@pytest.fixture
def nodes(manager):
    """Two nodes whose names no other test has, with rights of their own."""
    start = manager.store.keys.prefix[:-1]
    return [Puppet(manager, f"{start}.web-{number}") for number in (1, 2)]


def thief(puppet):
    """A raw client with a node's credential."""
    kwargs = puppet.manager.store.client.connection_pool.connection_kwargs
    url = f"redis://127.0.0.1:{kwargs['port']}/0"
    return connect(url, name="thief", username=user_of(puppet.node), password="x")


def rows(manager):
    return {row["id"]: row for row in manager.get("/v1/nodes").json["data"]}


def is_barred(puppet):
    try:
        RedisNodeLink(thief(puppet), thief(puppet), puppet.manager.store.keys, puppet.node).fetch()
    except Denied:
        return True
    return False


def fill_actual(client, keys):
    pipe = client.pipeline(transaction=False)
    for number in range(20):
        pipe.hset(keys.actual, f"dep.{number}", b"x" * MB)
    pipe.execute()


def many_fields(client, keys):
    for start in range(0, 200_000, 10_000):
        client.hset(keys.actual, mapping={f"{n}": "x" * 20 for n in range(start, start + 10_000)})


def huge_facts(client, keys):
    client.hset(keys.facts, mapping={str(n): "x" * 1000 for n in range(1000)})


def huge_beat(client, keys):
    client.set(keys.beat, b"x" * MB)


@pytest.mark.parametrize("flood", [fill_actual, many_fields, huge_facts, huge_beat])
def test_who_fills_its_own_keys_is_barred_and_emptied(manager, nodes, clock, flood, caplog):
    bad, good = nodes
    leader = Leader(manager.store, clock)
    client = thief(bad)
    flood(client, manager.store.keys.node(bad.node))
    leader.round(TURNS)
    assert is_barred(bad)
    assert not is_barred(good)
    with pytest.raises((redis.AuthenticationError, redis.ConnectionError)):
        client.ping()  # the connection that it had is gone as well
    usage = Usage(manager.store)
    assert sum(size.bytes for size in usage.sizes([bad.node])) < MB
    shown = rows(manager)
    assert "barred from the store: its " in shown[bad.node]["frozen"]
    assert not (shown[good.node]["frozen"] or "").startswith("barred")
    assert f"node {bad.node} is barred" in caplog.text


def test_a_node_with_much_to_run_may_say_much(manager, nodes, clock):
    busy, _ = nodes
    leader = Leader(manager.store, clock)
    fill_actual(thief(busy), manager.store.keys.node(busy.node))
    leader.mirror.fleet.on_node[busy.node] = {f"dep.{number}" for number in range(400)}
    for _ in range(TURNS):
        leader.caretaker._police.inspect_turn(sorted(leader.mirror.fleet.nodes), TURNS)
    assert not is_barred(busy)


def test_it_comes_back_with_a_new_secret_or_after_a_while(manager, nodes, clock):
    bad, other = nodes
    leader = Leader(manager.store, clock)
    for each in nodes:
        huge_beat(thief(each), manager.store.keys.node(each.node))
    leader.round(TURNS)
    assert (is_barred(bad), is_barred(other)) == (True, True)

    refused = manager.post("/v1/nodes/join", bad.join_body())
    assert refused.status_code == 403
    assert "identity.json" in refused.json["detail"]
    assert is_barred(bad), "joining again does not help"
    Server(manager.store.client).grant_node(manager.store.keys, bad.node, hashlib.sha256(b"x").hexdigest())
    leader.caretaker.granted()
    assert is_barred(bad), "nor does another grant"

    fresh = hashlib.sha256(b"new").hexdigest()
    assert manager.post("/v1/nodes/join", bad.join_body(secret_sha256=fresh)).status_code == 200
    leader.round()
    assert is_barred(bad), "the stolen secret serves no more"
    assert bad.node not in manager.store.values(NODES_STATUS)

    clock.advance(COOL_DOWN)
    leader.round()
    assert not is_barred(other)
    assert manager.store.values(NODES_STATUS) == {}


def test_the_next_leader_knows_who_is_barred(manager, nodes, clock):
    bad, _ = nodes
    leader = Leader(manager.store, clock)
    huge_beat(thief(bad), manager.store.keys.node(bad.node))
    leader.round(TURNS)
    Server(manager.store.client).grant_node(manager.store.keys, bad.node, hashlib.sha256(b"x").hexdigest())
    leader.election.resign()
    Leader(manager.store, clock).caretaker.granted()
    assert is_barred(bad)


def test_a_flood_of_answers_is_ended(manager, nodes, clock):
    bad, good = nodes
    leader = Leader(manager.store, clock)
    client = thief(bad)
    pipe = client.pipeline(transaction=False)
    for number in range(3000):
        pipe.xadd(manager.store.keys.node(bad.node).answer(str(number)), {"d": b"x"})
    pipe.execute()
    one = manager.store.keys.node(good.node).answer("one")
    thief(good).xadd(one, {"d": b"x"})
    leader.round(5)
    pattern = manager.store.keys.node(bad.node).answers.replace("{", "\\{") + "*"
    leader.round(5)
    assert (is_barred(bad), is_barred(good)) == (True, False)
    assert list(manager.store.client.scan_iter(match=pattern, count=10_000)) == []
    assert 0 < manager.store.client.pttl(one) <= 60_000, "an answer that nobody ended ends"


def test_answers_whose_names_are_no_text_count_like_others(manager, nodes, clock, monkeypatch):
    monkeypatch.setattr(caretaker_module, "MOST_ANSWERS", (1000, 2 * MB))
    bad, _ = nodes
    keys, client = manager.store.keys, manager.store.client
    odd = keys.node(bad.node).answer("").encode() + b"\xff\xfe"
    thief(bad).xadd(odd, {"a": b"x" * MB})
    leader = Leader(manager.store, clock)
    leader.round(TURNS)
    assert client.pttl(odd) > 0
    assert not is_barred(bad)
    for _ in range(3):
        thief(bad).xadd(odd, {"a": b"x" * MB})
    leader.round(TURNS)
    assert is_barred(bad)
    leader.round(TURNS)
    assert not client.exists(odd)


def test_a_beat_without_an_end_gets_one(manager, nodes, clock):
    bad, _ = nodes
    key = manager.store.keys.node(bad.node).beat
    thief(bad).set(key, b"{}")
    Leader(manager.store, clock).round(5)
    assert 0 < manager.store.client.pttl(key) <= 60_000


def test_a_key_of_the_wrong_type_stops_nobody(manager, nodes, clock):
    """The leader, the list of nodes, and the other node go on; the key is put right."""
    bad, good = nodes
    keys = manager.store.keys.node(bad.node)
    client = thief(bad)
    for key in (keys.actual, keys.beat, keys.facts):
        client.delete(key)
    client.set(keys.actual, b"x")
    client.hset(keys.beat, "a", "b")
    client.xadd(keys.facts, {"a": "b"})
    leader = Leader(manager.store, clock)
    leader.mirror.look([bad.node, good.node])
    assert leader.mirror.presence.online(good.node)
    assert Projection(manager.store).actual_entries([(bad.node, "a"), (good.node, "a")]) == [None, None]
    assert rows(manager)[bad.node]["status"] == 1
    leader.round(TURNS)
    assert manager.store.client.exists(keys.actual, keys.beat, keys.facts) == 0
    assert not is_barred(bad)


def test_names_that_are_no_text_stop_nobody(manager, nodes, clock, caplog):
    bad, _ = nodes
    thief(bad).hset(manager.store.keys.node(bad.node).actual, b"\xff\xfe", b"\xff")
    thief(bad).hset(manager.store.keys.node(bad.node).actual, mapping={str(n): "?" for n in range(50)})
    leader = Leader(manager.store, clock)
    assert leader.mirror.fleet.states[bad.node].actual == {}
    assert caplog.text.count("51 entries cannot be read") == 1


def test_what_was_said_before_stands_while_actual_cannot_be_read(manager, nodes, clock):
    bad, _ = nodes
    keys = manager.store.keys.node(bad.node)
    thief(bad).hset(keys.actual, "dep.0", dumps({"rev": 1, "tasks": []}))
    leader = Leader(manager.store, clock)
    thief(bad).set(keys.actual, b"x")
    bad.seq += 1
    bad.beat()
    leader.mirror.look([bad.node])
    assert leader.mirror.fleet.states[bad.node].actual.keys() == {"dep.0"}


def test_a_reader_that_does_not_read_is_cut_off(manager, nodes, clock, monkeypatch):
    monkeypatch.setattr(police_module, "GROWTH", 8 * MB)
    monkeypatch.setattr(police_module, "CONNECTION_BOUND", 8 * MB)
    bad, good = nodes
    leader = Leader(manager.store, clock)
    quiet = thief(good)
    quiet.ping()
    leader.caretaker.glance()
    key = manager.store.keys.node(bad.node).actual
    client = thief(bad)
    client.hset(key, "a", b"x" * MB)
    connection = client.connection_pool.get_connection()
    connection.send_packed_command(connection.pack_commands([("HGETALL", key)] * 40))
    usage = Usage(manager.store)
    eventually(lambda: any(size > 16 * MB for _, _, size in usage.connections()))
    clock.advance(1)
    leader.caretaker.glance()
    assert all(size < 8 * MB for _, _, size in usage.connections())
    quiet.ping()
    assert not is_barred(bad), "a connection is no key"


def test_growing_memory_makes_the_leader_look_at_once(manager, nodes, clock):
    bad, good = nodes
    leader = Leader(manager.store, clock)
    leader.caretaker.glance()
    pipe = thief(bad).pipeline(transaction=False)
    for number in range(90):
        pipe.hset(manager.store.keys.node(bad.node).actual, f"{number}", b"x" * MB)
    pipe.execute()
    clock.advance(0.5)
    leader.caretaker.glance()
    assert not is_barred(bad), "it looks once a second"
    clock.advance(0.5)
    leader.caretaker.glance()
    assert (is_barred(bad), is_barred(good)) == (True, False)


def test_a_new_leader_finds_what_was_filled_before_it(manager, nodes, clock):
    """It cannot know what memory was like before; large values may be what cost the last one its lease."""
    bad, good = nodes
    pipe = thief(bad).pipeline(transaction=False)
    for number in range(10):
        pipe.hset(manager.store.keys.node(bad.node).actual, f"{number}", b"x" * MB)
    pipe.execute()
    leader = Leader(manager.store, clock)
    leader.caretaker.glance()
    assert (is_barred(bad), is_barred(good)) == (True, False)


def test_nothing_is_left_of_a_node_without_a_record(manager, nodes, clock):
    gone, stays = nodes
    store = manager.store
    leader = Leader(store, clock)
    Projection(store).project(gone.node, gone.uid, {"a.0": b"{}"}, (), token=leader.election.token)
    gone.link.report({"a.0": b"{}"}, ())
    gone.link.describe({"x": b"1"})
    stays.link.describe({"x": b"1"})
    leader.round(6)
    assert store.client.exists(store.keys.node(gone.node).facts), "whoever has a record is left alone"
    record = store.get("nodes", gone.node)
    store.client.hdel(store.keys.collection("nodes"), gone.node)  # by hand: its revision stays
    leader.round(6)
    left = [key for key in store.client.scan_iter(f"{store.keys.prefix}*") if gone.node.encode() in key]
    assert left == []
    assert gone.node not in store.revisions("nodes")
    assert user_of(gone.node) not in [str(name) for name in store.client.acl_users()]
    assert store.client.exists(store.keys.node(stays.node).facts)
    store.put("nodes", gone.node, record.value, rev=0)


@pytest.mark.parametrize("collection", ["templates", "downloads", "nodes:status", "devices"])
def test_a_record_deleted_by_hand_leaves_nothing_and_no_complaint(manager, clock, collection, caplog):
    store = manager.store
    leader = Leader(store, clock)
    store.put(collection, "gone", b"{}")
    store.client.hdel(store.keys.collection(collection), "gone")
    leader.round()
    assert "gone" not in store.revisions(collection)
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == []


def test_a_node_that_joins_while_it_is_swept_keeps_its_keys(manager, nodes, clock):
    node, _ = nodes
    leader = Leader(manager.store, clock)
    keys = [manager.store.keys.node(node.node).beat]
    assert Usage(manager.store).sweep(node.node, keys, leader.election.token) == 0
    assert manager.store.client.exists(*keys)


def test_a_storm_of_hints_delays_no_deployment(manager, nodes):
    """One node publishes all it can, under many names; the other is deployed to and obeys."""
    bad, good = nodes
    port = manager.store.client.connection_pool.connection_kwargs["port"]
    assert port
    manager.controller._watcher = thief_free(manager)
    manager.lead()
    stop = threading.Event()

    def storm():
        client = thief(bad)
        while not stop.is_set():
            pipe = client.pipeline(transaction=False)
            for number in range(500):
                pipe.publish(manager.store.keys.hints, f"forged-{number}")
                pipe.publish(manager.store.keys.hints, good.node)
            pipe.execute()

    thread = threading.Thread(target=storm, daemon=True)
    thread.start()
    try:
        task = {"name": "t", "config": {"command": "/bin/true", "node": good.node}}
        manager.post("/api/task/task_group", {"name": "etl", "task_groups": [{"tasks": [task]}]})
        answer = manager.post("/api/task/task_group/deploy", {"name": "etl"})
        assert answer.status_code == 200, answer.text
        eventually(good.orders)
        good.obey()
        status = manager.store.keys.collection("deployments:status")
        deployment = answer.json["id"]
        eventually(lambda: loads(manager.store.client.hget(status, deployment))["status"] == "RUNNING")
    finally:
        stop.set()
        thread.join(10)
        manager.end()


def thief_free(manager):
    """Another client of the same server: watching blocks."""
    kwargs = manager.store.client.connection_pool.connection_kwargs
    return connect(f"redis://127.0.0.1:{kwargs['port']}/0", name="watch", password=kwargs["password"])


def test_what_the_server_does_not_allow_is_said_once_and_leads_on(manager, nodes, clock, monkeypatch, caplog):
    leader = Leader(manager.store, clock)
    monkeypatch.setattr(Usage, "memory", lambda _: (_ for _ in ()).throw(Denied("NOPERM info")))
    for _ in range(3):
        clock.advance(1)
        leader.caretaker.glance()
    assert caplog.text.count("is not looked after") == 1


def test_ended_deployments_leave_by_the_leaders_watch(manager, nodes, clock):
    assert KEPT > caretaker_module.GLANCE
    leader = Leader(manager.store, clock)
    manager.store.put(
        "deployments", "d", dumps({"template": "t", "version": 1, "wanted": "running", "created": 1.0})
    )
    manager.store.put(
        "deployments:status", "d", dumps({"status": "COMPLETED", "ended": 1.0, "allocations": []})
    )
    leader.round(2)
    assert leader.mirror.fleet.retiring == set(), "dated 1970, but seen only now"
    clock.advance(KEPT)
    leader.round()
    assert leader.mirror.fleet.retiring == {"d"}
    assert "d" in leader.mirror.dirty_deployments


def test_one_value_too_large_for_anybody_is_refused_at_the_door(manager, nodes):
    """Our own server's bound; on another server the leader finds it within a second."""
    bad, _ = nodes
    with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
        thief(bad).hset(manager.store.keys.node(bad.node).actual, "a", b"x" * (66 * MB))
    assert not manager.store.client.hexists(manager.store.keys.node(bad.node).actual, "a")


def test_a_manager_reads_more_than_any_node_may_hold(manager):
    key = f"{manager.store.keys.prefix}large"
    for number in range(100):
        manager.store.client.hset(key, str(number), b"x" * MB)
    assert len(manager.store.client.hgetall(key)) == 100
    manager.store.client.delete(key)
