"""Deployments by /v1 with the real leader and puppets for nodes: scaled, updated, rolled back, to nothing and back."""

import pytest

from tests.builders import a_task
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract


@pytest.fixture
def manager(store, server):
    found = Manager(store, watcher=server.client("watch")).lead()
    eventually(lambda: found.get("/readyz").status_code == 200)
    yield found
    found.end()


@pytest.fixture
def fleet(manager):
    return [Puppet(manager, f"web-{n}", f"10.0.0.{n + 1}") for n in range(3)]


def a_shop(command):
    update = {"min_healthy": "0s", "healthy_deadline": "60s", "max_parallel": 3}
    group = {"name": "web", "count": 3, "tasks": [a_task("web", command)], "update": update}
    return {"name": "shop", "parameters": {"user": {"required": True}}, "task_groups": [group]}


def post(manager, path, body, expect=200):
    answer = manager.post(path, body)
    assert answer.status_code == expect, answer.text
    return answer.json


def obeyed(fleet, condition):
    def look():
        for node in fleet:
            node.obey()
        return condition()

    return eventually(look)


def test_a_deployment_is_scaled_updated_and_rolled_back(manager, fleet):
    post(manager, "/api/task/task_group", a_shop("/one ${param.user}"))
    body = {"template": "shop", "name": "web", "parameters": {"user": "ann"}}
    found = post(manager, "/v1/deployments", body, expect=202)["id"]
    here = f"/v1/deployments/{found}"

    def view():
        return manager.get(here).json

    def running(tasks):
        return view()["status"] == "RUNNING" and len(view()["tasks"]) == tasks

    def commands():
        return {" ".join(task["config"]["command"]) for node in fleet for entry in node.orders().values()
                if entry["wanted"] == "running" for task in entry["tasks"]}  # fmt: skip

    obeyed(fleet, lambda: running(3))
    assert commands() == {"/one ann"}
    post(manager, f"{here}/scale", {"groups": {"web": 6}})
    obeyed(fleet, lambda: running(6))
    post(manager, "/api/task/task_group", a_shop("/two ${param.user}"))
    for call, change, command in (("update", 1, "/two ann"), ("rollback", 2, "/one ann")):
        assert post(manager, f"{here}/{call}", {})["change"] == change
        obeyed(
            fleet,
            lambda change=change: (
                view().get("rollout", {}).get("change") == change and view()["rollout"]["state"] == "done"
            ),
        )
        assert commands() == {command}
    assert post(manager, f"{here}/scale", {"groups": {"web": 0}}, expect=409)["confirm"] is True
    post(manager, f"{here}/scale", {"groups": {"web": 0}, "confirm": True})
    obeyed(fleet, lambda: running(0))
    post(manager, f"{here}/scale", {"groups": {"web": 2}})
    obeyed(fleet, lambda: running(2))
    post(manager, f"{here}/stop", {})
    obeyed(fleet, lambda: view()["status"] == "STOPPED")
