"""Memory is checked against the store a part at a time, while the fleet goes on."""

import pytest

from benchmarks.census import Census
from manager_api.controller import mirror as mirrors
from manager_api.controller.mirror import MIRRORED, Mirror
from store.codec import dumps, loads
from store.keys import ALLOCATIONS, DEPLOYMENTS, STATUS
from store.kv.api import Change
from store.kv.watch import Watch

pytestmark = pytest.mark.integration

PART = 200
"""Smaller hashes than the server's limit for compact ones come in one piece, whatever is asked for."""


@pytest.fixture
def fleet(store, monkeypatch):
    monkeypatch.setattr(mirrors, "REVISIONS_AT_ONCE", PART)
    Census(store, nodes=10, allocations=2000, per_deployment=20).fill()
    return store


def reflect(store, clock):
    mirror = Mirror(store, clock)
    rev = mirror.load()
    mirror.dirty_nodes, mirror.dirty_deployments = set(), set()
    return mirror, Watch(store.client, store.keys, epoch=store.epoch, after=rev)


def told_of(mirror, collection):
    found = mirror._intake.collections[collection]
    return {field: (stored.rev, stored.data) for field, stored in found.items()}


def held_by(store, collection):
    found = store.snapshot([collection]).collections[collection]
    return {field: (record.rev, loads(record.value)) for field, record in found.items()}


def is_true(mirror, store):
    return all(told_of(mirror, name) == held_by(store, name) for name in MIRRORED)


def silently(store, collection, field, value=None):
    """A write of which the change log tells nothing: its entry was lost."""
    records, revisions = store.keys.collection(collection), store.keys.revisions(collection)
    if value is None:
        store.client.hdel(records, field)
        store.client.hdel(revisions, field)
        return
    store.client.hset(records, field, value)
    store.client.hset(revisions, field, store.client.incr(store.keys.rev))


def test_what_nobody_told_of_is_found_however_large_the_fleet_is(fleet, clock):
    mirror, _ = reflect(fleet, clock)
    lost, changed = sorted(mirror.fleet.allocations)[::1000]
    record = dumps({**mirror.fleet.allocations[changed].data, "wanted": "stopped"})
    silently(fleet, ALLOCATIONS, lost)
    silently(fleet, ALLOCATIONS, changed, record)
    silently(fleet, ALLOCATIONS, "new.0", record)
    assert not is_true(mirror, fleet)
    assert sum(1 for _ in mirror.verifying()) > 2000 // PART, "in parts"
    assert is_true(mirror, fleet)
    assert lost not in mirror.fleet.allocations


def test_a_fleet_that_goes_on_between_the_parts_is_never_taken_for_gone(fleet, clock):
    """Of each part: one comes, one changes, one goes, one goes unheard; what is heard is heard a part later."""
    mirror, watch = reflect(fleet, clock)
    names = iter(sorted(mirror.fleet.allocations))
    for number, _ in enumerate(mirror.verifying()):
        mirror.apply(watch.poll(0))
        changed, gone, unheard = next(names), next(names), next(names)
        record = dumps({**mirror.fleet.allocations[changed].data, "round": number})
        fleet.put(ALLOCATIONS, changed, record)
        fleet.put(ALLOCATIONS, f"new.{number}", record)
        fleet.txn([], [Change(ALLOCATIONS, gone, None)])
        silently(fleet, ALLOCATIONS, unheard)
        assert mirror.fleet.allocations.keys() >= {f"new.{each}" for each in range(number)}
    mirror.apply(watch.poll(0))
    mirror.verify()
    assert is_true(mirror, fleet)


def test_collections_that_are_gone_as_a_whole_are_seen_to_be(fleet, clock):
    mirror, _ = reflect(fleet, clock)
    for name in (ALLOCATIONS, DEPLOYMENTS, STATUS):
        fleet.client.delete(fleet.keys.collection(name), fleet.keys.revisions(name))
    mirror.verify()
    assert mirror.fleet.allocations == {}
    assert is_true(mirror, fleet)


def test_a_record_from_above_the_store_s_revision_goes_like_any_other(fleet, clock):
    """A head that was given back too low left such; its deletion lies below it in the log."""
    lost = min(fleet.values(ALLOCATIONS))
    fleet.client.hset(fleet.keys.revisions(ALLOCATIONS), lost, 10**9)
    mirror, watch = reflect(fleet, clock)
    fleet.txn([], [Change(ALLOCATIONS, lost, None)])
    mirror.apply(watch.poll(0))
    mirror.verify()
    assert lost not in mirror.fleet.allocations
    assert is_true(mirror, fleet)
