"""Death needs both: no heartbeat, and our own deadline past."""

import pytest
import redis

from store.backoff import Backoff
from store.errors import Claimed, Denied, Unavailable
from store.kv.node import PATIENCE, RedisNodeLink
from store.kv.presence import REST, Apart
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


def test_an_unread_heartbeat_is_no_evidence_however_long_it_stays_so(presence, clock):
    presence.observe("a", b"1", TTL)
    for _ in range(100):
        clock.advance(TTL)
        presence.unknown("a", TTL)
        presence.unknown("new", TTL)
    assert presence.online("a")
    assert not presence.settled("new")
    assert presence.due() == []
    clock.advance(TTL - 0.1)
    assert not presence.observe("a", None, TTL), "what can be seen again has its time to beat"
    clock.advance(0.2)
    assert presence.observe("a", None, TTL)


def test_who_is_known_to_be_gone_gets_no_grace(presence, clock):
    presence.observe("a", b"1", TTL)
    clock.advance(TTL)
    assert presence.observe("a", None, TTL)
    assert not presence.grace()
    presence.unknown("a", TTL)
    assert (presence.online("a"), presence.settled("a")) == (False, True)


def watched(presence, clock, server, *, took=0.0):
    """Look at a server whose clock is `server` ahead of ours, which takes some time to answer."""
    asked = clock.now()
    clock.advance(took)
    return presence.answered("store", asked, clock.now() + server)


def test_steady_looks_are_no_break(presence, clock):
    for _ in range(100):
        assert watched(presence, clock, 5e8, took=0.01) <= 0.26
        clock.advance(0.25)


@pytest.mark.parametrize(
    ("server", "took", "idle"),
    [(5e8, 40.0, 0.25), (5e8, 0.0, 40.0), (5e8 + 40, 0.0, 0.25), (5e8 - 40, 0.0, 0.25)],
    ids=["the server stood still", "we stood still", "its clock went forward", "its clock went back"],
)
def test_a_break_is_seen_for_as_long_as_it_was(presence, clock, server, took, idle):
    watched(presence, clock, 5e8)
    clock.advance(idle)
    assert 39.5 <= watched(presence, clock, server, took=took) <= 40.5
    clock.advance(0.25)
    assert watched(presence, clock, server) <= 0.26, "once"


def test_a_slow_answer_is_not_taken_for_a_jump_of_the_clock(presence, clock):
    """Where in its round trip the server looked at its clock is not known."""
    watched(presence, clock, 5e8)
    clock.advance(0.25)
    asked = clock.now()
    clock.advance(0.4)
    assert presence.answered("store", asked, asked + 5e8) < 0.7


def test_servers_are_told_apart(presence, clock):
    presence.answered("store", clock.now(), 5e8)
    assert presence.answered("presence store", clock.now(), 9e8) == 0.0


def test_a_break_gives_grace_to_those_whom_it_may_have_silenced(presence, clock):
    presence.observe("short", b"1", 4.0)
    presence.observe("long", b"1", 400.0)
    clock.advance(3.9)
    assert not presence.grace(after=1.9)
    assert presence.grace(after=2.0)
    clock.advance(3.9)
    assert not presence.observe("short", None, 4.0)
    clock.advance(0.2)
    assert presence.observe("short", None, 4.0)
    clock.advance(400 - 7.9)
    assert presence.observe("long", None, 400.0), "no more time to live than it had"


def test_a_fleet_comes_back_over_a_time_that_grows_with_it():
    from manager_api.http.nodes.admission import spread

    assert [spread(nodes) for nodes in (0, 1, 500, 10_000, 50_000)] == [0.5, 0.5, 0.5, 10.0, 20.0]


def test_another_server_is_a_break_for_everybody(presence, clock):
    presence.observe("a", b"1", 1e6)
    presence.answered("store", clock.now(), 5e8, "one")
    assert presence.grace(after=presence.answered("store", clock.now(), 5e8, "two"))


class Broken:
    """A client of a server that is away until it is mended."""

    def __init__(self):
        self.asked, self.mended = 0, False

    def set(self, *_, **__):
        self.asked += 1
        if not self.mended:
            raise redis.ConnectionError("away")

    def close(self):
        pass


def test_a_presence_store_that_is_away_is_left_in_peace_for_a_while(clock):
    client = Broken()
    apart = Apart(client, clock)
    for _ in range(5):
        with pytest.raises(Unavailable, match="away"):
            apart.ask(lambda server: server.set())
    assert client.asked == 1
    client.mended = True
    clock.advance(REST)
    assert apart.away_for() == REST
    apart.ask(lambda server: server.set())
    assert (client.asked, apart.away_for()) == (2, 0.0)


def test_after_long_without_its_presence_store_a_node_asks_where_it_is(fake_store, clock):
    client = fake_store.client
    link = RedisNodeLink(client, client, fake_store.keys, "n", presence=Apart(Broken(), clock))
    assert link.beat(b"{}", 1000).previous is None
    clock.advance(PATIENCE)
    link.beat(b"{}", 1000)
    clock.advance(PATIENCE + 1)
    with pytest.raises(Denied, match="has moved"):
        link.beat(b"{}", 1000)


def test_an_id_that_is_held_on_the_store_is_not_taken_on_the_presence_store(fake_store, clock):
    client = fake_store.client
    RedisNodeLink(client, client, fake_store.keys, "n").claim("old", b'{"uid": "old"}', 10_000)
    link = RedisNodeLink(client, client, fake_store.keys, "n", presence=Apart(Broken(), clock))
    with pytest.raises(Claimed):
        link.claim("new", b'{"uid": "new"}', 10_000)
