"""`GET /v1/events`: pages, filters, cursors, bad input; what calls leave behind; following without gunicorn."""

import threading
from dataclasses import replace

import pytest

from manager_api.chronicle import FILE
from manager_api.controller.herald import Herald
from manager_api.http.app import create_app
from manager_api.http.events import event_hub, events
from manager_api.http.nodes import node_calls
from manager_api.recorder import Recorder
from store.clock import SystemClock
from store.kv.events import Events
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract

TASK = {"name": "a", "config": {"command": "sleep 1"}}
TEMPLATE = {"name": "x", "task_groups": [{"tasks": [TASK]}]}


@pytest.fixture(params=["history", "stream"])
def manager(request, any_store, tmp_path):
    """One with a history of its own, and one without a directory, which reads the stream."""
    found = Manager(any_store)
    if request.param == "history":
        found.services.access = replace(found.services.access, home=tmp_path)
        found.http.app = create_app(found.services)
        found.recorder = Recorder(tmp_path / FILE, lambda: any_store.client, SystemClock(), any_store.keys)
        found.recorder.step(1)
    yield found
    if request.param == "history":
        found.recorder._forget()


def tell(manager, *told):
    herald = Herald(manager.store, SystemClock())
    for kind, reason, about in told:
        herald.tell(kind, reason, **about)
    herald.flush()
    record(manager)


def record(manager):
    if hasattr(manager, "recorder"):
        assert manager.recorder.step(1)


def asked(manager, query=""):
    answer = manager.get(f"/v1/events{query}")
    assert answer.status_code == 200, answer.text
    return answer.json


def reasons(manager, query=""):
    return [each["reason"] for each in asked(manager, query)["data"]]


def test_nothing_yet(manager):
    assert asked(manager) == {"data": [], "next": None}


def test_pages_the_newest_first_or_the_oldest(manager):
    tell(manager, *(("test", f"event {n}", {}) for n in range(5)))
    assert reasons(manager) == [f"event {n}" for n in (4, 3, 2, 1, 0)]
    seen, cursor = [], ""
    while True:
        page = asked(manager, f"?limit=2&order=asc{cursor}")
        seen += [each["reason"] for each in page["data"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [f"event {n}" for n in range(5)]
    first = asked(manager, "?limit=2")
    assert reasons(manager, f"?limit=9&cursor={first['next']}") == ["event 2", "event 1", "event 0"]


def test_a_cursor_holds_while_new_events_come(manager):
    tell(manager, *(("test", f"event {n}", {}) for n in range(4)))
    cursor = asked(manager, "?limit=2")["next"]
    tell(manager, ("test", "new", {}))
    assert reasons(manager, f"?cursor={cursor}") == ["event 1", "event 0"]


def test_filters(manager):
    tell(
        manager,
        ("deployment.placed", "one", {"deployment": "d1"}),
        ("allocation.placed", "two", {"deployment": "d1", "allocation": "d1.0", "node": "n1"}),
        ("node.offline", "three", {"node": "n1"}),
        ("deployment.placed", "four", {"deployment": "d2"}),
    )
    assert reasons(manager, "?deployment=d1&order=asc") == ["one", "two"]
    assert reasons(manager, "?node=n1&order=asc") == ["two", "three"]
    assert reasons(manager, "?kind=deployment&order=asc") == ["one", "four"]
    assert reasons(manager, "?kind=node.offline") == ["three"]
    assert reasons(manager, "?kind=node&deployment=d1") == []
    assert len(reasons(manager, "?since=10m")) == 4
    assert reasons(manager, "?until=10m") == []
    assert reasons(manager, "?since=1") == ["four", "three", "two", "one"]


def test_an_event_is_whole(manager):
    tell(manager, ("node.offline", "no heartbeat", {"node": "n1"}))
    [event] = asked(manager)["data"]
    assert event == {
        "id": event["id"], "time": event["time"], "kind": "node.offline", "subject": {"node": "n1"},
        "reason": "no heartbeat", "actor": "controller", "epoch": manager.store.epoch,
    }  # fmt: skip


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "cursor=x", "order=x", "kind=%20", "since=x", "foo=1", "after=1-0"]
)
def test_bad_input_is_refused_with_a_sentence(fake_store, query):
    answer = Manager(fake_store).get(f"/v1/events?{query}")
    assert answer.status_code == 400
    assert answer.json["detail"].startswith(query.partition("=")[0])


def test_a_bad_last_event_id(fake_store):
    answer = Manager(fake_store).http.simulate_get("/v1/events?follow=1", headers={"Last-Event-ID": "x y"})
    assert (answer.status_code, answer.json["detail"].split(":")[0]) == (400, "Last-Event-ID")


# -- what calls leave behind


def test_calls_that_write_are_told_without_their_bodies(manager):
    secret = {
        "name": "x",
        "task_groups": [{"tasks": [{**TASK, "config": {"command": "sleep 1", "env": {"A": "hush"}}}]}],
    }
    assert manager.post("/api/task/task_group", secret).status_code == 200
    assert manager.post("/api/task/query", {"name": "x"}).status_code == 200
    assert manager.post("/api/task/task_group", {"name": ""}).status_code == 400
    record(manager)
    found = asked(manager, "?kind=api&order=asc")["data"]
    assert [(each["reason"], each["subject"]) for each in found] == [
        ("POST /api/task/task_group", {"template": "x"}),
    ]
    assert all(each["actor"] == "api" for each in found)
    assert "hush" not in str(found)


def test_a_node_that_joins_is_told(store):
    manager = Manager(store)
    Puppet(manager)
    [event] = asked(manager)["data"]
    assert (event["reason"], event["subject"]) == ("POST /v1/nodes/join", {"node": "web-1"})


def test_a_dry_run_is_not_told(fake_store):
    manager = Manager(fake_store)
    manager.http.simulate_post("/api/task/task_group", json=TEMPLATE, params={"dry_run": "1"})
    assert reasons(manager) == []


def test_a_dry_run_of_a_drain_is_not_told(store, monkeypatch):
    manager = Manager(store)
    Puppet(manager)
    plan = {"node": "web-1", "allocations": [{"why": "x" * 100_000}], "left_out": 0, "groups": []}
    monkeypatch.setattr(node_calls, "ask", lambda *_: plan)
    assert manager.post("/v1/nodes/web-1/drain", {"dry_run": True}).json == plan
    assert reasons(manager) == ["POST /v1/nodes/join"]
    assert manager.post("/v1/nodes/web-1/drain", {}).status_code == 200
    assert reasons(manager) == ["POST /v1/nodes/{node}/drain", "POST /v1/nodes/join"]


def test_a_brake_that_is_not_engaged_is_not_told_of_as_released(fake_store):
    manager = Manager(fake_store)
    answer = manager.post("/v1/brake/release", {})
    assert (answer.status_code, answer.json["asked"]) == (200, False)
    assert reasons(manager) == []


def test_who_called_is_told(fake_store):
    manager = Manager(fake_store)
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Request-Id": "job-7"}
    manager.http.simulate_post(
        "/api/task/task_group", json=TEMPLATE, remote_addr="198.51.100.7", headers=headers
    )
    [event] = asked(manager)["data"]
    assert event["data"]["remote"] == "198.51.100.7", "a header can say anything"
    assert event["data"]["request"] == "job-7", "which the log names, too"


def test_a_call_succeeds_although_nobody_can_be_told(fake_store, monkeypatch):
    manager = Manager(fake_store)
    fake_store.client.set(fake_store.keys.events, "in the way")
    assert manager.post("/api/task/task_group", TEMPLATE).status_code == 200


# -- following, where the server keeps its sockets


def followed(manager, query, headers=None, then=()):
    """The text of one follower's whole answer: the worker ends as soon as the last of it is told."""
    ended = threading.Event()
    manager.services.stopping = ended.is_set
    answers = []
    hub_pushes = []
    original = event_hub.rendered

    def watched(event):
        hub_pushes.append(event["reason"])
        return original(event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_hub, "rendered", watched)
        thread = threading.Thread(
            target=lambda: answers.append(
                manager.http.simulate_get(f"/v1/events{query}", headers=headers or {})
            )
        )
        thread.start()
        for told in then:
            tell(manager, told)
        eventually(lambda: "end" in hub_pushes)
        ended.set()
        thread.join(20)
    return answers[0]


def test_following_without_a_socket_of_the_server(manager):
    tell(manager, ("test", "one", {}), ("test", "two", {}))
    first = asked(manager, "?order=asc")["data"][0]["id"]
    answer = followed(manager, f"?after={first}", {"Accept": "text/event-stream"}, [("test", "end", {})])
    assert answer.headers["content-type"] == "text/event-stream"
    told = [line for line in answer.text.split("\n") if line.startswith(("event:", "retry:"))]
    assert told == ["retry: 1000", "event: test", "event: test"]
    assert '"two"' in answer.text
    assert '"one"' not in answer.text


def test_last_event_id_goes_before_after_and_an_unknown_one_is_a_gap(manager):
    tell(manager, ("test", "one", {}), ("test", "end", {}))
    answer = followed(manager, "?follow=1&after=0-0", {"Last-Event-ID": "77-7"})
    assert "event: gap\n" in answer.text
    assert "event 77-7 is not known here" in answer.text
    assert '"one"' in answer.text


def test_a_past_by_time(manager):
    tell(manager, ("test", "end", {"node": "n"}), ("test", "other", {}))
    answer = followed(manager, "?follow=1&since=1h&node=n")
    assert answer.text.count("data: ") == 1


def test_only_so_many_followers(fake_store, monkeypatch):
    manager = Manager(fake_store)
    monkeypatch.setattr(event_hub, "MOST_WATCHERS", 0)
    answer = manager.get("/v1/events?follow=1")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json["detail"] == "0 watchers of events are served by this process already; try again later"


def test_few_descriptors_mean_few_followers(fake_store, monkeypatch):
    monkeypatch.setattr(event_hub, "_descriptors", lambda: 1)
    assert Manager(fake_store).get("/v1/events?follow=1").status_code == 503


def test_those_that_hold_threads_are_fewer(fake_store, monkeypatch):
    monkeypatch.setattr(events, "MOST_HELD_THREADS", 0)
    assert Manager(fake_store).get("/v1/events?follow=1").status_code == 503


def test_a_worker_that_ends_takes_no_followers(fake_store):
    manager = Manager(fake_store)
    manager.services.stopping = lambda: True
    answer = manager.get("/v1/events?follow=1")
    assert (answer.status_code, answer.json["detail"]) == (
        503,
        "this worker of the manager is stopping; try again later",
    )


def test_a_history_that_cannot_be_read_leaves_the_stream(fake_store, tmp_path):
    manager = Manager(fake_store)
    manager.services.access = replace(manager.services.access, home=tmp_path)
    manager.http.app = create_app(manager.services)
    tell(manager, ("test", "one", {}))
    assert reasons(manager) == ["one"]
    (tmp_path / FILE).write_bytes(b"nonsense")
    assert reasons(manager) == ["one"]
    assert Events(fake_store.client, fake_store.keys).last() is not None


def test_before_the_first_of_all_ids_there_is_nothing(manager):
    assert asked(manager, "?cursor=0-0") == {"data": [], "next": None}
