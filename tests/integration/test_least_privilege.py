"""A stolen node credential, by hand, against every command that the server has."""

import hashlib

import pytest
import redis

from store.keys import Keys
from store.kv.connection import connect
from store.kv.server import NODE_COMMANDS, Server, user_of
from tests.conftest import fresh_store

pytestmark = pytest.mark.integration

SECRET = "s3cret"
BEFORE_LOGIN = {"auth", "hello", "quit", "reset"}
"""What a server lets everybody say; ACLs do not cover it."""
READ_ONLY, OWN = ("desired", "wake", "ask", "grant"), ("actual", "facts", "hb", "ans:1")
SHARED = (
    "meta", "rev", "compacted", "log", "leader", "fence", "epochs", "templates", "templates:versions", "deployments",
    "deployments:status", "deployments:rev", "allocations", "allocations:rev", "nodes", "nodes:rev", "nodes:status",
    "controls", "controls:status", "questions", "downloads", "downloads:rev", f"answer:{'0' * 32}",
)  # fmt: skip


class Thief:
    """Raw words on one connection."""

    def __init__(self, store, node, url):
        self.store, self.node, self.url = store, node, url
        self.own, self.other = (f"{store.keys.prefix}n:{{{each}}}:" for each in (node, "web-2"))
        self._client = connect(url, name="thief", username=user_of(node), password=SECRET)

    def says(self, *words):
        """The answer, or the error as a text."""
        connection = self._client.connection_pool.get_connection()
        try:
            connection.send_command(*words)
            return connection.read_response()
        except redis.RedisError as error:
            return f"{type(error).__name__} {error}"
        finally:
            connection.disconnect()
            self._client.connection_pool.release(connection)

    def is_refused(self, *words):
        answer = str(self.says(*words))
        return "NoPermission" in answer or "NOPERM" in answer or "command not allowed" in answer


@pytest.fixture(params=["redis", "valkey"])
def thief(request, servers):
    server = servers(request.param)
    store = fresh_store(server.client("test"))
    node = store.keys.prefix[:-1] + ".web-1"
    Server(store.client).grant_node(store.keys, node, hashlib.sha256(SECRET.encode()).hexdigest())
    for name in (*READ_ONLY, *OWN):
        store.client.set(f"{store.keys.prefix}n:{{web-2}}:{name}", "x")
    before = {key: store.client.dump(key) for key in store.client.scan_iter(f"{store.keys.prefix}*")}
    yield Thief(store, node, server.local_url)
    after = {key: store.client.dump(key) for key in store.client.scan_iter(f"{store.keys.prefix}*")}
    assert {key: raw for key, raw in after.items() if b"web-1" not in key} == before
    Server(store.client).revoke_node(node)


def commands(client):
    """(words, smallest number of words) of every command and subcommand."""
    for name, known in client.command().items():
        subs = known.get("subcommands") or ()
        for sub in subs:
            fields = dict(zip(sub[::2], sub[1::2], strict=False)) if isinstance(sub, dict) else sub
            yield fields[0].decode().split("|"), abs(int(fields[1]))
        if not subs:
            yield [name], abs(int(known["arity"]))


def test_every_command_but_the_granted_ones_is_refused(thief):
    let, seen = [], 0
    for words, least in commands(thief.store.client):
        name = "|".join(words).lower()
        if name in NODE_COMMANDS or name in BEFORE_LOGIN:
            continue
        seen += 1
        if not thief.is_refused(*words, *["1"] * (least - len(words))):
            let.append(name)
    assert let == []
    assert seen > 300, "commands and subcommands were found"


def test_no_granted_command_reaches_a_foreign_key(thief):
    prefix = thief.store.keys.prefix
    keys = [thief.other + name for name in (*READ_ONLY, *OWN)] + [prefix + name for name in SHARED]
    keys += [thief.own[:-2] + "x}:actual", thief.own + "other", "elsewhere", prefix + "n:{}:actual"]
    for key in keys:
        for words in (
            "GET", "SET * v", "SET * v GET", "DEL", "HMGET * f", "HGETALL", "HSET * f v", "HDEL * f", "XADD * \\* f v",
            "XREAD STREAMS * 0", "PEXPIRE * 1",
        ):  # fmt: skip
            said = words if "*" in words else f"{words} *"
            line = [key if word == "*" else word.replace("\\*", "*") for word in said.split()]
            assert thief.is_refused(*line), line
        assert thief.is_refused("XREAD", "COUNT", "1", "STREAMS", f"{thief.own}wake", key, "0", "0")
        assert thief.is_refused("DEL", f"{thief.own}hb", key)


def test_what_it_may_only_read_it_cannot_write(thief):
    for name in READ_ONLY:
        key = thief.own + name
        for words in ("SET * v", "DEL *", "HSET * f v", "HDEL * f", "XADD * 1-1 f v", "PEXPIRE * 1"):
            assert thief.is_refused(*(key if word == "*" else word for word in words.split())), (words, key)


@pytest.mark.parametrize(
    "words",
    [
        "SUBSCRIBE {hints}", "PSUBSCRIBE *", "PSUBSCRIBE __key*", "SSUBSCRIBE x", "PUBLISH {prefix}other x",
        "PUBLISH __keyevent@0__:expired x", "SPUBLISH {hints} x", "SELECT 1", "SELECT 0", "SWAPDB 0 1", "MOVE {own}hb 1",
        "RENAME {own}hb {other}hb", "COPY {own}hb {other}hb", "SORT {own}actual GET {other}*", "OBJECT ENCODING {own}hb",
        "DUMP {own}hb", "RESTORE {own}hb 0 x", "WAIT 1 0", "BLPOP {own}hb 0", "XREADGROUP GROUP a b STREAMS {own}wake 0",
        "CLIENT KILL USER default", "CLIENT NO-EVICT on", "CLIENT PAUSE 1000", "CLIENT TRACKING on BCAST", "CLIENT REPLY OFF",
        "CLIENT UNPAUSE", "CLIENT ID", "CONFIG SET maxmemory 1", "CONFIG REWRITE", "FUNCTION LIST", "FCALL f 0", "SCRIPT FLUSH",
        "EVALSHA_RO x 0", "MODULE LIST", "REPLICAOF no one", "SLAVEOF no one", "FAILOVER", "SAVE", "BGSAVE", "BGREWRITEAOF",
        "SLOWLOG GET", "LATENCY RESET", "MEMORY PURGE", "COMMAND", "TIME", "LOLWUT", "ROLE", "PSYNC ? -1", "SYNC", "EXPIRE {own}hb 1",
        "PERSIST {own}hb", "APPEND {own}hb x", "SETRANGE {own}hb 536870000 x", "XSETID {own}ans:1 1-1", "XGROUP CREATE {own}ans:1 g 0",
        "ACL SETUSER x on", "ACL SAVE", "ACL LOG", "UNLINK {own}hb", "WATCH {other}hb", "HINCRBY {own}facts x 1", "SHUTDOWN NOSAVE",
    ],
)  # fmt: skip
def test_nothing_else_however_it_is_said(thief, words):
    names = {"prefix": thief.store.keys.prefix, "hints": thief.store.keys.hints}
    line = words.format(own=thief.own, other=thief.other, **names).split()
    answer = str(thief.says(*line))
    assert "NoPermission" in answer or "unknown command" in answer, answer


def test_a_transaction_of_it_cannot_smuggle(thief):
    client = connect(thief.url, name="thief", username=user_of(thief.node), password=SECRET)
    pipe = client.pipeline(transaction=True)
    pipe.hset(f"{thief.own}actual", "a", "b")
    pipe.hset(f"{thief.other}actual", "a", "b")
    with pytest.raises(redis.ResponseError):
        pipe.execute()
    assert thief.store.client.exists(f"{thief.own}actual") == 0, "all of it is refused"


def test_it_cannot_become_somebody_else(thief):
    for line in (
        ("AUTH", "default", SECRET),
        ("AUTH", "default", ""),
        ("HELLO", "3", "AUTH", "default", SECRET),
    ):
        assert "AuthenticationError" in str(thief.says(*line))
    assert thief.is_refused("AUTH") is False, "login itself is not refused"


@pytest.mark.parametrize("db", [0, 3])
def test_only_where_the_store_is_not_the_first_database_it_may_select(db):
    import fakeredis

    client = fakeredis.FakeRedis(version=(7,), db=db)
    Server(client).grant_node(Keys(), "web-1", "0" * 64)
    granted = client.acl_getuser(user_of("web-1"))["commands"]
    assert ("+select" in granted) is bool(db)
