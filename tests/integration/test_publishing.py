"""What lies under --sftp-host, on a real server: put, listed, removed, and nothing outside touched."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import sshd
from tests.conftest import eventually, need
from transfer import publishing, writer
from transfer.errors import Kind, TransferError
from transfer.login import Login
from transfer.messages import Attributes
from transfer.publishing import Publisher
from transfer.sftp import Session
from transfer.urls import parse
from transfer.wire import Wire

pytestmark = pytest.mark.integration

CLEAN = "apps/clean.tgz"


class Site:
    """A server, and our publisher on it."""

    def __init__(self, server):
        self.server, self.root = server, server.root
        self._sessions = []

    def base(self, path=""):
        return parse(self.server.url(path))

    def open(self, path="", **more):
        known = self.server.home / "known_hosts"
        known.write_text(self.server.known_hosts())
        login = Login(key_file=self.server.key_file, known_hosts=(known,))
        session = Session(self.base(path), login)
        self._sessions.append(session)
        return Publisher(session.conversation, self.base(path), **more)

    def inside(self, *command):
        """Run something where the server's mounts are."""
        pid = str(self.server._process.pid)
        subprocess.run(["nsenter", "-t", pid, "-m", *command], check=True, capture_output=True)

    def hidden(self):
        return [path.name for path in self.root.rglob(".muster-*")]

    def end(self):
        for session in self._sessions:
            session.close()


@pytest.fixture(scope="module")
def server():
    with sshd.running() as found:
        yield found


@pytest.fixture
def site(server):
    found = Site(server)
    yield found
    found.end()
    subprocess.run(["find", str(server.root), "-mindepth", "1", "-delete"], check=True)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A server that has no extension which we use."""
    program = next(path for path in sshd.SERVERS if Path(path).exists())
    with sshd.running() as found:
        wrapper = found.home / "sftp-server"
        wrapper.write_text(f"#!/bin/sh\nexec {program} -P posix-rename,fsync,statvfs\n")
        wrapper.chmod(0o755)
        monkeypatch.setattr(sshd, "SERVERS", (str(wrapper),))
        found.restart()
        site = Site(found)
        yield site
        site.end()


def refused(kind, call, *args, says):
    with pytest.raises(TransferError, match=says) as caught:
        call(*args)
    assert caught.value.kind == kind
    return str(caught.value)


def pieces(data, size=100_000):
    for start in range(0, len(data), size):
        yield data[start : start + size]


def put(publisher, name, data, **more):
    return publisher.put(name, pieces(data), len(data), **more)


@pytest.mark.parametrize("size", [0, 1, writer.REQUEST, 9_000_001])
def test_a_file_is_put_whole_in_directories_that_are_made(site, size):
    data = os.urandom(size)
    assert put(site.open(), "a/b c/ünï.bin", data) == hashlib.sha256(data).hexdigest()
    assert (site.root / "a/b c/ünï.bin").read_bytes() == data
    assert site.hidden() == []


def test_much_goes_to_the_servers_disk_as_it_comes(site, monkeypatch):
    """At the end alone it may take longer than anybody waits for an answer."""
    monkeypatch.setattr(writer, "SYNC_EVERY", 1_000_000)
    synced, sync = [], Wire.sync
    monkeypatch.setattr(Wire, "sync", lambda wire, handle: (synced.append(1), sync(wire, handle)))
    put(site.open(), CLEAN, os.urandom(3_500_000))
    assert len(synced) == 4


def test_what_was_there_is_replaced_in_one_step_and_keeps_its_mode(site):
    old = site.server.file(CLEAN, b"old", mode=0o600)
    reader = old.open("rb")
    seen = []

    def watched():
        for piece in pieces(b"x" * 3_000_000):
            seen.append(old.read_bytes())
            yield piece

    site.open().put(CLEAN, watched(), 3_000_000)
    assert set(seen) == {b"old"}
    assert old.read_bytes() == b"x" * 3_000_000
    assert old.stat().st_mode & 0o777 == 0o600
    assert reader.read() == b"old", "who was reading reads what it was"


def test_servers_without_extensions_will_do(bare):
    publisher = bare.open()
    for data in (b"one", b"two"):
        put(publisher, CLEAN, data)
        assert (bare.root / CLEAN).read_bytes() == data
    assert bare.hidden() == []


def test_a_wrong_digest_or_a_sender_that_breaks_off_replaces_nothing(site):
    site.server.file(CLEAN, b"old")
    publisher = site.open()
    data = b"x" * 1_000_000
    text = refused(
        Kind.MISMATCH, lambda: put(publisher, CLEAN, data, sha256="0" * 64), says="nothing was replaced"
    )
    assert hashlib.sha256(data).hexdigest() in text
    assert "0" * 64 in text
    refused(Kind.CHANGED, publisher.put, CLEAN, [b"short"], 6, says="5 bytes arrived")

    def breaks():
        yield data
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        publisher.put(CLEAN, breaks(), 2_000_000)
    assert (site.root / CLEAN).read_bytes() == b"old"
    assert site.hidden() == []


def test_a_server_that_dies_amid_an_upload_is_told_of(site):
    site.server.file(CLEAN, b"old")
    publisher = site.open()

    def killing():
        yield b"x" * 1_000_000
        site.server.kill_sessions()
        while True:
            yield b"x" * 1_000_000

    refused(Kind.UNREACHABLE, publisher.put, CLEAN, killing(), 1 << 40, says="sftp://")
    assert (site.root / CLEAN).read_bytes() == b"old"
    assert len(site.hidden()) == 1, "nobody was left to remove it"


def test_what_broken_uploads_left_is_removed_by_a_later_one_and_living_ones_are_not(site):
    for name, age in (("old", 2 * publishing.LEFT_AFTER), ("young", 60)):
        path = site.server.file(f"apps/.muster-{name}.part", b"x")
        now = path.stat().st_mtime
        os.utime(path, (now - age, now - age))
    elsewhere = site.server.file("apps/.muster-notes", b"x")
    os.utime(elsewhere, (1, 1))
    put(site.open(), CLEAN, b"x")
    assert sorted(site.hidden()) == [".muster-notes", ".muster-young.part"]


def test_a_full_disk_is_called_that(site):
    sshd.need_root()
    need(shutil.which("nsenter"), "nsenter")
    full = site.root / "full"
    full.mkdir()
    site.inside("mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "none", str(full))
    try:
        publisher = site.open()
        refused(Kind.FULL, put, publisher, "full/x", os.urandom(5_000_000), says="the server's disk is full")
        assert publisher.listing("full/").items == []
        put(publisher, "full/x", b"there is room again" * 50_000)
        assert publisher.listing("full/").items[0].size == 19 * 50_000
    finally:
        site.inside("umount", "-l", str(full))


def test_a_failure_with_room_left_is_not_called_a_full_disk(bare):
    """The server says no more than Failure, and here not how much room there is, either."""
    sshd.need_root()
    full = bare.root / "full"
    full.mkdir()
    bare.inside("mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "none", str(full))
    says = "could not write .* a quota, a limit on its files, or its disk"
    refused(Kind.FULL, put, bare.open(), "full/x", os.urandom(5_000_000), says=says)


def test_where_we_may_not_write_it_is_said(site):
    sshd.need_root()
    site.server.file("theirs/x", b"old")
    site.server.forbid(site.root / "theirs" / "x")
    os.chown(site.root / "theirs", 0, 0)
    publisher = site.open()
    refused(Kind.DENIED, put, publisher, "theirs/x", b"new", says="permission denied: .*theirs/x")
    refused(Kind.DENIED, put, publisher, "theirs/deep/x", b"new", says="permission denied: .*theirs/deep")
    refused(Kind.DENIED, publisher.remove, "theirs/x", says="does not let us remove .*theirs/x")
    assert (site.root / "theirs" / "x").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../x", "not a path under --sftp-host"),
        ("a/../../x", "not a path under --sftp-host"),
        ("/etc/passwd", "not a path under --sftp-host"),
        ("", "not a path under --sftp-host"),
        (".", "names no file"),
        ("a\nb", "control characters"),
        ("a\udc80", "control characters"),
        ("x" * 2000, "at most 1024 bytes"),
        ("a/.muster-x", "are ours"),
        ("there", "is a directory"),
        ("file/x", "is a file, not a directory"),
    ],
)
def test_names_that_are_none(site, name, says):
    (site.root / "there").mkdir()
    site.server.file("file")
    refused(Kind.UNSUPPORTED, put, site.open(), name, b"x", says=says)


def test_links_that_lead_outside_are_not_followed(site):
    outside = site.server.home / "outside"
    outside.mkdir(mode=0o777, exist_ok=True)
    outside.chmod(0o777)
    (outside / "precious").write_text("precious")
    base = site.root / "base"
    (base / "inside").mkdir(parents=True)
    for each in (base, base / "inside"):
        each.chmod(0o777)
    (base / "out").symlink_to(outside)
    (base / "in").symlink_to(base / "inside")
    (base / "precious").symlink_to(outside / "precious")
    publisher = site.open("base")
    for call in (
        lambda: put(publisher, "out/x", b"x"),
        lambda: put(publisher, "out/deep/x", b"x"),
        lambda: publisher.remove("out/precious"),
        lambda: publisher.listing("out/"),
    ):
        refused(Kind.UNSUPPORTED, call, says="out is a link that leads outside of --sftp-host")
    put(publisher, "in/x", b"x")
    assert (base / "inside" / "x").read_bytes() == b"x"
    found = {item.name: (item.size, item.link) for item in publisher.listing().items}
    assert found == {"inside/x": (1, None), "precious": (8, str(outside / "precious"))}
    put(publisher, "precious", b"mine")
    assert not (base / "precious").is_symlink()
    assert (outside / "precious").read_text() == "precious"


def test_lists_are_by_prefix_and_hide_what_is_ours(site):
    for name in ("apps/a.tgz", "apps/b/c.tgz", "apps-2/d", "ünï/ö", "z", ".muster-1.part", "apps/.muster-x"):
        site.server.file(name, name.encode())
    (site.root / "empty").mkdir()
    publisher = site.open()

    def names(prefix=""):
        return [item.name for item in publisher.listing(prefix).items]

    assert names() == ["apps-2/d", "apps/a.tgz", "apps/b/c.tgz", "z", "ünï/ö"]
    assert names("apps") == ["apps-2/d", "apps/a.tgz", "apps/b/c.tgz"]
    assert names("apps/") == ["apps/a.tgz", "apps/b/c.tgz"]
    assert names("apps/b") == ["apps/b/c.tgz"]
    assert names("apps/b/c.tgz") == ["apps/b/c.tgz"]
    assert names("ü") == ["ünï/ö"]
    assert names("nope") == names("nope/nope") == []
    item = publisher.listing("z").items[0]
    assert (item.size, item.modified) == (1, int((site.root / "z").stat().st_mtime))


def test_what_cannot_be_named_or_seen_does_not_spoil_a_list(site):
    site.server.file("x")
    Path(os.fsdecode(os.fsencode(site.root) + b"/\xff\xfe")).touch()
    os.mkfifo(site.root / "fifo")
    closed = site.root / "closed"
    closed.mkdir()
    site.server.forbid(closed)
    (site.root / "dangling").symlink_to("nowhere")
    assert [item.name for item in site.open().listing().items] == ["dangling", "x"]


def test_lists_are_bounded(site, monkeypatch, clock):
    for n in range(30):
        site.server.file(f"d{n:02}/x")
        site.server.file(f"many/{n}")
    assert site.open().listing().complete
    monkeypatch.setattr(publishing, "MOST_LISTED", 10)
    found = site.open().listing("many/")
    assert (len(found.items), found.complete) == (10, False)
    found = site.open().listing("d")
    assert (len(found.items), found.complete) == (9, False), "the base counts as looked into, too"
    monkeypatch.undo()

    def late():
        clock.advance(publishing.LIST_WITHIN)
        return clock.now()

    assert not site.open(clock=late).listing().complete
    site.server.file("/".join("d" * publishing.DEEPEST) + "/d/d/x")
    assert not site.open().listing("d/").complete


def test_a_list_ends_in_time_though_one_directory_has_no_end(site, monkeypatch, clock):
    def endless(_wire, _path):
        while True:
            clock.advance(publishing.LIST_WITHIN / 100)
            yield "other", Attributes(1, 0o100644, 0)
            assert clock.now() < 1000 + 10 * publishing.LIST_WITHIN

    monkeypatch.setattr(Wire, "entries", endless)
    found = site.open(clock=clock.now).listing("none")
    assert (found.items, found.complete) == ([], False)


def test_only_files_are_removed(site):
    site.server.file(CLEAN, b"x")
    publisher = site.open()
    publisher.remove(CLEAN)
    assert not (site.root / CLEAN).exists()
    refused(Kind.MISSING, publisher.remove, CLEAN, says=f"no such file sftp://.*{CLEAN}")
    refused(Kind.MISSING, publisher.remove, "nope/x", says="no such file")
    refused(Kind.UNSUPPORTED, publisher.remove, "apps", says="only files are removed")


def test_a_base_that_is_not_there_is_not_made(site):
    says = "--sftp-host: there is no directory sftp://.*/nope"
    for path in ("nope", "nope/"):
        refused(Kind.FAULT, put, site.open(path), "x", b"x", says=says)
        refused(Kind.FAULT, site.open(path).listing, says=says)
    site.server.file("nope")
    refused(Kind.FAULT, put, site.open("nope"), "x", b"x", says=says)


def test_two_of_one_name_at_once_leave_one_whole(site):
    one, two = site.open(), site.open()

    def meanwhile():
        yield b"1" * 1_000_000
        put(two, CLEAN, b"2" * 500_000)
        yield b"1"

    one.put(CLEAN, meanwhile(), 1_000_001)
    assert (site.root / CLEAN).read_bytes() == b"1" * 1_000_001
    eventually(lambda: site.hidden() == [])
