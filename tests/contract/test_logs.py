"""Calls for logs that cannot be answered, with nodes that are puppets of the test."""

import threading

import pytest

from manager_api.http.app import create_app
from manager_api.http.logs import log_stream, logs
from store.kv.asks import Chunk
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract

TASK = {"name": "a", "config": {"command": "sleep 1"}}


@pytest.fixture
def manager(store, server):
    found = Manager(store, watcher=server.client("watch")).lead()
    yield found
    found.end()


def deployed(manager):
    body = {"name": "x", "task_groups": [{"tasks": [TASK]}]}
    assert manager.post("/api/task/task_group", body).status_code == 200
    return manager.post("/api/task/task_group/deploy", {"name": "x"}).json["id"]


def asked(manager, deployment, query=""):
    answer = manager.get(f"/v1/deployments/{deployment}/logs{query}")
    return answer.status_code, answer.json["detail"]


def test_an_agent_that_does_not_claim_logs(manager):
    Puppet(manager)
    status, detail = asked(manager, deployed(manager))
    assert (status, detail) == (409, "the agent of node web-1, version 0.1.0, does not serve logs")


def reading_puppet(manager):
    puppet = Puppet(manager)
    body = puppet.join_body(features=["process", "logs"])
    assert manager.post("/v1/nodes/join", body).status_code == 200
    return puppet


def test_a_node_that_is_not_there(manager):
    puppet = reading_puppet(manager)
    deployment = deployed(manager)
    puppet.link.leave()
    assert asked(manager, deployment) == (409, "node web-1 is offline: its logs can be read when it is back")


def test_a_node_that_says_nothing(manager, monkeypatch):
    monkeypatch.setattr(log_stream, "BEGUN_WITHIN", 0.2)
    puppet = reading_puppet(manager)
    deployment = deployed(manager)
    assert asked(manager, deployment) == (503, "node web-1 does not answer")
    verbs = [each["verb"] for each in puppet.link.wake(1).asks]
    assert verbs == ["open", "close"]
    assert manager.store.client.keys(f"{manager.store.keys.prefix}n:*ans:*") == []


def test_a_node_that_talks_nonsense(manager):
    puppet = reading_puppet(manager)
    deployment = deployed(manager)
    manager.store.client.delete(manager.store.keys.node("web-1").ask)

    def nonsense():
        while not (asks := puppet.link.wake(1000).asks):
            pass  # a hint
        ask = asks[0]
        puppet.link.chunk(ask["id"], [Chunk({"life": "x", "seq": 0, "begins": [0]})])
        puppet.link.chunk(ask["id"], [Chunk({"life": "x", "seq": 1, "file": 7, "start": "y"}, b"z")])

    threading.Thread(target=nonsense, daemon=True).start()
    answer = manager.get(f"/v1/deployments/{deployment}/logs?stream=stdout")
    assert answer.status_code == 200
    assert "-- a node's answer cannot be read: node web-1: " in answer.text


def test_only_so_many_readers_at_once(manager, monkeypatch):
    monkeypatch.setattr(logs, "MOST_READERS", 0)
    reading_puppet(manager)
    deployment = deployed(manager)
    manager.http.app = create_app(manager.services)
    answer = manager.get(f"/v1/deployments/{deployment}/logs")
    assert answer.status_code == 503
    assert answer.json["detail"] == "0 readers of logs are served by this process already; try again later"


def test_places_are_given_back_whatever_becomes_of_a_reader(manager, monkeypatch):
    monkeypatch.setattr(log_stream, "BEGUN_WITHIN", 0.05)
    reading_puppet(manager)
    deployment = deployed(manager)
    for _ in range(logs.MOST_READERS + 3):
        assert asked(manager, deployment) == (503, "node web-1 does not answer")


def test_what_was_never_placed_has_no_logs(manager):
    Puppet(manager)
    manager.end()
    status, detail = asked(manager, deployed(manager))
    assert status == 409
    assert "no controller has decided yet" in detail


def test_too_many_logs_at_once(manager):
    reading_puppet(manager)
    body = {"name": "x", "task_groups": [{"tasks": [{**TASK, "name": f"t{n}"} for n in range(51)]}]}
    assert manager.post("/api/task/task_group", body).status_code == 200
    deployment = manager.post("/api/task/task_group/deploy", {"name": "x"}).json["id"]
    status, detail = asked(manager, deployment)
    assert status == 400
    assert detail == "102 logs at once, at most 100 are read: say which with task, node or stream"
