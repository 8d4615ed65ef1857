"""`kill -9` of the server under thousands of acknowledged writes a second: none of them is lost."""

import contextlib
import ctypes
import os
import random
import signal
from pathlib import Path

import pytest

from tests.conftest import SOAK, eventually, need
from tests.linear.writer import IN_FLIGHT, value_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200 if SOAK else 120)]

KILLS = 30 if SOAK else 3
WRITERS = 2
LOAD = (2_000, 12_000) if SOAK else (500, 4_000)
"""Acknowledged writes between two kills."""


class Ledger:
    """What the writers were told: `<nanoseconds> <field> <revision>` per line, a file per writer."""

    def __init__(self, paths):
        self.paths, self.offsets = paths, dict.fromkeys(paths, 0)
        for path in paths:
            path.touch()
        self.all = {}
        self.times = []

    def waiting(self):
        """How many lines nobody has read yet, about."""
        sizes = (path.stat().st_size - self.offsets[path] for path in self.paths)
        return sum(sizes) // 32

    def news(self):
        """Field to revision of what was acknowledged since the last look; checks each writer's order."""
        found = {}
        for path in self.paths:
            raw = path.read_bytes()
            raw = raw[self.offsets[path] : raw.rfind(b"\n") + 1]
            self.offsets[path] += len(raw)
            notes = [line.split() for line in raw.splitlines()]
            revs = [int(rev) for _, _, rev in notes]
            assert revs == sorted(set(revs)), "a writer was told revisions that fell"
            found |= {field.decode(): int(rev) for _, field, rev in notes}
            self.times += [int(at) for at, _, _ in notes]
        assert not found.keys() & self.all.keys()
        self.all |= found
        return found


def check_there(store, acknowledged):
    """All of it, at the revisions that were told."""
    assert store.seen >= max(acknowledged.values()), "the revision fell below one that was acknowledged"
    fields = list(acknowledged)
    for start in range(0, len(fields), 500):
        part = fields[start : start + 500]
        for field, record in zip(part, store.get_many([("written", f) for f in part]), strict=True):
            assert record is not None, f"{field}, acknowledged at revision {acknowledged[field]}, is gone"
            assert (record.value, record.rev) == (value_of(field), acknowledged[field])


def rate(times):
    """Answers per second, over the tenths of a second in which there were any."""
    return 10 * len(times) / len({at // 10**8 for at in times})


def test_nothing_acknowledged_is_lost_by_kill_9_under_load(stage):
    stage.start()
    ledger = Ledger([stage.home / f"acks-{n}" for n in range(WRITERS)])
    writers = [stage.run("writer", path, f"w{n}") for n, path in enumerate(ledger.paths)]
    for _ in range(KILLS):
        load = random.randint(*LOAD)
        eventually(lambda load=load: ledger.waiting() > load, every=0.001)
        stage.kill_9()
        with stage.still(writers):
            stage.server.start()
            check_there(stage.attached(), ledger.news())
    for writer in writers:
        writer.send_signal(signal.SIGTERM)
    for writer in writers:
        assert writer.wait(30) == 0
    ledger.news()
    records = stage.attached().snapshot(["written"]).collections["written"]
    assert len(set(ledger.all.values())) == len(ledger.all), "one revision, two writes"
    assert ledger.all.items() <= {field: record.rev for field, record in records.items()}.items()
    unanswered = len(records) - len(ledger.all)
    assert unanswered <= WRITERS * IN_FLIGHT * (KILLS + 1)
    print(f"{len(ledger.all)} acknowledged, {rate(ledger.times):.0f}/s; {unanswered} more were there")


class Halted:
    """A thread of the server that stands still, as it does while a disk stalls under its sync."""

    ATTACH, ANY_THREAD = 16, 0x40000000

    def __init__(self, pid, name):
        (self.thread,) = eventually(lambda: self._threads(pid, name))  # each names itself once it runs
        ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        ptrace.argtypes = [ctypes.c_long] * 4
        need(ptrace(self.ATTACH, self.thread, 0, 0) == 0, "the right to ptrace")
        os.waitpid(self.thread, self.ANY_THREAD)

    @staticmethod
    def _threads(pid, name):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(task.name) for task in tasks if (task / "comm").read_text().startswith(name)]

    def buried(self):
        """Whoever traces a thread must bury it, before its process can be."""
        with contextlib.suppress(ChildProcessError):
            return os.waitpid(self.thread, self.ANY_THREAD | os.WNOHANG)[0]
        return True


def test_nothing_acknowledged_is_lost_by_kill_9_while_the_disk_stalls(stage):
    """The server's own `everysec` holds writes back while it syncs, and acknowledges them all the same."""
    stage.start()
    halted = Halted(stage.server.pid, "bio_aof")
    store, acknowledged = stage.attached(), {}

    def second():
        field = f"w.{len(acknowledged)}"
        acknowledged[field] = store.put("written", field, value_of(field))
        return store.client.info("server")["uptime_in_seconds"] >= began + 2

    began = store.client.info("server")["uptime_in_seconds"]
    eventually(second, every=0.001)  # by then the server has asked for a sync that does not end
    os.kill(stage.server.pid, signal.SIGKILL)
    eventually(halted.buried)
    eventually(lambda: stage.server.poll() is not None)
    stage.server.start()
    check_there(stage.attached(), acknowledged)


def test_the_append_only_file_is_synced_by_us(stage, monkeypatch):
    """Every second, and whatever file it lies in after a rewrite."""
    stage.start()
    store, seen, fdatasync = stage.attached(), [], os.fdatasync

    def spy(fd):
        seen.append(Path(f"/proc/self/fd/{fd}").readlink())
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", spy)
    for _ in range(2):
        store.put("written", "x", b"")
        (current,) = stage.server.files.append_only.glob("*.incr.aof")
        eventually(lambda current=current: current in seen)
        store.client.bgrewriteaof()
        eventually(lambda current=current: not current.exists())
