"""The uplink: whatever fails, it goes on; what was not heard is said again."""

import http.client
import threading

import pytest

from agentd.core.obey import Offer
from agentd.uplink import Uplink, offer
from store.codec import loads
from store.errors import Claimed, Unavailable
from store.kv.node import Pulse
from store.kv.projection import Desired
from tests.conftest import eventually

pytestmark = pytest.mark.unit


class Link:
    """A store that does what a test says, and remembers what it was told."""

    def __init__(self):
        self.actual, self.beats, self.trouble, self.previous, self.meant_for = {}, [], [], None, "u"
        self.epoch = "1-a"
        self.desired = {b"@rev": b"7", b"@epoch": b"1-a", b"@node": b"u", b"a.0": b"{}", b"b.0": b"nonsense"}

    def _maybe(self, verb):
        for number, (name, error) in enumerate(self.trouble):
            if name == verb:
                del self.trouble[number]
                raise error

    def claim(self, uid, beat, ttl_ms):
        self._maybe("claim")
        self.claimed = uid

    def beat(self, beat, ttl_ms):
        self._maybe("beat")
        self.beats.append(loads(beat))
        previous, self.previous = self.previous, None
        return Pulse(previous, self.epoch, 7, self.meant_for)

    def fetch(self):
        self._maybe("fetch")
        return Desired(self.desired)

    def report(self, puts, deletes):
        self.actual.update(puts)
        for key in deletes:
            self.actual.pop(key, None)
        self._maybe("report")

    def reported(self):
        return dict(self.actual)

    def wake(self, wait_ms):
        raise Unavailable("no hints here")

    def hint(self):
        pass

    def describe(self, facts):
        pass

    def leave(self):
        self.left = True

    def close(self):
        pass


class Joiner:
    def __init__(self, link):
        self.link, self.trouble, self.anew = link, [], []

    def connect(self, *, anew):
        self.anew.append(anew)
        if self.trouble:
            raise self.trouble.pop(0)
        return self.link


@pytest.fixture
def joined(clock, monkeypatch):
    from agentd import uplink as module
    from store.backoff import Backoff

    monkeypatch.setattr(module, "RETRY", Backoff(first=0.01, most=0.01))
    joiner, offers = Joiner(Link()), []
    found = Uplink(
        joiner, clock, "u", 5.0, 15.0, lambda: {"instance": "me", "started": 5.0, "uid": "u"}, offers.append
    )
    found.joiner, found.link, found.offers = joiner, joiner.link, offers
    yield found
    found.leave()


def connected(uplink):
    uplink.start()
    eventually(lambda: uplink.trouble is None and uplink.offers)
    return uplink


def test_an_offer_is_parsed_entry_by_entry(joined):
    (found,) = connected(joined).offers
    assert isinstance(found, Offer)
    assert found.entries["a.0"] == {}
    assert "not JSON" in found.entries["b.0"]


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("away"),
        http.client.IncompleteRead(b""),
        ValueError("odd"),
        RuntimeError("worse"),
        OSError(28, "full"),
    ],
)
@pytest.mark.parametrize("where", ["connect", "claim", "beat", "fetch", "report"])
def test_whatever_fails_it_goes_on(joined, error, where):
    if where == "connect":
        joined.joiner.trouble = [error]
    else:
        joined.link.trouble = [(where, error)]
    joined.publish({"a.0": b"1"})
    connected(joined)
    eventually(lambda: joined.link.actual == {"a.0": b"1"} and not joined.link.trouble)


def test_in_a_new_epoch_all_of_the_node_is_said_again_once_and_spread(joined, clock):
    """Its record may be of an earlier time, and the agent remembers to have said better."""
    told = []
    joined.say_again = lambda: told.append(len(joined.joiner.anew))
    joined.spread = lambda: 10.0
    connected(joined)

    def beats(number):
        for _ in range(number):
            before = len(joined.link.beats)
            joined.beat_soon()
            eventually(lambda before=before: len(joined.link.beats) > before)

    beats(3)
    assert told == []
    joined.link.epoch = ""  # the leader has not come to us yet
    beats(1)
    joined.link.epoch = "2-b"
    beats(2)
    clock.advance(31.0)
    beats(1)
    eventually(lambda: joined.joiner.anew == [False, False])
    beats(3)
    clock.advance(31.0)
    beats(3)
    assert (told, joined.joiner.anew) == ([1], [False, False])


def test_a_report_whose_answer_was_lost_still_raises_the_number_the_leader_looks_at(joined):
    connected(joined)
    before = joined.link.beats[-1]["actual_seq"]
    joined.link.trouble = [("report", Unavailable("it happened, but nobody heard"))]
    joined.publish({"a.0": b"done"})
    eventually(lambda: joined.link.beats[-1]["actual_seq"] > before)
    assert joined.link.actual == {"a.0": b"done"}


def test_what_lies_there_from_an_earlier_life_is_replaced(joined):
    joined.link.actual = {"old.0": b"x", "a.0": b"stale"}
    joined.publish({"a.0": b"new"})
    connected(joined)
    eventually(lambda: joined.link.actual == {"a.0": b"new"})


def test_the_manager_is_asked_again_only_after_the_second_failure(joined):
    joined.joiner.trouble = [Unavailable("x"), Unavailable("x"), Unavailable("x")]
    connected(joined)
    assert joined.joiner.anew == [False, False, True, True]


def test_a_taken_id_at_the_first_contact_is_told(joined):
    joined.joiner.trouble = [Claimed("somebody")]
    joined.start()
    eventually(lambda: joined.refused)


def test_a_taken_id_is_told_also_when_the_manager_was_away_at_first(joined):
    joined.joiner.trouble = [Unavailable("away"), Unavailable("away"), Claimed("somebody")]
    joined.start()
    eventually(lambda: joined.refused)


def test_a_store_that_talks_nonsense_is_not_asked_faster_and_faster(joined, monkeypatch):
    from agentd import uplink as module

    waits = []
    monkeypatch.setattr(
        module, "RETRY", type("R", (), {"delay": lambda self, n, _: waits.append(n) or 0.001})()
    )
    joined.link.desired[b"@rev"] = b"nonsense"
    joined.start()
    eventually(lambda: len(waits) > 4)
    assert waits[:4] == [1, 2, 3, 4]


def test_the_newer_of_two_twins_stands_back_until_the_older_is_gone(joined):
    connected(joined)
    joined.link.previous = {"uid": "u", "instance": "older", "started": 1.0}
    joined.link.trouble = [("claim", Claimed("alive"))] * 10_000
    joined.beat_soon()
    eventually(lambda: "another agent" in (joined.trouble or "") or "alive" in (joined.trouble or ""))
    joined.link.trouble = []
    eventually(lambda: joined.trouble is None)
    assert joined.link.claimed == "", "only a free key was claimed"
    assert joined.refused is None


def test_whom_the_leader_means_keeps_the_id_and_the_other_stands_back(joined):
    connected(joined)
    joined.link.previous = {"uid": "stranger", "instance": "x", "started": 1.0}
    count = len(joined.link.beats)
    joined.beat_soon()
    eventually(lambda: len(joined.link.beats) > count)
    assert joined.trouble is None
    joined.link.desired[b"@node"] = b"stranger"
    joined.link.meant_for = "stranger"
    joined.link.previous = {"uid": "stranger", "instance": "x", "started": 1.0, "hostname": "h"}
    joined.link.trouble = [("claim", Claimed("alive"))] * 10_000
    joined.beat_soon()
    eventually(lambda: joined.trouble and ("h" in joined.trouble or "alive" in joined.trouble))
    joined.link.trouble = []
    eventually(lambda: joined.trouble is None)
    assert joined.link.claimed == "", "only a free key was claimed"


def test_the_older_twin_goes_on(joined):
    connected(joined)
    joined.link.previous = {"uid": "u", "instance": "newer", "started": 9.0}
    count = len(joined.link.beats)
    joined.beat_soon()
    eventually(lambda: len(joined.link.beats) > count)
    assert joined.trouble is None


def test_a_mark_that_is_no_number_is_no_reason_to_die():
    with pytest.raises(Exception, match="is not a number"):
        Desired({b"@rev": b"x"})
    assert offer(Desired({b"\xff": b"{}"})).entries.keys() == {"�"}


def test_the_first_try_after_a_loss_is_spread_over_the_fleet_s_time(joined, monkeypatch):
    from agentd import uplink as module

    monkeypatch.setattr(module.random, "random", lambda: 0.5)
    joined.spread = lambda: 4.0
    assert joined._pause(1) == pytest.approx(2.01), "nobody has met us yet: we are just starting"
    joined._met = True
    assert joined._pause(1) == 2.0
    assert joined._pause(3) == pytest.approx(2.01), "later ones on top of the backoff"
    joined.spread = lambda: 20.0
    assert joined._pause(1) == pytest.approx(15.0 * 0.4 * 0.5), "no heartbeat runs out by waiting"


def contacts_of(uplink, clock):
    """What is told of contact; a heartbeat takes two seconds to be acknowledged."""
    told, beat = [], uplink.link.beat

    def slow(*args):
        clock.advance(2.0)
        return beat(*args)

    uplink.link.beat = slow
    uplink.on_contact = lambda sent, known: told.append((sent, known, len(uplink.offers)))
    return told


def test_contact_counts_from_the_sending_and_is_told_before_what_the_store_wants(joined, clock):
    told = contacts_of(joined, clock)
    connected(joined)
    assert told[0] == (1000.0, False, 0)
    joined.beat_soon()
    eventually(lambda: len(told) > 1)
    assert told[1] == (1002.0, True, 1)


def test_after_a_failure_what_the_store_wants_is_not_known_until_it_was_fetched_again(joined, clock):
    told = contacts_of(joined, clock)
    connected(joined)
    joined.link.trouble = [("beat", Unavailable("away"))]
    joined.beat_soon()
    eventually(lambda: len(joined.offers) == 2)
    assert [known for _, known, _ in told] == [False, False]


def test_a_heartbeat_that_met_another_machine_is_no_contact(joined, clock):
    told = contacts_of(joined, clock)
    connected(joined)
    joined.link.meant_for = "other"
    joined.link.previous = {"uid": "other", "instance": "it", "hostname": "elsewhere"}
    joined.link.trouble = [("claim", Claimed("it lives"))] * 1000
    joined.beat_soon()
    eventually(lambda: "it lives" in (joined.trouble or ""))
    assert len(told) == 1


def test_the_grant_key_is_read_with_each_beat_that_asks_for_turns_and_with_no_other(clock):
    link, order, asking = Link(), [], threading.Event()
    link.granted = lambda: order.append("read") or b"grants"

    def beat():
        fetching = {"fetching": {"asks": {}}} if asking.is_set() else {}
        return {"instance": "me", "started": 5.0, "uid": "u", **fetching}

    found = Uplink(Joiner(link), clock, "u", 5.0, 15.0, beat, lambda _: None)
    found.on_contact = lambda *_: order.append("heard")
    found.on_grant = order.append
    found.start()
    eventually(lambda: "heard" in order)
    assert "read" not in order
    order.clear()
    asking.set()
    found.beat_soon()
    eventually(lambda: len(order) >= 3)
    assert order[:3] == ["heard", "read", b"grants"]  # never older than the contact that it stands for
    found.leave()


def test_a_beat_asked_for_while_one_is_under_way_is_not_forgotten(joined):
    hints = []
    joined.link.hint = lambda: hints.append(len(joined.link.beats))
    uplink = connected(joined)
    eventually(lambda: hints)
    before, beat = len(joined.link.beats), joined.link.beat

    def slow(*args):
        joined.link.beat = beat
        uplink.beat_soon(hint=True)
        return beat(*args)

    joined.link.beat = slow
    uplink.beat_soon()
    eventually(lambda: len(joined.link.beats) == before + 2)
    eventually(lambda: before + 2 in hints)
