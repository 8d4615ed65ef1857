"""etcd's promises, by one suite over fakeredis, Redis and Valkey."""

import contextlib
import threading

import pytest

from store import bootstrap
from store.errors import (
    Claimed,
    Compacted,
    Conflict,
    EpochChanged,
    Fenced,
    HistoryLost,
    StoreEmpty,
    StoreError,
    TooLarge,
)
from store.kv import store as store_module
from store.kv import view as view_module
from store.kv.api import Change, Compare, Line
from store.kv.lease import Lease
from store.kv.node import RedisNodeLink
from store.kv.projection import Projection
from store.kv.store import Store
from store.kv.watch import Watch
from store.recipes.election import Election

pytestmark = pytest.mark.contract


def another_view(store):
    view = Store(store.client, store.keys)
    view.attach()
    return view


def lead(store, clock, holder="me", ttl=5.0):
    election = Election(store, holder, clock, ttl)
    assert election.campaign()
    return election


def test_every_write_has_its_own_revision(any_store):
    first = any_store.put("c", "a", b"1")
    second = any_store.put("c", "b", b"2")
    assert second == first + 1
    record = any_store.get("c", "a")
    assert (record.value, record.rev) == (b"1", first)
    assert any_store.get("c", "none") is None


def test_a_record_deleted_by_hand_can_be_made_again(any_store):
    rev = any_store.put("a", "x", b"1")
    any_store.client.delete(any_store.keys.collection("a"))  # its revision stays
    assert any_store.get("a", "x") is None
    assert any_store.put("a", "x", b"2", rev=0) > rev
    with pytest.raises(Conflict):
        any_store.put("a", "x", b"3", rev=0)


def test_compare_and_swap_over_several_collections(any_store):
    rev = any_store.txn([Compare("a", "x", 0)], [Change("a", "x", b"1"), Change("b", "y", b"2")])
    assert any_store.get("a", "x").rev == any_store.get("b", "y").rev == rev
    with pytest.raises(Conflict) as failed:
        any_store.txn([Compare("a", "x", rev), Compare("b", "y", rev + 7)], [Change("a", "x", None)])
    assert (failed.value.collection, failed.value.field, failed.value.actual) == ("b", "y", rev)
    assert any_store.get("a", "x") is not None
    any_store.txn([Compare("a", "x", rev)], [Change("a", "x", None)])
    assert any_store.get("a", "x") is None
    assert any_store.put("a", "x", b"again", rev=0) > rev


def test_a_snapshot_is_of_one_revision(any_store):
    any_store.put("a", "x", b"1")
    rev = any_store.put("b", "y", b"2")
    found = any_store.snapshot(["a", "b", "c"])
    assert found.rev == rev
    assert {name: list(records) for name, records in found.collections.items()} == {
        "a": ["x"],
        "b": ["y"],
        "c": [],
    }


def test_no_increment_is_lost_between_four_writers(any_store):
    any_store.put("c", "n", b"0")

    def add():
        view = another_view(any_store)
        for _ in range(25):
            while True:
                record = view.get("c", "n")
                try:
                    view.put("c", "n", b"%d" % (int(record.value) + 1), rev=record.rev)
                    break
                except Conflict:
                    continue

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any_store.get("c", "n").value == b"100"


def test_bounds(any_store):
    with pytest.raises(TooLarge):
        any_store.txn([], [Change("c", str(n), b"") for n in range(513)])
    with pytest.raises(TooLarge):
        any_store.txn([], [Change("c", "x", b"x" * (1024 * 1024 + 1))])
    rev = any_store.txn([], [Change("c", str(n), b"x") for n in range(512)])
    assert len(any_store.values("c")) == 512
    assert any_store.meta().rev == rev


def watch_of(store, after):
    return Watch(store.client, store.keys, epoch=store.epoch, after=after)


def test_a_watch_has_every_change_once_and_in_order(any_store):
    start = any_store.put("c", "before", b"")
    watch = watch_of(any_store, start)
    any_store.txn([], [Change("c", "a", b"1"), Change("d", "b", b"2")])
    any_store.put("c", "a", b"3")
    any_store.txn([], [Change("c", "a", None)])
    events = [*watch.poll(0, most=2), *watch.poll(0), *watch.poll(0)]
    assert [(e.rev - start, e.collection, e.field, e.op) for e in events] == [
        (1, "c", "a", "put"), (1, "d", "b", "put"), (2, "c", "a", "put"), (3, "c", "a", "del"),
    ]  # fmt: skip
    assert watch.poll(0) == []


def test_a_watch_wakes(any_store):
    watch = watch_of(any_store, any_store.seen)
    threading.Timer(0.1, lambda: another_view(any_store).put("c", "x", b"")).start()
    assert [event.field for event in watch.poll(4000)] == ["x"]


def test_compaction_is_told_to_who_is_behind(any_store):
    revs = [any_store.put("c", "x", b"%d" % n) for n in range(10)]
    behind, level = watch_of(any_store, revs[2]), watch_of(any_store, revs[5])
    assert any_store.compact(revs[5]) == revs[5]
    with pytest.raises(Compacted) as told:
        behind.poll(0)
    assert told.value.oldest == revs[5]
    assert len(level.poll(0)) == 4
    assert any_store.compact(revs[1]) == revs[5], "compaction never goes back"
    assert any_store.compact(10**9) == revs[9], "nor beyond what there is"
    assert any_store.client.xlen(any_store.keys.log) == 0


def test_another_epoch_is_not_obeyed(any_store):
    view, watch = another_view(any_store), watch_of(any_store, any_store.seen)
    old = view.epoch
    meta = bootstrap.mint(any_store)
    assert bootstrap.epoch_number(meta.epoch) == bootstrap.epoch_number(old) + 1
    assert meta.rev >= bootstrap.LEAP
    for attempt in (lambda: view.get("c", "x"), lambda: view.put("c", "x", b""), lambda: watch.poll(0)):
        with pytest.raises(EpochChanged):
            attempt()
    assert any_store.get("c", "x") is None
    view.attach()
    view.put("c", "x", b"")


def test_lost_history_is_noticed_by_everybody(any_store):
    rev = any_store.put("c", "x", b"1")
    watch = watch_of(any_store, rev)
    any_store.client.set(any_store.keys.rev, rev - 1)
    attempts = (
        lambda: any_store.get("c", "x"), lambda: any_store.put("c", "x", b"2"), lambda: watch.poll(0), any_store.attach,
    )  # fmt: skip
    for attempt in attempts:
        with pytest.raises(HistoryLost):
            attempt()


def test_an_emptied_store_is_noticed_by_everybody(any_store):
    watch = watch_of(any_store, any_store.seen)
    any_store.client.delete(any_store.keys.meta, any_store.keys.rev)
    for attempt in (
        lambda: any_store.get("c", "x"),
        lambda: any_store.put("c", "x", b""),
        lambda: watch.poll(0),
    ):
        with pytest.raises(StoreEmpty):
            attempt()


def test_a_log_ahead_of_its_counter_refuses_before_anything_is_written(any_store):
    """Lua does not roll back: what fails must fail first."""
    any_store.put("c", "x", b"1")
    any_store.client.xadd(any_store.keys.log, {"c": "?"}, id="99-1")
    with pytest.raises(Exception, match="XADD"):
        any_store.txn([], [Change("c", "x", b"2"), Change("c", "y", b"2")])
    assert any_store.values("c") == {"x": b"1"}
    assert any_store.meta().rev == 1


def test_a_store_begins_once(any_store):
    view = Store(any_store.client, any_store.keys)
    assert bootstrap.begin(view, None).cluster == any_store.meta().cluster
    with pytest.raises(EpochChanged, match="not other"):
        bootstrap.begin(view, "other")
    any_store.client.delete(any_store.keys.meta, any_store.keys.rev)
    with pytest.raises(StoreEmpty, match="lived in it"):
        bootstrap.begin(view, "known")
    assert not any_store.client.exists(any_store.keys.meta)


def test_one_leader_at_a_time(any_store, clock):
    first, second = lead(any_store, clock), Election(any_store, "other", clock)
    assert not second.campaign()
    before = first.token
    first.resign()
    assert second.campaign()
    assert second.token > before


def test_a_restarted_leader_fences_its_former_self(any_store, clock):
    old = lead(any_store, clock)
    new = lead(any_store, clock)
    assert new.token > old.token
    with pytest.raises(Fenced):
        any_store.txn([], [Change("c", "x", b"")], token=old.token)
    clock.advance(2)
    with pytest.raises(Fenced):
        old.campaign()
    any_store.txn([], [Change("c", "x", b"")], token=new.token)
    old.resign()
    assert new.campaign(), "resigning what one does not hold takes it from nobody"


def test_no_token_is_given_twice_by_a_store_that_forgot_giving_it(any_store, clock):
    """A promoted replica that had not received it, say; the old leader was paused and has heard nothing."""
    client, keys = any_store.client, any_store.keys
    old = lead(any_store, clock)
    client.delete(keys.lease("leader"), keys.fence("leader"))
    new = Election(any_store, "other", clock)
    assert new.campaign()
    with pytest.raises(Fenced):
        any_store.txn([], [Change("c", "x", b"")], token=old.token)
    with pytest.raises(Fenced):
        Projection(any_store).project("n", "uid", {}, (), token=old.token)


def test_a_lease_that_ran_out_is_no_proof(any_store, clock):
    old = lead(any_store, clock)
    any_store.client.delete(any_store.keys.lease("leader"))
    nodes = Projection(any_store)
    for write in (
        lambda: any_store.txn([], [Change("c", "x", b"")], token=old.token),
        lambda: nodes.project("n", "uid", {}, (), token=old.token),
    ):
        with pytest.raises(Fenced):
            write()
    assert any_store.seen == 0


def test_leases_have_names(any_store):
    one, other = Lease(any_store, "site-a", "x", 60_000), Lease(any_store, "site-a", "y", 60_000)
    token = one.acquire()
    assert other.acquire() is None
    one.release(token)
    assert other.acquire() > token


def link_of(store, node="web-1"):
    return RedisNodeLink(store.client, store.client, store.keys, node)


def test_a_projection_is_whole_and_wakes_its_node(any_store, clock):
    token = lead(any_store, clock).token
    nodes, link = Projection(any_store), link_of(any_store)
    rev = nodes.project("web-1", "uid", {"a.0": b'{"wanted":"running"}', "b.0": b'{"v":1}'}, (), token=token)
    found = link.fetch()
    assert (found.rev, found.epoch, found.uid) == (rev, any_store.epoch, "uid")
    assert found.entries["a.0"] == b'{"rev":%d,"wanted":"running"}' % rev
    assert any_store.client.xlen(any_store.keys.node("web-1").wake) == 1
    later = nodes.project("web-1", "uid", {}, ("b.0",), token=token)
    assert later == rev + 1
    assert link.fetch().entries.keys() == {"a.0"}
    nodes.project("web-1", "another", {}, (), token=token)
    assert link.fetch().entries == {}


def test_a_beat_tells_where_desired_stands_and_who_beat_before(any_store, clock):
    nodes, link = Projection(any_store), link_of(any_store)
    assert link.beat(b'{"uid":"u","instance":"1"}', 60_000).previous is None
    rev = nodes.project("web-1", "u", {}, (), token=lead(any_store, clock).token)
    pulse = link.beat(b'{"uid":"u","instance":"2"}', 60_000)
    assert (pulse.rev, pulse.epoch, pulse.uid) == (rev, any_store.epoch, "u")
    assert pulse.previous["instance"] == "1"


def test_a_node_id_belongs_to_who_lives(any_store):
    link = link_of(any_store)
    link.claim("u1", b'{"uid":"u1","hostname":"first"}', 60_000)
    with pytest.raises(Claimed, match="first"):
        link.claim("u2", b'{"uid":"u2"}', 60_000)
    link.claim("u1", b'{"uid":"u1","again":1}', 60_000)
    link.leave()
    link.claim("u2", b'{"uid":"u2"}', 60_000)


def test_reports_are_changes(any_store):
    link, nodes = link_of(any_store), Projection(any_store)
    link.report({"a.0": b"1", "b.0": b"2"}, [])
    link.report({"a.0": b"3"}, ["b.0"])
    assert link.reported() == {"a.0": b"3"}
    assert nodes.actual_entries([("web-1", "a.0"), ("web-1", "x"), ("none", "y")]) == [b"3", None, None]


def test_a_wake_is_heard_once(any_store, clock):
    nodes, link = Projection(any_store), link_of(any_store)
    token = lead(any_store, clock).token
    threading.Timer(0.1, lambda: nodes.project("web-1", "u", {}, (), token=token)).start()
    assert link.wake(4000)
    assert not link.wake(1)


def test_a_transaction_half_handed_out_may_not_be_compacted_unnoticed(any_store):
    """A batch ended within a revision: its other half is trimmed by a compaction up to that revision."""
    start = any_store.put("c", "before", b"")
    watch = watch_of(any_store, start)
    rev = any_store.txn([], [Change("c", name, b"") for name in "abc"])
    assert [event.field for event in watch.poll(0, most=2)] == ["a", "b"]
    assert watch.rev == start, "not all of the revision was handed out"
    whole = watch_of(any_store, start)
    assert (len(whole.poll(0, most=3)), whole.poll(0), whole.rev) == (3, [], rev)
    any_store.compact(rev)
    with pytest.raises(Compacted):
        watch.poll(0)
    assert whole.poll(0) == [], "who has it all is not sent to list again"


def test_the_last_epochs_are_remembered_and_no_more(any_store):
    for _ in range(bootstrap.EPOCHS_KEPT + 2):
        meta = bootstrap.mint(any_store)
    epochs = {name.decode() for name in any_store.client.hkeys(any_store.keys.epochs)}
    assert len(epochs) == bootstrap.EPOCHS_KEPT
    assert meta.epoch in epochs
    assert not any(name.startswith(("1-", "2-", "3-")) for name in epochs)


def test_an_index_moves_with_its_transaction_and_is_read_in_order(any_store):
    rev = any_store.txn([], [Change("c", "1", b"{}")], lines=[Line("c", "name:b:1"), Line("c", "name:a:1")])
    assert any_store.lines("c", "name:", "name;", 10) == ["name:a:1", "name:b:1"]
    with pytest.raises(Conflict):
        any_store.txn([Compare("c", "1", 0)], [Change("c", "1", b"x")], lines=[Line("c", "name:c:1")])
    swap = [Line("c", "name:a:1", there=False), Line("c", "name:z:1"), Line("d", "k:1")]
    any_store.txn([Compare("c", "1", rev)], [Change("c", "1", b"x")], lines=swap)
    assert any_store.lines("c", "name:", "name;", 1) == ["name:b:1"]
    assert any_store.lines("c", "name:b:1", "name;", 9) == ["name:z:1"]
    assert any_store.count_lines("c", [("name:", "name;"), ("sn:", "sn;")]) == [2, 0]
    assert any_store.lines("d", "k", "l", 9) == ["k:1"]


def test_a_read_that_the_server_refuses_leaves_the_connection_fit_for_the_next(any_store):
    """Whatever is wrong with one command is said, and what comes after it is not taken for its answer."""
    any_store.put("c", "f", b"{}")
    any_store.client.set(any_store.keys.collection("odd"), "no hash")
    for _ in range(3):
        with pytest.raises(StoreError, match="WRONGTYPE"):
            any_store.values("odd")
        assert any_store.values("c") == {"f": b"{}"}
        assert any_store.get("c", "f").value == b"{}"


@pytest.mark.parametrize("ask", ["attach", "confirm"])
def test_what_another_thread_has_seen_meanwhile_is_no_lost_history(store, monkeypatch, ask):
    """Two first requests of a worker at once: the one's write was taken for a revision that the other lacks."""
    there = store_module.translated

    @contextlib.contextmanager
    def overtaken():
        with there():
            yield
        store.saw(store.seen + 1)

    store.put("c", "x", b"1")
    for module in (store_module, view_module):
        monkeypatch.setattr(module, "translated", overtaken)
    store.attach() if ask == "attach" else store.confirm(1)
    monkeypatch.undo()
    assert store.meta().lost == ""
    store._seen -= 1
    store.put("c", "x", b"2")
    store.saw(store.seen + 1)
    with pytest.raises(HistoryLost):
        store.attach() if ask == "attach" else store.confirm(1)
