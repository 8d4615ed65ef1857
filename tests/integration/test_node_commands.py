"""`muster node`, `muster explain`, `muster brake`, against the API over real HTTP."""

import json
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from click.testing import CliRunner

from agentd.identity import Identity
from agentd.join import Joiner
from manager_api.controller import heartbeats
from manager_api.http.app import create_app
from manager_api.http.nodes import node_calls
from muster.__main__ import main
from store.codec import dumps, loads
from store.errors import Denied
from store.keys import CONTROLS, CONTROLS_STATUS, NODES, NODES_STATUS
from tests.builders import a_template
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.integration

PLAN = {"node": "web-1", "allocations": [], "left_out": 0, "groups": []}


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def manager(store, monkeypatch):
    found = Manager(store)
    found.plan = PLAN
    monkeypatch.setattr(node_calls, "ask", lambda *_: found.plan)
    return found


@pytest.fixture
def url(manager):
    server = make_server("127.0.0.1", 0, create_app(manager.services), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(url):
    def call(*words, code=0):
        result = CliRunner().invoke(main, words, env={"MUSTER_URL": url, "COLUMNS": "200"})
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture
def node(manager):
    return Puppet(manager)


def record(manager):
    return loads(manager.store.get(NODES, "web-1").value)


def test_the_list_shows_labels_and_scheduling_where_there_are_any(run, node):
    plain = run("nodes").stdout
    assert "web-1" in plain
    assert not {"LABELS", "SCHEDULING", "GROUPS"} & set(plain.split())
    run("node", "label", "web-1", "zone=a", "ssd=")
    run("node", "group", "web-1", "edge")
    run("node", "cordon", "web-1", "--reason", "new disk")
    shown = run("node", "ls").stdout
    assert {"LABELS", "SCHEDULING", "GROUPS", "cordoned", "ssd,zone=a", "edge"} <= set(shown.split())
    assert run("nodes", "--label", "zone=b", "-o", "json").stdout.strip() == "[]"
    assert (
        json.loads(run("nodes", "--group", "edge", "--status", "cordoned", "-o", "json").stdout)[0]["id"]
        == "web-1"
    )
    assert "is not one of" in run("nodes", "--status", "dead", code=1).stderr


def test_labels_and_groups_are_set_and_taken_away(run, manager, node):
    assert run("node", "label", "web-1", "zone=a", "disk=ssd").stdout == "disk=ssd,zone=a\n"
    assert run("node", "label", "web-1", "disk-", "rack=r1").stdout == "rack=r1,zone=a\n"
    assert run("node", "group", "web-1", "edge", "lab").stdout == "edge, lab\n"
    assert run("node", "group", "web-1", "edge-", "lab-").stdout == "no groups\n"
    assert "neither KEY=VALUE nor KEY-" in run("node", "label", "web-1", "zone", code=2).stderr
    assert "1 to 63" in run("node", "label", "web-1", "a b=c", code=1).stderr
    run("node", "label", "nobody", "a=b", code=4)


def test_show(run, manager, node):
    run("node", "cordon", "web-1", "--reason", "new disk")
    shown = run("node", "show", "web-1").stdout
    assert "web-1 (host-web-1, 192.168.10.100)" in shown
    assert "new disk" in shown
    assert json.loads(run("node", "show", "web-1", "-o", "json").stdout)["cordoned"]["reason"] == "new disk"
    run("node", "show", "nobody", code=4)
    run("node", "uncordon", "web-1")
    assert "cordoned" not in record(manager)


def test_a_dry_run_of_a_drain(run, manager, node):
    row = {"id": "d.0", "template": "etl", "group": "g", "to": "web-2", "reason": "the least loaded"}
    manager.plan = {
        **PLAN,
        "allocations": [row, {**row, "id": "d.1", "to": None, "reason": "is pinned to its node"}],
    }
    lines = run("node", "drain", "web-1", "--dry-run").stdout.splitlines()
    assert lines[0] == "2 allocations on web-1"
    assert lines[1].endswith("to web-2: the least loaded")
    assert lines[2].endswith("is pinned to its node")
    assert "drain" not in record(manager)


def test_a_drain_of_much_wants_a_yes(run, manager, node):
    manager.plan = {**PLAN, "groups": [{"deployment": "d", "group": "g", "here": 9, "of": 10}]}
    refused = run("node", "drain", "web-1", code=1)
    assert "--yes" in refused.stderr
    assert "drain" not in record(manager)
    run("node", "drain", "web-1", "--yes", "--deadline", "10m")
    assert record(manager)["drain"]["deadline"] == 600


def progress(manager, state, left, reason=""):
    word = {"state": state, "left": left, "of": 2, "reason": reason}
    manager.store.put(NODES_STATUS, "web-1", dumps({"v": 1, "drain": word}))


def test_waiting_for_a_drain_until_it_is_done(run, manager, node, monkeypatch):
    steps = iter([("draining", 2, ""), ("draining", 1, "d.1 is still on it"), ("done", 0, "")])
    monkeypatch.setattr("muster.draining.time.sleep", lambda _: progress(manager, *next(steps)))
    said = run("node", "drain", "web-1", "--wait").stderr
    assert [line.strip() for line in said.splitlines()] == [
        "web-1: draining",
        "web-1: draining (draining, 2 of 2 left)",
        "web-1: draining (draining, 1 of 2 left): d.1 is still on it",
        "web-1: draining (done, 0 of 2 left)",
    ]


def test_waiting_for_a_drain_that_is_stuck_cancelled_or_slow(run, manager, node, monkeypatch):
    progress(manager, "stuck", 1, "d.0 no node can take it")
    assert "stuck: d.0 no node can take it" in run("node", "drain", "web-1", "--wait", code=1).stderr
    progress(manager, "draining", 1)
    assert (
        "not drained after 0 s" in run("node", "drain", "web-1", "--wait", "--timeout", "0", code=124).stderr
    )
    monkeypatch.setattr("muster.draining.time.sleep", lambda _: manager.post("/v1/nodes/web-1/uncordon", {}))
    assert "was cancelled: it is ready" in run("node", "drain", "web-1", "--wait", code=1).stderr


def test_rm(run, manager, node, monkeypatch):
    assert "is online; stop its agent first" in run("node", "rm", "web-1", code=1).stderr
    node.link.leave()
    assert (
        "no controller has seen to it yet"
        in run("node", "rm", "web-1", "--wait", "--timeout", "0", code=124).stderr
    )
    monkeypatch.setattr(heartbeats, "DEFAULT_TTL", 6.0)  # a new leader waits for who is gone
    manager.lead()
    try:
        run("node", "rm", "web-1", "--wait")
        run("node", "show", "web-1", code=4)
    finally:
        manager.end()


def test_explain(run, manager, node):
    manager.lead()
    try:
        eventually(lambda: manager.controller.mirror is not None)
        manager.post("/api/task/task_group", a_template())
        deployment = manager.post("/api/task/task_group/deploy", {"name": "etl"}).json["id"]
        text = run("explain", deployment[:8]).stdout
        assert "group group-0: 0 of 1 up, 1 placed" in text
        assert "0 on web-1 sent" in text
        assert json.loads(run("explain", deployment, "-o", "json").stdout)["id"] == deployment
        run("explain", "nobody", code=4)
        run("explain", "", code=2)
    finally:
        manager.end()


def test_the_brake_is_said_and_released(run, manager, node):
    assert run("brake").stdout == "the brake is not engaged\n"
    assert run("brake", "release").stdout == "the brake is not engaged\n"
    said = {"since": 1.0, "lost": 6, "of": 10, "nodes": ["a", "b"]}
    manager.store.put(CONTROLS_STATUS, "brake", dumps({"v": 1, "engaged": said, "released": 0}))
    assert "6 of 10 nodes vanished (a, b): nothing is rescheduled" in run("brake").stdout
    assert json.loads(run("brake", "-o", "json").stdout)["engaged"]["lost"] == 6
    for words in (("nodes",), ("ps",)):
        found = run(*words)
        assert "muster brake release" in found.stderr
        assert "vanished" not in found.stdout
    assert run("brake", "release").stdout == "the brake is being released\n"
    assert loads(manager.store.get(CONTROLS, "brake").value)["release"] == 1


# -- the agent's side


def joiner(tmp_path, url, labels=None):
    return Joiner(tmp_path, Identity("web-1", "uid-1", "s3cret", "m"), url, ["process"], labels)


def test_an_agents_labels_reach_the_record_and_other_ones_make_it_join_again(tmp_path, url, manager):
    joiner(tmp_path, url, {"zone": "a"}).connect(anew=False)
    assert record(manager)["own_labels"] == {"zone": "a"}
    rev = manager.store.meta().rev
    joiner(tmp_path, url, {"zone": "a"}).connect(anew=False)
    assert manager.store.meta().rev == rev
    joiner(tmp_path, url, {"zone": "b"}).connect(anew=False)
    assert record(manager)["own_labels"] == {"zone": "b"}
    joiner(tmp_path, url).connect(anew=False)
    assert "own_labels" not in record(manager)


def test_an_agent_of_a_node_that_is_being_removed_is_told_so(tmp_path, url, manager):
    joiner(tmp_path, url).connect(anew=False)
    manager.http.simulate_delete("/v1/nodes/web-1", query_string="force=1")
    with pytest.raises(Denied, match="is being removed"):
        joiner(tmp_path, url, {"zone": "b"}).connect(anew=False)
