"""The embedded server: its directory, its snapshot, its death and its return."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from store import bootstrap, highest, snapshot
from store.embedded import EmbeddedServer, _is_free
from store.errors import EpochChanged, StoreEmpty, StoreError, Unsupported, WrongRelease
from store.home import Files
from store.kv.store import Store
from store.process import Lock
from store.snapshot import SnapshotKeeper
from tests.conftest import eventually, server_binary

pytestmark = pytest.mark.integration


class Home:
    """One manager's directory and what runs on it."""

    def __init__(self, path, kind):
        self.db = path / "resource_monitor.db"
        self.files = Files(path / "resource_monitor.db.d")
        self.files.home.mkdir(mode=0o700, exist_ok=True)
        self.kind = kind
        self.server = None

    def start(self):
        self.server = EmbeddedServer(self.files, binary=server_binary(self.kind))
        self.server.start()
        self.store = Store(self.server.client("test"))
        return self.store

    def keeper(self, clock):
        return SnapshotKeeper(self.server, self.store, self.db, clock)


@pytest.fixture(params=["redis", "valkey"])
def home(request, tmp_path):
    found = Home(tmp_path, request.param)
    yield found
    if found.server is not None:
        found.server.stop()


def publish(home, clock):
    keeper = home.keeper(clock)

    def done():
        clock.advance(snapshot.EVERY)
        keeper.tick()
        assert keeper.trouble is None
        return keeper.up_to_date()

    eventually(done)


def test_what_was_acknowledged_survives_kill_9(home):
    store = home.start()
    bootstrap.begin(store, None)
    for n in range(200):
        store.put("c", str(n), b"x")
    os.kill(home.server.pid, signal.SIGKILL)
    eventually(lambda: home.server.poll() is not None)
    port = home.server.port
    home.server.start()
    assert home.server.port == port, "the port is stable: agents remember it"
    assert len(store.values("c")) == 200


def test_its_files_are_for_nobody_else(home):
    store = home.start()
    bootstrap.begin(store, None)
    assert oct(home.files.home.stat().st_mode)[-3:] == "700"
    assert oct(home.files.password.stat().st_mode)[-3:] == "600"
    argv = Path(f"/proc/{home.server.pid}/cmdline").read_text()
    assert home.files.password.read_text() not in argv


def test_the_snapshot_follows_the_records_and_only_them(home, clock):
    store = home.start()
    bootstrap.begin(store, None)
    store.put("c", "x", b"1")
    publish(home, clock)
    assert oct(home.db.stat().st_mode)[-3:] == "600"
    first = home.db.stat().st_mtime_ns
    store.client.set("muster:n:{web-1}:hb", "beats are no records")
    keeper = home.keeper(clock)
    keeper._saved = store.meta().rev
    for _ in range(5):
        clock.advance(snapshot.EVERY)
        keeper.tick()
    assert home.db.stat().st_mtime_ns == first
    assert not snapshot.replaced_by_hand(home.files, home.db)


def test_a_copy_alone_is_the_whole_state(home, clock, tmp_path):
    store = home.start()
    meta = bootstrap.begin(store, None)
    store.put("c", "x", b"kept")
    publish(home, clock)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Home(elsewhere, home.kind)
    shutil.copy(home.db, other.db)
    assert snapshot.replaced_by_hand(other.files, other.db)
    loader = EmbeddedServer(other.files, binary=server_binary(home.kind))
    loader.load(other.db)
    store = other.start()
    try:
        assert bootstrap.begin(store, None).cluster == meta.cluster
        assert store.get("c", "x").value == b"kept"
    finally:
        other.server.stop()


def test_a_file_replaced_by_hand_wins_over_the_append_only_file(home, clock, tmp_path):
    store = home.start()
    bootstrap.begin(store, None)
    store.put("c", "x", b"old")
    publish(home, clock)
    shutil.copy(home.db, tmp_path / "backup")
    store.put("c", "x", b"new")
    publish(home, clock)
    home.server.stop()
    assert not snapshot.replaced_by_hand(home.files, home.db)
    shutil.copy(tmp_path / "backup", home.db)
    assert snapshot.replaced_by_hand(home.files, home.db)
    home.server.load(home.db)
    store = home.start()
    old_epoch = store.meta().epoch
    meta = bootstrap.mint(store)
    snapshot.accept(home.files, home.db)
    assert store.get("c", "x").value == b"old"
    assert meta.epoch != old_epoch
    assert not snapshot.replaced_by_hand(home.files, home.db)
    assert (home.files.home / "appendonlydir.replaced").is_dir()


def test_a_snapshot_of_another_cluster_changes_nothing(home, clock):
    store = home.start()
    mine = bootstrap.begin(store, None)
    store.put("c", "x", b"kept")
    publish(home, clock)
    home.server.stop()
    home.files.cluster.write_text("f" * 32)
    with pytest.raises(EpochChanged, match=f"is of cluster {mine.cluster}"):
        home.server.load(home.db)
    store = home.start()
    store.attach()
    assert store.get("c", "x").value == b"kept"
    assert not (home.files.home / "appendonlydir.replaced").exists()


@pytest.mark.parametrize("damage", ["rubbish", "truncated", "empty"])
def test_a_file_that_is_no_snapshot_changes_nothing(home, clock, damage):
    store = home.start()
    bootstrap.begin(store, None)
    store.put("c", "x", b"kept")
    publish(home, clock)
    home.server.stop()
    data = home.db.read_bytes()
    home.db.unlink()
    home.db.write_bytes(
        {"rubbish": b"rubbish" * 50, "truncated": data[: len(data) // 2], "empty": b""}[damage]
    )
    with pytest.raises(Unsupported, match=r"not a snapshot|holds no Muster data"):
        home.server.load(home.db)
    store = home.start()
    store.attach()
    assert store.get("c", "x").value == b"kept"


def test_valkey_s_snapshot_is_refused_by_redis_with_a_sentence(tmp_path, clock):
    old = Home(tmp_path, "valkey")
    store = old.start()
    bootstrap.begin(store, None)
    publish(old, clock)
    old.server.stop()
    new = tmp_path / "new"
    new.mkdir()
    other = Home(new, "redis")
    shutil.copy(old.db, other.db)
    with pytest.raises(Unsupported, match="not a snapshot that redis"):
        EmbeddedServer(other.files, binary=server_binary("redis")).load(other.db)
    with pytest.raises(Unsupported, match="cannot read data that Valkey wrote"):
        EmbeddedServer(old.files, binary=server_binary("redis"))


def test_a_flushed_store_does_not_overwrite_the_good_snapshot(home, clock):
    store = home.start()
    meta = bootstrap.begin(store, None)
    store.put("c", "x", b"1")
    publish(home, clock)
    good = snapshot.digest(home.db)
    keeper = home.keeper(clock)
    keeper._saved = store.meta().rev
    store.client.flushall()
    for _ in range(5):
        clock.advance(snapshot.EVERY)
        keeper.tick()
    assert "no Muster data" in keeper.trouble
    assert snapshot.digest(home.db) == good
    with pytest.raises(StoreEmpty):
        bootstrap.begin(Store(store.client), meta.cluster)


def test_the_server_dies_with_its_parent_and_lets_go_of_the_lock(tmp_path):
    program = (
        "import sys, time, pathlib\n"
        "from store.embedded import EmbeddedServer\n"
        "from store.home import Files\n"
        "from store.process import Lock\n"
        "home = pathlib.Path(sys.argv[1]); lock = Lock(home / 'lock'); assert lock.try_acquire()\n"
        "server = EmbeddedServer(Files(home), pass_fds=(lock.fileno(),)); server.start()\n"
        "print(server.pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    lock = Lock(tmp_path / "lock")
    assert not lock.try_acquire()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lock.try_acquire)
    assert not Path(f"/proc/{pid}/exe").exists()
    lock.close()


def test_a_taken_port_is_left_and_said(home, caplog):
    import socket

    store = home.start()
    bootstrap.begin(store, None)
    home.server.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", home.server.port))
        thief.listen()
        store = home.start()
    assert "is taken by another program" in caplog.text
    store.attach()


def test_a_program_that_is_no_server_is_refused(tmp_path):
    with pytest.raises(Unsupported, match="neither a Redis nor a Valkey"):
        EmbeddedServer(Files(tmp_path), binary="/bin/true")


def test_a_busy_server_makes_the_snapshot_later_and_not_a_false_one(home, clock, monkeypatch):
    """`BGSAVE` is refused while another child is at work: what lies there then is the old one."""
    store = home.start()
    bootstrap.begin(store, None)
    publish(home, clock)
    first = snapshot.digest(home.db)
    store.put("c", "x", b"1")
    keeper = home.keeper(clock)
    monkeypatch.setattr(keeper._admin, "save_in_background", lambda: False)
    for _ in range(5):
        clock.advance(snapshot.EVERY)
        keeper.tick()
    assert not keeper.up_to_date()
    assert snapshot.digest(home.db) == first
    monkeypatch.undo()
    publish(home, clock)
    assert snapshot.digest(home.db) != first


def test_a_server_killed_while_it_saves_is_asked_again(home, clock):
    store = home.start()
    bootstrap.begin(store, None)
    store.put("c", "x", b"1")
    keeper = home.keeper(clock)
    clock.advance(snapshot.EVERY)
    keeper.tick()
    assert keeper._saving
    os.kill(home.server.pid, signal.SIGKILL)
    eventually(lambda: home.server.poll() is not None)
    eventually(lambda: _is_free("127.0.0.1", home.server.port))  # its child, which saved, has it for a moment
    home.server.start()
    keeper.tick()
    assert not keeper.up_to_date()
    publish(home, clock)
    assert home.db.exists()


def test_the_same_backup_restored_twice_is_a_later_epoch_each_time(home, clock, tmp_path):
    store = home.start()
    bootstrap.begin(store, None)
    publish(home, clock)
    shutil.copy(home.db, tmp_path / "backup")
    home.server.stop()
    seen = []
    for _ in range(3):
        shutil.copy(tmp_path / "backup", home.db)
        home.server.load(home.db)
        store = home.start()
        meta = bootstrap.mint(store, above=highest.recorded(home.files))
        highest.record(home.files, meta)
        seen.append((bootstrap.epoch_number(meta.epoch), meta.rev))
        home.server.stop()
    assert [number for number, _ in seen] == [2, 3, 4]
    assert sorted({rev for _, rev in seen}) == [rev for _, rev in seen], "and above every revision served"


def test_a_backup_that_a_later_release_made_changes_nothing(home, clock, tmp_path):
    store = home.start()
    bootstrap.begin(store, None)
    store.put("deployments", "later", b"{}")
    store.client.hset(store.keys.meta, mapping={"schema_max": 2, "schema_release": "9.9.0"})
    store.client.save()
    shutil.copy(home.files.dump, tmp_path / "backup")
    store.client.hset(store.keys.meta, "schema_max", 1)
    store.put("deployments", "ours", b"{}")
    home.server.stop()
    with pytest.raises(WrongRelease, match=r"muster 9\.9\.0 or later, or move the file away"):
        home.server.load(tmp_path / "backup")
    store = home.start()
    bootstrap.begin(store, None)
    assert set(store.values("deployments")) == {"later", "ours"}


def test_a_port_once_used_in_this_life_is_insisted_on(home):
    import socket

    store = home.start()
    bootstrap.begin(store, None)
    port = home.server.port
    home.server.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        with pytest.raises(StoreError, match="ended at once"):
            home.server.start()
    home.server.start()
    assert home.server.port == port
    store.attach()
