"""A node's life by the API, under a real controller: drained, given back, removed; nodes are puppets of the test."""

import pytest

from store.codec import loads
from store.keys import ALLOCATIONS, DEPLOYMENTS, NODES, STATUS
from tests.builders import a_template
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.integration


@pytest.fixture
def manager(store, server):
    found = Manager(store, watcher=server.client("watch")).lead()
    eventually(lambda: found.controller.mirror is not None)
    yield found
    found.end()


def deploy(manager, *nodes, name="etl", **group):
    body = a_template(name=name, **{"update": {"min_healthy": "0s", "max_parallel": 5}, **group})
    assert manager.post("/api/task/task_group", body).status_code == 200
    said = manager.post("/api/task/task_group/deploy", {"name": name})
    assert said.status_code == 200, said.text
    deployment = said.json["id"]
    until(nodes, lambda: manager.get(f"/v1/deployments/{deployment}").json["status"] == "RUNNING")
    return deployment


def until(nodes, condition):
    """What comes true while the nodes obey."""

    def obeyed():
        for node in nodes:
            node.obey()
        return condition()

    return eventually(obeyed, 40, 0.1)


def on(manager, node):
    records = (loads(raw) for raw in manager.store.values(ALLOCATIONS).values())
    return [each for each in records if each["node"] == node and each["wanted"] == "running"]


def row(manager, node):
    return manager.get(f"/v1/nodes/{node}").json


def test_drained_with_progress_cancelled_and_given_back(manager):
    nodes = one, two = [Puppet(manager, name) for name in ("web-1", "web-2")]
    deploy(manager, *nodes, count=4)
    plan = manager.post("/v1/nodes/web-1/drain", {"dry_run": True}).json
    here = len(on(manager, "web-1"))
    assert here > 0
    assert {each["to"] for each in plan["allocations"]} == {"web-2"}
    assert [(each["here"], each["of"]) for each in plan["groups"]] == [(here, 4)]

    assert manager.post("/v1/nodes/web-1/drain", {}).json["scheduling"] == "draining"
    until(nodes, lambda: row(manager, "web-1").get("drain", {}).get("state") == "done")
    assert on(manager, "web-1") == []
    assert len(on(manager, "web-2")) == 4

    assert manager.post("/v1/nodes/web-1/uncordon", {}).json["scheduling"] == "ready"
    until(nodes, lambda: "drain" not in row(manager, "web-1"))
    assert (one.node, two.node) == ("web-1", "web-2")


def test_a_drain_of_most_of_a_group_is_noticed_by_the_leader(manager):
    nodes = [Puppet(manager, "web-1")]
    deploy(manager, *nodes, count=6)
    refused = manager.post("/v1/nodes/web-1/drain", {})
    assert (refused.status_code, "6 of 6 of group group-0" in refused.json["detail"]) == (409, True), (
        refused.text
    )
    assert manager.post("/v1/nodes/web-1/drain", {"confirm": True}).status_code == 200
    found = until(
        nodes,
        lambda: row(manager, "web-1").get("drain", {}).get("state") == "stuck" and row(manager, "web-1"),
    )
    assert found["drain"]["left"] == 6
    assert len(on(manager, "web-1")) == 6, "nothing is stopped before its replacement is up"


def test_removed_by_force_while_its_agent_is_there(manager):
    nodes = one, two = [Puppet(manager, name) for name in ("web-1", "web-2")]
    deploy(manager, *nodes, count=4)
    assert on(manager, "web-1")
    assert manager.http.simulate_delete("/v1/nodes/web-1", query_string="force=1").status_code == 202
    until(nodes, lambda: manager.store.get(NODES, "web-1") is None or not one.orders())
    eventually(lambda: manager.get("/v1/nodes/web-1").status_code == 404, 40)
    until([two], lambda: len(on(manager, "web-2")) == 4)
    assert not [each for each in manager.store.values(ALLOCATIONS).values() if loads(each)["node"] == "web-1"]


def test_a_cordoned_node_gets_nothing_new_and_explain_says_so(manager):
    nodes = [Puppet(manager, "web-1")]
    deployment = deploy(manager, *nodes, count=1)
    manager.post("/v1/nodes/web-1/cordon", {"reason": "new disk"})
    manager.post("/api/task/task_group", a_template(name="more"))

    def refused():
        said = manager.post("/api/task/task_group/deploy", {"name": "more"})
        return said.status_code == 409 and said.json

    assert {"node": "web-1", "reason": "is cordoned: new disk"} in eventually(refused)["nodes"]
    assert len(on(manager, "web-1")) == 1, "what runs there runs on"
    (group,) = manager.get(f"/v1/deployments/{deployment}/explain").json["groups"]
    assert (group["up"], group["missing"]) == (1, [])


def test_a_dry_run_of_a_deployment_asks_who_leads_and_changes_nothing(manager):
    Puppet(manager, "web-1")
    body = a_template(count=3)
    assert manager.post("/api/task/task_group", body).status_code == 200

    def planned():
        said = manager.http.simulate_post(
            "/v1/deployments", query_string="dry_run=1", json={"template": "etl"}
        )
        if said.status_code == 503:  # the leader has not heard of the template yet
            assert "has not heard of template etl" in said.json["detail"], said.text
            return None
        assert said.status_code == 200, said.text
        return said.json["would"] == "place" and said.json

    said = eventually(planned)
    assert [row["node"] for row in said["allocations"]] == ["web-1"] * 3
    assert said["counts"]["place"] == 3
    assert not any(manager.store.values(name) for name in (DEPLOYMENTS, STATUS, ALLOCATIONS))
    manager.post("/v1/nodes/web-1/cordon", {})

    def refused():
        answer = manager.http.simulate_post(
            "/v1/deployments", query_string="dry_run=1", json={"template": "etl"}
        )
        return answer.status_code == 200 and answer.json["would"] == "refuse" and answer.json

    assert eventually(refused)["nodes"] == [{"node": "web-1", "reason": "is cordoned"}]


def test_when_much_vanishes_nothing_is_rescheduled_until_people_say_so(manager):
    nodes = [Puppet(manager, f"web-{number}", ttl=1.0) for number in range(6)]
    # Not at once, so that all of it is still there when the last one is missed.
    group = {"count": 6, "reschedule": {"after": "10s"}, "placement": {"max_replicas_per_node": 3}}
    deployment = deploy(manager, *nodes, **group)
    gone = [node for node in nodes if on(manager, node.node)][:3]
    stay = [node for node in nodes if node not in gone]
    assert len(gone) == 3
    for node in gone:
        node.link.leave()
    engaged = until(stay, lambda: manager.get("/v1/brake").json["engaged"])
    assert (engaged["lost"], engaged["of"]) == (3, 6)
    assert all(on(manager, node.node) for node in gone), "nothing is rescheduled"
    said = manager.get(f"/v1/deployments/{deployment}/explain").json
    assert any("brake is engaged" in text for text in said["waits"])
    (finding,) = (each for each in manager.get("/v1/doctor").json["findings"] if each["name"] == "brake")
    assert "3 of 6 nodes vanished" in finding["text"]

    assert manager.post("/v1/brake/release", {}).json["asked"] is True
    until(stay, lambda: sum(len(on(manager, node.node)) for node in stay) == 6)
    until(stay, lambda: manager.get("/v1/brake").json["engaged"] is None)
