"""Files fetched by real children over real connections, killed and cut and lied to: whole in the end, or not there."""

import base64
import contextlib
import errno
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agentd.artifacts import parts as keeping
from agentd.artifacts.cache import Cache
from agentd.artifacts.download import Downloader, Wanted
from agentd.artifacts.parts import Parts, key_of
from agentd.artifacts.rate import Rate
from tests.conftest import eventually, need
from tests.downloading import ChildProcess, Memory
from tests.web import Page, Web
from transfer import seal
from transfer.errors import Kind, TransferError
from transfer.reader import Stat
from transfer.urls import parse

pytestmark = pytest.mark.integration
MIB = 1024**2
BIG = random.Random(1).randbytes(12 * MIB)


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def web():
    found = Web()
    yield found
    found.end()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "artifacts"


@pytest.fixture
def start(home):
    children = []

    def begin(pool, **how):
        children.append(ChildProcess(home, pool, **how))
        return children[-1]

    yield begin
    for each in children:
        each.end()


def objects(home):
    """What lies in the cache, by its name; each must be what its name says."""
    found = {path.name: path.read_bytes() for path in (home / "objects").glob("*/*")}
    assert all(sha(data) == name for name, data in found.items())
    return found


def left(home):
    return sorted(path.name for path in (home / "parts").iterdir())


# In this process.


@pytest.fixture
def cache(home):
    return Cache(home, 1 << 30)


def downloader(cache, **how):
    return Downloader(cache, Parts(cache.parts), Rate(None), **how)


def wanted(**how):
    return Wanted(source=parse("http://h/a"), key=key_of("a"), **how)


def get(cache, source, **how):
    return downloader(cache).get(source, wanted(**how))


def failure(kind, call, *words):
    with pytest.raises(TransferError) as found:
        call()
    assert found.value.kind is kind, found.value
    for word in words:
        assert word in str(found.value)


def test_a_file_is_read_once_and_its_digest_and_stamp_are_said(cache, home):
    source = Memory(BIG)
    got = get(cache, source)
    assert (got.sha256, got.size, got.stamp, got.read) == (sha(BIG), len(BIG), "1", len(BIG))
    assert objects(home) == {sha(BIG): BIG}
    assert left(home) == []
    assert cache.path(sha(BIG)).stat().st_mode & 0o777 == 0o600


def test_an_empty_file_is_got(cache, home):
    assert get(cache, Memory(b"")).size == 0
    assert objects(home) == {sha(b""): b""}


def test_what_has_not_changed_is_not_read_again(cache):
    source = Memory(BIG)
    got = get(cache, source)
    again = get(cache, source, known=(got.sha256, got.stamp))
    assert (again.sha256, again.size, again.stamp, again.read) == (got.sha256, got.size, got.stamp, 0)
    assert source.given == len(BIG)
    assert get(cache, source, sha256=got.sha256).read == 0
    assert source.stats == 2  # what is named by its digest and there is not even asked for


@pytest.mark.parametrize("why", ["changed", "gone", "another digest is wanted", "no stamp"])
def test_what_is_known_counts_only_while_it_is_true(cache, why):
    source = Memory(b"old")
    got = get(cache, source)
    if why == "changed":
        source.change(b"new")
    if why == "gone":
        cache.path(got.sha256).unlink()
    if why == "no stamp":
        source.version = ""
    digest = sha(b"another") if why == "another digest is wanted" else None
    known = (got.sha256, source.version if why == "no stamp" else got.stamp)
    if digest:
        failure(Kind.MISMATCH, lambda: get(cache, source, known=known, sha256=digest))
    else:
        assert get(cache, source, known=known).read == 3


def test_a_break_is_gone_on_with(cache, home):
    source = Memory(BIG)
    source.breaks_at = 7 * MIB
    failure(Kind.UNREACHABLE, lambda: get(cache, source))
    assert objects(home) == {}
    got = get(cache, source)
    assert got.read == len(BIG) - 7 * MIB
    assert objects(home) == {sha(BIG): BIG}
    assert left(home) == []


def test_small_files_begin_anew_rather_than_leave_notes(cache, home):
    source = Memory(BIG[:5000])
    source.breaks_at = 3000
    failure(Kind.UNREACHABLE, lambda: get(cache, source))
    assert [name.partition(".")[2] for name in left(home)] == ["part"]
    assert get(cache, source).read == 5000


@pytest.mark.parametrize("when", ["between", "while it is read"])
def test_of_a_source_that_changed_nothing_is_gone_on_with(cache, home, when):
    source = Memory(BIG)
    new = BIG[::-1]
    if when == "between":
        source.breaks_at = 7 * MIB
        failure(Kind.UNREACHABLE, lambda: get(cache, source))
        source.change(new)
    else:
        source.changes = {7_000_000: new}
    source.given = 0
    got = get(cache, source)
    assert got.read == source.given == len(BIG) + (7_000_000 if when != "between" else 0)
    assert objects(home) == {sha(new): new}


def test_a_source_that_never_rests_is_given_up(cache, home):
    source = Memory(BIG)
    source.changes = {1000 * n: BIG[: -n or None] for n in range(1, 9)}
    failure(Kind.CHANGED, lambda: get(cache, source), "changed")
    assert source.stats == 3
    assert objects(home) == {}
    assert left(home) == []


def test_a_file_that_grows_without_end_is_cut_off(cache, home):
    class Endless(Memory):
        def read(self, path, offset, stat):
            while True:
                self.given += 1000
                yield bytes(1000)

    source = Endless(bytes(2500))
    failure(Kind.CHANGED, lambda: get(cache, source), "grew")
    assert source.given == 9000
    source.size = None
    failure(Kind.FULL, lambda: get(Cache(home, 10 * MIB), source), "10.0 MiB")
    assert 9 * MIB < source.given < 11 * MIB
    assert left(home) == []


def test_a_file_that_ends_too_early_is_a_break(cache):
    source = Memory(BIG[:5000])
    source.size = 6000
    failure(Kind.UNREACHABLE, lambda: get(cache, source), "1000 of 6000 bytes are missing")


def test_a_wrong_digest_is_told_after_one_reading_from_zero(cache, home):
    source = Memory(BIG)
    failure(Kind.MISMATCH, lambda: get(cache, source, sha256=sha(b"x")), sha(BIG), sha(b"x"))
    assert source.given == len(BIG)
    source.breaks_at = 7 * MIB
    failure(Kind.UNREACHABLE, lambda: get(cache, source, sha256=sha(b"x")))
    source.given = 0
    failure(Kind.MISMATCH, lambda: get(cache, source, sha256=sha(b"x")))
    assert source.given == 2 * len(BIG) - 7 * MIB
    assert left(home) == []
    assert objects(home) == {}


def spoil(home):
    """A power cut: the last bytes of what was written are zeros."""
    (part,) = (home / "parts").glob("*.part")
    with part.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))


def test_after_a_boot_a_part_is_gone_on_with_only_if_a_digest_will_tell(cache, home, monkeypatch):
    source = Memory(BIG)
    for digest, read in ((None, len(BIG)), (sha(BIG), len(BIG) + 5 * MIB)):
        source.breaks_at = 7 * MIB
        failure(Kind.UNREACHABLE, lambda digest=digest: get(cache, source, sha256=digest))
        spoil(home)
        monkeypatch.setattr(keeping, "boot_id", lambda digest=digest: f"another {digest}")
        assert get(cache, source, sha256=digest).read == read
        assert objects(home) == {sha(BIG): BIG}
        cache.path(sha(BIG)).unlink()


@pytest.mark.parametrize(
    "note", ["", "[]", "{", '{"stamp": "1"}', '{"stamp": "1", "size": 1, "boot": "x"}', None]
)
def test_a_note_that_cannot_be_believed_makes_the_part_nothing(cache, home, note):
    source = Memory(BIG)
    source.breaks_at = 7 * MIB
    failure(Kind.UNREACHABLE, lambda: get(cache, source))
    spoil(home)
    (path,) = (home / "parts").glob("*.json")
    path.unlink() if note is None else path.write_text(note)
    assert get(cache, source).read == len(BIG)
    assert objects(home) == {sha(BIG): BIG}


class Killed(BaseException):
    """`kill -9`, before this call."""


@pytest.mark.parametrize(
    "call", [(Path, "unlink"), (os, "ftruncate"), (Path, "write_text"), (Path, "replace"), (os, "write")]
)
@pytest.mark.parametrize("after", ["another change", "no other change", "the old file"])
def test_whoever_is_killed_while_it_begins_anew_leaves_no_mixture(cache, home, monkeypatch, call, after):
    source = Memory(BIG)
    source.breaks_at = 7 * MIB
    failure(Kind.UNREACHABLE, lambda: get(cache, source))
    source.change(BIG[::-1])

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(*call, killed)
        with pytest.raises(Killed):
            get(cache, source)
    if after == "another change":
        source.change(BIG[1:])
    if after == "the old file":
        source.change(BIG)
        source.version = "1"
    get(cache, source)
    assert objects(home) == {sha(source.data): source.data}
    assert left(home) == []


def test_a_part_that_is_whole_is_not_read_again(cache, home):
    source = Memory(BIG)
    source.breaks_at = len(BIG)
    failure(Kind.UNREACHABLE, lambda: get(cache, source))
    assert get(cache, source).read == 0
    assert objects(home) == {sha(BIG): BIG}


def test_a_part_longer_than_its_source_is_nothing(cache, home):
    source = Memory(BIG)
    source.breaks_at = len(BIG)
    failure(Kind.UNREACHABLE, lambda: get(cache, source))
    with next((home / "parts").glob("*.part")).open("ab") as file:
        file.write(b"x")
    assert get(cache, source).read == len(BIG)


@pytest.mark.parametrize("stat", [Stat(len(BIG), ""), Stat(len(BIG), "weak", exact=False)])
def test_without_an_exact_stamp_nothing_is_gone_on_with(cache, stat):
    source = Memory(BIG, stat.stamp)
    source.stat = lambda _: stat
    source.breaks_at = 7 * MIB
    failure(Kind.UNREACHABLE, lambda: get(cache, source))
    assert get(cache, source).read == len(BIG)


def test_two_do_not_write_one_part(cache):
    parts = Parts(cache.parts)
    held = parts.open("a", "x", Stat(1, "1"), pinned=False)
    failure(Kind.FAULT, lambda: parts.open("a", "x", Stat(1, "1"), pinned=False), "another process")
    held.close()
    parts.open("a", "x", Stat(1, "1"), pinned=False).close()


def test_parts_that_nobody_goes_on_with_are_removed_after_a_week(cache, home):
    parts = Parts(cache.parts)
    stat = Stat(10 * MIB, "1")
    parts.open("old", "x", stat, pinned=False).close()
    held = parts.open("held", "x", stat, pinned=False)
    for path in (home / "parts").iterdir():
        os.utime(path, (1000, 1000))
    parts.open("new", "x", stat, pinned=False).close()
    assert len(left(home)) == 6
    parts.sweep(time.time())
    assert left(home) == ["held.json", "held.part", "new.json", "new.part"]
    parts.sweep(1000 + keeping.STALE)
    assert len(left(home)) == 4
    held.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_is_said_and_given_back(cache, home, monkeypatch, number):
    write = os.write
    room = 5 * MIB

    def filled(fd, data):
        nonlocal room
        if room < len(data):
            if room:
                written, room = write(fd, data[:room]), 0
                return written
            raise OSError(number, os.strerror(number))
        room -= len(data)
        return write(fd, data)

    monkeypatch.setattr(os, "write", filled)
    failure(Kind.FULL, lambda: get(cache, Memory(BIG)), "no room", "7.0 MiB needed")
    assert left(home) == []
    room = 1 << 30
    assert get(cache, Memory(BIG)).size == len(BIG)


def test_a_disk_that_is_broken_is_our_own_fault(cache, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", broken)
    failure(Kind.FAULT, lambda: get(cache, Memory(BIG)), "Input/output error")


def test_a_quota_that_is_too_small_stops_a_file_before_it_is_read(home):
    source = Memory(BIG)
    failure(Kind.FULL, lambda: get(Cache(home, 10 * MIB), source), "10.0 MiB", "--artifact-quota")
    assert source.given == 0


def test_progress_is_told_at_most_twice_a_second(cache, clock):
    told = []
    source = Memory(BIG)
    source.piece = 64 * 1024

    class Slow(Rate):
        def take(self, count):
            clock.advance(0.1)

    how = {"progress": lambda done, total: told.append((clock.now(), done, total)), "clock": clock.now}
    Downloader(cache, Parts(cache.parts), Slow(None), **how).get(source, wanted())
    assert told[0][1:] == (0, len(BIG))
    assert all(later[0] - sooner[0] >= 0.5 for sooner, later in itertools.pairwise(told))
    assert len(told) == 1 + (len(BIG) // source.piece - 1) // 5


# Real children.


def test_a_child_gets_files_one_after_the_other_and_ends_with_its_input(web, start, home):
    web.pages = {"/a": Page(BIG), "/b?token=s3cr3t": Page(b"b"), "/empty": Page(b"")}
    child = start(web.url).open()
    for n, path in enumerate(("/a", "/b?token=s3cr3t", "/empty")):
        child.get(web.url + path, job=str(n))
    words = [child.hear("got") for _ in range(3)]
    assert [(each["job"], each["size"], each["read"]) for each in words] == [("0", len(BIG), len(BIG)), ("1", 1, 1), ("2", 0, 0)]  # fmt: skip
    assert set(objects(home)) == {sha(BIG), sha(b"b"), sha(b"")}
    again = child.done(f"{web.url}/a", known={"sha256": sha(BIG), "stamp": words[0]["stamp"]})
    assert (again["read"], again["sha256"]) == (0, sha(BIG))
    assert web.connections == 1
    assert child.end() == 0
    assert child.stderr() == ""


def test_one_missing_file_does_not_cost_the_others_theirs(web, start):
    web.pages = {"/busy": Page(b"", status=503), "/a": Page(b"a")}
    child = start(web.url).open()
    for source, kind, text in (
        ("/none?t=s3cr3t", "missing", "/none?…"),
        ("/busy?t=s3cr3t", "missing", "/busy?…"),
        ("/busy", "unreachable", "busy"),
    ):
        word = child.done(web.url + source)
        assert (word["say"], word["job"], word["kind"]) == ("failed", "1", kind)
        assert text in word["text"]
        assert "s3cr3t" not in word["text"]
    for source in ("http://elsewhere/a", "file:///etc/passwd", "apps/a", "gopher://x/y"):
        assert child.done(source)["kind"] == "unsupported"
    word = child.done(f"{web.url}/a", sha256=sha(b"b"))
    assert word["kind"] == "mismatch"
    assert child.done(f"{web.url}/a", sha256=sha(b"a"))["say"] == "got"


def test_a_connection_that_breaks_ends_the_child_and_the_next_goes_on(web, start, home):
    web.pages["/a"] = Page(BIG, cut=7 * MIB)
    child = start(web.url).open()
    child.get(f"{web.url}/a", job="x")
    child.get(f"{web.url}/a", job="y")
    assert child.hear("lost")["kind"] == "unreachable"
    assert child.hear("got") is None
    assert child.process.wait(20) == 0
    web.pages["/a"].cut = None
    assert start(web.url).open().done(f"{web.url}/a")["read"] == len(BIG) - 7 * MIB
    assert objects(home) == {sha(BIG): BIG}


def test_a_server_that_is_down_is_lost_before_anything_is_read(web, start):
    web.end()
    child = start(web.url).open()
    assert child.done(f"{web.url}/a")["say"] == "lost"
    assert child.process.wait(20) == 0


def test_a_child_killed_at_any_moment_leaves_what_the_next_goes_on_with(web, start, home):
    page = web.pages["/a"] = Page(BIG)
    rng = random.Random(os.urandom(8))
    cuts = sorted(rng.sample(range(2 * MIB, len(BIG) - MIB), 4))
    for cut in cuts:
        sent = web.sent
        page.silent = cut - have(home)  # of what is still to come
        child = start(web.url).open()
        child.get(f"{web.url}/a")
        limit = sent + page.silent
        eventually(lambda limit=limit: web.sent >= limit)
        enough = rng.randrange(have(home), cut + 1)
        eventually(lambda enough=enough: have(home) >= enough)
        child.kill()
        assert objects(home) == {}
    page.silent = None
    there, sent = have(home), web.sent
    assert there > 0
    word = start(web.url).open().done(f"{web.url}/a")
    assert (word["read"], word["sha256"]) == (len(BIG) - there, sha(BIG))
    assert web.sent - sent == len(BIG) - there
    assert objects(home) == {sha(BIG): BIG}
    assert left(home) == []


def have(home):
    return sum(path.stat().st_size for path in (home / "parts").glob("*.part"))


def test_a_child_killed_while_the_source_changes_gives_the_new_file(web, start, home):
    web.pages["/a"] = Page(BIG, silent=5 * MIB)
    child = start(web.url).open()
    child.get(f"{web.url}/a")
    eventually(lambda: have(home) == 5 * MIB)
    child.kill()
    new = BIG[::-1]
    web.pages["/a"] = Page(new)
    word = start(web.url).open().done(f"{web.url}/a")
    assert (word["read"], word["sha256"]) == (len(BIG), sha(new))
    assert objects(home) == {sha(new): new}


@pytest.mark.parametrize("how", ["no ranges", "lies about the part"])
def test_a_server_that_cannot_go_on_is_read_from_zero(web, start, home, how):
    page = web.pages["/a"] = Page(BIG, cut=5 * MIB)
    assert start(web.url).open().done(f"{web.url}/a")["say"] == "lost"
    page.cut, page.ranges = None, how != "no ranges"
    if how != "no ranges":
        page.content_range = f"bytes 0-{len(BIG) - 1}/{len(BIG)}"
    assert start(web.url).open().done(f"{web.url}/a")["sha256"] == sha(BIG)
    assert objects(home) == {sha(BIG): BIG}


@pytest.mark.parametrize("how", ["TERM", "end of input"])
def test_a_child_that_is_told_to_end_does_so_at_once_and_can_be_gone_on_with(web, start, home, how):
    page = web.pages["/a"] = Page(BIG, silent=5 * MIB)
    child = start(web.url).open()
    child.get(f"{web.url}/a")
    eventually(lambda: have(home) == 5 * MIB)
    if how == "TERM":
        child.process.send_signal(signal.SIGTERM)
    else:
        child.process.stdin.close()
    assert child.process.wait(20) == (-signal.SIGTERM if how == "TERM" else 0)
    page.silent = None
    assert start(web.url).open().done(f"{web.url}/a")["read"] == len(BIG) - 5 * MIB


def test_a_child_dies_with_its_parent(home, tmp_path):
    """Even where its input stays open, since somebody else has it, too."""
    read, write = os.pipe()
    code = (
        "import subprocess, sys, os\n"
        "child = subprocess.Popen([sys.executable, '-m', 'agentd.artifacts.child', sys.argv[1]],\n"
        "                         stdin=int(sys.argv[2]), stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(home), str(read)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[read],
    )  # fmt: skip
    os.write(write, b'{"say":"begin","pool":"","quota":1000}\n')
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.communicate()
    eventually(lambda: not alive(pid))
    os.close(read)
    os.close(write)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def test_a_rate_is_obeyed_and_can_be_changed_in_the_middle_of_a_file(web, start):
    web.pages["/a"] = Page(BIG)
    child = start(web.url, rate=100_000).open()
    child.get(f"{web.url}/a")
    assert 0 < eventually(lambda: child.hear("progress", "got")["done"]) < len(BIG) // 2
    child.say({"say": "rate", "rate": None})
    assert child.hear("got")["read"] == len(BIG)  # in two minutes, by the old rate


def test_a_child_without_a_login_says_so(start):
    for sealed in (seal.seal("{}", seal.new()[1]), "nonsense", seal.seal("[]", seal.new()[1])):
        child = start("~").open(sealed)
        word = child.hear("lost")
        assert word["kind"] == "login"
        assert child.process.wait(20) == 0


def test_relative_sources_lie_under_the_base_that_was_sealed(web, start):
    """Over HTTP here, which is not served as a base otherwise: how a base is read is its scheme's matter."""
    web.pages["/base/apps/a.bin"] = Page(b"a")
    child = start("~")
    login = {"base": f"{web.url}/base/", "user": "me", "password": "s3cr3t-pässword"}
    child.open(seal.seal(json.dumps(login), child.key))
    assert child.done("apps/a.bin")["sha256"] == sha(b"a")
    pair = base64.b64encode("me:s3cr3t-pässword".encode()).decode()
    assert {headers["authorization"] for _, _, headers in web.asked} == {f"Basic {pair}"}
    assert child.done(f"{web.url}/base/apps/a.bin")["say"] == "got"
    for source in ("../x", "/etc/passwd", "a/../../b", "http://elsewhere/a", ""):
        assert child.done(source)["kind"] == "unsupported"
    for where in ("cmdline", "environ", "status"):
        assert b"s3cr3t" not in Path(f"/proc/{child.process.pid}/{where}").read_bytes()
    assert child.end() == 0
    assert child.stderr() == ""


def test_local_files_are_got_as_far_as_the_policy_lists_them(start, tmp_path, home):
    (tmp_path / "a ü").write_bytes(BIG)
    (tmp_path / "secret").write_bytes(b"s")
    url = (tmp_path / "a ü").as_uri()
    child = start("", files=[f"{tmp_path.resolve()}/a*"]).open()
    assert child.done(url)["sha256"] == sha(BIG)
    word = child.done((tmp_path / "secret").as_uri())
    assert word["kind"] == "unsupported"
    assert "policy" in word["text"]
    assert start("", files=[]).open().done(url)["kind"] == "unsupported"
    assert start("").open().done((tmp_path / "secret").as_uri())["say"] == "got"


def test_a_quota_makes_a_sentence_and_nothing_is_left(web, start, home):
    web.pages["/a"] = Page(BIG)
    word = start(web.url, quota=MIB).open().done(f"{web.url}/a")
    assert (word["say"], word["kind"]) == ("failed", "full")
    assert "1.0 MiB" in word["text"]
    assert left(home) == []
    assert web.sent == 0


@pytest.fixture
def small_disk(tmp_path):
    need(os.geteuid() == 0 and shutil.which("mount"), "root (to mount a small disk)")
    where = tmp_path / "disk"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", where], check=False, capture_output=True
    )
    need(done.returncode == 0, "the right to mount a tmpfs")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


@pytest.mark.parametrize("known", [True, False])
def test_a_real_disk_that_is_full_is_said_and_mends(web, small_disk, known):
    """Also when nobody could know before how long the file would be."""
    page = web.pages["/a"] = Page(BIG, chunked=not known)
    child = ChildProcess(small_disk / "artifacts", web.url).open()
    word = child.done(f"{web.url}/a")
    assert (word["say"], word["kind"]) == ("failed", "full")
    assert re.search(r"no room .* needed, .* may still be used", word["text"]), word
    assert left(small_disk / "artifacts") == []
    page.data = BIG[: 3 * MIB]
    assert child.done(f"{web.url}/a")["say"] == "got"
    child.end()


def fill(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(fd, bytes(4096)):
            pass
    os.close(fd)


def test_a_disk_that_others_fill_while_a_file_comes_is_said(web, small_disk):
    page = web.pages["/a"] = Page(BIG[: 6 * MIB], silent=3 * MIB)
    home = small_disk / "artifacts"
    child = ChildProcess(home, web.url).open()
    child.get(f"{web.url}/a")
    eventually(lambda: have(home) == 3 * MIB)
    fill(small_disk / "other")
    page.silent = None
    web.ended.set()  # the silent connection breaks; the next child meets the full disk
    assert child.hear("lost")
    web.ended.clear()
    child.end()
    child = ChildProcess(home, web.url).open()
    word = child.done(f"{web.url}/a")
    assert (word["say"], word["kind"]) == ("failed", "full")
    assert left(home) == []
    (small_disk / "other").unlink()
    assert child.done(f"{web.url}/a")["say"] == "got"
    child.end()


def test_a_child_stays_small_and_out_of_the_way(web, start):
    web.pages["/a"] = Page(BIG * 4)
    child = start(web.url).open()
    assert child.done(f"{web.url}/a")["say"] == "got"
    assert os.getpriority(os.PRIO_PROCESS, child.process.pid) >= 10
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child.process.pid}/status").read_text())[1])
    assert peak < 48 * 1024, f"{peak} kB"  # the file is 48 MiB


def test_words_that_are_none_end_the_child_without_repeating_them(start):
    child = start("")
    child.process.stdin.write(b"s3cr3t\n")
    child.process.stdin.flush()
    assert child.process.wait(20) == 1
    assert "s3cr3t" not in child.stderr()


def test_many_threads_may_change_a_rate():
    rate = Rate(1e12)
    threads = [
        threading.Thread(target=lambda: [rate.set(n * 1e9) or rate.take(1) for n in range(1, 200)])
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
