"""The dead man's switch under any history of heartbeats: never later than promised, never early in contact."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.lifeline import Lifeline
from tests.builders import a_run, an_alloc
from tests.conftest import ManualClock

pytestmark = pytest.mark.property

INTERVAL = 5.0
STOP_AFTER = st.sampled_from([7.0, 15.0, 30.0, 90.0])
LATENCY = st.floats(0.0, 1.0)


class Node:
    """A keeper with one run, and a brain that looks when it is woken, when it planned to, or by chance."""

    def __init__(self, stop_after):
        self.clock = ManualClock(now=1000.0)
        self.alloc = dataclasses.replace(an_alloc(), stop_after=stop_after)
        self.stop_after = stop_after
        self.lifeline = Lifeline(self, self.clock, self.kick)
        self.woken, self.wake_at, self.acked = True, None, None
        self.run = a_run(deadline=None)
        self.expired = False

    def kick(self):
        self.woken = True

    def expire_all(self, deadlines):
        ((run, deadline),) = deadlines.items()
        assert run == self.run.id
        self.run = dataclasses.replace(self.run, deadline=deadline)

    def beat(self, latency):
        """Sent now, acknowledged a little later."""
        sent = self.clock.now()
        self.pass_time(latency)
        self.lifeline.heard(sent, known=True)
        self.acked = sent
        self.plan_if_due()

    def plan_if_due(self):
        if not self.woken and (self.wake_at is None or self.clock.now() < self.wake_at):
            return
        self.woken = False
        contact = self.lifeline.contact(self.lifeline.look(), current=True)
        self.wake_at = self.lifeline.renew(contact, {"d.0": self.alloc}, [self.run])

    def pass_time(self, seconds):
        """In steps as small as the brain's own appointments."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            due = self.wake_at if self.wake_at is not None and self.wake_at > self.clock.now() else end
            self.clock.advance(min(due, end) - self.clock.now())
            self.plan_if_due()
            self.check()

    def check(self):
        if self.run.deadline is not None:
            assert self.run.deadline <= self.acked + self.stop_after, "later than was promised"
            if self.clock.now() >= self.run.deadline and not self.expired:
                self.expired = True
                assert self.run.deadline == self.acked + self.stop_after, "earlier than was promised"


@settings(max_examples=150, deadline=None)
@given(stop_after=STOP_AFTER, latencies=st.lists(LATENCY, min_size=2, max_size=40))
def test_while_heartbeats_are_acknowledged_it_never_fires(stop_after, latencies):
    node = Node(stop_after)
    for latency in latencies:
        node.beat(latency)
        node.check()
        node.pass_time(INTERVAL - latency)
        assert not node.expired


@settings(max_examples=150, deadline=None)
@given(
    stop_after=STOP_AFTER,
    beats=st.lists(st.tuples(LATENCY, st.booleans(), st.floats(0.0, 10.0)), min_size=1, max_size=40),
)
def test_without_them_it_fires_at_the_promised_moment_and_not_before(stop_after, beats):
    node = Node(stop_after)
    node.beat(0.0)
    for latency, acknowledged, pause in beats:
        if acknowledged:
            node.beat(latency)
        node.check()
        node.pass_time(pause)
        if node.expired:
            return
    promised = node.acked + stop_after
    node.pass_time(promised - node.clock.now() - 0.001)
    assert not node.expired
    assert node.run.deadline == promised
    node.pass_time(0.002)
    assert node.expired


@settings(max_examples=100, deadline=None)
@given(stop_after=STOP_AFTER, latencies=st.lists(LATENCY, min_size=1, max_size=20), data=st.data())
def test_a_brain_that_stands_still_anywhere_leaves_a_switch_that_keeps_the_promise(
    stop_after, latencies, data
):
    node = Node(stop_after)
    for latency in latencies:
        node.beat(latency)
        node.pass_time(data.draw(st.floats(0.0, INTERVAL)))
    assert node.run.deadline is not None
    assert node.run.deadline <= node.acked + stop_after
    assert node.run.deadline >= node.acked + stop_after * 0.75 - 1e-6
