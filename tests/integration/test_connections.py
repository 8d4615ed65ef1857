"""Connections: how many an agent has, and what happens when somebody takes them all."""

import contextlib
import hashlib
import os
import signal

import pytest

from agentd.identity import Identity
from agentd.join import Joiner
from agentd.uplink import Uplink
from manager_api.http.nodes.admission import RETRY_AFTER
from manager_api.warden import Warden
from store import bootstrap
from store.clock import SystemClock
from store.embedded import EmbeddedServer
from store.errors import StoreError, Unavailable
from store.home import Files
from store.kv import clients
from store.kv.asks import Chunk
from store.kv.connection import connect
from store.kv.server import Server, user_of
from store.kv.store import Store
from store.model.server import KEPT_FOR_MANAGERS, PER_NODE
from tests.conftest import ManualClock, eventually, server_binary
from tests.fakes import Manager
from tests.flood import Flood

pytestmark = pytest.mark.integration
SECRET = "s3cret"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()


@pytest.fixture(params=["redis", "valkey"])
def server(request, tmp_path):
    """A server of the test's own: its limits are changed."""
    home = tmp_path / "server"
    home.mkdir()
    found = EmbeddedServer(Files(home), binary=server_binary(request.param))
    found.start()
    yield found
    found.stop()


@pytest.fixture
def admin(server):
    """A manager's connection, open from the beginning."""
    client = server.client("admin")
    client.ping()
    yield client
    client.close()


@pytest.fixture
def store(admin):
    found = Store(admin)
    bootstrap.begin(found, None)
    return found


class Remembering(Joiner):
    """A joiner that was told already."""

    def _join(self, _facts):
        raise Unavailable("no manager here")


def an_uplink(home, server, store, node, presence=None):
    import json

    Server(store.client).grant_node(store.keys, node, DIGEST)
    known = {"@epoch": store.epoch, "@rev": 1, "@node": f"uid-{node}"}  # as whoever leads writes it
    store.client.hset(store.keys.node(node).desired, mapping=known)
    known = {"uid": f"uid-{node}", "cluster": "c", "url": server.local_url, "username": user_of(node)}
    (home / "join.json").write_text(json.dumps({**known, "password": None, "presence": presence, "said": ""}))
    joiner = Remembering(home, Identity(node, f"uid-{node}", SECRET, "m"), "http://127.0.0.1:1", ())
    beat = {"uid": f"uid-{node}", "instance": f"i-{node}", "started": 1.0, "hostname": node, "ttl": 1.5}
    return Uplink(joiner, SystemClock(), f"uid-{node}", 0.5, 1.5, lambda: dict(beat), lambda _: None)


def names(client, node):
    """The names of a node's connections."""
    return sorted(row["name"] for row in client.client_list() if row["user"] == user_of(node))


def waiting(client):
    """The names of the connections whose last command was to wait for news."""
    return {row["name"] for row in client.client_list() if row["cmd"] == "xread"}


def test_an_agent_has_two_connections_and_a_third_only_while_its_logs_are_read(
    server, admin, store, tmp_path
):
    uplink = an_uplink(tmp_path, server, store, "web-1")
    uplink.start()
    two = ["muster-web-1", "muster-web-1-wake"]
    eventually(lambda: uplink.trouble is None and names(admin, "web-1") == two)
    eventually(lambda: waiting(admin) == {"muster-web-1-wake"})
    uplink.publish({"a.0": b"{}"})
    eventually(lambda: admin.hgetall(store.keys.node("web-1").actual) == {b"a.0": b"{}"})
    assert names(admin, "web-1") == two, "reports go where beats go"
    uplink.chunk("x", [Chunk({"seq": 0}, b"y")])
    assert names(admin, "web-1") == ["muster-web-1", "muster-web-1-logs", "muster-web-1-wake"]
    uplink.rest()
    eventually(lambda: names(admin, "web-1") == two)
    uplink.leave()


def test_a_new_node_is_refused_when_managers_would_have_no_room_left(store, admin):
    manager = Manager(store)
    room = KEPT_FOR_MANAGERS + 2 * PER_NODE

    def joins(node):
        said = {"id": node, "uid": f"uid-{node}", "hostname": node, "addresses": ["10.0.0.1"]}
        said |= {"secret_sha256": DIGEST, "version": "0.2.0", "features": ["presence"]}
        return manager.post("/v1/nodes/join", said)

    admin.config_set("maxclients", room)
    for node in ("a", "b"):
        answer = joins(node)
        assert answer.status_code == 200, answer.text
        assert answer.json["spread"] == 0.5
        assert "presence" not in answer.json["store"]
    refused = joins("c")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, str(RETRY_AFTER))
    assert "Raise maxclients" in refused.json["detail"]
    assert f"takes {room} connections" in refused.json["detail"]
    assert store.get("nodes", "c") is None
    admin.config_set("maxclients", KEPT_FOR_MANAGERS)
    assert joins("a").status_code == 200, "who is known is never refused"
    admin.config_set("maxclients", room + PER_NODE)
    assert joins("c").status_code == 200


def is_kept_out(client):
    """Whether the server has no place for it; one that it gets it gives back: the flood may be just filling it."""
    try:
        client.ping()
    except Exception as error:
        return "max number of clients" in str(error) or "Connection" in str(error)
    client.close()
    return False


def test_a_flood_by_a_stolen_credential_shuts_no_manager_out(server, admin, store, tmp_path):
    for node in ("evil", "web-2"):
        Server(admin).grant_node(store.keys, node, DIGEST)
    admin.config_set("maxclients", 60)
    clock = ManualClock()
    warden = Warden(admin, clock)
    flood = Flood(server.port, "evil", SECRET)
    try:
        assert flood.refused.wait(20)
        others = [server.client("api"), server.client("controller")]
        others.append(connect(server.local_url, name="web-2", username=user_of("web-2"), password=SECRET))
        eventually(lambda: all(is_kept_out(client) for client in others))
        for _ in range(3):
            clock.advance(60)
            warden.tick()
            with contextlib.suppress(Exception):
                for client in others:
                    client.get(store.keys.node("web-2").beat)
        assert [row["name"] for row in admin.client_list() if row["name"] in ("muster-api", "muster-web-2")]
        users = [row["user"] for row in admin.client_list()]
        assert users.count(user_of("web-2")) == 1
        assert others[1].ping()

        def shut_out():
            clock.advance(2.5)
            warden.tick()
            return "off" in admin.acl_getuser(user_of("evil"))["flags"]

        eventually(shut_out)
        tries = flood.tries
        eventually(lambda: flood.tries > tries + 3)
        assert len(names(admin, "evil")) <= clients.MOST_OF_ONE, "shut out until it is let in"
        assert all(client.get(store.keys.node("web-2").beat) is None for client in others)
    finally:
        flood.end()


def test_who_is_shut_out_is_let_in_again(server, admin, store, caplog):
    Server(admin).grant_node(store.keys, "evil", DIGEST)
    admin.config_set("maxclients", 60)
    clock = ManualClock()
    warden = Warden(admin, clock)
    flood = Flood(server.port, "evil", SECRET)
    flood.refused.wait(20)
    warden.tick()
    assert "delete `secret` from its identity.json" in caplog.text, "all of it is its uid, too"
    flood.end()
    mine = connect(server.local_url, name="evil", username=user_of("evil"), password=SECRET)
    with pytest.raises(Exception, match=r"(?i)wrongpass|invalid"):
        mine.get(store.keys.node("evil").beat)
    clock.advance(60)
    warden.tick()
    assert mine.get(store.keys.node("evil").beat) is None


def test_nobody_is_dropped_while_there_is_room(server, admin, store):
    Server(admin).grant_node(store.keys, "many", DIGEST)
    held = [
        connect(server.local_url, name="many", username=user_of("many"), password=SECRET) for _ in range(20)
    ]
    for each in held:
        each.get(store.keys.node("many").beat)
    assert clients.police(admin) is None
    assert len(names(admin, "many")) == 20


def test_a_store_that_is_away_does_not_stop_the_warden(server, admin, clock):
    warden = Warden(connect("redis://127.0.0.1:1/0", name="x"), clock)
    for _ in range(3):
        warden.tick()
        clock.advance(10)
    with pytest.raises(StoreError):
        clients.police(connect("redis://127.0.0.1:1/0", name="x"))


def test_agents_beat_on_the_store_while_the_presence_store_is_away_and_move_back(
    server, admin, store, tmp_path
):
    home = tmp_path / "presence"
    home.mkdir()
    apart = EmbeddedServer(Files(home), binary=server.binary.path)
    apart.start()
    try:
        raw = apart.client("test")
        from store.kv.presence import grant_beats

        grant_beats(raw, store.keys, {"web-1": DIGEST})
        uplink = an_uplink(tmp_path, server, store, "web-1", presence=apart.local_url)
        uplink.start()
        key = store.keys.node("web-1").beat
        eventually(lambda: raw.exists(key) and not admin.exists(key) and uplink.trouble is None)
        assert names(raw, "web-1") == ["muster-web-1-presence"]
        eventually(lambda: names(admin, "web-1") == ["muster-web-1", "muster-web-1-wake"])
        os.kill(apart.pid, signal.SIGSTOP)
        eventually(lambda: admin.exists(key))
        assert uplink.trouble is None, "nothing else stops"
        os.kill(apart.pid, signal.SIGCONT)
        eventually(lambda: raw.exists(key) and not admin.exists(key))
        uplink.leave()
        assert not raw.exists(key)
    finally:
        os.kill(apart.pid, signal.SIGCONT)
        apart.stop()
