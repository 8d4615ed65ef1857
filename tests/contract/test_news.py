"""Blocking reads: held until what they show has changed, and no longer."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from manager_api.http.waiting import ear, news
from manager_api.http.waiting.sharing import Room
from store import bootstrap
from store.codec import dumps
from store.keys import CONTROLS_STATUS, DEPLOYMENTS, GROUPS, NODES, TEMPLATES
from store.kv.events import Events
from store.model.event import Event
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract

TEMPLATE = {"name": "t", "task_groups": [{"tasks": [{"name": "a", "config": {"command": "/bin/true"}}]}]}
NEED_SETTINGS, EVENTS = {"/list", "/v1/workspaces"}, {"/v1/events"}


@pytest.fixture
def manager(store):
    manager = Manager(store)
    yield manager
    manager.end()
    manager.services.stopping = lambda: True
    manager.services.ear._used = -ear.IDLE


@pytest.fixture
def pool(manager):
    with ThreadPoolExecutor(40) as pool:
        yield pool
        manager.services.stopping = lambda: True  # whoever is still held is let go


def revision(answer):
    assert answer.status_code == 200, answer.text
    return answer.headers["Muster-Revision"]


def settled(manager, path):
    """The revision to wait after: that of an answer that was given while the worker listens."""
    first = revision(manager.http.simulate_get(path))

    def listened():
        found = revision(manager.http.simulate_get(path, params={"after": first, "wait": "0s"}))
        return found if "." in found else None

    return eventually(listened)


def held(manager, pool, path, after, wait="60s", **params):
    """A call that is held."""
    before = manager.services.room.held
    call = pool.submit(manager.http.simulate_get, path, params={"after": after, "wait": wait, **params})
    eventually(lambda: manager.services.room.held > before)
    return call


def tell(manager, kind, **subject):
    store = manager.store
    told = Event(kind=kind, reason="", subject=subject).as_record(time=1.0, actor="t", epoch=store.epoch)
    Events(store.client, store.keys).add([told])


def test_a_list_is_held_until_one_of_its_records_changes(manager, pool):
    after = settled(manager, "/v1/templates")
    call = held(manager, pool, "/v1/templates", after)
    manager.store.put(DEPLOYMENTS, "d", b"{}")  # none of it
    assert manager.post("/api/task/task_group", TEMPLATE).status_code == 200
    answer = call.result(20)
    assert [row["name"] for row in answer.json["data"]] == ["t"]
    again = manager.http.simulate_get("/v1/templates", params={"after": after})
    assert again.json == answer.json, "who comes late is answered at once"
    waited = manager.http.simulate_get("/v1/templates", params={"after": revision(answer), "wait": "100ms"})
    assert waited.json == answer.json


def test_a_record_is_held_until_it_changes_itself(manager, pool):
    Puppet(manager, "web-1"), Puppet(manager, "web-2", "192.168.10.101")
    after = settled(manager, "/v1/nodes/web-1")
    call = held(manager, pool, "/v1/nodes/web-1", after)
    manager.post("/v1/nodes/web-2/cordon", {})
    everything = manager.http.simulate_get("/v1/nodes", params={"after": after})
    assert [row["scheduling"] for row in everything.json["data"]] == ["ready", "cordoned"]
    assert not call.done()
    manager.post("/v1/nodes/web-1/cordon", {})
    assert call.result(20).json["scheduling"] == "cordoned"


def test_a_record_that_comes_and_goes(manager, pool):
    after = settled(manager, "/v1/nodes")
    call = held(manager, pool, "/v1/nodes/web-1", after)
    Puppet(manager, "web-1")
    answer = call.result(20)
    assert answer.json["id"] == "web-1"
    call = held(manager, pool, "/v1/nodes/web-1", revision(answer))
    manager.store.txn([], [_gone("web-1")])
    assert call.result(20).status_code == 404


def _gone(node):
    from store.kv.api import Change

    return Change(NODES, node, None)


def test_nodes_that_come_and_go_are_news_although_no_record_says_so(manager, pool):
    puppet = Puppet(manager, "web-1")
    after = settled(manager, "/v1/nodes")
    call = held(manager, pool, "/v1/nodes", after)
    other = held(manager, pool, "/v1/nodes/web-2", after)
    tell(manager, "deployment.placed", deployment="d")
    tell(manager, "allocation.placed", deployment="d", node="web-2")
    manager.store.client.delete(manager.store.keys.node("web-1").beat)
    tell(manager, "node.offline", node="web-1")
    answer = call.result(20)
    assert answer.json["data"][0]["status"] == 1
    assert not other.done()
    call = held(manager, pool, "/v1/nodes/web-1", revision(answer))
    puppet.beat()
    tell(manager, "node.online", node="web-1")
    assert call.result(20).json["status"] == 0
    tell(manager, "node.online", node="web-2")
    assert other.result(20).status_code == 404


def test_a_revision_that_does_not_say_who_came_last_is_answered_at_once(manager):
    Puppet(manager, "web-1")
    first = revision(manager.get("/v1/nodes"))
    assert "." not in first, "nobody listens yet"
    waiting = {"after": first, "wait": "5m"}
    eventually(lambda: revision(manager.http.simulate_get("/v1/nodes", params=waiting)).count(".") == 2)


def test_a_deployment_is_held_until_its_state_changes(manager, pool):
    manager.lead()
    puppet = Puppet(manager)
    manager.post("/api/task/task_group", TEMPLATE)
    deployment = manager.post("/v1/deployments", {"template": "t"}).json["id"]
    answer, path = manager.get(f"/v1/deployments/{deployment}"), f"/v1/deployments/{deployment}"
    eventually(puppet.orders)
    puppet.obey()
    while answer.json["status"] != "RUNNING":
        answer = manager.http.simulate_get(path, params={"after": revision(answer), "wait": "60s"})
    call = held(manager, pool, "/v1/deployments", settled(manager, "/v1/deployments"))
    manager.post(f"{path}/stop", {})
    assert call.result(20).json["data"][0]["status"] == "STOPPING"


def test_those_who_wait_for_the_same_share_one_answer(manager, pool, monkeypatch):
    Puppet(manager, "web-1")
    after = settled(manager, "/v1/nodes")
    computed, original = [], news_listing()

    def counted(store):
        computed.append(threading.get_ident())
        return original(store)

    monkeypatch.setattr("manager_api.http.nodes.nodes.listing", counted)
    monkeypatch.setattr("manager_api.http.waiting.sharing.FRESH", 60.0)
    calls = [held(manager, pool, "/v1/nodes", after) for _ in range(20)]
    calls += [held(manager, pool, "/v1/nodes", after, label="zone") for _ in range(10)]
    manager.post("/v1/nodes/web-1/cordon", {})
    answers = [each.result(20) for each in calls]
    assert {each.json["total"] for each in answers[:20]} == {1}
    assert {each.json["total"] for each in answers[20:]} == {0}
    assert len({revision(each) for each in answers}) <= 2
    assert all(each.headers["content-type"] == "application/json" for each in answers)
    assert len({each.headers["ETag"] for each in answers[:20]}) == 1
    assert {each.headers["Cache-Control"] for each in answers} == {"private, no-cache"}
    assert len({each.headers["X-Request-Id"] for each in answers}) == len(answers)
    assert len(computed) == 2


def news_listing():
    from manager_api.http.nodes import nodes

    return nodes.listing


def test_who_hangs_up_frees_a_place(manager, pool, monkeypatch):
    monkeypatch.setattr(news, "LOOK_EVERY", 0.05)
    after = settled(manager, "/v1/templates")
    server, client = socket.socketpair()
    with server, client:
        client.sendall(b"GET")  # what is sent ahead is no sign of having gone
        call = pool.submit(
            manager.http.simulate_get, "/v1/templates", params={"after": after, "wait": "5m"},
            extras={"gunicorn.socket": server},
        )  # fmt: skip
        eventually(lambda: manager.services.room.held)
        manager.services.ear._wake_all()
        assert not call.done()
        assert server.recv(3) == b"GET"
        client.close()
        assert call.result(20).status_code == 200
    assert manager.services.room.held == 0


def test_who_waits_is_answered_when_the_worker_stops(manager, pool):
    after = settled(manager, "/v1/templates")
    call = held(manager, pool, "/v1/templates", after, wait="5m")
    manager.services.stopping = lambda: True
    assert call.result(20).status_code == 200


def test_who_waits_is_answered_when_an_epoch_begins(manager, pool):
    after = settled(manager, "/v1/templates")
    call = held(manager, pool, "/v1/templates", after, wait="5m")
    store = manager.store
    bootstrap.mint(store, kind="recovered", reason="a test")
    assert call.result(20).status_code == 200


def test_who_waits_is_answered_when_the_log_is_compacted_beyond_the_listener(manager, monkeypatch, pool):
    after, heard = settled(manager, "/v1/templates"), threading.Event()
    call = held(manager, pool, "/v1/templates", after, wait="5m")
    monkeypatch.setattr("store.kv.watch.Watch.poll", _compacted(heard))
    assert call.result(20).status_code == 200
    assert heard.is_set()


def _compacted(heard):
    from store.errors import Compacted

    def poll(self, wait_ms, most=1024):
        heard.set()
        raise Compacted(10**6)

    return poll


def test_a_future_that_nobody_has_seen_is_not_waited_for_long(manager, monkeypatch):
    settled(manager, "/v1/templates")
    monkeypatch.setattr(news, "CATCH_UP", 0.05)
    answer = manager.http.simulate_get("/v1/templates", params={"after": "999999999", "wait": "5m"})
    assert int(revision(answer).split(".")[0]) < 999999999


def test_too_many_who_wait_are_sent_away_and_others_served(manager, pool):
    manager.services.room = Room(1)
    after = settled(manager, "/v1/templates")
    held(manager, pool, "/v1/templates", after)
    refused = manager.http.simulate_get("/v1/templates", params={"after": after})
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert refused.json["error"] == "Too many waiting reads"
    assert revision(manager.get("/v1/templates"))
    manager.store.put(TEMPLATES, "x", dumps({"v": 1, "version": 1, "body": TEMPLATE}))
    eventually(lambda: manager.services.room.held == 0)


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"after": "x"}, "after"),
        ({"after": ["1", "2"]}, "after"),
        ({"after": "1", "wait": "soon"}, "wait"),
        ({"after": "1", "wait": "6m"}, "wait"),
        ({"wait": "1s"}, "wait"),
    ],
)
def test_words_that_cannot_be_read(manager, params, word):
    answer = manager.http.simulate_get("/v1/nodes", params=params)
    assert answer.status_code == 400
    assert answer.json["detail"].startswith(f"{word}: ")


def test_contract_calls_and_errors_have_no_revision(manager):
    assert "Muster-Revision" not in manager.get("/api/task/node").headers
    assert "Muster-Revision" not in manager.get("/v1/nodes/nobody").headers


def test_nodes_are_held_for_their_groups_too(manager, pool):
    Puppet(manager, "web-1")
    after = settled(manager, "/v1/nodes")
    calls = [held(manager, pool, path, after) for path in ("/v1/nodes", "/v1/nodes/web-1")]
    manager.store.put(GROUPS, "1234567890", dumps({"v": 1, "name": "edge"}))
    assert [call.result(20).status_code for call in calls] == [200, 200]


def test_what_is_said_to_wait_gives_a_revision_and_nothing_else_takes_one(manager):
    calls = manager.http.simulate_get("/openapi.json").json["paths"]
    held, others = [], []
    for path, item in calls.items():
        if "get" in item and "{" not in path:
            words = {each.get("$ref", each.get("name")) for each in item["get"].get("parameters", [])}
            (held if any(str(each).endswith("after") for each in words) else others).append(path)
    assert {"/v1/nodes", "/v1/devices", "/v1/brake"} <= set(held)
    for path in set(held) - NEED_SETTINGS - EVENTS:
        assert revision(manager.http.simulate_get(path)), path
    for path in set(others) & {"/v1/unclaimed", "/v1/artifacts"}:
        answer = manager.http.simulate_get(path, params={"after": "1"})
        assert (answer.status_code, "after" in answer.json["detail"]) == (400, True), path


def test_the_brake_is_held_until_it_engages(manager, pool):
    call = held(manager, pool, "/v1/brake", settled(manager, "/v1/brake"))
    manager.store.put(CONTROLS_STATUS, "brake", dumps({"v": 1, "engaged": {"since": 1.0, "why": "3 of 4"}}))
    assert call.result(20).json["engaged"] == {"since": 1.0, "why": "3 of 4"}
