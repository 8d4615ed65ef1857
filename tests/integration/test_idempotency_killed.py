"""`kill -9` of the API in the middle of a call with an `Idempotency-Key`: made again, it is done once."""

import multiprocessing
import signal

import pytest

from store import faults
from store.keys import DEPLOYMENTS, Keys
from store.kv import replays
from store.kv.store import Store
from tests.builders import a_task
from tests.conftest import eventually, fresh_store
from tests.fakes import Manager

pytestmark = pytest.mark.integration

SHOP = {"name": "shop", "task_groups": [{"name": "web", "tasks": [a_task("web", "/bin/true")]}]}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Nobody decides here."""
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)


def deploy(store):
    asked = {"path": "/v1/deployments", "json": {"template": "shop"}, "headers": {"Idempotency-Key": "k"}}
    return Manager(store).http.simulate_post(**asked)


def call(server, prefix, armed):
    """In a process of its own: the call that its process does not survive."""
    faults._directory = armed
    replays.CLAIMED_MS = 300  # who died is waited for less long; a slow machine's next calls keep their time
    store = Store(server.client("killed"), Keys(prefix))
    store.attach()
    deploy(store)


@pytest.mark.parametrize("kind", ["redis", "valkey"])
@pytest.mark.parametrize("point", ["api.deploy.before", "api.deploy.after"])
def test_a_call_whose_process_was_killed_is_done_once(servers, tmp_path, point, kind):
    server = servers(kind)
    store = fresh_store(server.client("test"))
    assert Manager(store).post("/api/task/task_group", SHOP).status_code == 200
    (tmp_path / point).touch()
    child = multiprocessing.get_context("fork").Process(
        target=call, args=(server, store.keys.prefix, str(tmp_path))
    )
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    begun = list(store.values(DEPLOYMENTS))
    assert len(begun) == (point == "api.deploy.after")

    answers = []

    def answered():
        answers.append(deploy(store))
        return answers[-1].status_code != 409

    eventually(answered)
    found = answers[-1].json
    assert answers[-1].status_code == 202
    assert (list(store.values(DEPLOYMENTS)), found["created"]) == ([found["id"]], not begun)
    assert begun in ([], [found["id"]])
    again = deploy(store)
    assert (again.headers["idempotent-replayed"], again.json) == ("true", found)
