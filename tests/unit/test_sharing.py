"""One answer for all who wait for the same."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from manager_api.http.waiting import sharing
from manager_api.http.waiting.ear import Position
from manager_api.http.waiting.sharing import Busy, Found, Room, Sharing

pytestmark = pytest.mark.unit


def found(data=b"x"):
    return Found(200, data, {})


def test_who_asks_the_same_meanwhile_or_soon_after_is_given_the_answer(clock):
    shared = Sharing(clock.now)
    first = shared.join("q", Position(5), lambda: Position(6))
    assert first.found is None
    assert first.position == Position(6)
    with ThreadPoolExecutor(20) as pool:
        others = [pool.submit(shared.join, "q", Position(6), pytest.fail) for _ in range(20)]
        shared.land("q", first, found())
        assert {id(each.result()) for each in others} == {id(first)}
    assert shared.join("q", Position(6), pytest.fail).found == found()
    clock.advance(sharing.FRESH + 0.1)
    assert shared.join("q", Position(6), lambda: Position(6)).found is None, "it is old"


def test_an_answer_that_is_older_than_what_woke_somebody_is_not_for_them(clock):
    shared = Sharing(clock.now)
    shared.land("q", shared.join("q", Position(5), lambda: Position(5)), found())
    late = shared.join("q", Position(6), lambda: Position(7))
    assert late.found is None
    assert late.position == Position(7)
    assert shared.join("other", Position(5), lambda: Position(7)).found is None


def test_while_one_finds_an_older_answer_another_finds_the_newer(clock):
    shared = Sharing(clock.now)
    old = shared.join("q", Position(1), lambda: Position(1))
    new = shared.join("q", Position(2), lambda: Position(2))
    assert old is not new
    shared.land("q", old, None)
    shared.land("q", new, found())
    assert shared.join("q", Position(2), pytest.fail) is new


def test_who_is_given_nothing_finds_it_for_themselves(clock):
    shared, entered = Sharing(clock.now), threading.Event()
    first = shared.join("q", Position(1), lambda: Position(1))

    def other():
        entered.set()
        return shared.join("q", Position(1), lambda: Position(2))

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(other)
        entered.wait(10)
        shared.land("q", first, None)
        again = waits.result()
    assert again.found is None
    assert again.position == Position(2)


def test_few_answers_are_looked_for_at_once(clock, monkeypatch):
    monkeypatch.setattr(sharing, "FINDS_WITHIN", 0.05)
    shared = Sharing(clock.now)
    flights = [shared.join(n, Position(1), lambda: Position(1)) for n in range(sharing.MOST_FINDING)]
    with pytest.raises(Busy):
        shared.join("one more", Position(1), lambda: Position(1))
    shared.land(0, flights[0], found())
    assert shared.join("one more", Position(1), lambda: Position(1)).found is None


def test_answers_are_kept_within_bounds(clock, monkeypatch):
    monkeypatch.setattr(sharing, "MOST_KEPT", 25)
    shared = Sharing(clock.now)
    for n in range(10):
        shared.land(n, shared.join(n, Position(1), lambda: Position(1)), found(b"0123456789"))
    assert len(shared._flights) == 2
    clock.advance(sharing.FRESH + 0.1)
    shared.land("q", shared.join("q", Position(1), lambda: Position(1)), found())
    assert list(shared._flights) == ["q"]


def test_a_room_has_so_many_places():
    room = Room(2)
    assert [room.enter() for _ in range(3)] == [True, True, False]
    room.leave()
    assert room.enter()
