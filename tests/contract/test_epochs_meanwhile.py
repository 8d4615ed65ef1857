"""An epoch that begins when a call has written, and before it has answered: the same answer, and nothing twice."""

import dataclasses
import itertools
import uuid

import pytest

from manager_api.http.inventory.device_schema import DEVICE
from manager_api.http.templates import templates
from manager_api.inventory import devices, groups
from manager_api.workspaces import WorkspaceSettings
from store import bootstrap
from store.codec import dumps
from store.keys import DEVICES, STATUS
from store.kv.store import Store
from tests.builders import a_task, a_template
from tests.conftest import ManualClock, fresh_store
from tests.fakes import ACCESS, Manager, Puppet

pytestmark = pytest.mark.contract

DESK, LAB, OTHER = "1000000001", "2000000001", "2000000002"

COLLECTIONS = (
    "devices", "groups", "groups:names", "nodes", "templates", "templates:versions", "deployments", "deployments:names",
)  # fmt: skip

CALLS = [
    ("POST", "/v1/devices", DEVICE),
    ("PUT", "/v1/devices", {"id": DESK, "name": "new"}),
    ("PUT", f"/v1/devices/{DESK}", {"name": "new"}),
    ("DELETE", f"/v1/devices/{DESK}", None),
    ("DELETE", "/v1/devices", {"ids": [DESK]}),
    ("POST", "/v1/groups", {"name": "new"}),
    ("PUT", "/v1/groups", {"id": LAB, "name": "new"}),
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
    ("POST", "/create", {"user_id": "jane"}),
    ("DELETE", "/v1/workspaces/joe", None),
    ("DELETE", "/v1/templates/other", None),
    ("POST", "/v1/doctor/index", None),
    ("POST", "/v1/workspaces/cleanup", {"images": True}),
    ("POST", "/v1/nodes/web-1/cordon", {}),
    ("POST", "/v1/nodes/web-1/groups", {"groups": {"edge": True}}),
    ("DELETE", "/v1/nodes/web-1?force=1", None),
]


@pytest.fixture
def world(server, monkeypatch):
    """Makes a manager with one of everything, always the same; and the deployment of it."""
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)

    def make():
        drawn = itertools.count(500)
        monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(drawn)))
        monkeypatch.setattr("secrets.randbelow", lambda _: next(drawn))
        store = fresh_store(server.client("test"))
        manager = Manager(store)
        manager.services.clock = ManualClock()
        manager.services.access = dataclasses.replace(ACCESS, workspaces=WorkspaceSettings(template="ws"))
        templates.save(store, {**a_template(a_task(), name="ws"), "parameters": {"user_id": {}}})
        Puppet(manager)
        for name in ("first", "second"):
            templates.save(store, a_template(a_task(name)))
        for group, name in ((LAB, "lab"), (OTHER, "other")):
            groups.create(store, {"name": name}, wanted=group)
        devices.create(store, {**DEVICE, "groups": [LAB]}, wanted=DESK)
        templates.save(store, a_template(a_task(), name="other"))
        manager.post("/v1/workspaces", {"user_id": "joe"})
        store.client.delete(store.keys.index(DEVICES))  # for the doctor
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
    """After each of the writes that it makes when nothing happens."""
    expected, times, left = called(world, monkeypatch, method, path, body)
    assert expected.status_code < 300, expected.text
    assert times
    for cut in range(1, times + 1):
        answer, wrote, found = called(world, monkeypatch, method, path, body, cut=cut)
        assert (answer.status_code, answer.text) == (expected.status_code, expected.text)
        if not (method == "DELETE" and path.startswith("/v1/groups")):  # the leader takes out who was in it
            assert wrote == times
            assert found == left


def called(world, monkeypatch, *call, cut=0):
    """Answer, writes and records of a call in a world of its own; an epoch begins after one of the writes."""
    manager, ours = world()
    wrote, txn, before = [], Store.txn, manager.store.epoch

    def counted(self, *args, **more):
        rev = txn(self, *args, **more)
        wrote.append(rev)
        if len(wrote) == cut:
            bootstrap.mint(Store(self.client, self.keys))
        return rev

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Store, "txn", counted)
        answer = told(manager, ours, *call)
    assert (manager.store.meta().epoch != before) == bool(cut)
    return answer, len(wrote), records(manager.store)


def records(store):
    now = Store(store.client, store.keys)
    now.attach()
    return {name: now.values(name) for name in COLLECTIONS}
