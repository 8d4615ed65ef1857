"""Ranges of allocation numbers."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.model.placed import count, merged, numbers, ranges

pytestmark = pytest.mark.unit


def test_neighbours_share_a_range():
    assert ranges([7, 1, 2, 3, 2, 9, 8]) == [[1, 3], [7, 9]]
    assert list(numbers([[1, 3], [7, 7]])) == [1, 2, 3, 7]
    assert (ranges([]), list(numbers([])), count([])) == ([], [], 0)


@given(st.sets(st.integers(0, 300)))
def test_ranges_hold_exactly_the_numbers_they_were_made_of(some):
    found = ranges(some)
    assert set(numbers(found)) == some
    assert count(found) == len(some)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))


def test_ranges_that_touch_or_overlap_are_one():
    assert merged([[5, 9], [0, 2], [3, 3], [8, 12], [20, 20]]) == [[0, 3], [5, 12], [20, 20]]
    assert merged([]) == []
