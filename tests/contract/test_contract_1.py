"""Contract 1 by its own bodies: a client written for the old system works unchanged."""

import re
import uuid

import pytest

from manager_api.controller import heartbeats
from store import bootstrap
from store.errors import Unavailable
from store.kv.store import Store
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract

TEMPLATE = {
    "name": "我的数据处理任务",
    "task_groups": [{"tasks": [
        {"name": "数据清洗器", "config": {"command": "192.168.10.100:/opt/apps/clean.sh"}},
        {"name": "数据分析器", "config": {"command": "/opt/apps/analyze.py"}}]}],
}  # fmt: skip
NAME = {"name": TEMPLATE["name"]}


@pytest.fixture
def manager(store, server):
    found = Manager(store, watcher=server.client("watch")).lead()
    eventually(lambda: found.get("/readyz").status_code == 200)
    eventually(lambda: found.controller.mirror is not None)  # it leads before it has read the fleet
    yield found
    found.end()


@pytest.fixture
def node(manager):
    return Puppet(manager)


@pytest.fixture
def deployed(manager, node):
    assert manager.post("/api/task/task_group", TEMPLATE).json["status"] == "success"
    answer = manager.post("/api/task/task_group/deploy", NAME)
    assert answer.status_code == 200, answer.text
    eventually(node.orders)
    return answer.json["id"]


def number(manager, deployment):
    return manager.post("/api/task/task_group/query", {"id": deployment}).json


def test_the_list_of_nodes(manager, node):
    answer = manager.get("/api/task/node")
    assert answer.status_code == 200
    (row,) = answer.json["nodes"]
    assert row["ip"] == "192.168.10.100"
    assert row["status"] == 0
    assert row["resources"] == "cpu_usage_percent:50,memory_usage_percent:30"
    assert (row["id"], row["hostname"], row["disk_percent"]) == ("web-1", "host-web-1", 12.0)


def test_a_node_that_does_not_beat_is_offline_and_reports_zeros(manager, node):
    node.link.leave()
    (row,) = manager.get("/api/task/node").json["nodes"]
    assert (row["status"], row["resources"]) == (1, "cpu_usage_percent:0,memory_usage_percent:0")


def test_save_and_query_a_template(manager):
    answer = manager.post("/api/task/task_group", TEMPLATE)
    assert (answer.status_code, answer.json["status"]) == (200, "success")
    found = manager.post("/api/task/query", NAME).json
    assert found["name"] == TEMPLATE["name"]
    assert found["task_groups"] == [{"tasks": [
        {"name": "数据清洗器", "config": {"command": "/opt/apps/clean.sh", "node": "192.168.10.100"}},
        {"name": "数据分析器", "config": {"command": "/opt/apps/analyze.py"}}]}]  # fmt: skip


def test_deploy_answers_an_id(deployed):
    assert str(uuid.UUID(deployed)) == deployed


def test_pending_and_running_are_0_anything_else_is_1(manager, node, deployed):
    assert number(manager, deployed)["status"] == 0
    node.obey()
    eventually(lambda: number(manager, deployed)["state"] == "RUNNING")
    assert number(manager, deployed) == {"id": deployed, "status": 0, "state": "RUNNING"}
    node.obey(数据清洗器={"state": "failed", "exit_code": 3, "reason": "exit code 3"})
    eventually(lambda: number(manager, deployed)["status"] == 1)


def test_a_deployment_with_its_tasks(manager, node, deployed):
    node.obey(
        数据清洗器={"state": "failed", "pid": None, "exit_code": 3, "restarts": 2, "reason": "exit code 3"}
    )
    eventually(lambda: manager.get(f"/deployments/{deployed}").json["status"] == "DEGRADED")
    found = manager.get(f"/deployments/{deployed}").json
    assert found["id"] == deployed
    clean, analyse = found["tasks"]
    wanted = {
        "name": "数据清洗器",
        "node": "web-1",
        "state": "failed",
        "pid": None,
        "exit_code": 3,
        "restarts": 2,
    }
    assert wanted.items() <= clean.items()
    assert clean["reason"] == "exit code 3"
    assert (analyse["name"], analyse["state"], analyse["pid"]) == ("数据分析器", "running", 4711)


def test_stop_answers_when_stored_and_again_the_same(manager, node, deployed):
    node.obey()
    for _ in range(2):
        answer = manager.post("/api/task/task_group/stop", {"id": deployed})
        assert (answer.status_code, answer.json) == (200, {"id": deployed})
    assert number(manager, deployed)["status"] == 1
    eventually(lambda: [each["wanted"] for each in node.orders().values()] == ["stopped"])
    node.obey(数据清洗器={"exit_code": 143, "pid": None}, 数据分析器={"exit_code": 0, "pid": None})
    eventually(lambda: number(manager, deployed)["state"] == "STOPPED")
    eventually(lambda: not node.orders())
    node.obey()
    found = manager.get(f"/deployments/{deployed}").json
    assert (found["status"], [task["exit_code"] for task in found["tasks"]]) == ("STOPPED", [143, 0])
    assert manager.post("/api/task/task_group/stop", {"id": deployed}).json == {"id": deployed}


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/task/query", NAME, 404, "Business template not found"),
        ("/api/task/task_group/deploy", NAME, 404, "Business template not found"),
        ("/api/task/task_group/query", {"id": "x"}, 404, "Business instance not found"),
        ("/api/task/task_group/stop", {"id": str(uuid.uuid4())}, 404, "Business instance not found"),
        ("/api/task/query", {}, 400, "Invalid request format"),
        ("/api/task/task_group", {"name": "x"}, 400, "Invalid request format"),
        ("/api/task/task_group/deploy", {"id": "x"}, 400, "Invalid request format"),
        ("/api/task/task_group/query", {"id": 5}, 400, "Invalid request format"),
        ("/api/task/task_group/stop", [], 400, "Invalid request format"),
    ],
)
def test_errors(manager, path, body, status, error):
    answer = manager.post(path, body)
    assert (answer.status_code, answer.json["error"]) == (status, error)
    assert answer.json["detail"]


def test_an_unknown_deployment(manager):
    answer = manager.get("/deployments/nope")
    assert (answer.status_code, answer.json["error"]) == (404, "Business instance not found")


def test_409_has_a_reason_for_every_node_and_keeps_nothing(manager, node):
    template = {**TEMPLATE, "task_groups": [{"tasks": [{"name": "x", "config": {"command": "10.0.0.9:/x"}}]}]}
    manager.post("/api/task/task_group", template)
    answer = manager.post("/api/task/task_group/deploy", NAME)
    assert answer.status_code == 409
    assert answer.json["nodes"] == [{"node": "web-1", "reason": "is not 10.0.0.9"}]
    assert answer.json["error"]
    eventually(lambda: not manager.store.values("deployments:status"))
    assert manager.get("/v1/deployments").json["data"] == []


def test_an_offline_node_takes_no_new_work(manager, node):
    eventually(lambda: manager.controller.mirror.fleet.states["web-1"].online)
    node.beat(ttl=0.5)
    eventually(lambda: manager.controller.mirror.fleet.states["web-1"].beat.get("ttl") == 0.5)
    node.link.leave()
    eventually(lambda: not manager.controller.mirror.fleet.states["web-1"].online)
    manager.post("/api/task/task_group", TEMPLATE)
    answer = manager.post("/api/task/task_group/deploy", NAME)
    assert answer.json["nodes"] == [{"node": "web-1", "reason": "is offline"}]


def test_without_a_controller_a_deployment_is_undecided_and_decided_later(manager, node, monkeypatch):
    manager.end()
    monkeypatch.setattr(heartbeats, "DEFAULT_TTL", 2.0)  # the next leader waits for who is gone
    manager.post("/api/task/task_group", TEMPLATE)
    answer = manager.post("/api/task/task_group/deploy", NAME)
    assert answer.status_code == 200
    deployment = answer.json["id"]
    assert number(manager, deployment) == {"id": deployment, "status": 0, "state": "PENDING"}
    assert manager.get(f"/deployments/{deployment}").json["reason"] == "no controller has decided yet"
    node.link.leave()
    second = Manager(manager.store).lead()
    eventually(lambda: number(manager, deployment)["state"] == "FAILED", 60)
    found = manager.get(f"/deployments/{deployment}").json
    assert found["nodes"][0]["node"] == "web-1"
    second.end()


def test_a_template_posted_again_is_its_next_version_and_running_ones_stay(manager, node, deployed):
    (before,) = node.orders().values()
    again = manager.post("/api/task/task_group", TEMPLATE)
    assert again.json["version"] == 1
    changed = {**TEMPLATE, "task_groups": [{"tasks": [{"name": "new", "config": {"command": "/new"}}]}]}
    assert manager.post("/api/task/task_group", changed).json["version"] == 2
    assert list(node.orders().values()) == [before]
    second = manager.post("/api/task/task_group/deploy", NAME).json["id"]
    versions = {row["id"]: row["version"] for row in manager.get("/v1/deployments").json["data"]}
    assert versions == {deployed: 1, second: 2}
    assert manager.get("/v1/templates").json["data"] == [
        {"name": TEMPLATE["name"], "version": 2, "tasks": ["new"]}
    ]


def test_healthz_always_answers(manager):
    answer = manager.get("/healthz")
    assert answer.status_code == 200
    assert answer.json["status"] == "ok"
    assert re.fullmatch(r"\d+\.\d+\.\d+", answer.json["version"])
    assert answer.headers["Muster-Version"] == answer.json["version"]


def test_readyz_says_what_is_missing(manager):
    assert manager.get("/readyz").json["checks"] == {"store": "ok", "controller": "ok"}
    manager.end()
    answer = manager.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["checks"]["controller"].startswith("no controller leads")
    manager.store.client.set(manager.store.keys.rev, 0)
    manager.store._seen = 5
    assert manager.get("/readyz").json["checks"]["store"].startswith("data lost: the store lost history")
    manager.store.client.delete(manager.store.keys.meta)
    assert manager.get("/readyz").json["checks"]["store"].startswith("data lost: the store holds no")


def test_readyz_without_a_store():
    from store.kv.connection import connect
    from store.kv.store import Store

    lonely = Manager(Store(connect("redis://127.0.0.1:1/0", name="x")))
    answer = lonely.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["checks"]["store"].startswith("unreachable")
    assert lonely.get("/healthz").status_code == 200
    assert lonely.get("/api/task/node").status_code == 503
    assert lonely.post("/api/task/task_group", TEMPLATE).headers["Retry-After"] == "1"


def test_a_second_machine_with_the_same_id_is_refused_while_the_first_lives(manager, node):
    other = node.join_body("10.0.0.2", uid="somebody-else")
    answer = manager.post("/v1/nodes/join", other)
    assert answer.status_code == 409
    assert "belongs to a living agent on host-web-1" in answer.json["detail"]
    assert manager.post("/v1/nodes/join", node.join_body()).status_code == 200
    node.link.leave()
    assert manager.post("/v1/nodes/join", other).status_code == 200


def test_a_join_answers_where_the_store_is_and_keeps_only_a_digest(manager, node):
    answer = manager.post("/v1/nodes/join", node.join_body()).json
    assert answer["store"] == {"url": "redis://127.0.0.1:1/0", "username": "node:web-1", "password": None}
    assert answer["cluster"] == manager.store.meta().cluster
    bad = manager.post("/v1/nodes/join", node.join_body(secret_sha256="on >x ~*"))
    assert bad.status_code == 400


def test_paths_and_methods_that_are_none(manager):
    assert manager.get("/nope").status_code == 404
    assert manager.get("/api/task/query").status_code == 405
    assert "error" in manager.get("/nope").json


@pytest.mark.parametrize(
    "nonsense",
    [
        {"rev": "x"},
        {"rev": 2**60},
        {"ttl": None},
        {"memory_total": None},
        {"cpu_percent": "much"},
        {"frozen": 5},
        {"uid": 5},
    ],
)
def test_a_node_that_talks_nonsense_harms_only_itself(manager, node, nonsense):
    liar = Puppet(manager, "liar", "10.0.0.66")
    liar.beat(memory_percent=0.0, **nonsense)
    eventually(lambda: {row["id"]: row["frozen"] for row in manager.get("/v1/nodes").json["data"]}["liar"])
    manager.post(
        "/api/task/task_group",
        {**TEMPLATE, "task_groups": [{"tasks": [{"name": "x", "config": {"command": "/x"}}]}]},
    )
    eventually(lambda: "uid" not in manager.controller.mirror.fleet.states["liar"].beat)
    answer = manager.post("/api/task/task_group/deploy", NAME)
    assert answer.status_code == 200, answer.text
    eventually(node.orders)
    assert manager.store.meta().rev < 10_000
    assert manager.get("/readyz").status_code == 200


def test_an_actual_that_is_nonsense_harms_nobody(manager, node, deployed):
    (alloc,) = node.orders()
    for raw in (
        b"nonsense",
        b'{"rev":"x","tasks":[]}',
        b'{"tasks":5}',
        b'{"tasks":[5]}',
        b'{"tasks":[{"name":5}]}',
    ):
        node.link.report({alloc: raw}, [])
        node.seq += 1
        node.beat()
    node.obey()
    eventually(lambda: number(manager, deployed)["state"] == "RUNNING")


def test_what_the_controller_did_not_hear_of_heals_by_itself(manager, node, deployed, monkeypatch):
    """Streams are hints: a deleted desired hash, a record without its log entry."""
    store = manager.store
    keys = store.keys
    (before,) = node.orders()
    store.client.delete(keys.node("web-1").desired)
    unheard = str(uuid.uuid4())
    store.client.hset(
        keys.collection("deployments"), unheard, store.client.hget(keys.collection("deployments"), deployed)
    )
    store.client.hset(keys.revisions("deployments"), unheard, store.meta().rev)
    monkeypatch.setattr("manager_api.controller.loop.HOUSEKEEPING", 0.2)
    manager.end()
    manager.controller = type(manager.controller)(
        store, manager.controller._watcher, "test", manager.services.clock
    )
    manager.lead()
    eventually(lambda: before in node.orders())
    store.client.delete(keys.node("web-1").desired)
    eventually(lambda: before in node.orders())
    eventually(
        lambda: (
            number(manager, unheard)["state"] in ("PENDING", "RUNNING")
            and manager.get(f"/deployments/{unheard}").json["tasks"]
        )
    )
    store.client.hdel(keys.collection("deployments:status"), unheard)
    store.client.hdel(keys.revisions("deployments:status"), unheard)
    eventually(lambda: store.client.hexists(keys.collection("deployments:status"), unheard))


def test_a_log_entry_that_cannot_be_read_makes_the_leader_list_again(manager, node):
    store = manager.store
    rev = store.meta().rev
    store.client.xadd(store.keys.log, {"odd": "entry"}, id=f"{rev}-999")
    manager.post("/api/task/task_group", TEMPLATE)
    answer = manager.post("/api/task/task_group/deploy", NAME)
    assert answer.status_code == 200, answer.text
    eventually(lambda: manager.get(f"/deployments/{answer.json['id']}").json["tasks"])


def test_a_deployment_that_was_stored_is_answered_though_the_store_goes_away(manager, node, monkeypatch):
    """An error would make the client ask again, and it would run twice."""
    from manager_api.http.deployments import deployments

    manager.post("/api/task/task_group", TEMPLATE)

    def away(store, deployment):
        raise Unavailable("gone")

    real = deployments.Store.get
    monkeypatch.setattr(
        deployments.Store,
        "get",
        lambda self, c, f: away(self, f) if c == "deployments:status" else real(self, c, f),
    )
    monkeypatch.setattr(deployments, "DECIDED_WITHIN", 0.3)
    answer = manager.post("/api/task/task_group/deploy", NAME)
    assert answer.status_code == 200, answer.text
    monkeypatch.undo()
    eventually(lambda: manager.get(f"/deployments/{answer.json['id']}").json["tasks"])


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_an_epoch_that_begins_before_the_decision_makes_nothing_twice(
    manager, node, monkeypatch, lost, known
):
    """The call was begun anew, and a second deployment was stored; what went with the last epoch has to be.

    The epoch may be known by then: to another call of the same worker.
    """
    from manager_api.http.deployments import deployments

    manager.post("/api/task/task_group", TEMPLATE)
    store, stored, real = manager.store, [], deployments.Store.txn

    def txn(self, compares, changes, **more):
        rev = real(self, compares, changes, **more)
        (field,) = (each.field for each in changes if each.collection == "deployments")
        stored.append(field)
        if len(stored) == 1:
            if lost:
                store.client.hdel(store.keys.collection("deployments"), field)
                store.client.hdel(store.keys.revisions("deployments"), field)
            bootstrap.mint(Store(store.client, store.keys))
            if known:
                store.attach()
        return rev

    manager.end()  # who leads would be quicker than the epoch
    monkeypatch.setattr(deployments, "DECIDED_WITHIN", 0.3)
    monkeypatch.setattr(deployments.Store, "txn", txn)
    answer = manager.post("/api/task/task_group/deploy", NAME)
    monkeypatch.undo()
    assert answer.status_code == 200, answer.text
    assert list(store.values("deployments")) == [answer.json["id"]] == stored[-1:]
    assert len(stored) == (2 if lost else 1)


def test_a_store_that_is_away_in_a_new_epoch_costs_no_answer_to_what_is_stored(manager, monkeypatch):
    from manager_api.http.deployments import deployments

    manager.end()
    store, real = manager.store, deployments.Store.get
    manager.post("/api/task/task_group", TEMPLATE)

    def undecided(*_):
        monkeypatch.setattr(deployments, "_decided", lambda *_: None)
        bootstrap.mint(Store(store.client, store.keys))
        store.attach()
        monkeypatch.setattr(deployments.Store, "get", away)

    def away(self, collection, field):
        asked.append(collection)
        raise Unavailable("gone")

    asked = []
    monkeypatch.setattr(deployments, "DECIDED_WITHIN", 0.3)
    monkeypatch.setattr(deployments, "_decided", undecided)
    answer = manager.post("/api/task/task_group/deploy", NAME)
    monkeypatch.setattr(deployments.Store, "get", real)
    assert asked == ["deployments"]
    assert answer.status_code == 200, answer.text
    assert list(store.values("deployments")) == [answer.json["id"]]


def test_an_epoch_that_begins_before_a_refusal_is_cleared_away_leaves_nothing_either(manager, monkeypatch):
    """The call was begun anew: the first deployment stayed, which nobody was told of."""
    from manager_api.http.deployments import deployments

    manager.end()
    store, begun = manager.store, []

    def begin(point):
        if point == "api.withdraw.before" and not begun:
            begun.append(bootstrap.mint(Store(store.client, store.keys)))

    manager.post("/api/task/task_group", TEMPLATE)
    monkeypatch.setattr(deployments, "_decided", lambda *_: {"refused": True, "reason": "no", "nodes": []})
    monkeypatch.setattr(deployments, "fault", begin)
    assert manager.post("/api/task/task_group/deploy", NAME).status_code == 409
    assert begun
    store.attach()
    assert store.values("deployments") == {}


def test_what_was_queried_can_be_posted_back(manager):
    manager.post("/api/task/task_group", TEMPLATE)
    found = manager.post("/api/task/query", NAME).json
    again = manager.post("/api/task/task_group", found)
    assert (again.status_code, again.json["version"]) == (200, 1)


def test_a_host_header_that_is_none(manager, node):
    before = manager.store.get("nodes", "web-1")
    answer = manager.http.simulate_post(
        "/v1/nodes/join", json=node.join_body("10.9.9.9"), headers={"Host": "a:b"}
    )
    assert answer.status_code == 400
    assert manager.store.get("nodes", "web-1") == before
    long = manager.post("/v1/nodes/join", node.join_body(addresses=["x" * 200] * 10_000))
    assert long.status_code == 400
