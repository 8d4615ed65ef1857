"""`Muster-Durability` and what the answer says, over a store with replicas that can be cut off."""

import json

import pytest

from manager_api.core.device_csv import COLUMNS
from manager_api.http.frame.durability import writes
from manager_api.settings import StoreAccess
from store import bootstrap
from store.kv import durability
from store.kv.durability import Replicated
from store.kv.store import Store
from tests.fakes import Manager
from tests.sentinels import SentinelStore

pytestmark = pytest.mark.integration

TEMPLATE = {"name": "t", "task_groups": [{"tasks": [{"name": "a", "config": {"command": "/bin/true"}}]}]}
PATH = "/api/task/task_group"


@pytest.fixture
def sentinels(tmp_path):
    found = SentinelStore(tmp_path, min_replicas=0)
    yield found
    found.end()


@pytest.fixture
def patient(monkeypatch):
    """A replica may be late to confirm; ends where none will."""
    with monkeypatch.context() as patch:
        patch.setattr(durability, "WAIT_MS", 4000)
        patch.setattr("store.kv.store.WAIT_MS", 4000)
        yield patch


@writes
class Thing:
    """A record that is put and deleted."""

    def __init__(self, store):
        self.store = store

    def on_put(self, _req, _resp):
        self.store.put("things", "x", b"{}")

    def on_delete(self, _req, _resp):
        self.store.put("things", "x", None)

    def on_get(self, _req, _resp):
        """Writes nothing."""


def test_a_call_says_whether_a_replica_has_what_it_wrote(sentinels, patient):
    store = Store(sentinels.client())
    bootstrap.begin(store, None)
    manager = Manager(store)

    def call(body, how=None, path=PATH):
        headers = {"Muster-Durability": how} if how else {}
        answer = manager.http.simulate_post(path, json=body, headers=headers)
        return answer.status_code, answer.headers.get("Muster-Replicated")

    def named(name):
        return {**TEMPLATE, "name": name}

    assert call(named("a"), "replicated") == (200, "yes")
    assert call(named("a"), "replicated") == (200, "yes"), "it found what it would have written"
    assert call(named("b")) == call(named("c"), "local") == (200, None)
    assert call({"name": "a"}, "replicated", "/api/task/query") == (200, None), "it writes nothing"
    assert call({"name": "none"}, "replicated", PATH + "/deploy") == (404, None)
    assert call(named("d"), "replicate")[0] == 400
    answer = manager.http.simulate_post(PATH, json=named("d"), headers={"Muster-Durability": "always"})
    assert answer.json["detail"] == "Muster-Durability: 'always' is neither local nor replicated"
    assert store.get("templates", "d") is None
    manager.http.app.add_route("/thing", Thing(store))
    asked = {"Muster-Durability": "replicated"}
    said = [
        manager.http.simulate_request(each, "/thing", headers=asked).headers
        for each in ("PUT", "DELETE", "GET")
    ]
    assert [each.get("Muster-Replicated") for each in said] == ["yes", "yes", None]
    keyed = {**asked, "Idempotency-Key": "k"}
    said = [manager.http.simulate_post(PATH, json=named("k"), headers=keyed).headers for _ in range(2)]
    assert [each.get("Muster-Replicated") for each in said] == ["yes", "yes"]
    assert said[1]["Idempotent-Replayed"] == "true"

    sentinels.cut()
    patient.undo()
    assert call(named("e"), "replicated") == (200, "no")
    assert call(named("e"), "replicated") == (200, "no"), "found, but still nowhere else"
    assert store.get("templates", "e") is not None
    assert call(named("f")) == (200, None)

    access = StoreAccess(
        url=sentinels.url, advertised_port=None, password_file=None, holder="x", durability="replicated"
    )
    manager.services.access = access
    assert call(named("g")) == (200, "no")
    assert call(named("h"), "local") == (200, None)
    said = {"id": "web-1", "uid": "u" * 32, "hostname": "h", "addresses": ["10.0.0.1"], "version": "0.1.0",
            "secret_sha256": "0" * 64, "features": []}  # fmt: skip
    answer = manager.http.simulate_post("/v1/nodes/join", json=said)
    assert answer.status_code == 200, answer.text
    found = answer.json["store"]
    assert found["url"].startswith("sentinel://127.0.0.1:")
    assert "st%2Fo" not in found["url"]
    assert (found["username"], found["password"]) == ("node:web-1", None)


def test_a_file_of_devices_is_as_durable_to_its_last_line(sentinels, patient, monkeypatch):
    store = Store(sentinels.client())
    bootstrap.begin(store, None)
    manager, waited, note = Manager(store), [], Replicated.note

    def noted(durable, *, held):
        waited.append(held)
        note(durable, held=held)

    monkeypatch.setattr(Replicated, "note", noted)

    def take(count, **headers):
        text = "\r\n".join([",".join(COLUMNS), *(f",desk {n},t,M,S,1,,,,,on" for n in range(count))])
        answer = manager.http.simulate_post("/v1/devices/csv", body=text, headers=headers)
        assert "Muster-Replicated" not in answer.headers, "nobody knows yet"
        return json.loads(answer.text.splitlines()[-1])

    asked = {"Muster-Durability": "replicated"}
    counts = {"created": 130, "changed": 0, "same": 0, "refused": 0}
    assert take(130, **asked) == {**counts, "replicated": True}
    assert waited == [True] * 3, "one for each transaction"
    assert take(130) == counts
    sentinels.cut()
    patient.undo()
    assert take(1, **asked)["replicated"] is False
    assert len(waited) == 4
