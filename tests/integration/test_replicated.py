"""`Muster-Durability` and what the answer says, over a store with replicas that can be cut off."""

import pytest

from manager_api.settings import StoreAccess
from store import bootstrap
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


def test_a_call_says_whether_a_replica_has_what_it_wrote(sentinels):
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

    sentinels.cut()
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
