"""Fail-over of a store under Sentinel: what survives it, what is noticed, and what is written nowhere."""

import threading

import pytest

from store.errors import EpochChanged, Fenced, Unavailable
from store.kv import durability
from store.kv.api import Change
from store.kv.connection import translated
from store.kv.durability import replicated
from store.kv.store import Store
from store.kv.watch import Watch
from store.recipes.election import Election
from tests.conftest import SOAK, eventually
from tests.sentinels import settled, start_writers, view_of, where

pytestmark = pytest.mark.integration


def test_nothing_confirmed_by_a_replica_is_lost_when_the_primary_dies(make):
    sentinels = make()
    view = view_of(sentinels)
    writers = start_writers(sentinels, 4, durable=True)
    primary, rounds = 0, 5 if SOAK else 1
    for left in reversed(range(rounds)):
        before = sum(len(writer.confirmed) for writer in writers)
        eventually(lambda least=before + 200: sum(len(w.confirmed) for w in writers) > least)
        sentinels.kill(primary)
        new = sentinels.promoted(primary)
        after = {writer: len(writer.confirmed) for writer in writers}
        eventually(lambda then=after: all(len(w.confirmed) > then[w] for w in writers), 40)
        if left:
            sentinels.start(primary)
            eventually(lambda new=new: sentinels.in_step(new), 40)
            primary = new
    for writer in writers:
        writer.end()
        assert {type(error) for error in writer.refused} <= {Unavailable}
    found = settled(view, lambda: view.values("w"))
    for writer in writers:
        assert writer.confirmed.items() <= found.items()


def test_nothing_confirmed_is_lost_when_a_living_primary_is_replaced(make):
    """While one replica is promoted, the other one still follows the old primary, and confirms to it."""
    sentinels = make()
    view = view_of(sentinels)
    writers = start_writers(sentinels, 3, durable=True)
    eventually(lambda: all(len(writer.confirmed) > 50 for writer in writers))
    sentinels.fail_over()
    sentinels.promoted(0)
    after = {writer: len(writer.confirmed) for writer in writers}
    # Whoever saw what is lost now is refused, until a leader begins the next epoch.
    eventually(lambda: all(w.lost or len(w.confirmed) > after[w] + 50 for w in writers), 40)
    for writer in writers:
        writer.end()
    found = settled(view, lambda: raw(view, "w"))
    for writer in writers:
        assert writer.confirmed.items() <= found.items()
    assert len(found) > 150


def raw(view, collection):
    """What lies in a collection of the new primary, whether or not it is to be believed."""
    with translated():
        found = view.client.hgetall(view.keys.collection(collection))
    return {field.decode(): value for field, value in found.items()}


def test_a_write_that_no_replica_confirms_is_said_to_be_so_and_stays(make, monkeypatch):
    sentinels = make(min_replicas=0)
    view = view_of(sentinels)
    with monkeypatch.context() as patient, replicated() as durable:
        patient.setattr(durability, "WAIT_MS", 4000)
        view.put("c", "a", b"1")
        view.client.script_flush()
        view.put("c", "b", b"2")
    assert durable.held is True
    sentinels.cut()
    with replicated() as durable:
        view.put("c", "a", b"3")
    assert durable.held is False
    assert view.get("c", "a").value == b"3"
    assert not view.confirm(1)
    with replicated() as durable:
        view.get("c", "a")
    assert durable.held is None


def test_without_replicas_nothing_is_taken_that_could_be_lost(make):
    """What `min-replicas-to-write 1` is for."""
    sentinels = make(min_replicas=1)
    view = view_of(sentinels)
    sentinels.cut()
    with pytest.raises(Unavailable, match="NOREPLICAS"):
        view.put("c", "a", b"1")
    with pytest.raises(Unavailable, match="NOREPLICAS"), replicated():
        view.put("c", "a", b"1")
    assert view.get("c", "a") is None


def test_lost_writes_are_noticed_by_everybody_who_saw_them(make):
    sentinels = make(min_replicas=0)
    view = view_of(sentinels)
    view.put("c", "kept", b"1")
    eventually(lambda view=view: view.confirm(2))
    sentinels.cut()
    for number in range(20):
        view.put("c", f"lost.{number}", b"1")
    watch = Watch(sentinels.client("watch", recheck=True), view.keys, epoch=view.epoch, after=view.seen)
    sentinels.kill(0)
    sentinels.mend()
    sentinels.promoted(0)
    attempts = (lambda: view.values("c"), lambda: view.put("c", "x", b""), lambda: watch.poll(0), view.attach)
    for attempt in attempts:
        with pytest.raises(EpochChanged):  # or HistoryLost, one of its kind
            settled(view, attempt)
    assert settled(view, lambda: raw(view, "c")) == {"kept": b"1"}


@pytest.mark.parametrize("min_replicas", [0, 1])
def test_no_answer_of_a_primary_that_was_paused_and_replaced_counts(make, min_replicas):
    """Its clients ask it while it sleeps: of what it does when it wakes, nobody else will know."""
    sentinels = make(min_replicas=min_replicas)
    views = [view_of(sentinels) for _ in range(3)]
    acknowledged, asleep = [], threading.Event()

    def write(number, view):
        asleep.wait(20)
        try:
            view.put("c", str(number), b"1")
        except Unavailable:
            return
        acknowledged.append(str(number))

    for view in views:
        view.put("c", "before", b"1")
        pool = view.client.connection_pool
        for connection in [pool.get_connection() for _ in range(2)]:
            pool.release(connection)
    eventually(lambda view=view: view.confirm(2))
    sleepers = [threading.Thread(target=write, args=each) for each in enumerate([*views, *views])]
    for sleeper in sleepers:
        sleeper.start()
    sentinels.pause(0)
    asleep.set()
    sentinels.promoted(0)
    sentinels.resume(0)
    for sleeper in sleepers:
        sleeper.join(30)
        assert not sleeper.is_alive(), "a client hangs"
    for number, view in enumerate(views):
        settled(view, lambda view=view, number=number: view.put("c", f"later.{number}", b"1"))
        assert where(view) != sentinels.ports[0]  # under load there may be another fail-over after that
    found = views[0].values("c").keys()
    assert found == {"before", *acknowledged, *(f"later.{number}" for number in range(3))}


def test_a_connection_that_was_in_use_when_the_primary_moved_is_not_used_again(make):
    """It leads to a server that takes writes of which nobody else will know."""
    sentinels = make(min_replicas=0)
    view = view_of(sentinels)
    pool = view.client.connection_pool
    held = pool.get_connection()
    assert held.port == sentinels.ports[0]
    sentinels.pause(0)
    sentinels.promoted(0)
    settled(view, lambda: view.put("c", "x", b"1"))
    sentinels.resume(0)
    pool.release(held)
    taken = [pool.get_connection() for _ in range(3)]
    assert sentinels.ports[0] not in [each.port for each in taken]
    assert held in taken, "it is used again, for the new primary"


def test_no_write_lands_on_an_old_primary_that_comes_back(make):
    """Until a Sentinel demotes it, it believes that it is the primary, and takes what it is given."""
    sentinels = make(min_replicas=0)
    view_of(sentinels)
    writers = start_writers(sentinels, 2)
    for writer in writers:
        assert writer.began.wait(20)
    sentinels.kill(0)
    sentinels.promoted(0)
    sentinels.start(0)
    old, seen = sentinels.admin(0), []
    fresh = []

    def demoted():
        rev = old.get("muster:rev")  # first: once it is demoted it learns of later ones
        role = old.role()[0]
        if role == b"slave":
            return True
        seen.append(rev)
        view = Store(sentinels.client("fresh", recheck=True))
        view.attach()
        fresh.append(where(view))
        view.client.close()
        return False

    eventually(demoted, 60)
    for writer in writers:
        writer.end()
    assert seen, "it was demoted before anybody could look"
    assert set(seen) == {seen[0]}
    assert sentinels.ports[0] not in fresh


def test_a_leader_on_a_paused_primary_writes_nothing_more(make, clock):
    """It slept with its server; another one leads on the new primary. Its token is worth nothing there."""
    sentinels = make()
    old, new = view_of(sentinels), view_of(sentinels)
    first, second = Election(old, "first", clock), Election(new, "second", clock)
    assert first.campaign()
    eventually(old.confirm)
    sentinels.pause(0)
    sentinels.promoted(0)
    eventually(lambda: led(second), 40)
    sentinels.resume(0)
    refused = []

    def fenced():
        try:
            old.txn([], [Change("c", "x", b"1")], token=first.token)
        except Unavailable as error:
            refused.append(error)
        except Fenced:
            return True
        return False

    eventually(fenced)
    assert refused, "it was not told that the primary is another one"
    assert new.get("c", "x") is None
    new.txn([], [Change("c", "x", b"2")], token=second.token)


def led(election):
    try:
        return election.campaign()
    except (Unavailable, EpochChanged):
        return False
