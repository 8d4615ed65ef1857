"""What only a real server shows: rights, expiry, restarts."""

import hashlib
import subprocess

import pytest

from store.errors import Denied, Unavailable
from store.kv.asks import Answers, Asks, Chunk
from store.kv.connection import connect
from store.kv.hints import Hints
from store.kv.node import RedisNodeLink
from store.kv.projection import Projection
from store.kv.server import Server, user_of
from store.recipes.election import Election
from tests.conftest import eventually, fresh_store

pytestmark = pytest.mark.integration

SECRET = "s3cret"


@pytest.fixture(params=["redis", "valkey"])
def granted(request, servers):
    """A store, and a raw client with one node's rights."""
    server = servers(request.param)
    store = fresh_store(server.client("test"))
    admin = Server(store.client)
    # A name of its own, with a pattern's characters: rights must not spread by globbing.
    node = store.keys.prefix[:-1] + ".web-1"
    admin.grant_node(store.keys, node, hashlib.sha256(SECRET.encode()).hexdigest())
    client = connect(server.local_url, name="node", username=user_of(node), password=SECRET)
    yield store, node, client
    admin.revoke_node(node)


def test_a_node_does_its_work_with_its_own_rights(granted, clock):
    store, node, client = granted
    election = Election(store, "me", clock)
    assert election.campaign()
    Projection(store).project(node, "u", {"a.0": b"{}"}, (), token=election.token)
    link = RedisNodeLink(client, client, store.keys, node)
    link.claim("u", b'{"uid":"u"}', 1000)
    assert link.beat(b'{"uid":"u"}', 1000).rev == 1
    assert link.fetch().entries.keys() == {"a.0"}
    link.report({"a.0": b"{}"}, ["b.0"])
    assert link.reported() == {"a.0": b"{}"}
    link.describe({"x": b"1"})
    link.hint()
    assert link.wake(1).hint, "what was written before it listened may be news, too"
    assert not link.wake(1)
    asks = Asks(store.client, store.keys)
    asks.send(node, "x", "more", credit=5)
    assert link.wake(1).asks == ({"id": "x", "verb": "more", "credit": 5},)
    link.chunk("x", [Chunk({"seq": 0}, b"\xff")])
    answers = Answers(node, "x")
    assert asks.read([answers], 1) == [(answers, Chunk({"seq": 0}, b"\xff"))]
    assert 0 < store.client.pttl(store.keys.node(node).answer("x")) <= 60_000
    link.leave()


@pytest.mark.parametrize(
    "command",
    [
        "HGETALL {other}desired", "HGETALL {other}actual", "GET {other}hb", "SET {other}hb x",
        "HSET {own}desired a b", "HDEL {own}desired a", "DEL {own}desired", "XADD {own}wake * a b",
        "XADD {own}ask * a b", "DEL {own}ask", "XREAD STREAMS {other}ask 0", "XADD {other}ans:1 * a b", "DEL {other}ans:1",
        "XREAD STREAMS {other}ans:1 0", "XADD {own}answers * a b", "XADD {prefix}log * a b", "PEXPIRE {prefix}meta 1",
        "XTRIM {own}ans:1 MAXLEN 0", "XRANGE {own}ans:1 - +",
        "KEYS *", "SCAN 0", "CONFIG GET *", "FLUSHALL", "FLUSHDB", "SUBSCRIBE x", "PSUBSCRIBE *", "PUBLISH other x",
        "GET {prefix}rev", "HGETALL {prefix}deployments", "HSET {prefix}nodes a b", "INCR {prefix}fence",
        "SET {prefix}leader 9:me", "ACL LIST", "ACL WHOAMI", "CLIENT LIST", "CLIENT KILL TYPE normal", "MONITOR",
        "EVAL return\\ 1 0", "SCRIPT LOAD x", "SHUTDOWN", "DEBUG SLEEP 0", "INFO", "XREAD STREAMS {prefix}log 0",
    ],
)  # fmt: skip
def test_a_stolen_credential_reaches_nothing_else(granted, command):
    store, node, client = granted
    names = {"own": f"{store.keys.prefix}n:{{{node}}}:", "other": f"{store.keys.prefix}n:{{web-2}}:"}
    words = [
        word.format(prefix=store.keys.prefix, **names).replace("\\ ", " ") for word in command.split(" ")
    ]
    if "EVAL" in command:
        words = ["EVAL", "return 1", "0"]
    with pytest.raises(Exception, match=r"(?i)noperm|no permissions|DEBUG command not allowed"):
        client.execute_command(*words)
    assert store.meta().rev == 0


def test_a_wrong_password_is_denied_and_not_unavailable(granted, servers):
    store, node, _ = granted
    port = store.client.connection_pool.connection_kwargs["port"]
    client = connect(f"redis://127.0.0.1:{port}/0", name="x", username=user_of(node), password="wrong")
    with pytest.raises(Denied):
        RedisNodeLink(client, client, store.keys, node).fetch()


def test_a_heartbeat_that_is_not_renewed_is_gone(store):
    link = RedisNodeLink(store.client, store.client, store.keys, "web-1")
    link.claim("u", b"{}", 50)
    eventually(lambda: Projection(store).beats(["web-1"]) == [None])


def test_hints_arrive_and_forged_ones_are_dropped(server, store):
    hints = Hints(server.client("listener"), store.keys)
    hints.wait(0.01)
    link = RedisNodeLink(store.client, store.client, store.keys, "web-1")

    def heard():
        store.client.publish(store.keys.hints, b"not a node id \xff")
        link.hint()
        return hints.wait(0.2)

    assert eventually(heard) == {"web-1"}


def test_an_answer_of_no_server_is_unavailable():
    client = connect("redis://127.0.0.1:1/0", name="x")
    with pytest.raises(Unavailable):
        Server(client).ping()


def test_valkey_says_who_it_is(servers):
    assert str(Server(servers("valkey").client("t")).flavour()).startswith("valkey")
    assert Server(servers("redis").client("t")).flavour().name == "redis"


def test_our_own_redis_cli_prints_as_theirs(server, store):
    store.client.hset(f"{store.keys.prefix}h", mapping={"a": "1"})
    import os
    import sys

    def cli(*words):
        argv = [sys.executable, "-m", "store.shell", "-p", str(server.port), *words]
        env = {**os.environ, "REDISCLI_AUTH": server._password()}
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=False)

    assert cli("HGETALL", f"{store.keys.prefix}h").stdout == "a\n1\n"
    assert cli("PING").stdout == "PONG\n"
    wrong = cli("NOPE")
    assert wrong.returncode == 1
    assert "(error)" in wrong.stdout


def test_a_server_that_was_never_a_replica_took_over_nobodys_history(server):
    own, former = Server(server.client("test")).lineage()
    assert (len(own), former) == (40, "")
