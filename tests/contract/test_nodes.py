"""Nodes by the API: shown, found, cordoned, drained, labelled, removed; and the brake."""

import pytest

from manager_api.http.nodes import node_calls
from store.codec import dumps, loads
from store.keys import CONTROLS, CONTROLS_STATUS, NODES, NODES_STATUS
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract

PLAN = {"node": "web-1", "allocations": [], "left_out": 0, "groups": []}


@pytest.fixture
def manager(store, monkeypatch):
    found = Manager(store)
    monkeypatch.setattr(node_calls, "ask", lambda *_: PLAN)
    return found


@pytest.fixture
def node(manager):
    return Puppet(manager)


def record(manager, node="web-1"):
    return loads(manager.store.get(NODES, node).value)


def row(manager, node="web-1"):
    return manager.get(f"/v1/nodes/{node}").json


def listed(manager, query=""):
    answer = manager.http.simulate_get("/v1/nodes", query_string=query)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json["data"]]


def test_a_node_with_all_that_is_known_of_it(manager, node):
    entry = {
        "deployment": "d",
        "template": "etl",
        "group": "g",
        "index": 0,
        "wanted": "running",
        "generation": 1,
        "rev": 4,
    }
    manager.store.client.hset(
        manager.store.keys.node("web-1").desired, mapping={"d.0": dumps(entry), "d.1": b"nonsense"}
    )
    found = row(manager)
    assert (found["id"], found["status"], found["scheduling"], found["labels"], found["groups"]) == (
        "web-1",
        0,
        "ready",
        {},
        [],
    )
    assert found["beat"]["cpus"] == 4
    assert [each["id"] for each in found["allocations"]] == ["d.0", "d.1"]
    assert found["allocations"][0]["template"] == "etl"
    assert "secret_sha256" not in found
    assert manager.get("/v1/nodes/web-9").status_code == 404


def test_contract_1_keeps_its_rows(manager, node):
    (found,) = manager.get("/api/task/node").json["nodes"]
    wanted = {
        "id": "web-1",
        "ip": "192.168.10.100",
        "hostname": "host-web-1",
        "status": 0,
        "resources": "cpu_usage_percent:50,memory_usage_percent:30",
    }
    assert wanted.items() <= found.items()
    assert [
        each["id"]
        for each in manager.http.simulate_get("/api/task/node", query_string="label=zone").json["nodes"]
    ] == ["web-1"]


def test_cordon_and_uncordon(manager, node):
    assert manager.post("/v1/nodes/web-1/cordon", {"reason": "new disk"}).json["scheduling"] == "cordoned"
    first = record(manager)["cordoned"]
    assert first["reason"] == "new disk"
    rev = manager.store.meta().rev
    assert manager.http.simulate_post("/v1/nodes/web-1/cordon").status_code == 200
    assert manager.store.meta().rev == rev, "the same again changes nothing"
    assert manager.post("/v1/nodes/web-1/uncordon", {}).json["scheduling"] == "ready"
    assert "cordoned" not in record(manager)


def test_drain_and_its_end(manager, node):
    found = manager.post("/v1/nodes/web-1/drain", {"deadline": "10m"}).json
    assert (found["scheduling"], found["drain"]["deadline"]) == ("draining", 600.0)
    assert record(manager)["cordoned"]["since"] == record(manager)["drain"]["since"]
    rev = manager.store.meta().rev
    manager.post("/v1/nodes/web-1/drain", {"deadline": "10m"})
    assert manager.store.meta().rev == rev
    progress = {"state": "draining", "left": 2, "of": 5, "reason": "2 of 5 are still on it"}
    manager.store.put(NODES_STATUS, "web-1", dumps({"v": 1, "drain": progress}))
    assert row(manager)["drain"] == {**record(manager)["drain"], **progress}
    (shown,) = manager.get("/v1/nodes").json["data"]
    assert (shown["scheduling"], shown["drain"]) == ("draining", progress)
    manager.post("/v1/nodes/web-1/uncordon", {})
    assert not {"drain", "cordoned"} & record(manager).keys()
    assert "drain" not in row(manager)


def test_a_new_drain_does_not_show_how_far_an_earlier_one_came(manager, node):
    assert manager.post("/v1/nodes/web-1/drain", {"confirm": True}).status_code == 200
    done = {"state": "done", "left": 0, "of": 2, "reason": "", "since": record(manager)["drain"]["since"]}
    manager.store.put(NODES_STATUS, "web-1", dumps({"v": 1, "drain": done}))
    assert row(manager)["drain"]["state"] == "done"
    assert manager.post("/v1/nodes/web-1/uncordon", {}).status_code == 200
    assert manager.post("/v1/nodes/web-1/drain", {"confirm": True}).status_code == 200
    assert row(manager)["drain"] == record(manager)["drain"], "who waits for it would be told that it is done"
    (shown,) = (each for each in manager.get("/v1/nodes").json["data"] if each["id"] == "web-1")
    assert "drain" not in shown


def test_progress_and_a_bar_stand_beside_each_other(manager, node):
    manager.post("/v1/nodes/web-1/drain", {})
    word = {"since": 1.0, "reason": "its hb takes too much", "secret_sha256": "0" * 64}
    manager.store.put(
        NODES_STATUS,
        "web-1",
        dumps({"v": 1, "barred": word, "drain": {"state": "stuck", "left": 1, "of": 1}}),
    )
    found = row(manager)
    assert found["frozen"] == "barred from the store: its hb takes too much"
    assert found["drain"]["state"] == "stuck"
    manager.store.put(NODES_STATUS, "web-1", b"nonsense")
    assert row(manager)["frozen"] is None


def test_a_drain_of_most_of_a_group_is_to_be_confirmed(manager, node, monkeypatch):
    def of(here, of):
        groups = [{"deployment": "dep", "group": "web", "here": here, "of": of}]
        monkeypatch.setattr(node_calls, "ask", lambda *_: {**PLAN, "groups": groups})
        return manager.post("/v1/nodes/web-1/drain", {})

    refused = of(4, 5)
    assert (refused.status_code, refused.json["confirm"]) == (409, True)
    assert "4 of 5 of group web" in refused.json["detail"]
    assert "drain" not in record(manager)
    assert manager.post("/v1/nodes/web-1/drain", {"confirm": True}).status_code == 200
    manager.post("/v1/nodes/web-1/uncordon", {})
    assert of(4, 4).status_code == 200, "a small group is seen through"
    manager.post("/v1/nodes/web-1/uncordon", {})
    assert of(5, 10).status_code == 200, "half is not most"


def test_a_dry_run_changes_nothing(manager, node):
    rev = manager.store.meta().rev
    assert manager.post("/v1/nodes/web-1/drain", {"dry_run": True}).json == PLAN
    assert manager.store.meta().rev == rev


def test_labels_of_the_agent_and_of_people(manager):
    node = Puppet(manager)
    manager.post("/v1/nodes/join", node.join_body(labels={"zone": "a", "disk": "ssd"}))
    assert row(manager)["labels"] == {"zone": "a", "disk": "ssd"}
    found = manager.post(
        "/v1/nodes/web-1/labels", {"labels": {"zone": "b", "disk": None, "rack": "", "gone": None}}
    ).json
    assert found["labels"] == {"zone": "b", "rack": ""}
    assert found["own_labels"] == {"zone": "a", "disk": "ssd"}
    assert record(manager)["labels"] == {"zone": "b", "disk": None, "rack": ""}
    manager.post("/v1/nodes/join", node.join_body(labels={"zone": "c"}))
    assert row(manager)["labels"] == {"zone": "b", "rack": ""}
    manager.post("/v1/nodes/web-1/labels", {"labels": {"zone": None, "rack": None, "disk": None}})
    assert record(manager)["labels"] == {"zone": None}
    manager.post("/v1/nodes/join", node.join_body())
    assert "own_labels" not in record(manager)
    manager.post("/v1/nodes/web-1/labels", {"labels": {"zone": None}})
    assert "labels" not in record(manager)


def test_groups(manager, node):
    assert manager.post("/v1/nodes/web-1/groups", {"groups": {"lab": True, "edge": True}}).json["groups"] == [
        "edge",
        "lab",
    ]
    assert manager.post("/v1/nodes/web-1/groups", {"groups": {"lab": False, "other": False}}).json[
        "groups"
    ] == ["edge"]
    manager.post("/v1/nodes/web-1/groups", {"groups": {"edge": False}})
    assert "groups" not in record(manager)


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("labels", {"labels": {"a b": "x"}}, "1 to 63 of"),
        ("labels", {"labels": {"": "x"}}, "1 to 63 of"),
        ("labels", {"labels": {"x" * 64: "x"}}, "1 to 63 of"),
        ("labels", {"labels": {"a": "ü"}}, "up to 63 of"),
        ("labels", {"labels": {"a": 7}}, "up to 63 of"),
        ("labels", {"labels": {"a": "x\n"}}, "up to 63 of"),
        ("labels", {"labels": ["a"]}, "not an object"),
        ("labels", {"labels": {f"k{n}": "" for n in range(65)}}, "at most 64"),
        ("labels", {}, "labels"),
        ("groups", {"groups": {"edge": "yes"}}, "neither true nor false"),
        ("groups", {"groups": {"a=b": True}}, "1 to 63 of"),
        ("groups", {"groups": {f"g{n}": True for n in range(65)}}, "at most 64"),
        ("drain", {"deadline": "soon"}, "not a duration"),
        ("drain", {"deadline": 10}, "not a duration"),
        ("drain", {"dry_run": "perhaps"}, "dry_run"),
        ("drain", {"nonsense": 1}, "nonsense"),
        ("cordon", {"reason": ""}, "reason: empty"),
        ("cordon", {"reason": "x" * 201}, "at most 200"),
        ("uncordon", {"x": 1}, "x"),
    ],
)
def test_bad_input_changes_nothing(manager, node, path, body, says):
    rev = manager.store.meta().rev
    answer = manager.post(f"/v1/nodes/web-1/{path}", body)
    assert answer.status_code == 400, answer.text
    assert says in answer.json["detail"]
    assert manager.store.meta().rev == rev


def test_not_more_labels_and_groups_than_there_may_be_in_all(manager, node):
    for kind, value in (("labels", ""), ("groups", True)):
        assert (
            manager.post(f"/v1/nodes/web-1/{kind}", {kind: {f"k{n}": value for n in range(64)}}).status_code
            == 200
        )
        answer = manager.post(f"/v1/nodes/web-1/{kind}", {kind: {"more": value}})
        assert (answer.status_code, "65 in all" in answer.json["detail"]) == (400, True)
        assert len(row(manager)[kind]) == 64


@pytest.mark.parametrize("path", ["cordon", "uncordon", "drain"])
def test_an_unknown_node(manager, path):
    assert manager.post(f"/v1/nodes/web-9/{path}", {}).status_code == 404
    assert manager.http.simulate_delete("/v1/nodes/web-9").status_code == 404
    assert manager.store.values(NODES) == {}


def test_filters(manager):
    a, b, c = (Puppet(manager, node) for node in ("a", "b", "c"))
    for puppet, labels in ((a, {"zone": "x"}), (b, {"zone": "y", "ssd": ""})):
        manager.post("/v1/nodes/join", puppet.join_body(labels=labels))
    manager.post("/v1/nodes/b/groups", {"groups": {"edge": True}})
    manager.post("/v1/nodes/c/cordon", {})
    c.link.leave()
    assert listed(manager) == ["a", "b", "c"]
    assert listed(manager, "label=zone%3Dx") == ["a"]
    assert listed(manager, "label=zone") == ["a", "b"]
    assert listed(manager, "label=zone&label=ssd%3D") == ["b"]
    assert listed(manager, "group=edge") == ["b"]
    assert listed(manager, "status=offline") == ["c"]
    assert listed(manager, "status=online&status=cordoned") == ["a", "b", "c"]
    assert listed(manager, "status=ready&group=nobody") == []
    for query, says in (
        ("status=dead", "is not one of"),
        ("label=a%20b", "1 to 63"),
        ("colour=red", "unknown"),
    ):
        answer = manager.http.simulate_get("/v1/nodes", query_string=query)
        assert (answer.status_code, says in answer.json["detail"]) == (400, True)


def test_joining_again_keeps_what_people_said(manager, node):
    manager.post("/v1/nodes/web-1/drain", {})
    manager.post("/v1/nodes/web-1/labels", {"labels": {"zone": "a"}})
    manager.post("/v1/nodes/web-1/groups", {"groups": {"edge": True}})
    before = record(manager)
    assert manager.post("/v1/nodes/join", node.join_body()).status_code == 200
    assert record(manager) == before
    node.link.leave()
    assert manager.post("/v1/nodes/join", node.join_body(uid="another machine")).status_code == 200
    after = record(manager)
    assert (after["labels"], row(manager)["groups"]) == ({"zone": "a"}, ["edge"])
    assert (after["device"], after["member_of"]) == (before["device"], before["member_of"])
    assert not {"drain", "cordoned"} & after.keys(), "another machine takes work"


@pytest.mark.parametrize("labels", [{"a b": "x"}, {"a": None}, ["a"], {f"k{n}": "" for n in range(65)}])
def test_an_agents_nonsense_is_refused(manager, labels):
    node = Puppet(manager)
    assert manager.post("/v1/nodes/join", node.join_body(labels=labels)).status_code == 400


def test_a_living_node_is_removed_by_force_only(manager, node):
    answer = manager.http.simulate_delete("/v1/nodes/web-1")
    assert (answer.status_code, answer.json["error"]) == (409, "Node is online")
    assert "agent stop" in answer.json["detail"]
    assert "removing" not in record(manager)
    assert manager.http.simulate_delete("/v1/nodes/web-1", query_string="force=1").status_code == 202
    assert row(manager)["scheduling"] == "removing"
    since = record(manager)["removing"]
    assert manager.http.simulate_delete("/v1/nodes/web-1").status_code == 202, "the same again"
    assert record(manager)["removing"] == since
    for path in ("uncordon", "drain"):
        assert manager.post(f"/v1/nodes/web-1/{path}", {}).json["error"] == "Node is being removed"
    refused = manager.post("/v1/nodes/join", node.join_body())
    assert (refused.status_code, refused.json["error"]) == (403, "Node is being removed")


def test_a_node_that_is_away_is_removed_unless_that_is_in_doubt(manager, node):
    node.link.leave()
    manager.services.projection.doubt("the store is another server", 60)
    answer = manager.http.simulate_delete("/v1/nodes/web-1")
    assert (answer.status_code, "may be online: the store is another server" in answer.json["detail"]) == (
        409,
        True,
    )
    manager.store.client.delete(manager.store.keys.doubt)
    assert manager.http.simulate_delete("/v1/nodes/web-1").status_code == 202
    assert record(manager)["removing"] > 0


def test_changes_at_the_same_time_are_both_kept(manager, node, monkeypatch):
    put, others = manager.store.put, iter([{"zone": "a"}])

    def meanwhile(*args, **kwargs):
        for labels in others:
            manager.post("/v1/nodes/web-1/labels", {"labels": labels})
        return put(*args, **kwargs)

    monkeypatch.setattr(manager.store, "put", meanwhile)
    manager.post("/v1/nodes/web-1/cordon", {})
    assert row(manager)["labels"] == {"zone": "a"}
    assert row(manager)["scheduling"] == "cordoned"


def engage(manager, **more):
    said = {"since": 1.0, "lost": 6, "of": 10, "nodes": ["a", "b"], **more}
    manager.store.put(CONTROLS_STATUS, "brake", dumps({"v": 1, "engaged": said, "released": 0}))


def test_the_brake(manager):
    assert manager.get("/v1/brake").json == {"engaged": None, "release": 0, "released": 0}
    assert manager.post("/v1/brake/release", {}).json["asked"] is False
    assert manager.store.get(CONTROLS, "brake") is None, "there was nothing to release"
    engage(manager)
    assert manager.get("/v1/brake").json["engaged"]["lost"] == 6
    assert manager.http.simulate_post("/v1/brake/release").json["asked"] is True
    assert loads(manager.store.get(CONTROLS, "brake").value) == {"v": 1, "release": 1}
    manager.post("/v1/brake/release", {})
    assert loads(manager.store.get(CONTROLS, "brake").value)["release"] == 2
    assert manager.post("/v1/brake/release", {"x": 1}).status_code == 400


def test_doctor_says_that_the_brake_is_engaged(manager):
    Puppet(manager)
    engage(manager)
    report = manager.get("/v1/doctor").json
    (finding,) = (each for each in report["findings"] if each["name"] == "brake")
    assert (finding["severity"], report["ok"]) == ("wrong", False)
    assert "6 of 10 nodes vanished at once (a, b): nothing is rescheduled" in finding["text"]
    assert "muster brake release" in finding["cure"]
    manager.store.put(CONTROLS_STATUS, "brake", dumps({"v": 1, "engaged": None, "released": 1}))
    assert not [each for each in manager.get("/v1/doctor").json["findings"] if each["name"] == "brake"]


def test_nodes_come_in_pages_of_the_keys_and_in_the_order_asked_for(manager):
    for number in (1, 2, 3):
        Puppet(manager, f"web-{number}", f"192.168.10.{number}")
    first = manager.get("/v1/nodes?sort=-hostname&limit=2&fields=id,ip").json
    assert first["data"] == [{"id": f"web-{n}", "ip": f"192.168.10.{n}"} for n in (3, 2)]
    assert first["total"] == 3
    rest = manager.get(f"/v1/nodes?sort=-hostname&limit=2&fields=id,ip&cursor={first['next']}").json
    assert ([row["id"] for row in rest["data"]], rest["next"]) == (["web-1"], None)


@pytest.mark.parametrize(
    "words", ["sort=running", "limit=0", "colour=red", "status=asleep", "limit=1&limit=2"]
)
def test_a_word_that_a_list_does_not_know_is_refused_by_its_name(manager, words):
    answer = manager.get(f"/v1/nodes?{words}")
    assert answer.status_code == 400
    assert answer.json["detail"].startswith(words.partition("=")[0])
