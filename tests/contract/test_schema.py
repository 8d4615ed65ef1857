"""A store that a later release writes is left alone, by every reader and writer; one suite, every server."""

import pytest

from store import bootstrap
from store.errors import StoreError, WrongRelease
from store.keys import DEPLOYMENTS, STATUS
from store.kv.api import Change
from store.kv.lease import Lease
from store.kv.projection import Projection
from store.kv.store import Store

pytestmark = pytest.mark.contract

SAYS = "holds records of schema 2, and muster .* reads 1: nothing was done; use muster 9.9.0 or later"


def everything(store):
    """All that lies in a store, byte for byte."""
    client, found = store.client, {}
    for key in client.keys(f"{store.keys.prefix}*"):
        kind = client.type(key)
        read = {b"string": client.get, b"hash": client.hgetall, b"stream": client.xrange}
        found[key] = read[kind](key)
    return found


def upgrade(store, **fields):
    store.client.hset(store.keys.meta, mapping=fields)


ATTEMPTS = {
    "attach": lambda store, _: store.attach(),
    "begin": lambda store, _: bootstrap.begin(store, None),
    "get": lambda store, _: store.get(DEPLOYMENTS, "d"),
    "snapshot": lambda store, _: store.snapshot([DEPLOYMENTS]),
    "put": lambda store, _: store.put(DEPLOYMENTS, "d", b"{}"),
    "put as leader": lambda store, token: store.txn([], [Change(STATUS, "d", b"{}")], token=token),
    "project": lambda store, token: Projection(store).project("n", "u", {"d.0": b"{}"}, [], token=token),
    "judge": lambda store, token: store.judged("replid", token=token),
    "lead": lambda store, _: Lease(store, "leader", "me", 5000).acquire(),
    "go on leading": lambda store, token: Lease(store, "leader", "me", 5000).renew(token),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_whoever_was_attached_before_neither_reads_nor_writes(any_store, attempt):
    token = Lease(any_store, "leader", "me", 60_000).acquire()
    any_store.put(DEPLOYMENTS, "d", b'{"v":1}')
    upgrade(any_store, schema_max=2, schema_release="9.9.0")
    before = everything(any_store)
    with pytest.raises(WrongRelease, match=SAYS):
        ATTEMPTS[attempt](any_store, token)
    assert everything(any_store) == before
    upgrade(any_store, schema_max=1)
    ATTEMPTS[attempt](any_store, token)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"schema_max": 2}, "schema 2, .* use a later release of muster"),
        ({"schema_max": "two"}, "cannot be read"),
        ({"schema_min": "one"}, "cannot be read"),
        ({"schema_min": 0}, "may hold records of schema 0, .* use a release between"),
    ],
)
def test_every_odd_range_has_its_sentence(any_store, fields, says):
    upgrade(any_store, schema_release="", **fields)
    with pytest.raises(WrongRelease, match=says):
        any_store.attach()
    if "schema_max" in fields:
        with pytest.raises(WrongRelease, match=says):
            any_store.put(DEPLOYMENTS, "d", b"{}")


def test_a_store_without_a_range_is_of_the_first_schema(any_store):
    any_store.client.hdel(any_store.keys.meta, "schema_min", "schema_max", "schema_release")
    any_store.attach()
    any_store.put(DEPLOYMENTS, "d", b"{}")


def test_a_manager_says_what_it_is_about_to_write_and_never_less(any_store, monkeypatch):
    again = Store(any_store.client, any_store.keys)
    monkeypatch.setattr(bootstrap, "WRITES", 2)
    monkeypatch.setattr(bootstrap, "VERSION", "9.9.0")
    bootstrap.begin(again, None)
    with pytest.raises(WrongRelease, match=SAYS):  # this one reads 1 only, whatever it writes
        any_store.put(DEPLOYMENTS, "d", b"{}")
    monkeypatch.undo()
    with pytest.raises(StoreError):
        bootstrap.begin(again, None)
    assert any_store.client.hget(any_store.keys.meta, "schema_max") == b"2"
