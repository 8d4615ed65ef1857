"""Templates as resources, and changes that nobody makes without having seen what they change."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from store.codec import dumps
from store.keys import DEPLOYMENTS, STATUS
from tests.builders import a_task, a_template
from tests.fakes import Manager

pytestmark = pytest.mark.contract
PATH = "/v1/templates/etl"


@pytest.fixture
def manager(fake_store, monkeypatch):
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)
    return Manager(fake_store)


def put(manager, body, tag=None, path=PATH):
    return manager.http.simulate_put(path, json=body, headers={"If-Match": tag} if tag else {})


def delete(manager, tag=None, path=PATH):
    return manager.http.simulate_delete(path, headers={"If-Match": tag} if tag else {})


def other(command="/bin/other"):
    return a_template(a_task(config={"command": command}))


def test_a_template_is_put_read_edited_and_put_back(manager):
    body = a_template()
    del body["name"]
    made = put(manager, body)
    assert (made.status_code, made.json) == (201, {"name": "etl", "version": 1, "changed": True})
    found = manager.get(PATH)
    edited = {**found.json, "ttl": "8h"}
    assert put(manager, found.json).json == {"name": "etl", "version": 1, "changed": False}
    again = put(manager, edited, found.headers["ETag"])
    assert (again.status_code, again.json["version"]) == (201, 2)
    assert manager.get(PATH).json == {**edited, "version": 2}
    assert manager.post("/api/task/query", {"name": "etl"}).json["ttl"] == "8h"


def test_who_has_not_seen_the_newest_version_does_not_replace_it(manager):
    seen = put(manager, a_template()).headers["ETag"]
    assert put(manager, other(), seen).status_code == 201
    late = put(manager, other("/bin/third"), seen)
    assert (late.status_code, late.json["error"]) == (412, "The record has changed")
    assert delete(manager, seen).status_code == 412
    assert manager.get(PATH).json["version"] == 2


def test_a_template_that_is_not_there_was_never_seen(manager):
    assert put(manager, a_template(), '"7"').status_code == 412
    assert manager.get(PATH).status_code == 404


def test_of_many_who_saw_the_same_one_is_taken(manager):
    seen = put(manager, a_template()).headers["ETag"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: put(manager, other(f"/bin/{n}"), seen).status_code, range(20)))
    assert sorted(answers) == [201] + [412] * 19


def test_the_name_in_the_body_is_that_of_the_path(manager):
    answer = put(manager, a_template(name="other"))
    assert answer.status_code == 400
    assert "'other' is not the name in the path" in answer.json["detail"]
    assert manager.get("/v1/templates").json["total"] == 0


def test_posting_makes_versions(manager):
    first, second = (manager.post("/v1/templates", a_template()) for _ in range(2))
    assert [first.status_code, second.status_code] == [201, 200]
    assert manager.post("/v1/templates", other()).json == {"name": "etl", "version": 2, "changed": True}
    assert manager.post("/v1/templates", {"name": "etl"}).status_code == 400


def test_versions_are_listed_and_read(manager):
    for number in range(3):
        put(manager, other(f"/bin/{number}"))
    page = manager.get(f"{PATH}/versions?limit=2").json
    assert [row["version"] for row in page["data"]] == [3, 2]
    rest = manager.get(f"{PATH}/versions?limit=2&cursor={page['next']}").json
    assert ([row["version"] for row in rest["data"]], rest["next"]) == ([1], None)
    old = manager.get(f"{PATH}/versions/1").json
    assert (old["version"], old["task_groups"][0]["tasks"][0]["config"]["command"]) == (1, "/bin/0")
    for path in (f"{PATH}/versions/9", "/v1/templates/none/versions", "/v1/templates/none/versions/1"):
        assert manager.get(path).status_code == 404


def test_templates_are_listed_in_pages(manager):
    for name in ("c", "a", "b"):
        manager.post("/v1/templates", a_template(name=name))
    page = manager.get("/v1/templates?limit=2").json
    assert ([row["name"] for row in page["data"]], page["total"]) == (["a", "b"], 3)
    assert manager.get(f"/v1/templates?cursor={page['next']}&fields=name").json["data"] == [{"name": "c"}]
    assert [row["name"] for row in manager.get("/v1/templates?sort=-name").json["data"]] == ["c", "b", "a"]
    assert manager.get("/v1/templates?name=b").json["total"] == 1
    assert manager.get("/v1/templates?color=red").status_code == 400


def test_a_template_in_use_is_not_deleted(manager):
    put(manager, a_template())
    made = manager.post("/v1/deployments", {"template": "etl"}).json["id"]
    refused = delete(manager)
    assert refused.status_code == 409
    assert made in refused.json["detail"]
    manager.store.put(STATUS, made, dumps({"v": 1, "status": "COMPLETED", "tasks": [], "reason": ""}))
    assert delete(manager).status_code == 204
    assert delete(manager).status_code == 404
    assert manager.post("/v1/deployments", {"template": "etl"}).status_code == 404


def test_a_template_of_a_deleted_ones_name_takes_no_version_of_it(manager):
    put(manager, a_template())
    put(manager, other())
    assert delete(manager).status_code == 204
    assert put(manager, other("/bin/new")).json["version"] == 3


def test_a_deployment_that_begins_while_its_template_is_deleted_is_refused(manager, monkeypatch):
    put(manager, a_template())
    monkeypatch.setattr("manager_api.http.deployments.deployments.fault", lambda _: delete(manager))
    answer = manager.post("/v1/deployments", {"template": "etl"})
    assert answer.status_code == 404, answer.text
    assert not manager.store.values(DEPLOYMENTS)


CHANGES = {
    "stop": {}, "restart": {}, "scale": {"groups": {"group-1": 2}}, "update": {"parameters": {}}, "rollback": {},
    "promote": {}, "pause": {}, "resume": {}, "limits": {"task": "clean", "limits": {"memory": "1G"}},
}  # fmt: skip


@pytest.mark.parametrize("verb", CHANGES)
def test_a_deployment_that_has_changed_is_not_changed_unseen(manager, verb):
    put(manager, a_template())
    path = f"/v1/deployments/{manager.post('/v1/deployments', {'template': 'etl'}).json['id']}"
    seen = manager.get(path).headers["ETag"]
    assert manager.post(f"{path}/pause", {}).status_code == 200
    before = manager.store.meta().rev
    call = f"{path}/{verb}"
    answer = manager.http.simulate_post(call, json=CHANGES[verb], headers={"If-Match": seen})
    assert answer.status_code == 412, answer.text
    assert manager.store.meta().rev == before
    now = manager.get(path).headers["ETag"]
    assert manager.http.simulate_post(call, json=CHANGES[verb], headers={"If-Match": now}).status_code != 412
