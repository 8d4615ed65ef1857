"""Preflight and doctor on real servers that are really set up badly."""

import subprocess
import time

import pytest

from manager_api.http.system.doctor import history
from manager_api.http.system.doctor import server as shown
from store import bootstrap
from store.embedded import EmbeddedServer, _quiet_port
from store.errors import Unavailable, Unsupported
from store.home import Files
from store.keys import NODES
from store.kv.connection import connect
from store.kv.server import Server
from store.kv.store import Store
from store.preflight import preflight
from tests.conftest import eventually, server_binary
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.integration
SAFE = ("--appendonly", "yes")
OUTSIDE = ("127.0.0.1", "-192.0.2.1")
"""As if it listened elsewhere, too: the second address is one for documentation, and optional."""


class Bare:
    """A server as somebody else set it up."""

    def __init__(self, process, port):
        self.process, self.port = process, port

    def client(self, user=None, password=None):
        return connect(f"redis://127.0.0.1:{self.port}/0", name="test", username=user, password=password)

    def findings(self, user=None, password=None, **more):
        found, _ = preflight(self.client(user, password), time.time, **more)
        return {(each.severity, each.name): each for each in found if each.severity != "ok"}


@pytest.fixture(params=["redis", "valkey"])
def kind(request):
    return request.param


@pytest.fixture
def bare(kind, tmp_path):
    """Starts servers of a kind with the given flags."""
    started = []

    def start(*flags, password=None):
        port = _quiet_port("127.0.0.1")
        home = tmp_path / str(port)
        home.mkdir()
        argv = [str(server_binary(kind)), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(home)]
        argv += ["--save", "", "--repl-diskless-sync-delay", "0", *flags]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        started.append(process)
        server = Bare(process, port)

        def up():
            assert process.poll() is None, "the server ended"
            try:
                Server(server.client(password=password)).ping()
            except Unavailable:
                return False
            return True

        eventually(up)
        return server

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_good_server(bare):
    server = bare(*SAFE)
    assert server.findings() == {}
    assert server.client().keys() == [], "looking changes nothing"


@pytest.mark.parametrize(
    ("flags", "settings", "expected", "says"),
    [
        (SAFE, {"maxmemory-policy": "allkeys-lru"}, ("warn", "maxmemory-policy"), "allkeys-lru"),
        (SAFE, {"maxmemory": "1gb", "maxmemory-policy": "allkeys-lru"}, ("refuse", "maxmemory-policy"), "1.0 GiB"),
        (SAFE, {"maxmemory": "1gb", "maxmemory-policy": "volatile-ttl"}, ("refuse", "maxmemory-policy"), "volatile-ttl"),
        ((), {}, ("refuse", "persistence"), "a restart of the server loses everything"),
        ((), {"save": "60 1"}, ("warn", "persistence"), 'save "60 1"'),
        (SAFE, {"appendfsync": "no"}, ("warn", "appendfsync"), "half a minute"),
        (SAFE, {"appendfsync": "always", "no-appendfsync-on-rewrite": "yes"}, ("warn", "appendfsync"), "is yes"),
        (SAFE, {"maxclients": "150"}, ("wrong", "maxclients"), "200 connections are needed for 0 nodes"),
        (SAFE, {"timeout": "30"}, ("warn", "timeout"), "idle for 30 s"),
        ((*SAFE, "--bind", *OUTSIDE), {}, ("warn", "access"), "protected-mode is on"),
        ((*SAFE, "--bind", *OUTSIDE, "--protected-mode", "no"), {}, ("warn", "access"), "run programs on every node"),
    ],
)  # fmt: skip
def test_a_bad_setting_is_found_and_its_cure_cures(bare, flags, settings, expected, says):
    server = bare(*flags)
    client = server.client()
    for name, value in settings.items():
        client.config_set(name, value)
    found = server.findings()
    assert list(found) == [expected]
    assert says in found[expected].text
    cure = found[expected].cure
    if cure.startswith("redis-cli CONFIG SET "):
        client.execute_command(*cure.split(", then ")[0].removeprefix("redis-cli ").split())
        eventually(lambda: server.findings() == {})


def test_a_cluster_is_refused(bare):
    bus = str(_quiet_port("127.0.0.1"))  # its default may be an outgoing connection's port
    server = bare(*SAFE, "--cluster-enabled", "yes", "--cluster-port", bus)
    found = server.findings()
    assert ("refuse", "mode") in found
    assert "Cluster" in found["refuse", "mode"].text
    with pytest.raises(Unsupported, match="Cluster"):
        Server(server.client()).flavour()


def test_a_sentinel_is_no_store(tmp_path, kind):
    port = _quiet_port("127.0.0.1")
    conf = tmp_path / "sentinel.conf"
    conf.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n")
    process = subprocess.Popen([server_binary(kind), conf, "--sentinel"], stdout=subprocess.DEVNULL)
    server = Bare(process, port)

    def found():
        try:
            return server.findings()
        except Unavailable:
            return None

    try:
        assert list(eventually(found)) == [("refuse", "mode")]
    finally:
        process.kill()
        process.wait()


def test_replicas(bare):
    primary = bare(*SAFE)
    replica = bare(*SAFE, "--replicaof", f"127.0.0.1 {primary.port}")
    found = replica.findings()
    assert list(found) == [("refuse", "role")]
    assert f"replica of 127.0.0.1 port {primary.port}" in found["refuse", "role"].text
    with pytest.raises(Unavailable, match="fail-over is under way"):
        replica.findings(sentinel=True)

    def follows():
        return primary.client().info("replication").get("slave0", {}).get("state") == "online"

    eventually(follows)
    assert list(primary.findings()) == [("warn", "min-replicas-to-write")]
    assert list(primary.findings(sentinel=True)) == [("refuse", "min-replicas-to-write")]
    client = primary.client()
    client.config_set("min-replicas-to-write", "1")
    client.config_set("min-replicas-max-lag", "0")
    assert list(primary.findings(sentinel=True)) == [("refuse", "min-replicas-max-lag")]
    client.config_set("min-replicas-max-lag", "10")
    eventually(lambda: primary.findings(sentinel=True) == {})  # the server counts once a second
    replica.process.kill()
    replica.process.wait()
    eventually(lambda: client.info("replication")["min_slaves_good_slaves"] == 0)
    assert list(primary.findings()) == [("wrong", "min-replicas-to-write")]
    assert list(primary.findings(sentinel=True)) == [
        ("wrong", "min-replicas-to-write"),
        ("wrong", "replicas"),
    ]


def test_passwords_and_rights(bare):
    server = bare(*SAFE, "--requirepass", "s3cret", password="s3cret")
    assert server.findings(password="s3cret") == {}
    for wrong in (None, "wrong"):
        found = server.findings(password=wrong)
        assert list(found) == [("refuse", "rights")]
        assert "refuses our user or password" in found["refuse", "rights"].text
    admin = server.client(password="s3cret")

    def with_rules(*rules):
        admin.execute_command("ACL", "SETUSER", "bob", "reset", "on", ">x", *rules)
        return server.findings("bob", "x")

    everything = ("~muster:*", "&muster:*", "+@all")
    assert with_rules(*everything) == {}
    assert with_rules(*everything, "-info")["refuse", "rights"].text.startswith("our user may not run INFO")
    assert with_rules("~muster:*", "+@all")["refuse", "rights"].text == (
        "user bob may not run subscribe, which Muster needs"
    )
    elsewhere = with_rules("~other:*", "&muster:*", "+@all")["refuse", "rights"]
    assert "user bob may not run get, set" in elsewhere.text
    few = with_rules(*everything, "-xtrim", "-acl|setuser")["refuse", "rights"]
    assert few.text == "user bob may not run xtrim, acl|setuser, which Muster needs"
    admin.execute_command(*few.cure.replace("'", "").removeprefix("redis-cli ").split())
    assert server.findings("bob", "x") == {}, "the cure cures"
    assert ("refuse", "rights") in with_rules(*everything, "-acl")
    denied = with_rules(*everything, "-config")
    assert list(denied) == [("warn", "rights")]
    assert "CONFIG GET cannot be run" in denied["warn", "rights"].text


def test_a_command_that_was_renamed_away_is_only_unchecked(bare, kind):
    found = bare(*SAFE, "--rename-command", "CONFIG", "").findings()
    assert list(found) == [("warn", "rights")]


def test_a_clock_that_is_off_and_one_that_is_not(bare):
    server = bare(*SAFE)
    found, facts = preflight(server.client(), lambda: time.time() - 3600)
    assert any(each.name == "clock" and "3600 s ahead" in each.text for each in found)
    assert facts.clock_ahead == pytest.approx(3600, abs=5)


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_the_embedded_server_is_well_and_syncs_as_it_was_told(kind, tmp_path, fsync):
    server = EmbeddedServer(Files(tmp_path), binary=server_binary(kind), fsync=fsync)
    server.start()
    try:
        client = server.client("test")
        found, facts = preflight(client, time.time, embedded=True)
        assert [str(each) for each in found if each.severity != "ok"] == []
        told = {"everysec": "no"}.get(fsync, fsync)  # see store.syncer
        assert client.config_get("appendfsync") == {"appendfsync": told}
        assert any(f"appendfsync is {fsync}" in each.text for each in found)
        assert shown(facts, embedded=True)["appendfsync"] == fsync
    finally:
        server.stop()


# -- the doctor's answer


@pytest.fixture
def patient(bare):
    """A manager on a safe external server, whose store is its own."""
    server = bare(*SAFE)
    store = Store(server.client())
    bootstrap.begin(store, None)
    manager = Manager(store, watcher=server.client()).lead()
    yield server, manager
    manager.end()


def ask(manager):
    answer = manager.get("/v1/doctor")
    assert answer.status_code == 200
    return answer.json


def bad(report):
    return [
        (each["severity"], each["name"])
        for each in report["findings"]
        if each["severity"] in ("refuse", "wrong")
    ]


def test_the_doctor_shows_where_things_stand(patient):
    server, manager = patient
    eventually(lambda: ask(manager)["ok"])
    node = Puppet(manager, "web-1", version="0.1.0")
    report = ask(manager)
    assert bad(report) == [], report["findings"]
    assert report["ok"]
    assert report["cluster"] == manager.store.meta().cluster
    assert report["epoch"]["id"] == manager.store.meta().epoch
    assert 1 <= report["revision"] <= manager.store.meta().rev, "the leader writes meanwhile"
    assert report["leader"]["holder"] == "test"
    assert report["nodes"]["versions"] == {"0.1.0": 1}
    assert report["store"]["connections"] >= 2
    assert report["store"]["appendfsync"] == "everysec"
    assert report["log"]["lag"] == report["revision"]
    node.beat(frozen="the store fell back to revision 1 from 2", unclaimed=["d.0"])
    report = ask(manager)
    assert not report["ok"]
    assert sorted(bad(report)) == [("wrong", "frozen"), ("wrong", "unclaimed")]
    server.client().config_set("maxclients", "100")
    assert ("wrong", "maxclients") in bad(ask(manager))


def test_the_doctor_knows_epochs_fences_and_losses(patient):
    server, manager = patient
    manager.end()  # its controller would see to it
    client, keys = server.client(), manager.store.keys
    epoch = manager.store.meta().epoch
    client.hset(keys.epochs, epoch, b'{"began": 5.0, "reason": "a restore"}')
    client.hset(keys.meta, mapping={"fenced": "3", "lost": "it fell back"})
    report = ask(manager)
    assert report["epoch"] == {"id": epoch, "began": 5.0, "reason": "a restore"}
    assert (report["fenced"], report["lost"]) == (3, "it fell back")
    assert ("wrong", "epoch") in bad(report)


def test_what_another_thread_sees_meanwhile_is_no_lost_history(store, monkeypatch):
    store.put("c", "x", b"1")
    ask_store = store.meta

    def overtaken():
        found = ask_store()
        store.saw(found.rev + 1)
        return found

    monkeypatch.setattr(store, "meta", overtaken)
    found = history(store)
    assert found["seen"] == found["revision"]
    assert history(store)["seen"] == found["revision"] + 1, "and what is lost is still found"


def test_the_doctor_speaks_of_a_store_that_is_empty_and_of_one_that_is_away(patient):
    server, manager = patient
    eventually(lambda: ask(manager)["ok"])
    server.client().flushall()
    report = ask(manager)
    assert report["trouble"]["kind"] == "empty"
    assert bad(report) == [("wrong", "store")]
    assert report["store"]["flavour"] in ("redis", "valkey")
    server.process.kill()
    server.process.wait()
    report = ask(manager)
    assert report["trouble"]["kind"] == "unavailable"
    assert bad(report) == [("wrong", "store")]


def test_garbage_in_the_store_is_a_finding_and_no_error(patient):
    server, manager = patient
    Puppet(manager, "web-1")
    client, keys = server.client(), manager.store.keys
    client.hset(keys.collection(NODES), "web-2", b"\xff nonsense")
    client.set(keys.node("web-1").beat, b"[1]")
    assert ("wrong", "unreadable") in bad(ask(manager))
    client.delete(keys.collection("epochs"))
    client.set(keys.collection("epochs"), b"a string where a hash should be")
    report = ask(manager)
    assert report["trouble"]["kind"] == "other"
    assert not report["ok"]
