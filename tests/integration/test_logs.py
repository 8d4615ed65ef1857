"""Logs with real writers, real disks and a real store between reader and agent."""

import base64
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agentd.logs import files, holes, keeper, server, space
from agentd.logs.keeper import LogKeeper
from agentd.logs.read import Reader
from agentd.logs.server import LogServer
from manager_api.http.logs import log_stream
from manager_api.http.logs.log_lines import Source
from manager_api.http.logs.log_query import LogsQuerySchema
from manager_api.http.logs.log_stream import LogStream
from store.clock import SystemClock
from store.kv import asks as words
from store.kv import node as node_module
from store.kv.asks import WINDOW, Answers, Asks
from store.kv.node import RedisNodeLink
from store.model.policies import LogPolicy
from tests.conftest import SOAK, eventually, need

pytestmark = pytest.mark.integration

LINES = 1_000_000 if SOAK else 100_000


@pytest.fixture
def live(tmp_path):
    need(holes.supported(tmp_path), "a file system with holes")
    directory = tmp_path / "logs" / "d.0"
    directory.mkdir(parents=True)
    return directory / "web.out"


def numbered(live, count):
    """A task that writes numbered lines of 100 bytes, each with a write of its own."""
    program = (
        "import os, sys\n"
        "for n in range(int(sys.argv[1])): os.write(1, b'%099d' % n + b'\\n')\n"
    )  # fmt: skip
    with live.open("ab") as out:
        return subprocess.Popen([sys.executable, "-c", program, str(count)], stdout=out)


@pytest.mark.parametrize("punching", [True, False])
def test_numbered_lines_through_many_rotations_with_a_reader(live, monkeypatch, punching):
    monkeypatch.setattr(keeper, "EVERY", 0.01)
    monkeypatch.setattr(keeper, "HURRY", 0.01)
    writer = numbered(live, LINES)
    tended = LogKeeper(live.parent.parent, SystemClock(), 1 << 40, punching=punching)
    tended.watch({live: LogPolicy(max_size=LINES * 100 // 100, max_files=1000)})
    tended.start()
    reader, at, found, gaps, missing = Reader(live), 0, bytearray(), 0, 0
    last, waiting = 0, True
    while waiting:
        over = writer.poll() is not None
        piece = reader.read(at, 1 << 16)
        missing += piece.start - at
        gaps += piece.start > at
        at = piece.end
        found += piece.data
        end = found.rfind(b"\n") + 1
        for line in found[:end].split(b"\n")[:-1]:
            number = int(line) if punching else int(line[-99:])  # what is lost may begin amid a line
            assert number == last if punching else number >= last
            last = number + 1
        del found[:end]
        behind = reader.is_cut() or reader.extent()[1] > at
        waiting = bool(piece.data) or not over or behind or len(files.segments_of(live)) < 10
    tended.stop()
    assert writer.returncode == 0
    assert len(files.segments_of(live)) >= 10
    if punching:
        assert (last, found, gaps) == (LINES, b"", 0)
    else:
        assert last == LINES, "some microseconds of each rotation may be lost; nothing comes twice"
        assert missing < LINES * 100


def test_a_flood_stays_within_bounds_on_disk(live, clock):
    """The size on disk after each look: what may be kept, and what was written during the look."""
    policy = LogPolicy(max_size=1 << 20, max_files=3)
    with live.open("ab") as out:
        writer = subprocess.Popen(["/usr/bin/yes", "a line of a task that went mad " * 4], stdout=out)
    try:
        tended = LogKeeper(live.parent.parent, clock, 1 << 40)
        tended.watch({live: policy})
        while live.stat().st_size < (4 << 30 if SOAK else 400 << 20):
            before = live.stat().st_size
            tended.tick()
            used = sum(entry.size for entry in space.survey(live.parent.parent))
            grown = live.stat().st_size - before
            assert used < policy.max_size * (policy.max_files + 1) + grown + (1 << 20)
    finally:
        writer.kill()
        writer.wait()
    tended.tick()
    reader = Reader(live)
    oldest, end = reader.extent()
    assert end == live.stat().st_size
    assert files.recall(live).lost > 0
    assert reader.read(reader.line_at(max(oldest, end - 1000)), 10).data == b"a line of "


# -- full disks


def noise(number):
    """A line of 100 bytes that hardly compresses."""
    return (b"%09d " % number + base64.b64encode(os.urandom(70)))[:99] + b"\n"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    need(os.geteuid() == 0 and Path("/bin/mount").exists(), "root, to mount a small disk")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", str(where)], check=False)
    need(mounted.returncode == 0, "the right to mount")
    yield where
    subprocess.run(["/bin/umount", str(where)], check=True)


def test_a_full_disk_costs_the_oldest_segments_first(small_disk, clock):
    live = small_disk / "d.0" / "web.out"
    live.parent.mkdir()
    tended = LogKeeper(small_disk, clock, 1 << 40)
    tended.watch({live: LogPolicy(max_size=512 * 1024, max_files=1000)})
    count = 0
    for _ in range(100):
        with live.open("ab", buffering=0) as file:
            for _ in range(2000):
                assert file.write(noise(count)) == 100, "the task itself is never short of room"
                count += 1
        tended.tick()
    reader = Reader(live)
    oldest, end = reader.extent()
    assert end == count * 100
    assert oldest > 0
    assert files.recall(live).lost == 0, "there was always an older segment to give"
    found, at = b"", oldest
    while (piece := reader.read(at, 1 << 16)).data:
        assert piece.start == at
        found, at = found + piece.data, piece.end
    assert [int(line.split()[0]) for line in found.splitlines()] == list(range(oldest // 100, count))


def test_a_disk_that_others_fill_costs_lines_but_not_the_agent(small_disk, clock):
    live = small_disk / "d.0" / "web.out"
    live.parent.mkdir()
    live.write_bytes(b"".join(b"%099d\n" % n for n in range(20_000)))
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    tended = LogKeeper(small_disk, clock, 1 << 40)
    tended.watch({live: LogPolicy(max_size=512 * 1024, max_files=10)})
    tended.tick()
    reader = Reader(live)
    oldest, end = reader.extent()
    assert end == 2_000_000
    assert 0 < end - oldest < 2_000_000
    assert files.recall(live).lost == oldest, "and no more was given up than had to be"
    assert int(reader.read(reader.line_at(oldest), 100).data) >= oldest // 100
    assert reader.read(0, 10).start == oldest, "no zeros where lines were"


# -- readers, through a store


class Agent:
    """A log server of its own life, that hears its asks; `die` as by `kill -9`."""

    def __init__(self, store, logs, clock, over=lambda *_: False):
        self.link = RedisNodeLink(store.client, store.client, store.keys, "web-1")
        self.server = LogServer(logs, clock, over)
        self.server.start(self)
        self.alive = True
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        while self.alive:
            heard = self.link.wake(50)
            if heard.asks and self.alive:
                self.server.take(heard.asks)

    def chunk(self, ask, chunks):
        if self.alive:
            self.link.chunk(ask, chunks)

    def rest(self):
        pass

    def die(self):
        self.alive = False
        self.server.stop()
        self.thread.join(10)


@pytest.fixture
def agents(store, live, clock, monkeypatch):
    monkeypatch.setattr(log_stream, "BEGUN_WITHIN", 30.0)
    begun = []

    def begin(**more):
        begun.append(Agent(store, live.parent.parent, clock, **more))
        return begun[-1]

    yield begin
    for each in begun:
        each.die()


SOURCE = Source("web", 0, "web-1", "d.0", "out")


def reading(store, *, over=lambda: False, **asked):
    return LogStream(
        Asks(store.client, store.keys),
        [SOURCE],
        LogsQuerySchema().load({"tail": "all", **asked}),
        over=over,
        stopping=lambda: False,
    )


def answers_keys(store):
    return store.client.keys(f"{store.keys.prefix}n:*ans:*")


def test_a_slow_reader_costs_a_bounded_stream_and_gets_all(store, live, agents):
    live.write_bytes(b"".join(b"%099d\n" % n for n in range(60_000)))
    agents()
    stream = reading(store)
    words_, silent = stream.begin()
    assert silent == []
    (key,) = eventually(lambda: answers_keys(store))

    def size():
        return store.client.memory_usage(key, samples=0) or 0

    eventually(lambda: size() > WINDOW)
    most, parts = 0, words_
    for part in stream.run():
        parts.append(part)
        most = max(most, size())
    assert most < 2.5 * WINDOW, "six times as much was read"
    assert [int(line) for line in b"".join(parts).split()] == list(range(60_000))
    stream.close()
    assert answers_keys(store) == []


def test_small_chunks_cost_credit_too(store, live, agents, monkeypatch):
    """A line at a time, none of them read: the stream stays short, and is not cut."""
    monkeypatch.setattr(server, "LOOK_EVERY", 0.005)
    live.write_bytes(b"")
    agents()
    stream = reading(store, follow="true")
    stream.begin()
    (key,) = eventually(lambda: answers_keys(store))

    def another():
        with live.open("ab") as file:
            file.write(b"x\n" * 10)
        return store.client.xlen(key) >= WINDOW // words.LEAST_COST

    eventually(another, 60, every=0.01)
    assert store.client.xlen(key) <= WINDOW // words.LEAST_COST + 4
    stream.close()


def test_an_abandoned_reader_is_dropped_and_leaves_no_key(store, live, agents, clock, monkeypatch):
    monkeypatch.setattr(node_module, "ANSWERS_LIVE_MS", 5000)
    live.write_bytes(b"one\n")
    agent = agents()
    reading(store, follow="true").begin()
    eventually(lambda: agent.server._asks)
    clock.advance(words.DROPPED_AFTER + 1)
    eventually(lambda: not agent.server._asks)
    eventually(lambda: answers_keys(store) == [])
    assert 0 < store.client.ttl(store.keys.node("web-1").ask) <= words.ASKS_LIVE_S


class Following:
    """A follower on a thread, as the API has one."""

    def __init__(self, stream):
        self.stream, self.data = stream, b"".join(stream.begin()[0])
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        for part in self.stream.run():
            self.data += part

    def lines(self):
        return self.data.split(b"\n")[:-1]


def test_a_follower_goes_on_with_the_next_life_of_an_agent(store, live, agents):
    live.write_bytes(b"before\n")
    over = []
    agent = agents()
    follower = Following(reading(store, follow="true"))
    eventually(lambda: follower.lines() == [b"before"])
    for number in range(3):
        agent.die()
        with live.open("ab") as file:
            file.write(b"%d\n" % number)
        agent = agents(over=lambda *_: bool(over))
        eventually(lambda number=number: follower.lines()[-1] == b"%d" % number)
    over.append(1)
    follower.thread.join(30)
    assert follower.lines() == [b"before", b"0", b"1", b"2"]


def test_chunks_that_are_lost_are_asked_for_again(store, live, agents, monkeypatch):
    monkeypatch.setattr(log_stream, "ASKED_AGAIN_AFTER", 0.5)
    live.write_bytes(b"".join(b"%099d\n" % n for n in range(100_000)))
    agents()
    stream = reading(store)
    parts = stream.begin()[0]
    for number, part in enumerate(stream.run()):
        parts.append(part)
        if number % 4 == 1 and number < 12:
            for key in answers_keys(store):
                store.client.delete(key)
    assert [int(line) for line in b"".join(parts).split()] == list(range(100_000))


def test_an_agent_that_falls_silent_is_given_up_with_where_to_go_on(store, live, agents, monkeypatch):
    monkeypatch.setattr(log_stream, "SILENT_FOR", 1.5)
    live.write_bytes(b"one\n")
    agent = agents()
    follower = Following(reading(store, follow="true"))
    eventually(lambda: follower.lines()[:1] == [b"one"])
    agent.die()
    follower.thread.join(30)
    assert b"node web-1 has not answered" in follower.lines()[-1]
    assert b"cursor=0.0.out.4 --" in follower.lines()[-1]


def test_a_gap_is_said(store, live, agents, monkeypatch):
    from agentd.logs.rotate import Rotator

    live.write_bytes(b"one\n")
    agents()
    follower = Following(reading(store, follow="true"))
    eventually(lambda: follower.lines() == [b"one"])
    with live.open("ab") as file:
        file.write(b"".join(b"%099d\n" % n for n in range(2000)))
        Rotator(live, punching=True).turn(LogPolicy(max_size=65_536, max_files=0), now=0.0)
    eventually(lambda: follower.lines()[-1] == b"%099d" % 1999)
    said = [line for line in follower.lines() if b"no longer kept" in line]
    numbers = [int(line) for line in follower.lines() if len(line) == 99 and line.isdigit()]
    assert numbers == sorted(set(numbers))
    assert (len(said) == 1) == (len(numbers) < 2000), "either it was read in time, or the gap is told"


def test_asks_that_make_no_sense_harm_nobody(store, live, agents):
    live.write_bytes(b"one\n")
    agent = agents()
    asks = Asks(store.client, store.keys)
    good = {"alloc": "d.0", "task": "web", "position": 0, "stream": "out", "tail": None}
    for number, file in enumerate(
        ({**good, "alloc": "../.."}, {**good, "stream": "meta"}, {}, {**good, "position": "x"})
    ):
        asks.send("web-1", f"bad-{number}", "open", files=[file], follow=False, credit=WINDOW)
    store.client.xadd(store.keys.node("web-1").ask, {"a": "nonsense"})
    asks.send("web-1", "good", "open", files=[good], follow=False, credit=WINDOW)
    answers = Answers("web-1", "good")
    found = []
    eventually(lambda: found.extend(chunk for _, chunk in asks.read([answers], 50)) or len(found) == 3)
    assert [chunk.data for chunk in found] == [b"", b"one\n", b""]
    assert found[2].head["ends"] == [[0, 4]]
    assert len(answers_keys(store)) == 1
    eventually(lambda: not agent.server._asks)
