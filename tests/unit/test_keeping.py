"""Files wait for the disk together, are told of only once they are durable, and never wait for ever."""

import queue
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from agentd.artifacts.download import Got, Whole
from agentd.artifacts.keeping import MOST, MOST_BYTES, Keeping
from tests.conftest import eventually
from transfer.errors import Kind, TransferError

pytestmark = pytest.mark.unit
WAIT = 20.0


def got(name):
    return Got(sha256=name, size=1, stamp="", read=1)


def whole(name, size=1):
    part = SimpleNamespace(path=Path(f"/parts/{name}.part"), size=size)
    return Whole(part=part, stat=None, source=None, got=got(name))


class Disk:
    """Takes what it is given once it is let; `fails` maps names to errors."""

    def __init__(self):
        self.begun, self.go = queue.SimpleQueue(), queue.SimpleQueue()
        self.told, self.fails = [], {}

    def keep(self, wholes):
        self.begun.put([each.got.sha256 for each in wholes])
        if error := self.go.get(timeout=WAIT):
            raise error
        return [self.fails.get(each.got.sha256, each.got) for each in wholes]

    def tell(self, job, end):
        self.told.append((job, end))


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def keeping(disk):
    return Keeping(disk.keep, disk.tell)


def test_nothing_is_told_before_it_is_durable_and_what_came_meanwhile_goes_at_once(disk, keeping):
    keeping.add("1", whole("a"))
    assert disk.begun.get(timeout=WAIT) == ["a"]
    for job, found in (("2", whole("b")), ("3", got("there")), ("4", whole("c"))):
        keeping.add(job, found)
    assert disk.told == []
    assert [keeping.holds(name) for name in "abc"] == [True] * 3
    disk.go.put(None)
    assert disk.begun.get(timeout=WAIT) == ["b", "c"]
    assert disk.told == [("1", got("a"))]
    disk.fails["b"] = lost = TransferError(Kind.FULL, "full")
    disk.go.put(None)
    keeping.drain()
    assert disk.told[1:] == [("2", lost), ("3", got("there")), ("4", got("c"))]
    assert not any(keeping.holds(name) for name in "abc")


@pytest.mark.parametrize(("number", "size"), [(MOST, 1), (1, MOST_BYTES)])
def test_no_more_wait_than_there_is_room_for(disk, keeping, number, size):
    added = threading.Event()

    def add():
        for n in range(number):
            keeping.add(str(n), whole(str(n), size))
        added.set()

    threading.Thread(target=add, daemon=True).start()
    disk.begun.get(timeout=WAIT)
    eventually(lambda: keeping.holds(str(number - 1)))
    assert not added.wait(0)
    for _ in range(number):
        disk.go.put(None)
    assert added.wait(WAIT)
    keeping.drain()
    assert len(disk.told) == number


def test_whatever_goes_wrong_each_job_has_an_end_and_the_next_goes_on(disk, keeping):
    keeping.add("1", whole("a"))
    disk.go.put(RuntimeError("secret"))
    keeping.drain()
    assert [(job, end.kind) for job, end in disk.told] == [("1", Kind.FAULT)]
    assert "secret" not in str(disk.told[0][1])
    keeping.add("2", whole("b"))
    disk.go.put(None)
    keeping.drain()
    assert disk.told[1] == ("2", got("b"))
