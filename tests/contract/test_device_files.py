"""The inventory as CSV, out and in: a report for every line, and the same file again."""

import errno
import hashlib
import io
import itertools
import json
import logging
import os
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from manager_api.core.device_csv import COLUMNS
from manager_api.device_file import DeviceFile
from manager_api.http.inventory import device_files, device_mark
from manager_api.http.inventory.device_lines import taken
from manager_api.inventory import bulk, devices
from store import bootstrap, former
from store.errors import StoreEmpty, Unavailable
from store.keys import DEVICES
from store.kv.store import Store
from store.process import Lock
from tests.fakes import Manager

pytestmark = pytest.mark.contract

HEAD = ",".join(COLUMNS)
DEVICE = {
    "name": "=HYPERLINK(1)", "type": "laptop", "hardware": {"model": "M", "sn": "'S1"},
    "software": {"version": "1", "last_update": "2023-08-06 20:00:00"}, "status": "online",
    "nic": [{"type": "wifi", "mac": "12:34:56:78:9a:bc", "ipv4": "192.168.1.2"}, {"type": "eth", "mac": "", "ipv4": ""}],
}  # fmt: skip


@pytest.fixture
def manager(store):
    return Manager(store)


def take(manager, text, **query):
    answer = manager.http.simulate_post("/v1/devices/csv", body=text, params=query)
    assert answer.status_code == 200, answer.text
    *lines, counts = [json.loads(line) for line in answer.text.splitlines()]
    return lines, counts


def given(manager):
    answer = manager.get("/v1/devices/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    return answer.text


def test_out_and_in_again(manager):
    kept = devices.create(manager.store, DEVICE)
    text = given(manager)
    head, line = text.splitlines()
    assert head == HEAD
    assert line.startswith(f"{kept.data['id']},'=HYPERLINK(1),laptop,M,''S1,1,2023-08-06 20:00:00,wifi;eth,")
    rev = manager.store.meta().rev
    assert take(manager, text) == (
        [{"line": 2, "id": kept.data["id"], "result": "same"}], {"created": 0, "changed": 0, "same": 1, "refused": 0}
    )  # fmt: skip
    assert manager.store.meta().rev == rev, "nothing was written"
    devices.remove(manager.store, kept.data["id"])
    assert take(manager, text)[1]["created"] == 1
    assert devices.find(manager.store, kept.data["id"]).data == kept.data
    assert given(manager) == text


def test_a_file_that_meets_a_new_epoch_is_taken_nevertheless(manager):
    good = "desk,t,M,S,1,,,,,on"
    assert take(manager, f"{HEAD}\r\n,{good}")[1]["created"] == 1
    manager.store.client.hset(manager.store.keys.meta, "epoch", "2-other")
    assert take(manager, f"{HEAD}\r\n,{good}\r\n,{good}")[1]["created"] == 2


def test_an_epoch_that_begins_between_lines_makes_no_device_twice(manager, monkeypatch):
    """Lines that meet are written one by one; the batch is begun anew."""
    good, store, txn = "desk,t,M,S,1,,,,,on", manager.store, Store.txn

    def cut_off(self, *args, **more):
        monkeypatch.setattr(Store, "txn", txn)
        rev = txn(self, *args, **more)
        bootstrap.mint(Store(store.client, store.keys))
        return rev

    monkeypatch.setattr(Store, "txn", cut_off)
    lines, _ = take(manager, f"{HEAD}\r\n,{good}\r\n1234567890,{good}\r\n1234567890,{good}")
    assert [each["result"] for each in lines] == ["same", "created", "same"]
    assert {each["id"] for each in lines} == store.values("devices").keys()


def test_bad_lines_are_refused_one_by_one(manager):
    good = "desk,t,M,S,1,,,,,on"
    text = "\r\n".join([
        HEAD, f",{good}", "12,x", f"123,{good}", f"1234567890,{good}", f"1234567890,{good.replace('desk', 'other')}",
        f",{good.replace('desk', '')}", f',"{good}', "",
    ])  # fmt: skip
    dry, _ = take(manager, text, dry_run="true")
    assert given(manager).splitlines() == [HEAD], "a dry run writes nothing"
    lines, counts = take(manager, text)
    assert [each["line"] for each in dry] == [each["line"] for each in lines]
    assert [each["result"] for each in lines] == [
        "created",
        "refused",
        "refused",
        "created",
        "changed",
        "refused",
        "refused",
    ]
    assert counts == {"created": 2, "changed": 1, "same": 0, "refused": 4}
    assert "columns" in lines[1]["error"]
    assert devices.find(manager.store, "1234567890").data["name"] == "other"


def test_a_line_in_another_encoding_is_refused_alone(manager):
    good = "desk,t,M,S,1,,,,,on"
    text = "\r\n".join(
        [HEAD, f",{good}", f"1234567\xe9,{good}", f",{good.replace('desk', 'café')}", f",{good}"]
    )
    lines, counts = take(manager, text.encode("latin-1"))
    assert [each["result"] for each in lines] == ["created", "refused", "refused", "created"]
    assert "UTF-8" in lines[1]["error"]
    assert counts["created"] == 2


def test_who_begins_a_file_anew_makes_no_device_twice(manager):
    """The reader of `--device-csv` was killed, or lost the store, in the middle of lines without ids."""
    good = "desk,t,M,S,1,,,,,on"
    text = "\n".join([HEAD, f",{good}", f",{good}", f",{good.replace('desk', 'shelf')}"])
    before = list(itertools.islice(taken(manager.store, io.StringIO(text), seed="x"), 2))
    again = list(taken(manager.store, io.StringIO(text), seed="x"))
    assert {each.device for each in before} < {each.device for each in again}
    assert len(given(manager).splitlines()) == 4
    devices.change(manager.store, again[0].device, lambda old: {**old, "name": "mine"})
    (other, *_) = taken(manager.store, io.StringIO(text), seed="x")
    assert other.device != again[0].device, "an id that somebody else has is not taken"
    assert devices.find(manager.store, again[0].device).data["name"] == "mine"


def cells(sn, name="desk", device=""):
    return f"{device},{name},t,M,{sn},1,,,,,on"


def whole(*lines):
    return "\r\n".join([HEAD, *lines])


def results(manager, text, **query):
    return [each["result"] for each in take(manager, text, match="sn", **query)[0]]


def test_a_file_without_ids_that_is_taken_again_makes_nothing(manager):
    text = whole(*(cells(f"S{number}") for number in range(130)), cells("'=1"), cells("a:b"), cells("a"))
    begun = taken(manager.store, io.StringIO(text), by_sn=True)
    assert [next(begun).result for _ in range(70)] == ["created"] * 70
    begun.close()  # the connection broke off in the middle
    assert set(results(manager, text)) == {"created", "same"}
    assert count(manager) == 133
    rev = manager.store.meta().rev
    lines, counts = take(manager, text, match="sn")
    assert counts == {"created": 0, "changed": 0, "same": 133, "refused": 0}
    assert (manager.store.meta().rev, len({each["id"] for each in lines})) == (rev, 133)
    assert results(manager, text, dry_run="true") == ["same"] * 133
    assert take(manager, whole(cells("a")))[1]["created"] == 1, "as it ever was, if nobody says match"


def test_a_serial_number_that_does_not_tell_which_device_it_is_changes_none(manager):
    for sn in ("twice", "twice", "one", "one:1", *(f"few:0{number}" for number in range(12)), "few"):
        devices.create(manager.store, {**DEVICE, "hardware": {"model": "M", "sn": sn}})
    for _ in range(12):
        devices.create(manager.store, {**DEVICE, "hardware": {"model": "M", "sn": "many"}})
    rev = manager.store.meta().rev
    lines, counts = take(manager, whole(cells(""), cells("twice"), cells("many")), match="sn")
    assert (counts["refused"], manager.store.meta().rev) == (3, rev)
    assert [
        "neither an id nor" in lines[0]["error"],
        *("both have" in each["error"] for each in lines[1:]),
    ] == [True] * 3
    text = whole(cells("one"), cells("few"), cells("new"), cells("new", "shelf"), cells("one", "shelf"))
    wanted = ["changed", "changed", "created", "refused", "refused"]
    for found in (results(manager, text, dry_run="true"), results(manager, text)):
        assert found == wanted, "what earlier lines have is not theirs"
    assert results(manager, text) == ["same", "same", "same", "refused", "refused"]
    assert (
        manager.http.simulate_post("/v1/devices/csv", body=text, params={"match": "name"}).status_code == 400
    )


def test_a_line_that_gives_a_serial_number_away_is_seen_by_those_after_it(manager):
    here = devices.create(manager.store, {**DEVICE, "hardware": {"model": "M", "sn": "S"}}).data["id"]
    text = whole(cells("T", device=here), cells("S"), cells("T", "shelf"))
    lines, counts = take(manager, text, match="sn")
    assert counts == {"created": 1, "changed": 2, "same": 0, "refused": 0}
    assert lines[1]["id"] != lines[2]["id"] == here
    assert take(manager, text, match="sn")[1]["created"] == 0
    lines, _ = take(manager, whole(cells("U", device=here), cells("U", "desk")), match="sn")
    assert [(each["id"], each["result"]) for each in lines] == [(here, "changed"), (here, "same")]


def test_two_that_take_the_same_file_at_once_make_no_device_twice(manager, monkeypatch):
    text = whole(*(cells(f"S{number}") for number in range(5)))
    real, told = bulk.write, iter([True])

    def write(store, pairs):
        if next(told, False):
            assert results(manager, text.replace("desk", "theirs")) == ["created"] * 5
        return real(store, pairs)

    monkeypatch.setattr(bulk, "write", write)
    assert results(manager, text) == ["changed"] * 5
    assert count(manager) == 5


@pytest.mark.parametrize("body", ["", "id,name\r\n", "\xff\xfe", "{}"])
def test_what_is_no_such_file_is_refused_whole(manager, body):
    answer = manager.http.simulate_post("/v1/devices/csv", body=body.encode("latin-1"))
    assert answer.status_code == 400, answer.text
    assert "error" in answer.json


def test_a_node_s_line_pins_what_people_changed_and_not_its_status(manager):
    kept = devices.create(manager.store, {**DEVICE, "node": "web-1"})
    text = given(manager)
    assert text.rstrip().endswith(",offline"), "by its heartbeat"
    take(manager, text)
    assert "edited" not in devices.find(manager.store, kept.data["id"]).data
    take(manager, text.replace(",M,", ",Mine,"))
    record = devices.find(manager.store, kept.data["id"]).data
    assert (record["edited"], record["status"]) == (["hardware.model"], "online")


def test_a_file_that_cannot_be_kept_is_waited_for_once(tmp_path, monkeypatch):
    file, slept = tmp_path / "devices.csv", []
    services = SimpleNamespace(
        access=SimpleNamespace(device_csv=str(file)), store=SimpleNamespace(epoch="1-a", seen=7)
    )
    clock = itertools.count(step=device_mark.EVERY)
    monkeypatch.setattr(
        device_mark, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=slept.append)
    )
    wait = device_mark.DeviceFileWait(services)
    call = (SimpleNamespace(method="POST"), None, SimpleNamespace(inventory=True), True)
    wait.process_response(*call)
    assert slept
    slept.clear()
    wait.process_response(*call)
    assert slept == [], "its writer is in trouble: not every call is to wait a second for it"
    device_mark.write(file, device_mark.Mark(epoch="1-a", rev=6))
    wait.process_response(*call)
    assert slept, "it is written again, and only behind"


def test_whether_the_file_is_kept_is_told_by_what_its_writer_left(manager, tmp_path, monkeypatch):
    """The writer may be dead, or frozen; the disk may be full."""
    file = tmp_path / "there" / "devices.csv"

    def state(after=1.0):
        wrote = device_mark.beside(file)
        return device_mark.state(file, (wrote.stat().st_mtime if wrote.exists() else 0.0) + after)

    assert state() == {
        "file": str(file), "kept": False, "written": None, "why": f"the directory {file.parent} is not there",
    }  # fmt: skip
    file.parent.mkdir()
    assert (state()["kept"], state()["why"]) == (False, None), "that is not the disk's fault"
    file.write_text("notes\n")
    assert "the first line must be" in state()["why"]
    file.unlink()
    DeviceFile(manager.store, file).write(1)
    assert state()["kept"]
    assert state()["why"] is None
    late = state(after=60.0)
    assert (late["kept"], late["why"], state()["written"]) == (False, None, late["written"])
    device_mark.write(file, device_mark.Mark(took=30.0))
    assert state(after=60.0)["kept"], "a large inventory takes its time"
    full = os.statvfs(file.parent)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=full.f_frsize))
    assert "room for 0 bytes" in state(after=600.0)["why"]
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "may not write" in state(after=600.0)["why"]
    file.unlink()
    file.mkdir()
    assert "directory" in state(after=600.0)["why"]
    hidden = PermissionError(errno.EACCES, "Permission denied", "/root")
    monkeypatch.setattr(type(file), "is_dir", Mock(side_effect=hidden))
    assert state(after=600.0)["why"] == str(hidden), "the doctor answers 200 whatever it finds"


def test_a_first_line_that_is_no_csv_is_refused(manager):
    for text in ('"open', f'{HEAD},"x"y\n', '"\x00"z\n'):
        answer = manager.http.simulate_post("/v1/devices/csv", body=text)
        assert answer.status_code == 400, answer.text
        assert "the first line" in answer.json["detail"]


class Endless:
    """A file of the columns, then one line for ever: whoever wants all of it wants too much."""

    def __init__(self, *lines, most):
        self._lines = itertools.chain([HEAD + "\n", *lines], itertools.repeat(lines[-1], most))

    def readline(self, most):
        line = next(self._lines, None)
        assert line is not None, "read on and on"
        return line


def test_bad_lines_are_told_while_they_are_read(manager):
    told = taken(manager.store, Endless("x\n", most=300))
    assert [next(told).line for _ in range(5)] == [2, 3, 4, 5, 6]


def test_a_quote_that_never_ends_fills_no_memory(manager):
    source = Endless('"open\n', '","' * 10_000 + "\n", most=200)  # small cells, each line ends within one
    told = taken(manager.store, source)
    assert "longer than" in next(told).why


def test_devices_that_are_too_much_for_one_transaction_are_written_in_several(manager):
    disks = [{"name": f"{n}{'€' * 60}", "bytes": 1} for n in range(64)]
    nics = [{"type": "€" * 40, "mac": "", "ipv4": "10.0.0.1"}] * 64
    hardware = {"model": "M", "sn": "S", "disks": disks}
    kept = [devices.create(manager.store, {**DEVICE, "hardware": hardware, "nic": nics}) for _ in range(60)]
    lines, counts = take(manager, given(manager).replace(",M,", ",N,"))
    assert counts["changed"] == len(lines) == len(kept)


def test_a_file_has_a_bound_and_so_have_those_at_once(manager, monkeypatch):
    monkeypatch.setattr(device_files, "MOST_FILE", 1000)
    answer = manager.http.simulate_post("/v1/devices/csv", body=HEAD + "\n" + "x\n" * 500)
    assert answer.status_code == 413
    resource, _, _ = manager.http.app._router.find("/v1/devices/csv")[:3]
    held = [resource._places.acquire(blocking=False) for _ in range(device_files.AT_ONCE)]
    assert all(held), "the one that was refused gave its place back"
    answer = manager.http.simulate_post("/v1/devices/csv", body=HEAD)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    resource._places.release()
    assert take(manager, HEAD)[1]["refused"] == 0
    assert resource._places.acquire(blocking=False), "so did the one that was answered"


def test_a_keeper_that_was_killed_while_it_read_makes_no_device_twice(manager, tmp_path):
    """Nor does that of another manager, which was given the same file."""
    file = tmp_path / "devices.csv"
    rows = "".join(f",desk,t,M,S{number},1,2023-08-06 20:00:00,,,,on\r\n" for number in range(130))
    file.write_text(f"{HEAD}\r\n{rows}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    others = devices.id_of(f"{digest}:2")
    devices.create(manager.store, DEVICE, wanted=others)
    with file.open(newline="") as source:
        begun = taken(manager.store, source, seed=digest)
        assert [next(begun).result for _ in range(100)] == ["created"] * 100
        begun.close()
    assert 100 < count(manager) < 131
    DeviceFile(manager.store, file).take()
    assert count(manager) == 132, "what took a number of its own is made again"
    DeviceFile(manager.store, file).take()
    sns = [each["hardware"]["sn"] for each in manager.get("/v1/devices").json["data"]]
    assert {sn for sn in sns if sns.count(sn) > 1} == {"S0"}, "whose id was somebody else's"
    assert devices.find(manager.store, others).data["name"] == DEVICE["name"]


def count(manager):
    return len(manager.store.revisions(DEVICES))


def edited(file, old, new):
    file.write_text(file.read_text().replace(old, new))


def test_of_a_file_only_the_lines_that_people_touched_are_taken(manager, tmp_path):
    """Another manager of the same store goes on meanwhile: what it changes and deletes stays so."""
    file, store = tmp_path / "devices.csv", manager.store
    mine, theirs, gone = (
        devices.create(store, {**DEVICE, "name": name}).data["id"] for name in ("a", "b", "c")
    )
    DeviceFile(store, file).write(1)
    devices.change(store, theirs, lambda record: {**record, "name": "by another manager"})
    devices.remove(store, gone)
    edited(file, f"{mine},a,", f'{mine},"by hand",')
    edited(file, f"{theirs},b,", f'{theirs},"b",')
    DeviceFile(store, file).take()
    names = {each["id"]: each["name"] for each in manager.get("/v1/devices").json["data"]}
    assert names == {mine: "by hand", theirs: "by another manager"}


def test_the_file_of_another_cluster_is_read_whole(manager, tmp_path):
    file, store = tmp_path / "devices.csv", manager.store
    kept = devices.create(store, DEVICE).data["id"]
    DeviceFile(store, file).write(1)
    devices.remove(store, kept)
    DeviceFile(store, file).take()
    assert count(manager) == 0, "our own is not read back"
    device_mark.write(file, replace(device_mark.read(file), cluster="another"))
    DeviceFile(store, file).take()
    assert devices.find(store, kept).data["hardware"] == DEVICE["hardware"]


def test_of_two_that_are_given_one_file_one_keeps_it_and_the_other_follows_it(manager, tmp_path, caplog):
    file = tmp_path / "devices.csv"
    first, second = DeviceFile(manager.store, file), DeviceFile(manager.store, file)
    assert first._hold()
    assert first._hold()
    waits = []
    second._ended = SimpleNamespace(wait=lambda seconds: waits.append(seconds) or len(waits) == 3)
    assert not second._hold()
    assert (len(waits), caplog.text.count("is kept by another manager")) == (3, 1)
    first._lock.close()
    assert second._hold()


def test_where_no_file_can_be_locked_it_is_kept_without(manager, tmp_path, monkeypatch, caplog):
    """Network file systems, some of them: one manager was given the file, and may rely on that."""

    def refused(_lock):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(Lock, "try_acquire", refused)
    assert DeviceFile(manager.store, tmp_path / "devices.csv")._hold()
    assert "knows no locks" in caplog.text


def test_a_lock_that_cannot_be_asked_for_leaves_nothing_open(manager, tmp_path, monkeypatch):
    """It is tried again for ever, every few seconds."""

    def refused(_lock):
        raise OSError(errno.EIO, "trouble")

    closed, close = [], Lock.close
    monkeypatch.setattr(Lock, "try_acquire", refused)
    monkeypatch.setattr(Lock, "close", lambda lock: closed.append(close(lock)))
    keeper = DeviceFile(manager.store, tmp_path / "devices.csv")
    for _ in range(3):
        with pytest.raises(OSError, match="trouble"):
            keeper._hold()
    assert len(closed) == 3


def test_a_store_that_was_emptied_does_not_empty_the_file(manager, tmp_path):
    file = tmp_path / "devices.csv"
    kept = devices.create(manager.store, DEVICE)
    keeper = DeviceFile(manager.store, file)
    keeper.write(1)
    assert kept.data["id"] in file.read_text()
    prefix = manager.store.keys.prefix
    manager.store.client.delete(*manager.store.client.keys(f"{prefix}*"))
    with pytest.raises(StoreEmpty):
        keeper.write(2)
    assert kept.data["id"] in file.read_text()
    assert [each.name for each in tmp_path.glob("*.part")] == []


def recovered(store, cluster):
    bootstrap.recover(store, cluster)


def anew(store, _):
    bootstrap.begin(store, None)


def restored(store, cluster):
    bootstrap.recover(store, cluster)
    bootstrap.mint(store, kind="restored")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("begin_another", [recovered, anew, restored])
def test_the_file_as_it_was_before_a_loss_is_kept(manager, tmp_path, monkeypatch, begin_another, links):
    """It may be the only copy of the inventory; taken again by hand, it brings all of it back."""
    file, store = tmp_path / "devices.csv", manager.store
    kept, cluster = devices.create(store, DEVICE), store.meta().cluster
    DeviceFile(store, file).write(1)
    before = file.read_bytes()
    if not links:
        monkeypatch.setattr(os, "link", Mock(side_effect=PermissionError(errno.EPERM, "no links here")))
    store.client.delete(*store.client.keys(f"{store.keys.prefix}*"))
    begin_another(store, cluster)
    for _ in range(2):
        DeviceFile(store, file).write(1)
    assert kept.data["id"] not in file.read_text()
    (copy,) = tmp_path.glob("devices.csv.*")
    assert (copy.name, copy.read_bytes()) == (f"devices.csv.before-{store.epoch}", before)
    assert take(manager, copy.read_text())[1]["created"] == 1
    DeviceFile(store, file).write(2)
    assert kept.data["id"] in file.read_text()


def test_only_so_many_former_files_are_kept_and_the_newest_always(tmp_path, caplog):
    file = tmp_path / "devices.csv"
    for number in (9, 10, 11, 12):
        file.write_text(f"before {number}")
        os.utime(file, (1e9 - number, 1e9 - number))  # the clock is set back each time
        former.keep(file, f"{number}-aa", logging.getLogger("devices"))
        former.keep(file, f"{number}-aa", logging.getLogger("devices"))
        file.unlink()
    kept = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert kept == {f"devices.csv.before-{number}-aa": f"before {number}" for number in (10, 11, 12)}
    assert len(caplog.records) == 4


def test_a_store_that_is_away_is_said_before_the_file_begins(manager, monkeypatch):
    devices.create(manager.store, DEVICE)

    def away(*_args, **_more):
        raise Unavailable("the store does not answer")

    monkeypatch.setattr(type(manager.store), "lines", away)
    assert manager.get("/v1/devices/csv").status_code == 503
