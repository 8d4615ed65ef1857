"""Watchers through compaction, restarts, cuts and new epochs: no gap unnoticed, nothing twice."""

import random
import threading
from functools import partial

import pytest

from store import bootstrap
from store.errors import Compacted, EpochChanged, HistoryLost, Unavailable
from store.kv.api import Change
from store.kv.watch import Watch
from tests.conftest import SOAK, eventually, fresh_store
from tests.linear.chaos import some_time
from tests.linear.follower import COLLECTIONS, Follower, check_session

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200 if SOAK else 120)]

FIELDS = [f"f{n}" for n in range(12)]
WRITERS, FOLLOWERS = 2, 4
DISTURBANCES = ["kill", "cut", "cut", "epoch"]
ROUNDS = 40 if SOAK else 2


class Hands:
    """Threads that write and compact at random moments, until told to stop."""

    def __init__(self, stage):
        self.acknowledged, self.trouble, self.stopped = {}, [], threading.Event()
        tasks = [self.write] * WRITERS + [self.compact]
        self.threads = [threading.Thread(target=self.repeat, args=(t, stage.attached("hand"))) for t in tasks]
        for thread in self.threads:
            thread.start()

    def repeat(self, task, store):
        rng = random.Random()
        while not self.stopped.is_set():
            try:
                task(store, rng)
            except HistoryLost as error:
                self.trouble.append(error)
                return
            except EpochChanged:
                self.attach(store)
            except Unavailable:
                self.stopped.wait(0.02)
            except Exception as error:
                self.trouble.append(error)
                return

    def attach(self, store):
        try:
            store.attach()
        except Unavailable:
            self.stopped.wait(0.02)

    def write(self, store, rng):
        """One to five changes at once; half of the writes in bursts, so that watchers fall behind."""
        for _ in range(rng.choice((1, 30))):
            what = {(rng.choice(COLLECTIONS), rng.choice(FIELDS)) for _ in range(rng.randint(1, 5))}
            value = None if rng.random() < 0.2 else b"%d" % rng.getrandbits(60)
            rev = store.txn([], [Change(*each, value) for each in what])
            self.acknowledged[rev] = what
        self.stopped.wait(rng.random() * 0.02)

    def compact(self, store, rng):
        store.compact(store.meta().rev - rng.choice((0, 1, 20, 100)))
        self.stopped.wait(rng.random() * 0.1)

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        assert self.trouble == []


def disturb(what, stage):
    if what == "kill":
        stage.kill_server()
    elif what == "cut":
        stage.server.client("scissors").client_kill_filter(_type="normal", skipme=True)
    else:
        bootstrap.mint(stage.store())


def test_every_change_is_seen_or_listed_whatever_happens(stage):
    stage.start()
    followers = [Follower(stage.store(), random.Random()) for _ in range(FOLLOWERS)]
    for follower in followers:
        follower.start()
    hands = Hands(stage)
    try:
        for _ in range(ROUNDS):
            for what in random.sample(DISTURBANCES, len(DISTURBANCES)):
                some_time()
                before = len(hands.acknowledged)
                disturb(what, stage)
                eventually(lambda before=before: hands.trouble or len(hands.acknowledged) > before + 50)
        eventually(lambda: hands.trouble or "Compacted" in endings(followers))
    finally:
        hands.stop()
    last = stage.attached().put(COLLECTIONS[0], "last", b"")
    for follower in followers:
        follower.finish(last)
    eventually(lambda: not any(follower.is_alive() for follower in followers))
    truth = stage.attached().snapshot(COLLECTIONS).collections
    expected = {(name, key): record for name, found in truth.items() for key, record in found.items()}
    for follower in followers:
        assert follower.trouble is None
        for session in follower.sessions:
            check_session(session, hands.acknowledged)
        assert follower.mirror == expected
    events = sum(len(session.events) for follower in followers for session in follower.sessions)
    print(f"{len(hands.acknowledged)} writes, {events} events, sessions ended by {endings(followers)}")
    assert events > len(hands.acknowledged), "most changes were listed: nothing was proven of events"
    assert {"Compacted", "EpochChanged"} <= set(endings(followers))


def endings(followers):
    """Why lists were made again, with how often."""
    whys = [session.why for follower in followers for session in follower.sessions if session.why]
    return {why: whys.count(why) for why in sorted(set(whys))}


class Between:
    """A client whose pipeline lets somebody in between its first command and the others."""

    def __init__(self, client, somebody):
        self.client, self.somebody, self.asked = client, somebody, []

    def pipeline(self, transaction):
        assert not transaction
        self.asked = []
        return self

    def __getattr__(self, command):
        return lambda *args, **more: self.asked.append(partial(getattr(self.client, command), *args, **more))

    def execute(self):
        first, *rest = self.asked
        answer = first()
        self.somebody()
        return [answer, *(each() for each in rest)]


@pytest.fixture(params=["redis", "valkey"])
def any_real_store(request, servers):
    return fresh_store(servers(request.param).client("test"))


@pytest.mark.parametrize("heard", [0, 3])
def test_a_compaction_between_the_read_and_the_look_is_told(any_real_store, heard):
    """The read is not of one transaction with the look at `compacted`: it may only err to the safe side."""
    store = any_real_store
    start = store.put("alpha", "x", b"")

    def somebody():
        last = [store.put("alpha", "y", b"") for _ in range(5)][-1]
        store.compact(last)

    for _ in range(heard):
        store.put("alpha", "x", b"")
    watch = Watch(Between(store.client, somebody), store.keys, epoch=store.epoch, after=start)
    with pytest.raises(Compacted):
        watch.poll(0)


def test_a_trimmed_log_read_below_is_told_and_never_skipped(any_real_store):
    """XREAD itself says nothing: it goes on with what is left."""
    store = any_real_store
    revs = [store.put("alpha", "x", b"") for _ in range(10)]
    watch = Watch(store.client, store.keys, epoch=store.epoch, after=revs[2])
    store.compact(revs[6])
    (_, left), *_ = store.client.xread({store.keys.log: f"{revs[2]}-0"})
    assert len(left) == 3, "the trap is still there"
    for _ in range(2):
        with pytest.raises(Compacted):
            watch.poll(0)
