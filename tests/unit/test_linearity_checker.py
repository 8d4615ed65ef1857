"""The checker itself: histories by hand, good ones and bad ones."""

import json

import pytest

from tests.linear.checker import NotLinearizable, check
from tests.linear.history import OPEN, Op, Recorder, load

pytestmark = pytest.mark.unit


def put(call, ret, value, rev=0, *, key="k", expect=None):
    compares = () if expect is None else ((key, expect),)
    return Op(call, ret, compares, ((key, value),), rev=rev)


def delete(call, ret, rev=0, *, expect=None):
    return put(call, ret, None, rev, expect=expect)


def conflict(call, ret, expected, actual):
    return Op(call, ret, (("k", expected),), (("k", f"never-{call}"),), conflict=("k", actual))


def get(call, ret, value, rev, key="k"):
    return Op(call, ret, reads=((key, value, rev),))


def snapshot(call, ret, rev, *reads):
    return Op(call, ret, reads=reads, rev=rev)


GOOD = {
    "nothing": [],
    "one after another": [put(1, 2, "a", 1), get(3, 4, "a", 1), delete(5, 6, 2), get(7, 8, None, 0)],
    "a read during a write sees it or not": [put(1, 9, "a", 1), get(2, 3, None, 0), get(4, 5, "a", 1)],
    "compare and swap": [
        put(1, 2, "a", 1, expect=0), put(3, 6, "b", 2, expect=1), conflict(4, 7, 1, 2), get(8, 9, "b", 2),
    ],
    "unanswered and never seen": [put(1, 2, "a", 1), put(3, OPEN, "b"), get(4, 5, "a", 1), get(6, 7, "a", 1)],
    "unanswered and seen late": [
        put(1, 2, "a", 1), put(3, OPEN, "b"), get(4, 5, "a", 1), get(6, 7, "b", 2), put(8, 9, "c", 3, expect=2),
    ],
    "unanswered, of which only a conflict told": [
        put(1, 2, "a", 1), put(3, OPEN, "b"), conflict(4, 5, 1, 2), put(6, 7, "c", 3, expect=2),
    ],
    "a delete unanswered": [put(1, 2, "a", 1), delete(3, OPEN), get(4, 5, "a", 1), get(6, 7, None, 0)],
    "a delete unanswered, and a snapshot": [
        put(1, 2, "a", 1), delete(3, OPEN), snapshot(4, 5, 2, ("k", None, 0)),
    ],
    "two at once over two keys": [
        Op(1, 5, writes=(("k", "a"), ("l", "a")), rev=1), snapshot(2, 3, 1, ("k", "a", 1), ("l", "a", 1)),
    ],
    "a snapshot before the write that came during it": [
        put(1, 2, "a", 1), put(3, 8, "b", 2), snapshot(4, 9, 1, ("k", "a", 1)),
    ],
}  # fmt: skip

BAD = {
    "a stale read": [put(1, 2, "a", 1), put(3, 4, "b", 2), get(5, 6, "a", 1)],
    "a read of nothing after a write": [put(1, 2, "a", 1), get(3, 4, None, 0)],
    "a read that goes back": [put(1, 9, "a", 1), get(2, 3, "a", 1), get(4, 5, None, 0)],
    "a value from nowhere": [get(1, 2, "a", 1)],
    "a value at another revision than its write was told": [put(1, 2, "a", 1), get(3, 4, "a", 2)],
    "a write that took effect twice": [put(1, OPEN, "a"), get(2, 3, "a", 1), get(4, 5, "a", 2)],
    "two successes of one compare and swap": [
        put(1, 2, "a", 1), put(3, 6, "b", 2, expect=1), put(4, 7, "c", 3, expect=1),
    ],
    "a created record created": [put(1, 2, "a", 1), put(3, 4, "b", 2, expect=0)],
    "a conflict with what was not there": [put(1, 2, "a", 1), conflict(3, 4, 0, 7)],
    "a conflict that is none": [put(1, 2, "a", 1), conflict(3, 4, 1, 1)],
    "an unanswered write that comes and goes": [
        put(1, 2, "a", 1), put(3, OPEN, "b"), get(4, 5, "b", 2), get(6, 7, "a", 1),
    ],
    "unanswered, refused by its compare, and seen": [
        put(1, 2, "a", 1), put(3, 4, "b", 2), put(5, OPEN, "c", expect=1), get(6, 7, "c", 3),
    ],
    "one revision twice": [put(1, 2, "a", 1), put(3, 4, "b", 1, key="l")],
    "revisions against time": [put(1, 2, "a", 2), put(3, 4, "b", 1, key="l")],
    "a snapshot older than a write before it": [put(1, 2, "a", 2), snapshot(3, 4, 1)],
    "a snapshot that lacks a write": [
        put(1, 2, "a", 1), put(3, 9, "b", 2), put(3, 4, "c", 3, key="l"), snapshot(5, 6, 3, ("k", "a", 1)),
    ],
    "half of a transaction in a snapshot": [
        Op(1, 9, writes=(("k", "a"), ("l", "a")), rev=1), snapshot(2, 3, 1, ("k", "a", 1), ("l", None, 0)),
    ],
    "half of an unanswered transaction": [
        Op(1, OPEN, writes=(("k", "a"), ("l", "a"))), get(2, 3, "a", 1), get(4, 5, None, 0, key="l"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_accepted(name):
    check(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_rejected(name):
    with pytest.raises(NotLinearizable):
        check(BAD[name])


def test_a_revision_that_nobody_owns():
    history = [put(1, 2, "a", 1), put(3, OPEN, "b"), put(4, 5, "c", 3)]
    check(history, end=3)
    with pytest.raises(NotLinearizable, match=r"\[2, 4\] are nobody's"):
        check(history, end=4)


def test_what_a_killed_client_wrote_down_is_its_history(tmp_path):
    recorder = Recorder(tmp_path / "ops")
    recorder.called()
    recorder.answered(reads=[("k", "a", 1)])
    recorder.called(compares=[("k", 1)], writes=[("k", "b")])
    recorder.answered(conflict=("k", 2))
    recorder.called()
    recorder.called(writes=[("k", None)])
    recorder.trouble("the sky fell")
    (read, failed, unanswered), troubles = load([tmp_path / "ops"])
    assert read.reads == (("k", "a", 1),)
    assert read.call < read.ret < failed.call < failed.ret < unanswered.call < OPEN == unanswered.ret
    assert (failed.compares, failed.conflict) == ((("k", 1),), ("k", 2))
    assert unanswered.writes == (("k", None),)
    assert troubles == ["the sky fell"]
    assert all(json.loads(line) for line in (tmp_path / "ops").read_text().splitlines())
