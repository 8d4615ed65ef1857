"""Events: from actions, what is wanted of them, and how a manager keeps them."""

import os
import socket
import sqlite3
import stat

import pytest

from manager_api import chronicle
from manager_api.chronicle import Chronicle, Damaged, Reader
from manager_api.controller.herald import Herald
from manager_api.core import events
from manager_api.core.actions import (
    Adopt,
    Advance,
    Collect,
    Place,
    Project,
    Refuse,
    Reorder,
    SetControl,
    SetNodeStatus,
    SetStatus,
    Wake,
)
from manager_api.http.events.event_query import EventsQuerySchema, query
from manager_api.http.events.events import taken
from manager_api.http.frame.audit import subject
from manager_api.http.frame.bodies import checked
from manager_api.http.frame.errors import ApiError
from manager_api.recorder import Recorder
from muster.events import line
from store.errors import Unavailable
from store.kv.events import Entry, Events, Follower
from store.kv.swap import Swap
from store.model.event import BEGINNING, Event, Wanted, as_text, event_id, just_before

pytestmark = pytest.mark.unit

ALL = Wanted()
NOW = 1_700_000_000.0


# -- actions


def told(action):
    return [(each.kind, dict(each.subject), each.reason) for each in events.of(action)]


def record(deployment="d", node="n1", wanted="running", **more):
    return {"deployment": deployment, "node": node, "wanted": wanted, "generation": 1, **more}


def about(alloc, node="n1"):
    return {"deployment": alloc.split(".")[0], "allocation": alloc, "node": node}


STATUS = {
    "status": "PENDING",
    "reason": "waiting for its nodes",
    "nodes": [{"node": "n", "reason": "is offline"}],
}


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (
            Place("d", 1, {"d.0": record()}, STATUS, "placed on n1"),
            [("deployment.placed", {"deployment": "d"}, "placed on n1"), ("allocation.placed", about("d.0"), "placed on n1")],
        ),
        (Refuse("d", 1, STATUS, "no room"), [("deployment.refused", {"deployment": "d"}, "no room")]),
        (
            SetStatus("d", 1, STATUS, "A -> B"),
            [("deployment.state", {"deployment": "d"}, "A -> B: waiting for its nodes")],
        ),
        (
            Reorder("d", {"d.0": (4, record(wanted="stopped")), "d.1": (4, record(why="limits"))}, "asked for"),
            [("allocation.stopped", about("d.0"), "asked for"), ("allocation.changed", about("d.1"), "limits")],
        ),
        (
            Advance(
                "d", 1, 2,
                {"d.7": (0, record(why="old")), "e.1": (5, record("e", "n2", "stopped", stopped="makes room")), "d.1": (3, record())},
                STATUS, {"d.7": "n1 has most room"}, "scaled",
            ),
            [
                ("deployment.advanced", {"deployment": "d"}, "scaled"),
                ("allocation.placed", about("d.7"), "n1 has most room"),
                ("allocation.stopped", about("e.1", "n2"), "makes room"),
                ("allocation.changed", about("d.1"), "scaled"),
            ],
        ),
        (
            Adopt("d", 1, 0, {"d.0": record()}, {}, STATUS),
            [
                ("deployment.adopted", {"deployment": "d"}, "adopted, as asked for"),
                ("allocation.placed", about("d.0"), "adopted, as asked for"),
            ],
        ),
        (
            Collect("d", (("deployments", "d", 3),), "it ended long ago"),
            [("deployment.collected", {"deployment": "d"}, "it ended long ago")],
        ),
        (
            Collect("versions", (("templates:versions", "1:x", 3),), "unused"),
            [("records.collected", {}, "versions: unused")],
        ),
        (Project("n", "u", {}, (), "x"), []),
        (Wake("d", 1.0, "x"), []),
    ],
)  # fmt: skip
def test_every_action_is_told_with_its_reason(action, expected):
    assert told(action) == expected


def test_a_rollout_is_told_with_the_step():
    status = {"status": "RUNNING", "rollout": {"state": "running", "change": 2, "groups": {"a": {}}}}
    [event] = events.of(Advance("d", 1, 2, {}, status, {}, "a step"))
    assert event.data == {"status": "RUNNING", "rollout": {"state": "running", "change": 2}}


def test_brake_and_drain_are_told_when_they_turn():
    engaged = {"engaged": {"since": 1, "lost": 3, "of": 5, "nodes": ["a"]}, "released": 0}
    [event] = events.of(SetControl("brake", engaged, "3 of 5 nodes vanished"))
    assert (event.kind, event.reason, event.data) == (
        "brake.engaged",
        "3 of 5 nodes vanished",
        {"nodes": ["a"]},
    )
    [event] = events.of(SetControl("brake", {"engaged": None, "released": 1}, "enough are there"))
    assert (event.kind, event.data) == ("brake.released", {})
    [event] = events.of(SetNodeStatus("n", {"state": "draining", "left": 2, "of": 2}, "moving"))
    assert (event.kind, event.subject, event.reason) == ("node.drain.draining", {"node": "n"}, "moving")
    [event] = events.of(SetNodeStatus("n", None, "it is not drained any more"))
    assert event.kind == "node.drain.ended"


def test_ids():
    assert event_id("12-3") == (12, 3)
    assert [just_before(each) for each in ((5, 2), (5, 0))] == [(5, 1), (4, 2**63 - 1)]
    for bad in ("", "5", "a-b", "5-", "-5", "5-0 ", f"1-{2**63}", "9" * 16 + "-0"):
        with pytest.raises(ValueError):
            event_id(bad)


def test_a_record_carries_no_more_than_it_should():
    event = Event(kind="k", reason="x" * 5000, subject={"node": "n", "deployment": "", "password": "p"})
    found = event.as_record(time=1.0, actor="api", epoch="e")
    assert found["subject"] == {"node": "n"}
    assert len(found["reason"]) == 500
    assert "data" not in found


def a(kind="deployment.placed", time=NOW, **about):
    return {"kind": kind, "time": time, "subject": about, "reason": "r", "actor": "api", "epoch": "1-a"}


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Wanted(), True),
        (Wanted(kind="deployment"), True),
        (Wanted(kind="deploy"), False),
        (Wanted(kind="deployment.placed", deployment="d"), True),
        (Wanted(deployment="e"), False),
        (Wanted(node="n"), True),
        (Wanted(node="m"), False),
        (Wanted(since=NOW), True),
        (Wanted(since=NOW + 1), False),
        (Wanted(until=NOW), False),
        (Wanted(until=NOW + 1), True),
    ],
)
def test_filters_mean_the_same_live_and_in_the_history(wanted, taken, tmp_path):
    event = a(deployment="d", node="n")
    assert wanted.takes(event) is taken
    keeper = Chronicle(tmp_path / "events.db")
    keeper.record([Entry((1, 0), event)], 0.0)
    assert bool(Reader(tmp_path / "events.db").page(wanted, None, 5, newest_first=True)[0]) is taken
    keeper.close()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"limit": "0"}, "limit: '0' is no number from 1 to 1000"),
        ({"limit": "x"}, "limit: 'x' is no number"),
        ({"cursor": "x"}, "cursor: 'x' is no event's id"),
        ({"order": "up"}, "order: 'up' is neither asc nor desc"),
        ({"kind": "A B"}, "kind: 'A B' is no kind"),
        ({"since": "yesterday"}, "since: 'yesterday' is neither"),
        ({"node": ""}, "node: is empty"),
        ({"what": "x"}, "what: unknown; there are deployment, "),
        ({"node": ["a", "b"]}, "node: given more than once"),
        ({"follow": "maybe"}, "follow: 'maybe' is neither"),
        ({"follow": "1", "cursor": "1-0"}, "cursor: is for pages"),
        ({"after": "1-0"}, "after: is for readers that follow"),
    ],
)
def test_what_cannot_be_asked(params, said):
    with pytest.raises(ApiError) as error:
        query(checked(EventsQuerySchema(), params), NOW)
    assert error.value.body["detail"].startswith(said)


def test_what_can_be_asked():
    asked = query(EventsQuerySchema().load({"since": "10m", "until": "2023-11-14T22:13:20 00:00"}), NOW)
    assert (asked.wanted.since, asked.wanted.until) == (NOW - 600, NOW)
    assert query({}, NOW, accept="text/event-stream", known="7-1").after == (7, 1)
    with pytest.raises(ApiError):
        query({}, NOW, accept="text/event-stream", known="x")


@pytest.mark.parametrize(
    ("path", "params", "answer", "expected"),
    [
        ("/api/task/task_group", {}, {"name": "x", "version": 1}, {"template": "x"}),
        ("/api/task/task_group/deploy", {}, {"id": "d"}, {"deployment": "d"}),
        ("/v1/deployments/{deployment}/restart", {"deployment": "d"}, {"id": "d"}, {"deployment": "d"}),
        ("/v1/nodes/join", {}, {"node": "n", "cluster": "c"}, {"node": "n"}),
        ("/v1/nodes/{node}/cordon", {"node": "n"}, {"id": "n"}, {"node": "n"}),
        ("/v1/recover", {}, {"cluster": "c"}, {}),
    ],
)
def test_whom_a_call_was_about(path, params, answer, expected):
    assert subject(path, params, answer) == expected


def test_one_line_for_people():
    text = line({**a(deployment="d", allocation="d.1", node="n"), "reason": "one\ntwo"})
    assert (
        text.split(maxsplit=1)[1].split("  ") == ["deployment.placed   ", "d.1@n", "one two"]
        or "d.1@n  one two" in text
    )
    assert "\n" not in text


def test_one_line_says_who_called():
    called = {**a(node="n"), "reason": "POST /v1/nodes/{node}/drain", "data": {"remote": "198.51.100.7"}}
    assert line(called).endswith("n  POST /v1/nodes/{node}/drain from 198.51.100.7")


# -- the herald


class Broken:
    def pipeline(self, **_):
        raise Unavailable("no")


def test_a_herald_that_is_not_heard_keeps_the_newest_and_raises_nothing(fake_store, clock):
    herald = Herald(fake_store, clock, most=3)
    heard = herald._events
    herald._events = Events(Broken(), fake_store.keys)
    for n in range(5):
        herald.tell("test", f"event {n}", node="n")
    herald.flush()
    assert herald.dropped == 2
    herald._events = heard
    herald.flush()
    herald.flush()
    entries = heard.after(BEGINNING)
    assert [each.event["reason"] for each in entries] == ["event 2", "event 3", "event 4"]
    assert entries[0].event["actor"] == "controller"
    assert entries[0].event["epoch"] == fake_store.epoch


# -- a connection taken from its server


def test_a_connection_that_was_taken_survives_what_its_server_does_to_it():
    served, client = socket.socketpair()
    ours = taken(served)
    assert not os.get_inheritable(ours.fileno())
    assert not os.get_inheritable(served.fileno())
    served.setblocking(True)
    served.shutdown(socket.SHUT_WR)  # as gunicorn 27 does on every close; it reaches duplicates
    assert served.recv(10) == b""  # its lingering ends at once
    served.close()
    ours.sendall(b"still here")
    assert client.recv(20) == b"still here"
    ours.close()
    client.close()


def test_a_restore_does_not_rewind_events(fake_store):
    keys = fake_store.keys
    swap = Swap(fake_store.client, keys)
    assert keys.events in swap._kept()
    assert not swap._is_state(keys.events, epochs=True)
    assert swap._is_state(keys.collection("deployments"), epochs=True)


# -- the history


def entries(*numbers, **more):
    return [Entry(number, {**a(**more), "reason": as_text(number)}) for number in numbers]


def rows(path, wanted=ALL, **how):
    return [
        (each["kind"], each["reason"])
        for each in Reader(path).page(wanted, None, 1000, newest_first=False)[0]
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


def test_a_history_is_private_and_knows_each_event_once(path):
    keeper = Chronicle(path)
    keeper.record(entries((1, 0), (1, 1)), 0.0)
    keeper.record(entries((1, 1), (2, 0)), 0.0)
    assert [reason for _, reason in rows(path)] == ["1-0", "1-1", "2-0"]
    assert keeper.last() == (2, 0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("events.db-wal").stat().st_mode) == 0o600
    keeper.close()


def test_the_same_id_in_another_epoch_is_another_event(path):
    keeper = Chronicle(path)
    keeper.record(entries((5, 0)), 0.0)
    keeper.record([Entry((5, 0), {**a(), "epoch": "2-b", "reason": "new"})], 0.0)
    assert len(rows(path)) == 2
    assert Reader(path).locate((5, 0)) == (2, True)
    keeper.close()


def test_a_history_is_bounded_by_count(path):
    keeper = Chronicle(path, most=10)
    for n in range(1, 40):
        keeper.record(entries((n, 0)), 0.0)
    assert [reason for _, reason in rows(path)] == [f"{n}-0" for n in range(30, 40)]
    keeper.close()


def test_a_history_is_bounded_by_age_and_trimmed_in_parts(path, monkeypatch):
    monkeypatch.setattr(chronicle, "TRIMMED_AT_ONCE", 3)
    keeper = Chronicle(path, kept_for=100.0)
    keeper.record(entries(*((n * 1000, 0) for n in range(1, 11))), 10.0)
    keeper.record(entries((108_000, 0)), 108.0)
    assert len(rows(path)) == 8
    keeper.record([], 108.0)
    keeper.record([], 108.0)
    assert [reason for _, reason in rows(path)] == ["8000-0", "9000-0", "10000-0", "108000-0"]
    keeper.close()


def test_pages_go_both_ways_also_from_what_is_not_there(path):
    keeper = Chronicle(path)
    keeper.record(entries((1, 0), (3, 0), (5, 0), (7, 0)), 0.0)
    reader = Reader(path)

    def page(cursor, newest_first):
        found, more = reader.page(ALL, cursor, 2, newest_first=newest_first)
        return [each["id"] for each in found], more

    assert page(None, True) == (["7-0", "5-0"], True)
    assert page((5, 0), True) == (["3-0", "1-0"], False)
    assert page((4, 0), True) == (["3-0", "1-0"], False)
    assert page((3, 0), False) == (["5-0", "7-0"], False)
    assert page((2, 0), False) == (["3-0", "5-0"], True)
    keeper.close()


# -- the recorder


class Stream:
    """What a recorder hears, as a test says it."""

    def __init__(self, store):
        self.store, self.events = store, Events(store.client, store.keys)

    def tell(self, *reasons):
        self.events.add(
            [
                Event(kind="test", reason=each).as_record(time=NOW, actor="api", epoch="1-a")
                for each in reasons
            ]
        )


@pytest.fixture
def stream(fake_store):
    return Stream(fake_store)


@pytest.fixture
def recorder(stream, path, clock):
    made = Recorder(path, lambda: stream.store.client, clock, stream.store.keys)
    yield made
    made._forget()


def test_a_recorder_writes_what_it_hears_and_goes_on_where_it_was(recorder, stream, path, clock):
    stream.tell("one", "two")
    assert recorder.step(0)
    recorder._forget()
    stream.tell("three")
    other = Recorder(path, lambda: stream.store.client, clock, stream.store.keys)
    assert other.step(0)
    assert rows(path) == [("test", "one"), ("test", "two"), ("test", "three")]
    other._forget()


def test_what_the_stream_dropped_is_a_gap(recorder, stream, path):
    stream.tell("one")
    recorder.step(0)
    stream.tell("two", "three")
    stream.store.client.xtrim(stream.store.keys.events, maxlen=1, approximate=False)
    recorder.step(0)
    assert [kind for kind, _ in rows(path)] == ["test", "gap", "test"]
    assert rows(path)[2] == ("test", "three")
    known, gap, _ = Reader(path).page(ALL, None, 9, newest_first=False)[0]
    assert Reader(path).locate(event_id(known["id"])) == (1, True)
    assert Reader(path).locate(event_id(gap["id"])) == (2, True)
    assert "older ones were dropped" in gap["reason"]


def test_a_stream_whose_ids_began_anew_lower_is_recorded_after_a_gap(recorder, stream, path):
    keys = stream.store.keys
    stream.tell("before")
    recorder.step(0)
    stream.store.client.delete(keys.events)
    record = Event(kind="test", reason="after").as_record(time=NOW, actor="api", epoch="2-b")
    from store.codec import dumps

    stream.store.client.xadd(keys.events, {"e": dumps(record)}, id="1700000000000-0")
    for _ in range(3):
        recorder.step(1)
    assert [kind for kind, _ in rows(path)] == ["test", "gap", "test"]
    assert Reader(path).after(2, ALL, 9).last == (1_700_000_000_000, 0)
    stream.store.client.xadd(keys.events, {"e": dumps({**record, "reason": "later"})}, id="1700000000001-0")
    recorder.step(0)
    assert rows(path)[3:] == [("test", "later")]


def test_a_file_that_is_no_database_is_set_aside_once_said(recorder, stream, path, caplog):
    path.write_bytes(b"nonsense " * 1000)
    stream.tell("one")
    assert not recorder.step(0)
    assert recorder.step(0)
    assert [kind for kind, _ in rows(path)] == ["gap", "test"]
    assert path.with_name("events.db.corrupt").read_bytes().startswith(b"nonsense")
    assert sum("is damaged" in each.message for each in caplog.records) == 1


def test_a_file_that_is_damaged_while_it_is_used(recorder, stream, path):
    stream.tell("one")
    recorder.step(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chronicle, "record", lambda *_: (_ for _ in ()).throw(Damaged("malformed")))
        stream.tell("two")
        assert not recorder.step(0)
    assert recorder.step(0)
    assert rows(path) == [
        ("gap", "older events are in a damaged file, events.db.corrupt"), ("test", "one"), ("test", "two"),
    ]  # fmt: skip


def test_a_full_disk_is_said_once_and_nothing_is_lost(recorder, stream, path, caplog):
    stream.tell("one")
    assert recorder.step(0)
    pages = recorder._chronicle._db.execute("PRAGMA page_count").fetchone()[0]
    stream.tell(*(f"{n} {'x' * 400}" for n in range(200)))
    for _ in range(3):
        if recorder._chronicle is not None:
            recorder._chronicle._db.execute(f"PRAGMA max_page_count = {pages}")  # as a quota would
        else:
            made = Chronicle(path)
            made._db.execute(f"PRAGMA max_page_count = {pages}")
            recorder._chronicle = made
        assert not recorder.step(0)
    assert rows(path) == [("test", "one")]
    assert recorder.step(0)
    assert len(rows(path)) == 201
    said = [each.message for each in caplog.records if "not recorded" in each.message]
    assert len(said) == 1
    assert "full" in said[0]


def test_a_store_that_is_away_is_waited_for(stream, path, clock):
    away = [True]

    class Client:
        def pipeline(self, **how):
            if away[0]:
                raise Unavailable("away")
            return stream.store.client.pipeline(**how)

    recorder = Recorder(path, Client, clock, stream.store.keys)
    stream.tell("one")
    assert not recorder.step(0)
    away[0] = False
    assert recorder.step(0)
    assert rows(path) == [("test", "one")]
    recorder._forget()


def test_nonsense_in_the_stream_is_passed_over(recorder, stream, path):
    key = stream.store.keys.events
    for fields in ({"e": b"{}"}, {"x": b"1"}, {"e": b"nonsense"}, {"e": b'{"time": "x", "kind": 1}'}):
        stream.store.client.xadd(key, fields)
    stream.tell("one")
    recorder.step(0)
    assert rows(path) == [("test", "one")]


def test_the_stream_takes_a_bounded_part_of_the_store(fake_store, monkeypatch):
    monkeypatch.setattr("store.kv.events.MOST_KEPT", 100)
    for _ in range(10):
        Stream(fake_store).tell(*map(str, range(100)))
    assert fake_store.client.xlen(fake_store.keys.events) <= 300


def test_a_follower_that_waits_hears_nothing_and_no_gap(fake_store):
    follower = Follower(fake_store.client, fake_store.keys)
    assert follower.poll(1).entries == ()
    Stream(fake_store).tell("one")
    assert [each.event["reason"] for each in follower.poll(1).entries] == ["one"]
    assert follower.poll(1) == type(follower.poll(1))()


def test_a_reader_of_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OSError):
        Reader(tmp_path / "none.db").page(ALL, None, 1, newest_first=True)
    assert list(tmp_path.iterdir()) == []


def test_sqlite_can_read_it_by_hand(recorder, stream, path):
    stream.tell("one")
    recorder.step(0)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT kind FROM events").fetchall() == [("test",)]
    db.close()
