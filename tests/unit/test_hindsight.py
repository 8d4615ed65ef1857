import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager_api.http.waiting.ear import Position, position
from manager_api.http.waiting.hindsight import Hindsight

pytestmark = pytest.mark.unit

CHANGES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyzuv"), st.integers(0, 3)), max_size=40)


@given(CHANGES, st.integers(1, 6), st.integers(0, 5))
def test_no_change_is_ever_forgotten_without_being_counted_as_one(steps, most, start):
    kept, at, truth = Hindsight(start, most), start, {}
    for collection, field, step in steps:
        at += step
        kept.note(collection, field, at)
        truth[collection, field] = truth[collection, None] = at
    assert kept.upto == at
    for collection in "abc":
        assert kept.last(collection, None) == truth.get((collection, None), start)
        for field in "xyzuv":
            assert truth.get((collection, field), start) <= kept.last(collection, field) <= at


def test_what_is_remembered_is_exact():
    kept = Hindsight(5)
    kept.note("nodes", "a", 6)
    kept.note("nodes", "b", 7)
    kept.note("devices", None, 8)
    assert [kept.last("nodes", each) for each in ("a", "b", "c", None)] == [6, 7, 5, 7]
    assert [kept.last("devices", each) for each in (None, "1")] == [8, 5]


@pytest.mark.parametrize("text", ["0", "4711", "4711.1767225600000.0"])
def test_positions_are_read_as_they_are_written(text):
    assert str(position(text)) == text


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1.2.3.4", "x", "1\n", "9" * 30, None, ["1", "2"], 5, "١"])
def test_what_is_no_position_is_refused(text):
    with pytest.raises(ValueError, match="not a revision"):
        position(text)


def test_a_position_covers_what_it_shows():
    assert all(Position(5, (3, 0)).covers(each) for each in (Position(5), Position(4, (3, 0))))
    assert not any(Position(5).covers(each) for each in (Position(6), Position(4, (3, 0))))
    assert Position(5, (3, 0)).at_least(Position(7)) == Position(7, (3, 0))
    assert Position(5).at_least(Position(4)) == Position(5)
