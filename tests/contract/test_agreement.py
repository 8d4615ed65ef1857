"""The index of devices and their records: what hands undid is found, said and put right, beside writers."""

import json

import pytest

from manager_api.http.inventory.device_schema import DEVICE
from manager_api.http.system import moving
from manager_api.http.system.index_look import IndexLook
from manager_api.inventory import agreement, devices
from store import bootstrap
from store.codec import dumps, loads
from store.keys import DEVICES
from store.kv.api import Line
from store.kv.store import Store
from tests import inventory
from tests.contract.test_cli import Cli
from tests.fakes import Manager

pytestmark = pytest.mark.contract


@pytest.fixture
def made(any_store):
    """A store with some devices; their ids."""
    return [devices.create(any_store, {**DEVICE, "name": f"d{n}"}).data["id"] for n in range(7)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(agreement, "BATCH", 3)
    monkeypatch.setattr(agreement, "AT_ONCE", 2)


def by_hand(store, device, **said):
    """Somebody's HSET: the record moves, its revision and the index do not."""
    raw = dumps({**loads(store.get(DEVICES, device).value), **said})
    store.client.hset(store.keys.collection(DEVICES), device, raw)


def counts(found):
    return found.records, found.lacking.count, found.extra.count, found.unreadable.count


def test_what_was_written_by_its_transaction_agrees(any_store, made, monkeypatch):
    monkeypatch.setattr(type(any_store), "lines", lambda *_: pytest.fail("as many lines as there should be"))
    assert counts(agreement.look(any_store)) == (7, 0, 0, 0)


def test_an_empty_inventory_agrees(any_store):
    assert counts(agreement.look(any_store)) == (0, 0, 0, 0)
    assert counts(agreement.mend(any_store)) == (0, 0, 0, 0)


def test_what_hands_undid_is_found_and_put_right(any_store, made):
    store, client, key = any_store, any_store.client, any_store.keys
    client.zrem(key.index(DEVICES), f"name:d0:{made[0]}")
    by_hand(store, made[1], name="other")
    client.hdel(key.collection(DEVICES), made[2])
    client.zadd(key.index(DEVICES), {"zzz": 0, f"group:1:{made[3]}": 0})
    before = counts(agreement.look(store))
    assert before == (6, 2, 7, 0), "2 names, and the old one, 4 lines of what was deleted, 2 of nothing"
    assert counts(agreement.look(store)) == before, "a look changes nothing"
    assert counts(agreement.mend(store)) == before
    inventory.check(store, swept=True)
    assert counts(agreement.look(store)) == (6, 0, 0, 0)
    assert devices.find(store, made[1]).data["name"] == "other"
    devices.change(store, made[1], lambda record: {**record, "name": "third"})
    assert counts(agreement.look(store)) == (6, 0, 0, 0)


def test_an_index_that_is_gone_and_one_without_records_are_put_right(any_store, made):
    any_store.client.delete(any_store.keys.index(DEVICES))
    assert counts(agreement.mend(any_store)) == (7, 28, 0, 0)
    inventory.check(any_store, swept=True)
    any_store.client.delete(any_store.keys.collection(DEVICES))
    assert counts(agreement.mend(any_store)) == (0, 0, 28, 0)
    assert inventory.index(any_store) == set()


@pytest.mark.parametrize("raw", [b"nonsense", b"{}", b'{"id":"1234567890"}', b"7"])
def test_nothing_leads_to_what_cannot_be_read(any_store, made, raw):
    any_store.client.hset(any_store.keys.collection(DEVICES), made[0], raw)
    assert counts(agreement.mend(any_store)) == (7, 0, 4, 1)
    assert counts(agreement.look(any_store)) == (7, 0, 0, 1)


def test_a_record_that_says_another_s_id_does_not_lead_to_that(any_store, made):
    by_hand(any_store, made[0], id=made[1], name="thief")
    agreement.mend(any_store)
    assert not any("thief" in line for line in inventory.index(any_store))


def test_what_changes_meanwhile_is_not_taken_for_wrong(any_store, made, monkeypatch):
    """Between each record that is read and its lines somebody changes it, and others come and go."""
    scan, edits = type(any_store).scan, iter(range(100))

    def scanned(store, collection, count):
        for batch in scan(store, collection, count):
            for device, _ in batch:
                devices.change(store, device, lambda record: {**record, "name": f"n{next(edits)}"})
            for device, _ in batch[:1]:
                devices.remove(store, device)
            devices.create(store, DEVICE)
            yield batch

    monkeypatch.setattr(type(any_store), "scan", scanned)
    found = agreement.look(any_store)
    assert (found.lacking.count, found.extra.count) == (0, 0)
    assert counts(agreement.mend(any_store))[1:] == (0, 0, 0)
    inventory.check(any_store, swept=True)


def test_an_edit_in_the_middle_of_mending_is_not_lost(any_store, made, monkeypatch):
    store = any_store
    store.client.delete(store.keys.index(DEVICES))
    txn, rest = store.txn, [made[0], made[1]]

    def quicker(compares, changes, *, lines=()):
        if not changes and rest:
            devices.change(store, rest.pop(), lambda record: {**record, "name": "quicker"})
        return txn(compares, changes, lines=lines)

    monkeypatch.setattr(store, "txn", quicker)
    agreement.mend(store)
    monkeypatch.undo()
    assert [devices.find(store, device).data["name"] for device in made[:2]] == ["quicker"] * 2
    inventory.check(store, swept=True)


def test_lines_are_put_without_a_change_of_a_record(any_store, made):
    """No watcher is told of one, and the device stays at its revision."""
    rev = any_store.get(DEVICES, made[0]).rev
    any_store.txn([], [], lines=[Line(DEVICES, "zzz")])
    agreement.mend(any_store)
    assert any_store.get(DEVICES, made[0]).rev == rev
    assert any_store.client.xlen(any_store.keys.log) == len(made)


def test_an_inventory_whose_index_is_gone_is_not_taken_for_none(any_store, made):
    """A cluster that moves in would have taken its place."""
    any_store.client.delete(any_store.keys.index(DEVICES))
    assert not moving._is_empty(any_store)


def test_the_doctor_says_it_and_the_command_line_mends_it(store):
    cli = Cli(store)
    try:
        device = devices.create(store, {**DEVICE, "name": "desk"}).data["id"]
        store.client.zrem(store.keys.index(DEVICES), f"name:desk:{device}")
        ill = cli("doctor", expect=1).stdout
        assert (
            f"WRONG   devices: the index of devices does not say what their records do: 1 line (name:desk:{device})"
            in ill
        )
        assert "-> muster doctor --mend-index" in ill
        report = json.loads(cli("doctor", "--mend-index", "-o", "json", expect=1).stdout)  # nobody leads
        assert report["mended"] == {"records": 1, "put": 1, "taken": 0}
        assert report["devices"]["lacking"] == {"count": 0, "example": None}
        well = cli("doctor", "--mend-index", expect=1).stdout
        assert "index of devices: 0 lines put there, 0 taken away" in well
        assert "ok      devices: 1, and the index leads to each" in well
        store.client.hset(store.keys.meta, "lost", "it fell back")
        assert "ok      devices" in cli("doctor", expect=1).stdout, "whatever has become of its history"
    finally:
        cli.server.shutdown()
        cli.server.server_close()


def test_a_worker_mends_whatever_epoch_it_knew(store):
    """The first call that comes to a worker, or the first after a new epoch, may be this one."""
    store.client.zadd(store.keys.index(DEVICES), {"zzz": 0})
    manager = Manager(Store(store.client, store.keys))
    assert manager.post("/v1/doctor/index", {}).json == {"records": 0, "put": 0, "taken": 1}
    bootstrap.mint(store)
    store.client.zadd(store.keys.index(DEVICES), {"zzz": 0})
    assert manager.post("/v1/doctor/index", {}).json == {"records": 0, "put": 0, "taken": 1}


def test_a_look_that_takes_long_serves_those_who_ask_soon_after_while_all_is_well(store, clock, monkeypatch):
    device = devices.create(store, DEVICE).data["id"]
    look = agreement.look
    looks = []

    def slow(view):
        looks.append(view.epoch)
        clock.advance(3.0)
        return look(view)

    monkeypatch.setattr(agreement, "look", slow)
    asked = IndexLook(clock)
    assert asked(store) == asked(store)
    clock.advance(29.0)
    assert asked(store)["records"] == 1
    assert len(looks) == 1
    clock.advance(2.0)
    store.client.zrem(store.keys.index(DEVICES), f"name:{DEVICE['name']}:{device}")
    assert asked(store)["lacking"]["count"] == 1
    assert asked(store)["lacking"]["count"] == 1
    assert len(looks) == 3, "what is wrong is looked at each time"
