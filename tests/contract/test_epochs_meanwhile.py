"""An epoch that begins when a call has written, and before it has answered: the same answer, and nothing twice."""

import dataclasses

import pytest

from manager_api.http.inventory.device_schema import DEVICE
from manager_api.http.templates import templates
from manager_api.inventory import devices, groups
from manager_api.workspaces import WorkspaceSettings
from store import bootstrap
from store.codec import dumps
from store.keys import STATUS
from store.kv.store import Store
from tests.builders import a_task, a_template
from tests.conftest import fresh_store
from tests.fakes import ACCESS, Manager, Puppet

pytestmark = pytest.mark.contract

DESK, LAB, OTHER = "1000000001", "2000000001", "2000000002"

DRAWN = dict.fromkeys(("id", "data", "images", "device", "joined", "cordoned", "created"))
"""What is another in each world."""

CALLS = [
    ("POST", "/v1/devices", DEVICE),
    ("PUT", f"/v1/devices/{DESK}", {"name": "new"}),
    ("DELETE", f"/v1/devices/{DESK}", None),
    ("DELETE", "/v1/devices", {"ids": [DESK]}),
    ("POST", "/v1/groups", {"name": "new"}),
    ("PUT", f"/v1/groups/{LAB}", {"description": "new"}),
    ("DELETE", f"/v1/groups/{LAB}", None),
    ("DELETE", "/v1/groups", {"ids": [LAB]}),
    ("POST", "/v1/memberships", {"device_id": DESK, "group_id": OTHER}),
    ("PUT", "/v1/memberships", {"device_id": DESK, "group_ids": [OTHER]}),
    ("DELETE", "/v1/memberships", {"device_id": DESK, "group_id": LAB}),
    ("POST", "/v1/templates", a_template(a_task(), name="new")),
    ("PUT", "/v1/templates/etl", a_template(a_task("third"))),
    ("POST", "/v1/deployments/{ours}/scale", {"groups": {"group-0": 3}}),
    ("POST", "/v1/deployments/{ours}/limits", {"task": "second", "limits": {"memory": "1G"}}),
    ("POST", "/v1/deployments/{ours}/update", {"version": 1, "confirm": True}),
    ("POST", "/v1/deployments/{ours}/rollback", {"confirm": True}),
    ("POST", "/v1/deployments/{ours}/pause", {}),
    ("POST", "/v1/deployments/{ours}/restart", {"confirm": True}),
    ("POST", "/v1/deployments/{ours}/stop", {"confirm": True}),
    ("POST", "/v1/workspaces", {"user_id": "jane"}),
    ("POST", "/v1/workspaces/cleanup", {"images": True}),
    ("POST", "/v1/nodes/web-1/cordon", {}),
    ("POST", "/v1/nodes/web-1/groups", {"groups": {"edge": True}}),
    ("DELETE", "/v1/nodes/web-1?force=1", None),
]


@pytest.fixture
def world(server, monkeypatch):
    """Makes a manager with one of everything; and the deployment of it."""
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)

    def make():
        store = fresh_store(server.client("test"))
        manager = Manager(store)
        manager.services.access = dataclasses.replace(ACCESS, workspaces=WorkspaceSettings(template="ws"))
        templates.save(store, {**a_template(a_task(), name="ws"), "parameters": {"user_id": {}}})
        Puppet(manager)
        for name in ("first", "second"):
            templates.save(store, a_template(a_task(name)))
        for group, name in ((LAB, "lab"), (OTHER, "other")):
            groups.create(store, {"name": name}, wanted=group)
        devices.create(store, {**DEVICE, "groups": [LAB]}, wanted=DESK)
        made = manager.post("/v1/deployments", {"template": "etl"})
        ours = made.json["id"]
        manager.post(f"/v1/deployments/{ours}/update", {"parameters": {}, "version": 1})
        manager.post(f"/v1/deployments/{ours}/update", {"parameters": {}, "version": 2})
        store.put(STATUS, ours, dumps({"v": 1, "status": "RUNNING", "reason": "", "allocations": []}))
        return manager, ours

    return make


def told(manager, ours, method, path, body):
    """The answer to a call, who had seen what he changes."""
    path = path.format(ours=ours)
    seen = manager.get(path.partition("?")[0].removesuffix(path.partition(ours)[2])).headers.get("ETag", "W/")
    headers = {} if seen.startswith("W/") else {"If-Match": seen}
    return manager.http.simulate_request(method, path, json=body, headers=headers)


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_what_is_written_is_answered_and_written_once(world, monkeypatch, method, path, body):
    usual, ours = world()
    wrote = []
    txn = Store.txn

    def counted(self, *args, **more):
        rev = txn(self, *args, **more)
        wrote.append(rev)
        return rev

    monkeypatch.setattr(Store, "txn", counted)
    expected = told(usual, ours, method, path, body)
    assert expected.status_code < 300, expected.text
    times = len(wrote)
    assert times

    def cut_off(self, *args, **more):
        rev = counted(self, *args, **more)
        if len(wrote) == 1:
            bootstrap.mint(Store(self.client, self.keys))
        return rev

    monkeypatch.setattr(Store, "txn", txn)
    manager, ours = world()
    before = manager.store.epoch
    wrote.clear()
    monkeypatch.setattr(Store, "txn", cut_off)
    answer = told(manager, ours, method, path, body)
    assert answer.status_code == expected.status_code, answer.text
    assert len(wrote) <= times  # who was in a group that went is taken out by the leader
    assert manager.store.meta().epoch != before
    assert {**answer.json, **DRAWN} == {**expected.json, **DRAWN}
