"""Names, the time index, and the smaller decisions of rotation."""

import os
from types import SimpleNamespace

import pytest

from agentd.logs import files, holes, space
from agentd.logs.files import Mark
from agentd.logs.keeper import LogKeeper
from agentd.logs.read import Reader
from agentd.logs.rotate import Rotator
from agentd.logs.server import ENDS_WITHIN, OPENS_WITHIN, LogServer
from agentd.logs.times import MOST, Times
from store.model.policies import LogPolicy
from tests.conftest import need

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _holes(tmp_path):
    need(holes.supported(tmp_path), "a file system with holes")


@pytest.fixture
def live(tmp_path):
    directory = tmp_path / "alloc.0"
    directory.mkdir()
    path = directory / "web.out"
    path.touch()
    return path


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def lines(first, count, size=1000):
    return b"".join(f"{n:06d} ".encode().ljust(size - 1, b"x") + b"\n" for n in range(first, first + count))


def everything(path, at=0):
    reader, found = Reader(path), b""
    while (piece := reader.read(at, 1 << 16)).data:
        found += piece.data
        at = piece.end
    return found


def test_names():
    assert files.stem("web-1.2_x", 3) == "web-1.2_x"
    assert (
        files.stem("..", 3) == files.stem("a b", 3) == files.stem("ä", 3) == files.stem("a" * 65, 3) == "~3"
    )


def test_segments_of_one_task_are_not_anothers(live):
    for name in ("web.out.000000000000-000000000005", "web.err.000000000000-000000000007.gz", "web.out.x", "xweb.out.000000000000-000000000009", "web.out.000000000000-000000000005.gz.part", "web.out.meta"):  # fmt: skip
        (live.parent / name).write_bytes(b"")
    assert [(each.start, each.end, each.packed) for each in files.segments_of(live)] == [(0, 5, False)]


def test_a_sidecar_that_cannot_be_read_is_none(live):
    files.remember(live, Mark(5, 3, 2, 9))
    assert files.recall(live) == Mark(5, 3, 2, 9)
    live.with_name("web.out.meta").write_bytes(b"nonsense")
    assert files.recall(live) == Mark()


def test_rotation_cuts_at_line_ends_and_gives_blocks_back(live):
    append(live, lines(0, 100))
    turn = Rotator(live, punching=True).turn(LogPolicy(max_size=64 * 1024, max_files=5), now=0.0)
    (segment,) = files.segments_of(live)
    assert turn.rotated
    assert segment.path.read_bytes() == lines(0, 65)
    assert live.stat().st_size == 100_000, "a hole, and no shorter file"
    assert live.stat().st_blocks * 512 < 50_000
    assert everything(live) == lines(0, 100)
    assert Reader(live).tail(80, 100_000) == 20_000


def test_without_holes_the_file_is_truncated_and_offsets_go_on(live):
    append(live, lines(0, 100))
    rotator = Rotator(live, punching=False)
    rotator.turn(LogPolicy(max_size=64 * 1024, max_files=5), now=0.0)
    assert live.stat().st_size == 0
    append(live, lines(100, 10))
    assert Reader(live).extent() == (0, 110_000)
    assert everything(live) == lines(0, 110)
    assert files.recall(live).origin == 100_000


def test_too_many_and_too_old_segments_are_dropped(live):
    rotator, policy = Rotator(live, punching=True), LogPolicy(max_size=65_536, max_files=2, max_age=100.0)
    for round_ in range(4):
        append(live, lines(round_ * 70, 70))
        rotator.turn(policy, now=0.0)
    assert [each.start for each in files.segments_of(live)] == [130_000, 195_000]
    assert everything(live) == lines(130, 150)
    piece = Reader(live).read(0, 10)
    assert (piece.start, piece.data) == (130_000, lines(130, 1)[:10]), "the gap shows in where it starts"
    for segment in files.segments_of(live):
        os.utime(segment.path, (50, 50))
    rotator.turn(policy, now=150.0)
    assert len(files.segments_of(live)) == 2
    rotator.turn(policy, now=151.0)
    assert files.segments_of(live) == ()
    assert everything(live) == lines(260, 20)


def test_no_files_means_only_the_live_part(live):
    append(live, lines(0, 100))
    turn = Rotator(live, punching=True).turn(LogPolicy(max_size=65_536, max_files=0), now=0.0)
    assert files.segments_of(live) == ()
    assert (turn.rotated, turn.lost) == (True, 0), "that is what was asked for"
    assert Reader(live).extent() == (67_000, 100_000)
    assert everything(live, 67_000) == lines(67, 33)


@pytest.mark.parametrize("punching", [True, False])
def test_a_flood_leaves_the_newest_and_is_counted(live, punching):
    append(live, lines(0, 1000))
    rotator = Rotator(live, punching=punching)
    turn = rotator.turn(LogPolicy(max_size=65_536, max_files=2), now=0.0)
    assert turn.lost == files.recall(live).lost == 868_000, (
        "what would be kept of a slow writer is kept of this one"
    )
    kept = 868 if punching else 933  # without holes nothing stays in the live file: one segment more
    assert everything(live, 868_000) == lines(kept, 1000 - kept)
    on_disk = sum(path.stat().st_blocks * 512 for path in live.parent.iterdir())
    assert on_disk < 4 * 65_536 + 50_000


@pytest.mark.parametrize("punching", [True, False])
def test_a_task_that_truncates_its_own_log_does_not_turn_offsets_back(live, punching):
    rotator, policy = Rotator(live, punching=punching), LogPolicy()
    append(live, lines(0, 10))
    rotator.turn(policy, now=0.0)
    os.truncate(live, 0)
    append(live, b"new\n")
    rotator.turn(policy, now=0.0)
    assert Reader(live).extent() == (10_000, 10_004)
    assert everything(live, 10_000) == b"new\n"


def test_a_packed_segment_that_was_cut_short_is_a_gap_and_not_the_end(live):
    append(live, lines(0, 100))
    Rotator(live, punching=True).turn(LogPolicy(max_size=65_536, max_files=5), now=0.0)
    (segment,) = files.segments_of(live)
    space.pack(segment)
    (packed,) = files.segments_of(live)
    os.truncate(packed.path, 20)
    assert Reader(live).read(0, 100).start == 65_000
    assert everything(live, 65_000) == lines(65, 35)


def test_the_keeper_rotates_by_age_packs_and_notes_times(live, clock):
    keeper = LogKeeper(live.parent.parent, clock, 1 << 30)
    keeper.watch({live: LogPolicy(max_files=3, max_age=400.0), live.with_name("absent.out"): LogPolicy()})
    keeper.tick()
    append(live, b"one\n")
    keeper.tick()
    first = clock.wall()
    clock.advance(99)
    keeper.tick()
    assert files.segments_of(live) == ()
    append(live, b"two\n")
    clock.advance(2)
    keeper.tick()
    keeper.tick()
    (segment,) = files.segments_of(live)
    assert (segment.start, segment.end, segment.packed) == (0, 8, True)
    assert everything(live) == b"one\ntwo\n"
    times = Times(live)
    assert times.offset(first - 1) == 0
    assert times.offset(first) == 4
    assert times.offset(clock.wall()) == 8
    assert times.written(5) == clock.wall()


def test_the_quota_takes_the_oldest_first_and_live_parts_last(live, clock):
    other = live.parent.parent / "ended.0" / "web.out.000000000000-000000200000"
    other.parent.mkdir()
    other.write_bytes(b"x" * 200_000)
    os.utime(other, (5, 5))
    append(live, lines(0, 300))
    keeper = LogKeeper(live.parent.parent, clock, 420_000)
    keeper.watch({live: LogPolicy(max_size=100_000, max_files=5)})
    keeper.tick()
    clock.advance(3)
    keeper.tick()
    assert not other.exists()
    assert everything(live) == lines(0, 300)
    keeper = LogKeeper(live.parent.parent, clock, 70_000)
    keeper.watch({live: LogPolicy(max_size=100_000, max_files=5)})
    keeper.tick()
    assert files.segments_of(live) == ()
    assert sum(entry.size for entry in space.survey(live.parent.parent)) < 90_000
    oldest, end = Reader(live).extent()
    assert (oldest, end) == (234_000, 300_000)
    assert everything(live, oldest).endswith(lines(290, 10))


def test_the_quota_takes_ended_logs_whole_and_tends_what_nobody_named(live, clock):
    ended = live.parent.parent / "ended.0" / "web.out"
    ended.parent.mkdir()
    ended.write_bytes(b"x" * 200_000)
    os.utime(ended, (5, 5))
    append(live, lines(0, 100))
    os.utime(live, (clock.wall(), clock.wall()))
    keeper = LogKeeper(live.parent.parent, clock, 200_000)
    keeper.tick()
    assert ended.exists(), "before anybody said whose logs there are"
    keeper.watch({})
    keeper.tick()
    assert not ended.exists(), "nobody wrote it for an hour"
    assert everything(live) == lines(0, 100)
    append(live, lines(100, 11_000))
    keeper.tick()
    assert files.segments_of(live)[0].end == 10_485_000, "by the default policy"


def test_what_is_rotated_between_a_readers_look_and_its_read_is_read_again(live, monkeypatch):
    append(live, lines(0, 100))
    plain, rotator = Reader._of_live, Rotator(live, punching=True)

    def late(self, offset, most):
        rotator.turn(LogPolicy(max_size=65_536, max_files=5), now=0.0)
        return plain(self, offset, most)

    monkeypatch.setattr(Reader, "_of_live", late)
    assert Reader(live).read(0, 5000).data == lines(0, 5)


def test_the_time_index_stays_small(live):
    times = Times(live)
    for number in range(3 * MOST):
        times.note(number * 5.0, number + 1, 0)
    entries = times.entries()
    assert len(entries) <= MOST
    assert entries == sorted(entries)
    assert entries[-1] == ((3 * MOST - 1) * 5.0, 3 * MOST)
    assert times.offset((3 * MOST - 10) * 5.0) == 3 * MOST - 9
    times.note(1e9 + 1, 10**9, 10**9 - 1)
    for number in range(MOST):
        times.note(2e9 + number * 5.0, 10**9 + number + 1, 10**9)
    assert times.entries()[0][1] > 10**9, "of what is not kept, no times are"


def test_growth_that_is_not_old_enough_to_note_is_noted_later(live):
    times = Times(live)
    times.note(100.0, 10, 0)
    times.note(104.0, 20, 0)
    assert times.entries() == [(100.0, 10)]
    times.note(105.0, 20, 0)
    assert Times(live).entries() == [(100.0, 10), (105.0, 20)]


def test_a_listing_that_misses_what_is_being_renamed_makes_no_gap(live, monkeypatch):
    """A segment is packed while the directory is read: neither its old name nor its new one is seen."""
    append(live, lines(0, 300))
    Rotator(live, punching=True).turn(LogPolicy(max_size=65_536, max_files=5), now=0.0)
    segments = files.segments_of(live)
    assert len(segments) >= 3
    seen = [segments[1:]]
    real = files.segments_of
    monkeypatch.setattr(files, "segments_of", lambda path: seen.pop() if seen else real(path))
    piece = Reader(live).read(0, 1000)
    assert (piece.start, piece.data) == (0, lines(0, 1))
    segments[0].path.unlink()  # and what is really gone is a gap
    assert Reader(live).read(0, 1000).start == segments[1].start


class Serving:
    """A server of logs whose turns the test takes, and what it has told."""

    def __init__(self, live, clock):
        self.server, self.told, self.live = LogServer(live.parent.parent, clock, lambda *_: True), [], live
        self.out = SimpleNamespace(chunk=lambda _, chunks: self.told.extend(chunks), rest=lambda: None)

    def open(self, credit=1 << 30, **more):
        file = {"alloc": self.live.parent.name, "task": "web", "position": 0, "stream": "out", "tail": None}
        asked = {"id": "a", "verb": "open", "files": [file | more], "follow": False, "credit": credit}
        self.server.take([{**asked, "follow": bool(more.pop("follow", False))}])

    def turns(self, most):
        """At most so many; whether one had nothing more to do at once."""
        return any(not self.server.turn(self.out) for _ in range(most))

    @property
    def data(self):
        return b"".join(chunk.data for chunk in self.told)


@pytest.mark.parametrize("opened", ["before", "meanwhile"])
@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("at", ["announced", "truncated"])
def test_what_is_just_being_cut_off_is_not_the_end(live, clock, at, follow, opened):
    """Where files have no holes: a task ended, and its last lines cannot be seen until the rest has its name."""
    serving = Serving(live, clock)
    append(live, lines(0, 1000))

    def step(name):
        if name == "named" and files.segments_of(live)[-1].end == 1_000_000:
            append(live, lines(1000, 5))  # after the copy
            if opened == "before":
                serving.open(credit=0, follow=follow)
                serving.turns(1)
        if name == at:
            if opened == "meanwhile":
                serving.open(follow=follow)
            serving.server.take([{"id": "a", "verb": "more", "credit": 1 << 30}])
            assert serving.turns(1000), "it does not look all the time"
            assert serving.data == (b"" if opened == "meanwhile" else lines(0, 1000))

    Rotator(live, punching=False, step=step).turn(LogPolicy(max_size=65_536, max_files=100), now=0.0)
    for _ in range(5):
        serving.turns(1000)
    assert serving.data == lines(0, 1005)
    assert not serving.server._asks
    assert not any("gone" in chunk.head for chunk in serving.told)


def test_a_cut_that_a_crash_left_is_waited_for_but_not_for_ever(live, clock):
    append(live, lines(0, 10))
    files.remember(live, files.Mark(cut=10_000))
    serving = Serving(live, clock)
    serving.open()
    serving.turns(10)
    assert serving.told == []
    clock.advance(OPENS_WITHIN)
    serving.turns(10)
    assert serving.told
    assert serving.server._asks
    clock.advance(ENDS_WITHIN)
    serving.turns(10)
    assert not serving.server._asks


def test_each_cut_has_its_own_time(live, clock):
    append(live, lines(0, 10))
    serving = Serving(live, clock)
    serving.open(follow=True, credit=0)
    serving.turns(1)
    (file,) = serving.server._asks["a"].files
    files.remember(live, files.Mark(cut=10_000))
    serving.server.take([{"id": "a", "verb": "more", "credit": 1 << 30}])
    serving.turns(1)
    assert file.cut_since == clock.now()
    clock.advance(ENDS_WITHIN - 1)
    files.remember(live, files.Mark())
    read = file.reader.read

    def cut_again(offset, most):
        piece = read(offset, most)
        files.remember(live, files.Mark(cut=10_000))  # before its end was seen
        return piece

    file.reader.read = cut_again
    serving.turns(1)
    assert (serving.data, file.cut_since) == (lines(0, 10), clock.now())
    clock.advance(ENDS_WITHIN - 1)
    serving.turns(10)
    assert serving.server._asks
    clock.advance(1)
    serving.turns(10)
    assert not serving.server._asks


def test_who_gives_up_before_a_log_is_opened_is_forgotten(live, clock):
    append(live, lines(0, 10))
    files.remember(live, files.Mark(cut=10_000))
    serving = Serving(live, clock)
    serving.open()
    serving.turns(1)
    serving.server.take([{"id": "a", "verb": "close"}])
    clock.advance(OPENS_WITHIN)
    serving.turns(10)
    assert (serving.told, serving.server._put_off, serving.server._asks) == ([], [], {})
