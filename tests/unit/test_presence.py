"""Death needs both: no heartbeat, and our own deadline past."""

import pytest

from store.backoff import Backoff
from store.recipes.presence import Presence

pytestmark = pytest.mark.unit

TTL = 15.0


@pytest.fixture
def presence(clock):
    return Presence(clock)


def test_a_dead_agent_s_node_is_offline_within_ttl_and_half_a_second(presence, clock):
    presence.observe("a", b"1", TTL)
    looks, waited = 0, 0.0
    while presence.online("a"):
        clock.advance(0.25)
        waited += 0.25
        for node in presence.due():
            looks += 1
            presence.observe(node, None, TTL)
    assert TTL <= waited <= TTL + 0.5
    assert looks == 1, "nobody is looked at before its time"


def test_a_heartbeat_that_is_read_late_is_not_taken_for_a_fresh_one(presence, clock):
    presence.observe("a", b"1", TTL, left=TTL - 4)
    clock.advance(TTL - 4)
    assert presence.due() == ["a"]
    presence.observe("a", b"2", TTL, left=TTL - 1)
    clock.advance(TTL - 1.5)
    assert presence.due() == []


def test_no_key_before_the_deadline_is_not_death(presence, clock):
    """A server that was paused has expired every key."""
    presence.observe("a", b"1", TTL)
    clock.advance(TTL - 1)
    assert not presence.observe("a", None, TTL)
    assert presence.online("a")


def test_a_living_key_past_the_deadline_is_not_death(presence, clock):
    presence.observe("a", b"1", TTL)
    clock.advance(TTL * 3)
    presence.observe("a", b"1", TTL)
    assert presence.online("a")


def test_every_new_beat_moves_the_deadline(presence, clock):
    for beat in range(5):
        presence.observe("a", b"%d" % beat, TTL)
        clock.advance(TTL - 1)
    assert presence.due() == []


def test_grace_is_one_more_time_to_live(presence, clock):
    presence.observe("a", b"1", TTL)
    clock.advance(TTL - 0.1)
    presence.grace()
    clock.advance(TTL - 1)
    presence.observe("a", None, TTL)
    assert presence.online("a")
    clock.advance(1.1)
    assert presence.observe("a", None, TTL)
    assert not presence.online("a")


def test_who_was_never_seen_is_neither_there_nor_known_to_be_gone(presence, clock):
    presence.observe("a", None, TTL)
    assert (presence.online("a"), presence.settled("a")) == (False, False)
    clock.advance(TTL)
    assert presence.settled("a")
    assert presence.observe("a", b"1", TTL)
    assert presence.online("a")


def test_backoff_grows_to_its_cap_and_never_overflows():
    backoff = Backoff(first=0.2, factor=2, most=5, jitter=0.5)
    assert [backoff.delay(n) for n in (1, 2, 3, 6, 10_000)] == [0.2, 0.4, 0.8, 5, 5]
    assert backoff.delay(1, lambda: 1.0) == pytest.approx(0.3)
