"""Contract 2 in its own words: one workspace per user, over a configured template; the leader is a real one."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from manager_api.http.templates import templates
from manager_api.http.workspaces.image_cleanup import NAME as IMAGES
from manager_api.workspaces import WorkspaceSettings
from store.codec import loads
from store.keys import DEPLOYMENTS
from tests.builders import a_task
from tests.conftest import eventually
from tests.fakes import ACCESS, Manager, Puppet

pytestmark = pytest.mark.contract

SETTINGS = WorkspaceSettings(template="matlab", data="/srv/ws/", ttl="8h")


def a_workspace(command="/opt/matlab ${param.user_id} ${param.data} ${port.http}", **parameters):
    task = a_task(command=command, ports={"http": 0, "admin": 0})
    declared = {"user_id": {"required": True, "pattern": "[^!]+"}, "data": {"default": ""}, **parameters}
    return {"name": "matlab", "parameters": declared, "task_groups": [{"name": "main", "tasks": [task]}]}


def configure(manager, settings=SETTINGS):
    manager.services.access = dataclasses.replace(ACCESS, workspaces=settings)


@pytest.fixture
def manager(store, server):
    found = Manager(store, watcher=server.client("watch")).lead()
    eventually(lambda: found.get("/readyz").status_code == 200)
    configure(found)
    templates.save(found.store, a_workspace())
    yield found
    found.end()


@pytest.fixture
def node(manager):
    return Puppet(manager)


def call(manager, method, path, body=None, *, expect=200):
    answer = manager.http.simulate_request(method, path, json=body)
    assert answer.status_code == expect, answer.text
    return answer.json


def create(manager, user="jane", expect=202):
    return call(manager, "POST", "/create", {"user_id": user}, expect=expect)


def listed(manager, query=""):
    found = call(manager, "GET", f"/list{query}")
    assert found["total"] == len(found["containers"])
    return found["containers"]


def stopped(manager, node, deployment):
    def over():
        node.obey()
        return call(manager, "GET", f"/v1/deployments/{deployment}")["status"] == "STOPPED"

    eventually(over)


def test_the_contract_s_three_calls(manager, node):
    about = call(manager, "GET", "/")
    assert about["name"] == "Muster"
    assert about["version"]
    assert listed(manager) == []
    made = create(manager)
    assert made["message"] == "Container creation initiated"
    (row,) = listed(manager)
    assert (row["id"], row["url"], row["user_id"]) == (made["id"], made["url"], "jane")
    ((_, order),) = eventually(node.orders).items()
    port = order["ports"]["main"]["http"]
    assert made["url"] == f"http://192.168.10.100:{port}/"
    assert row["port"] == port
    assert order["tasks"][0]["config"]["command"][:3] == ["/opt/matlab", "jane", "/srv/ws/jane"]
    assert row["ends"] == row["created"] + 8 * 3600
    assert call(manager, "GET", f"/v1/deployments/{made['id']}")["name"] == "workspace-jane"


def test_the_same_user_has_the_same_workspace_whatever_changed_meanwhile(manager, node):
    first = create(manager)
    assert first["made"]
    templates.save(manager.store, a_workspace("/opt/matlab-2"))
    configure(manager, WorkspaceSettings(template="matlab", ttl="1h"))
    again = create(manager)
    assert (again["id"], again["url"], again["made"]) == (first["id"], first["url"], False)
    assert (again["version"], create(manager, "joe")["version"]) == (1, 2)
    assert len(listed(manager)) == 2


def test_a_number_is_a_user_too_and_an_odd_one_stays_apart_from_all_others(manager, node):
    first = create(manager, 42)
    assert first["user_id"] == "42"
    assert create(manager, 42.0)["id"] == create(manager, "42")["id"] == first["id"]
    odd = create(manager, "Jürgen Öz <j@ö.de>")
    assert odd["user_id"] == "Jürgen Öz <j@ö.de>"
    twin = create(manager, odd["name"].removeprefix("workspace-"))
    assert twin["id"] != odd["id"]
    found = call(manager, "GET", "/v1/workspaces/J%C3%BCrgen%20%C3%96z%20%3Cj%40%C3%B6.de%3E")
    assert found["id"] == odd["id"]


def test_what_is_no_user_is_refused_and_changes_nothing(manager, node):
    users = ["", " ", "a/b", None, "cleanup", "..", "x" * 201, True, "no!", "a\n", 1.5, ["a"]]
    for body in ({}, {"user_id": "jane", "x": 1}, *({"user_id": user} for user in users)):
        assert call(manager, "POST", "/create", body, expect=400)["error"] == "Invalid request format"
    assert manager.store.values(DEPLOYMENTS) == {}


def test_a_workspace_is_removed_and_the_next_one_is_new(manager, node):
    made = create(manager)
    for _ in range(2):
        gone = call(manager, "DELETE", "/v1/workspaces/jane", expect=202)
        assert (gone["id"], gone["status"]) == (made["id"], "STOPPING")
    stopped(manager, node, made["id"])
    assert call(manager, "DELETE", "/v1/workspaces/jane", expect=202)["status"] == "STOPPED"
    assert listed(manager) == []
    ((row),) = listed(manager, "?all=true")
    assert (row["id"], row["status"], row["url"]) == (made["id"], "STOPPED", None)
    assert call(manager, "GET", "/v1/workspaces/jane")["status"] == "STOPPED"
    assert create(manager)["id"] != made["id"]
    assert len(listed(manager, "?all=true")) == 1


def test_the_next_workspace_begins_when_the_last_has_ended(manager, node, monkeypatch):
    """Both would write to the same files."""
    first = create(manager)
    call(manager, "DELETE", "/v1/workspaces/jane", expect=202)
    with monkeypatch.context() as patched:
        patched.setattr("manager_api.http.workspaces.workspace_records.ENDS_WITHIN", 0.05)
        refused = manager.post("/create", {"user_id": "jane"})
    assert (refused.status_code, refused.json["id"]) == (409, first["id"])
    assert refused.headers["Retry-After"] == "1"
    monkeypatch.setattr("manager_api.http.workspaces.workspace_records.ENDS_WITHIN", 20.0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(create, manager)
        stopped(manager, node, first["id"])
        assert waiting.result(30)["id"] != first["id"]


def test_one_on_a_silent_node_is_not_waited_for(manager, node):
    first = create(manager)
    call(manager, "DELETE", "/v1/workspaces/jane", expect=202)
    Puppet(manager, "web-2", "192.168.10.101")
    node.beat(ttl_ms=1)
    eventually(lambda: manager.post("/create", {"user_id": "jane"}).status_code == 202)
    assert call(manager, "GET", "/v1/workspaces/jane")["id"] != first["id"]


def test_unknown_users_are_404(manager):
    for method in ("GET", "DELETE"):
        assert call(manager, method, "/v1/workspaces/nobody", expect=404)["error"] == "Workspace not found"


def test_a_deployment_that_is_only_called_so_is_no_workspace(manager, node):
    body = {"template": "matlab", "name": "workspace-jane", "parameters": {"user_id": "joe"}}
    call(manager, "POST", "/v1/deployments", body, expect=202)
    assert listed(manager) == []
    assert call(manager, "GET", "/v1/workspaces/jane", expect=404)["error"] == "Workspace not found"
    assert create(manager, expect=409)["error"] == "This name is taken"
    call(manager, "DELETE", "/v1/workspaces/jane", expect=404)


def test_clean_up_forgets_what_has_ended_and_nothing_else(manager, node):
    ended, lives = create(manager, "ann"), create(manager, "ben")
    call(manager, "DELETE", "/v1/workspaces/ann", expect=202)
    stopped(manager, node, ended["id"])
    for _ in range(2):
        assert call(manager, "POST", "/v1/workspaces/cleanup") == {"removed": [ended["id"]], "images": None}
    # The leader's rounds are seconds apart: its part is a test of retention's own.
    assert "forget" in loads(manager.store.get(DEPLOYMENTS, ended["id"]).value)
    assert "forget" not in loads(manager.store.get(DEPLOYMENTS, lives["id"]).value)


def test_images_are_removed_by_a_task_on_every_node_that_spares_what_templates_name(manager, node):
    task = {"name": "c", "config": {"driver": "container", "image": "${param.image}"}}
    body = {"name": "c", "parameters": {"image": {"default": "reg/x:1"}}, "task_groups": [{"tasks": [task]}]}
    templates.save(manager.store, body)
    job = call(manager, "POST", "/v1/workspaces/cleanup", {"images": True})["images"]
    assert call(manager, "GET", f"/v1/deployments/{job}")["template"] == IMAGES
    ((_, order),) = eventually(node.orders).items()
    assert order["tasks"][0]["config"]["env"]["KEPT"] == "reg/x:1"


def test_images_without_a_node_are_a_refusal(manager):
    assert call(manager, "POST", "/v1/workspaces/cleanup", {"images": True}, expect=409)["nodes"] == []


@pytest.mark.parametrize(
    ("settings", "body", "words"),
    [
        (None, a_workspace(), "--workspace-template"),
        (WorkspaceSettings(template="nope"), a_workspace(), "there is no template 'nope'"),
        (SETTINGS, {**a_workspace("x"), "parameters": {"user_id": {}}}, "declares no parameter 'data'"),
        (SETTINGS, {**a_workspace("x"), "parameters": {"data": {}}}, "declares no parameter 'user_id'"),
        (SETTINGS, a_workspace(size={"required": True}), "needs parameter 'size'"),
        (
            WorkspaceSettings(template="matlab"),
            a_workspace(data={"required": True}),
            "--workspace-data gives it",
        ),
    ],
)
def test_what_is_not_configured_is_said(manager, settings, body, words):
    templates.save(manager.store, body)
    configure(manager, settings)
    said = create(manager, expect=409)
    assert said["error"] == "Workspaces are not configured"
    assert words in said["detail"]
    assert listed(manager) == []


def test_nobody_s_node_is_a_refusal_with_reasons_and_leaves_nothing(manager):
    assert create(manager, expect=409)["error"] == "No node can take this deployment"
    assert listed(manager, "?all=true") == []


def test_an_address_is_told_when_it_is_known(manager, node, monkeypatch):
    configure(manager, WorkspaceSettings(template="matlab", url="https://ws.example/{user}/{port}"))
    manager.controller.stop()
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)
    made = create(manager, "a b")
    assert (made["url"], made["status"], made["node"]) == (None, "PENDING", None)
    configure(manager, WorkspaceSettings(template="matlab", url="https://ws.example/{user}/"))
    assert create(manager, "a b")["url"] == "https://ws.example/a%20b/"


def test_pages_of_the_listing(manager, node):
    made = [create(manager, f"user-{number}")["id"] for number in range(5)]
    first = call(manager, "GET", "/v1/workspaces?limit=2&sort=user_id")
    assert (first["total"], [row["user_id"] for row in first["data"]]) == (5, ["user-0", "user-1"])
    rest = call(manager, "GET", f"/v1/workspaces?sort=user_id&fields=id&cursor={first['next']}")
    assert (rest["data"], rest["next"]) == ([{"id": each} for each in made[2:]], None)
    assert call(manager, "POST", "/v1/workspaces", {"user_id": "user-3"}, expect=202)["id"] == made[3]
    call(manager, "GET", "/v1/workspaces?all=perhaps", expect=400)


def test_a_listing_waits_for_the_next_one(manager, node):
    def wait(answer):
        """As users do: an answer may come early, with nothing new in it."""
        while not answer.json["containers"]:
            answer = manager.get(f"/list?after={answer.headers['Muster-Revision']}&wait=60s")
        return answer.json["containers"]

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait, manager.get("/list"))
        made = create(manager)
        assert [row["id"] for row in waiting.result(30)] == [made["id"]]


def test_a_hundred_at_once_are_a_hundred_and_each_is_one(manager):
    """Three callers for each of a hundred users."""
    nodes = [Puppet(manager, f"web-{number}", f"10.0.0.{number}") for number in range(4)]
    users = [f"user-{number}" for number in range(100)] * 3
    with ThreadPoolExecutor(32) as pool:
        made = list(pool.map(lambda user: create(manager, user), users))
    ids = {row["id"]: row["user_id"] for row in made}
    assert sorted(ids.values()) == sorted(set(users))
    assert sum(row["made"] for row in made) == 100
    rows = eventually(lambda: (rows := listed(manager)) and all(row["url"] for row in rows) and rows)
    assert {row["id"]: row["user_id"] for row in rows} == ids
    assert len({row["url"] for row in rows}) == 100
    eventually(lambda: sum(len(node.orders()) for node in nodes) == 100)
