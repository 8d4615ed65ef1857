"""Bytes come no faster than they may."""

import pytest

from agentd.artifacts.rate import BURST, LONGEST_WAIT, Rate

pytestmark = pytest.mark.unit


class Waiting:
    """A clock that is waited by."""

    def __init__(self):
        self.now, self.waits = 1000.0, []
        self.meanwhile = lambda: None

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def time():
    return Waiting()


@pytest.mark.parametrize("piece", [1, 100, 4096, 1 << 20])
def test_over_a_while_the_rate_is_kept_whatever_the_pieces(time, piece):
    rate = Rate(10_000, time, time.wait)
    count = max(1, 100_000 // piece)
    for _ in range(count):
        rate.take(piece)
    assert time.now - 1000 == pytest.approx(count * piece / 10_000, rel=0.01, abs=0.01)


def test_without_a_rate_nobody_waits(time):
    rate = Rate(None, time, time.wait)
    rate.take(1 << 40)
    assert time.waits == []


def test_a_rest_is_no_licence_for_more_than_a_short_burst(time):
    rate = Rate(1000, time, time.wait)
    time.now += 3600
    rate.take(int(1000 * BURST))
    assert time.waits == []
    rate.take(1000)
    assert sum(time.waits) == pytest.approx(1.0, abs=0.01)


def test_a_rate_that_is_changed_counts_within_a_moment(time):
    rate = Rate(10, time, time.wait)

    def meanwhile():
        if len(time.waits) == 3:
            rate.set(1000)

    time.meanwhile = meanwhile
    rate.take(1000)
    assert sum(time.waits) == pytest.approx(3 * LONGEST_WAIT + (1000 - 30 * LONGEST_WAIT) / 1000, abs=0.01)
    time.meanwhile = lambda: rate.set(None)
    rate.set(1)
    time.waits.clear()
    rate.take(1000)
    assert time.waits == [LONGEST_WAIT]
    rate.take(1 << 30)
    assert len(time.waits) == 1
