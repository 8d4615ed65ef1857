"""Objects on disk: adopted whole, counted, collected by last use, noticed when damaged."""

import fcntl
import hashlib
import multiprocessing
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from agentd.artifacts import cache as cache_module
from agentd.artifacts.cache import JUST_USED, PARTS_REST, Cache
from agentd.artifacts.parts import Parts
from agentd.artifacts.space import usable
from store.model.quantity import size_text
from transfer.errors import SLOW, Kind, TransferError
from transfer.reader import Stat

pytestmark = pytest.mark.unit


def put(cache, contents):
    """An object with these contents; its name."""
    sha256 = hashlib.sha256(contents).hexdigest()
    part = cache.parts / f"{sha256[:8]}-{os.getpid()}.part"
    part.write_bytes(contents)
    cache.adopt(part, sha256)
    return sha256


@pytest.fixture
def cache(tmp_path, clock):
    return Cache(tmp_path / "artifacts", 1000, clock.wall)


def test_what_is_adopted_is_an_object_of_ours_alone(cache):
    sha256 = put(cache, b"program")
    assert cache.has(sha256)
    path = cache.path(sha256)
    assert path.read_bytes() == b"program"
    assert path.parent.name == sha256[:2]
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(cache.parts.iterdir())


def test_an_object_that_is_adopted_again_heals_a_damaged_one(cache):
    sha256 = put(cache, b"program")
    cache.path(sha256).write_bytes(b"rubbish")
    put(cache, b"program")
    assert cache.path(sha256).read_bytes() == b"program"


def test_a_part_that_is_a_link_is_not_adopted(cache, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    part = cache.parts / "x.part"
    part.symlink_to(tmp_path / "secret")
    with pytest.raises(OSError):
        cache.adopt(part, "0" * 64)
    assert not cache.has("0" * 64)


def test_of_many_that_are_adopted_one_that_cannot_be_does_not_cost_the_others_theirs(cache, tmp_path):
    parts = [(cache.parts / f"{n}.part", f"{n}" * 64) for n in range(4)]
    for path, _ in parts[:3]:
        path.write_bytes(b"x")
    (cache.objects / ("1" * 2)).write_bytes(b"no directory")
    errors = cache.adopt_all(parts)
    assert [type(each) for each in errors] == [type(None), FileExistsError, type(None), FileNotFoundError]
    assert [cache.has(sha256) for _, sha256 in parts] == [True, False, True, False]


def test_what_is_adopted_has_its_bytes_and_then_its_name_on_the_disk(cache, monkeypatch):
    parts = [(cache.parts / f"{n}.part", f"{n:02d}" * 32) for n in range(3)]
    for path, _ in parts:
        path.write_bytes(b"x")
    synced = []

    def fsync(fd):
        where = str(Path(f"/proc/self/fd/{fd}").readlink())
        synced.append((where, sorted(path.name for path in cache.objects.glob("*/*"))))

    monkeypatch.setattr(os, "fsync", fsync)
    assert cache.adopt_all(parts) == [None] * 3
    names = sorted(sha256 for _, sha256 in parts)
    assert [each for each in synced if each[0].endswith(".part")] == [(str(path), []) for path, _ in parts]
    for _, sha256 in parts:
        assert (str(cache.path(sha256).parent), names) in synced
    assert str(cache.objects) in [where for where, _ in synced]


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_what_is_no_digest_names_no_path(cache, name):
    with pytest.raises(ValueError):
        cache.path(name)


def test_the_least_recently_used_go_first_and_the_needed_never(cache, clock):
    names = []
    for each in (b"a", b"b", b"c", b"d"):
        names.append(put(cache, each * 300))
        clock.advance(JUST_USED + 1)
    cache.touch(names[0])
    clock.advance(JUST_USED + 1)
    assert cache.collect({names[1]}) == 300
    assert [cache.has(name) for name in names] == [True, True, False, True]
    assert cache.collect(set()) == 0


def test_what_was_just_used_is_not_collected(cache, clock):
    names = [put(cache, each * 600) for each in (b"a", b"b")]
    assert cache.collect(()) == 0
    clock.advance(JUST_USED + 1)
    cache.touch(names[0])
    assert cache.collect(()) == 600
    assert cache.has(names[0])


def test_objects_from_a_time_to_come_can_be_collected(cache, clock):
    put(cache, b"a" * 600), put(cache, b"b" * 600)
    clock.advance(-3600)
    assert cache.collect(()) == 600


def test_room_is_made_of_what_nobody_needs(cache, clock):
    old, needed = put(cache, b"a" * 500), put(cache, b"b" * 400)
    clock.advance(JUST_USED + 1)
    cache.room_for(100, {old, needed})
    cache.room_for(600, {needed})
    assert not cache.has(old)
    with pytest.raises(TransferError, match=r"no room for 601 B .* tasks need 400 B of its 1000 B") as caught:
        cache.room_for(601, {needed})
    assert caught.value.kind is Kind.FULL
    assert caught.value.kind in SLOW


def test_a_file_larger_than_the_quota_costs_no_other_its_place(cache, clock):
    kept = put(cache, b"a" * 500)
    clock.advance(JUST_USED + 1)
    with pytest.raises(TransferError, match="may hold: 1000 B, see the agent's --artifact-quota"):
        cache.room_for(1001, ())
    assert cache.has(kept)


def test_a_full_disk_is_a_sentence_after_what_can_go_has_gone(cache, clock, monkeypatch):
    gone, kept = put(cache, b"a" * 300), put(cache, b"b" * 300)
    clock.advance(JUST_USED + 1)
    monkeypatch.setattr(cache_module, "usable", lambda _: 100 if cache.has(gone) else 400)
    cache.room_for(390, {kept})
    assert not cache.has(gone)
    monkeypatch.setattr(cache_module, "usable", lambda _: 300)
    with pytest.raises(TransferError, match=r"no room on the disk of .*objects: 399 B needed, 300 B may"):
        cache.room_for(399, {kept})


def test_downloads_count_and_what_is_no_object_goes(cache):
    (cache.parts / "x.part").write_bytes(b"a" * 700)
    (cache.objects / "stray").write_bytes(b"1")
    assert cache.used() == 700
    assert cache.collect(()) == 1
    assert not (cache.objects / "stray").exists()
    assert cache.used() == 700


def a_part(cache, clock, name, size, age):
    part = cache.parts / f"{name}.part"
    part.write_bytes(b"p" * size)
    part.with_suffix(".json").write_text("")
    os.utime(part, (clock.wall() - age,) * 2)
    return part


def test_parts_that_nobody_is_at_make_room_before_objects_and_the_newest_last(cache, clock):
    other = put(cache, b"o" * 300)
    os.utime(cache.path(other), (clock.wall() - 1000,) * 2)
    old = a_part(cache, clock, "old", 400, PARTS_REST + 1)
    held = a_part(cache, clock, "held", 100, PARTS_REST + 2)
    lately = a_part(cache, clock, "lately", 200, 2 * JUST_USED)
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cache.room_for(300, ())
        assert [old.exists(), old.with_suffix(".json").exists()] == [False, False]
        assert [held.exists(), lately.exists(), cache.has(other)] == [True, True, True]
        cache.room_for(650, ())
        assert [held.exists(), lately.exists(), cache.has(other)] == [True, True, False]
        cache.room_for(850, ())
        assert [held.exists(), lately.exists()] == [True, False]
        with pytest.raises(TransferError):
            cache.room_for(950, ())


def churn(directory, number):
    """Adopts what is at once old enough to be collected by the others."""
    moment, began = iter(range(10**6)), time.time()
    cache = Cache(directory, 2000, lambda: began + next(moment) * JUST_USED)
    for each in range(100):
        contents = f"{number} {each}".encode() * 20
        part = Parts(cache.parts).open(
            str(number), "source", Stat(size=len(contents), stamp="", exact=False), pinned=False
        )  # held, as children do
        part.write(contents)
        cache.adopt(part.path, hashlib.sha256(contents).hexdigest())
        part.close()
        cache.collect(())
        cache.room_for(100, ())


def test_several_processes_may_adopt_and_collect_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=churn, args=(tmp_path, each)) for each in (1, 2, 3)]
    for each in children:
        each.start()
    for each in children:
        each.join(60)
    assert [each.exitcode for each in children] == [0, 0, 0]
    assert Cache(tmp_path, 2000).used() <= 2000


def test_room_that_another_process_makes_is_room(cache, clock, monkeypatch):
    """What is to be removed is removed by somebody else, so that this one frees nothing itself."""
    put(cache, b"a" * 900)
    clock.advance(JUST_USED + 1)
    remove = cache_module._removed
    monkeypatch.setattr(cache_module, "_removed", lambda path: 0 * remove(path))
    cache.room_for(200, ())
    assert cache.used() == 0
    kept = put(cache, b"b" * 900)
    with pytest.raises(TransferError, match="no room for 200 B"):
        cache.room_for(200, {kept})


def test_sizes_are_for_people():
    assert [size_text(each) for each in (0, 1023, 1024, 80 * 1024**2, 5 * 1024**3, 2 * 1024**5)] == [
        "0 B", "1023 B", "1.0 KiB", "80.0 MiB", "5.0 GiB", "2048.0 TiB",
    ]  # fmt: skip


def test_the_reserve_of_a_disk_is_not_for_files(monkeypatch):
    disk = SimpleNamespace(f_blocks=1000 * 1024**2, f_frsize=1024, f_bavail=2 * 1024**2)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    assert usable(0) == 1024**3
    disk.f_bavail = 10
    assert usable(0) == 0
    disk.f_blocks, disk.f_bavail = 100, 50
    assert usable(0) == 45 * 1024
