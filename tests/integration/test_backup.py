"""Backup and restore on real servers: one moment, both kinds, both forms; all or nothing."""

import itertools
import os
import threading

import pytest

from store import backup, bootstrap, rdb
from store.binaries import examine
from store.codec import dumps
from store.embedded import EmbeddedServer
from store.errors import Busy, Denied, EpochChanged, StoreError, Unavailable, Unsupported
from store.home import Files
from store.keys import DEPLOYMENTS, DEVICES, GROUPS, NODES, TEMPLATES, Keys
from store.kv.api import Change
from store.kv.connection import connect, database
from store.kv.dump import dump
from store.kv.server import Server
from store.kv.store import Store
from store.kv.swap import Swap
from tests.conftest import eventually, server_binary

pytestmark = pytest.mark.integration


class Site:
    """A server of its own, with the plain prefix, and a manager's directory."""

    def __init__(self, path, kind):
        self.path = path
        self.files = Files(path)
        self.binary = examine(server_binary(kind))
        self.server = EmbeddedServer(self.files, binary=server_binary(kind))
        self.server.start()
        self.client = self.server.client("test")
        self.store = Store(self.client)
        bootstrap.begin(self.store, None)
        self._numbers = itertools.count()

    def take(self):
        """A backup, alone in a directory."""
        where = self.path / f"backup-{next(self._numbers)}"
        where.mkdir()
        return backup.take(self.client, where)[0]

    def restore(self, path, **more):
        expected = more.pop("expected", None)
        expected = self.store.meta().epoch if expected is None else expected
        asked = {"expected": expected, "reason": 'a "test"'}
        with backup.opened(path, self.binary) as file:
            meta = backup.put_in_place(file, self.client, self.files, **asked)
        self.store.attach()
        return meta

    def everything(self):
        """All keys with their contents."""
        return {key: self.client.dump(key) for key in self.client.keys("*")}


@pytest.fixture(params=["redis", "valkey"])
def site(request, tmp_path):
    (tmp_path / "site").mkdir()
    found = Site(tmp_path / "site", request.param)
    yield found
    found.server.stop()


@pytest.mark.parametrize("form", ["by socket", "by file"])
def test_a_backup_under_writes_is_one_moment(site, form):
    """Every transaction writes one number to two records: a backup never holds two numbers."""
    site.client.config_set("repl-diskless-sync", "yes" if form == "by socket" else "no")
    site.client.set("noise", os.urandom(3 << 20))
    site.store.txn([], [Change("a", "n", b"0"), Change("b", "n", b"0")])
    over, written = threading.Event(), []

    def write():
        store = Store(site.server.client("writer"))
        store.attach()
        for n in itertools.count(1):
            value = b"%d" % n
            written.append(store.txn([], [Change("a", "n", value), Change("b", "n", value)]))
            if over.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        paths = []
        for _ in range(5):
            before = len(written)
            paths.append(site.take())
            eventually(lambda before=before: len(written) > before)
    finally:
        over.set()
        writer.join()
    seen = []
    for path in paths:
        with backup.opened(path, site.binary) as file:
            one, two = file.get("a", "n"), file.get("b", "n")
            rev = file.meta().rev
            assert one == two
            assert rev == one.rev, "revision and records are of one moment"
            assert file.client.xrevrange(file.keys.log, count=1)[0][0].split(b"-")[0] == b"%d" % rev
            seen.append(rev)
    assert seen == sorted(seen)
    assert len(written) > len(set(seen)) > 1, "there were writes while it was taken"
    info = site.client.info("replication")
    assert info["connected_slaves"] == 0


def test_a_snapshot_that_breaks_off_is_none(site, monkeypatch):
    site.client.set("noise", os.urandom(8 << 20))
    pieces = dump(site.client)
    next(pieces)
    site.client.client_kill_filter(_type="replica") if site.client.client_list(_type="replica") else None
    pieces.close()
    assert rdb.head(site.take()), "and the next one works"
    monkeypatch.setattr("store.kv.dump.PIECE", 1000)
    pieces = dump(site.client)
    next(pieces)
    os.kill(site.server.pid, 9)
    with pytest.raises(Unavailable, match="broke off"):
        list(pieces)


def test_a_user_without_the_right_is_told(site):
    site.client.execute_command("ACL", "SETUSER", "joe", "on", ">x", "~*", "+@all", "-sync")
    client = connect(site.server.local_url, name="joe", username="joe", password="x")
    with pytest.raises(Denied, match="SYNC"):
        list(dump(client))


def test_the_checksum_is_the_server_s_own(site):
    """Where no server is at hand; what any server writes must pass, and one flipped bit must not."""
    site.store.put("a", "n", os.urandom(20_000))
    path = site.take()
    rdb.check_sum(path)
    found, how = backup.check(path, None, Server(site.client).flavour())
    assert found is None
    assert "checksum only" in how
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Unsupported, match="checksum does not fit"):
        rdb.check_sum(path)
    with pytest.raises(Unsupported, match="cannot load it"), backup.opened(path, site.binary):
        pass


def test_a_head_says_who_wrote_it_and_when(site):
    found = rdb.head(site.take())
    assert (found.kind, found.writer) == (site.binary.name, ".".join(map(str, site.binary.version)))
    assert found.made > 1_700_000_000
    assert rdb.refusal(found, site.binary.name, site.binary.version) is None
    assert "forms up to 9 only" in rdb.refusal(found, "redis", (6, 2, 0))


def put(store, collection, **records):
    for field, value in records.items():
        store.put(collection, field, dumps(value))


def yesterday(site):
    """A backup, and all that has changed since; its path."""
    store, keys = site.store, site.store.keys
    node, gone = keys.node("web-1"), keys.node("web-2")
    put(store, TEMPLATES, old={"v": 1}, same={"v": 1})
    put(store, DEPLOYMENTS, d1={"wanted": "running", "template": "old"})
    put(store, NODES, **{"web-1": {"secret_sha256": "aa"}})
    site.client.hset(node.desired, "@epoch", "old")
    site.client.hset(node.actual, "x", "old")
    site.client.hset(keys.fence("other"), "x", "y")
    put(store, DEVICES, **{"1": {"name": "desk"}})
    site.client.set(keys.replay("call"), "answered", px=600_000)
    path = site.take()
    put(store, TEMPLATES, old={"v": 2}, young={"v": 1})
    put(
        store,
        DEPLOYMENTS,
        d1={"wanted": "stopped", "template": "old"},
        d2={"wanted": "running", "template": "t"},
    )
    put(store, NODES, **{"web-2": {"secret_sha256": "bb"}})
    put(store, DEVICES, **{"1": {"name": "drawer"}, "2": {"name": "shelf"}})
    put(store, GROUPS, **{"7": {"name": "edge"}})
    site.client.delete(keys.node("web-1").desired)
    site.client.hset(gone.desired, "@epoch", "young")
    site.client.hset(node.actual, "x", "young")
    site.client.set(node.beat, "alive", px=600_000)
    site.client.set(keys.fence("leader"), "77")
    site.client.set("theirs", "untouched")
    return path


def test_what_a_restore_would_undo_is_told_and_nothing_changed(site):
    path = yesterday(site)
    everything = site.everything()
    with backup.opened(path, site.binary) as file:
        found = backup.compare(file, backup.living(site.client))
    assert found[TEMPLATES]["made"] == {"count": 1, "names": ["young"]}
    assert found[TEMPLATES]["changed"] == {"count": 1, "names": ["old"]}
    assert found[DEPLOYMENTS]["made"] == {"count": 1, "names": ["d2 (t)"]}
    assert found[DEPLOYMENTS]["again"] == {"count": 1, "names": ["d1 (old)"]}
    assert found[NODES]["made"] == {"count": 1, "names": ["web-2"]}
    assert found[DEVICES]["made"] == {"count": 1, "names": ["2"]}
    assert found[DEVICES]["changed"] == {"count": 1, "names": ["1"]}
    assert found[GROUPS]["made"] == {"count": 1, "names": ["7"]}
    assert site.everything() == everything, "looking changes nothing"


def test_a_restore_brings_back_the_state_and_leaves_what_is_the_nodes_own(site):
    store, keys = site.store, site.store.keys
    node, gone = keys.node("web-1"), keys.node("web-2")
    path, before = yesterday(site), store.meta()
    site.client.hset(keys.meta, "lost", "everything")
    meta = site.restore(path)
    assert (meta.cluster, meta.lost, meta.epoch.split("-")[0]) == (before.cluster, "", "2")
    assert meta.rev >= before.rev + bootstrap.LEAP
    assert store.values(TEMPLATES) == {"old": b'{"v":1}', "same": b'{"v":1}'}
    assert site.client.hgetall(node.desired) == {b"@epoch": b"old"}
    assert not site.client.exists(gone.desired)
    assert site.client.hget(node.actual, "x") == b"young"
    assert site.client.get(node.beat) == b"alive"
    assert site.client.get(keys.fence("leader")) == b"77"
    assert site.client.get("theirs") == b"untouched"
    assert not site.client.exists(keys.replay("call")), "what expires would be there for ever"
    assert not site.client.hexists(keys.meta, "lost")
    about = store.epoch_record()
    assert about.pop("began") > 1_700_000_000
    assert about == {
        "kind": "restored", "after": before.epoch, "lost": [], "reason": 'a "test"', "rev": meta.rev,
    }  # fmt: skip
    assert site.client.keys(f"{keys.restoring}*") == []
    assert {site.client.pttl(key) for key in site.client.keys("muster:*") if key != node.beat.encode()} == {
        -1
    }
    assert store.put("c", "x", b"1") == meta.rev + 1, "the log goes on"
    again = site.restore(path)
    assert again.rev > meta.rev
    assert again.epoch.startswith("3-")


def test_it_is_all_or_nothing(site, monkeypatch):
    """Whatever goes wrong before the swap: nothing was changed, and nothing is left."""
    put(site.store, TEMPLATES, old={})
    path = site.take()
    put(site.store, TEMPLATES, young={})
    everything = site.everything()
    with pytest.raises(EpochChanged):
        site.restore(path, expected="7-x")
    with Swap(site.client, Keys()), pytest.raises(Busy, match="another restore"):
        site.restore(path)
    assert site.everything() == everything

    whole = Swap.stage
    for trouble in ("flushed", "epoch", "turn"):

        def stage(swap, source, *, epochs, trouble=trouble):
            whole(swap, source, epochs=epochs)
            if trouble == "flushed":
                site.client.delete(*site.client.keys("muster:restoring:*:templates"))
            elif trouble == "turn":
                site.client.set("muster:restoring", "another")
            else:
                bootstrap.mint(Store(site.client))

        monkeypatch.setattr(Swap, "stage", stage)
        with pytest.raises(StoreError):
            site.restore(path)
        site.store.attach()
        site.client.delete("muster:restoring")
        assert set(site.store.values(TEMPLATES)) == {"old", "young"}
        assert site.client.keys("muster:restoring*") == []


def test_an_empty_store_takes_its_own_cluster_back_and_no_other(site):
    put(site.store, TEMPLATES, old={})
    cluster = site.store.meta().cluster
    path = site.take()
    site.client.flushall()
    site.files.cluster.write_text("another")
    with backup.opened(path, site.binary) as file:
        with pytest.raises(Unsupported, match="backup of cluster"):
            backup.refuse_stranger(file, backup.living(site.client), site.files)
        site.files.cluster.write_text(cluster)
        backup.refuse_stranger(file, backup.living(site.client), site.files)
        file.client.hset(file.keys.meta, "schema_min", "999")
        with pytest.raises(Unsupported, match="later release"):
            backup.refuse_stranger(file, None, site.files)
    meta = site.restore(path, expected="")
    assert meta.cluster == cluster
    assert set(site.store.values(TEMPLATES)) == {"old"}


def test_a_store_in_another_database_of_a_server_that_others_use(site):
    """Its backup is found where it lies, and can be started from."""
    url = site.server.local_url.removesuffix("0") + "3"
    client = connect(url, name="third", password=site.server._password())
    store = Store(client)
    meta = bootstrap.begin(store, None)
    store.put(TEMPLATES, "old", b"{}")
    where = site.path / "third"
    where.mkdir()
    path, _ = backup.take(client, where)
    flavour = Server(client).flavour()
    found, _ = backup.check(path, site.binary, flavour, database(client))
    assert (found.cluster, found.counts[TEMPLATES]) == (meta.cluster, 1)
    store.put(TEMPLATES, "young", b"{}")
    with backup.opened(path, site.binary, 3) as file:
        backup.put_in_place(file, client, site.files, expected=meta.epoch, reason="x")
    store.attach()
    assert set(store.values(TEMPLATES)) == {"old"}
    site.client.flushdb()
    bare = site.path / "bare"
    bare.mkdir()
    client.config_set("repl-diskless-sync", "yes")
    path, _ = backup.take(client, bare)
    home = site.path / "home"
    home.mkdir()
    other = EmbeddedServer(Files(home), binary=site.binary.path)
    other.load(path)
    other.start()
    try:
        assert Store(other.client("t")).meta().cluster == meta.cluster
    finally:
        other.stop()


def test_a_spool_is_one_s_own_and_leaves_nothing(tmp_path):
    files = Files(tmp_path)
    files.spool.mkdir()
    (files.spool / "of a killed one").touch()
    with backup.spool(files) as where:
        assert list(where.iterdir()) == []
        with pytest.raises(Busy), backup.spool(files):
            pass
        (where / "x").touch()
    assert not files.spool.exists()
    with pytest.raises(ZeroDivisionError), backup.spool(files):
        raise ZeroDivisionError
    assert not files.spool.exists()
