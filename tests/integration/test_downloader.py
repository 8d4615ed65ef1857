"""One download in one process: from sources that break, change and lie, onto disks that fill up."""

import errno
import itertools
import os
import random
import time
from pathlib import Path

import pytest

from agentd.artifacts import parts as keeping
from agentd.artifacts.cache import Cache
from agentd.artifacts.download import Downloader, Wanted
from agentd.artifacts.parts import STAY, Parts, key_of
from agentd.artifacts.rate import Rate
from tests.downloading import Memory, left, objects, sha
from transfer.errors import Kind, TransferError
from transfer.reader import Stat
from transfer.urls import parse

pytestmark = pytest.mark.integration
MIB = 1024**2
BIG = random.Random(1).randbytes(12 * MIB)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "artifacts"


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
    parts.sweep(1000 + STAY)
    assert len(left(home)) == 4
    held.close()


def test_what_is_noted_of_a_part_stays_as_long_as_it_is_gone_on_with(cache, home):
    parts = Parts(cache.parts)
    for key in ("on", "over"):
        parts.open(key, "x", Stat(10 * MIB, "1"), pinned=False).close()
    for path in (home / "parts").iterdir():
        os.utime(path, (1000, 1000))
    os.utime(home / "parts" / "on.part", (1500, 1500))
    parts.sweep(1001 + STAY)
    assert left(home) == ["on.json", "on.part"]


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


def test_room_for_many_small_files_is_asked_for_at_once_and_what_fits_exactly_fits(
    cache, home, clock, monkeypatch
):
    asked = []
    room_for = Cache.room_for
    monkeypatch.setattr(Cache, "room_for", lambda *args: asked.append(args[1]) or room_for(*args))
    loader = downloader(cache, clock=clock.now)
    for n in range(100):
        loader.get(Memory(b"%d" % n), Wanted(source=parse("http://h/a"), key=key_of(str(n))))
    assert len(asked) == 1
    clock.advance(60)
    loader.get(Memory(b"later"), wanted())
    assert len(asked) == 2
    small = Cache(home / "small", 1000)
    for n in range(10):
        downloader(small).get(Memory(b"%0100d" % n), wanted())
    assert len(objects(home / "small")) == 10


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


def test_how_far_a_download_came_is_told_however_soon_it_broke(cache, clock):
    told = []
    source = Memory(BIG)
    source.breaks_at = 7 * MIB
    how = {"progress": lambda done, total: told.append((done, total)), "clock": clock.now}
    failure(Kind.UNREACHABLE, lambda: downloader(cache, **how).get(source, wanted()))
    assert told == [(0, len(BIG)), (7 * MIB, len(BIG))]
    source.breaks_at = 0
    failure(Kind.UNREACHABLE, lambda: downloader(cache, **how).get(source, wanted()))
    assert told[2:] == [(7 * MIB, len(BIG))]  # nothing came: that is no progress
    source.change(BIG[:5000])
    source.breaks_at = 3000
    failure(Kind.UNREACHABLE, lambda: downloader(cache, **how).get(source, wanted()))
    assert told[3:] == [(0, 5000)]  # nor is what has to be read again
