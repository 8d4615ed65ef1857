"""Both clients against the API itself, over HTTP and a real store; a puppet is the node, a thread leads."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from manager_api.http.waiting import ear
from muster.client import AsyncClient, Client, Conflict, Invalid, NotFound, PreconditionFailed, about
from tests.conftest import eventually
from tests.contract.test_cli import Cli
from tests.fakes import Puppet

pytestmark = pytest.mark.contract

TEMPLATE = {
    "name": "t",
    "task_groups": [{"name": "main", "tasks": [{"name": "a", "config": {"command": "/bin/true"}}]}],
}


@pytest.fixture
def api(store, monkeypatch):
    """A manager behind a server; `url` is where."""
    found = Cli(store)
    manager = found.manager
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)
    yield found
    manager.end()
    manager.services.stopping = lambda: True  # whoever is still held is let go
    manager.services.ear._used = -ear.IDLE
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def client(api):
    with Client(api.url) as client:
        yield client


def test_from_a_template_to_its_end(api, client):
    api.manager.lead()
    node = Puppet(api.manager)
    saved = client.create_template(TEMPLATE)
    assert (saved["name"], saved["version"]) == ("t", 1)
    made = client.create_deployment({"template": "t", "name": "web"})
    row = eventually(lambda: (found := client.get_deployment(made["id"]))["tasks"] and found)
    assert (row["template"], row["tasks"][0]["node"]) == ("t", node.node)
    assert [each["id"] for each in client.iter_deployments(template="t", limit=1)] == [made["id"]]
    client.stop_deployment(made["id"])
    eventually(lambda: node.obey() or client.get_deployment(made["id"])["status"] == "STOPPED")


def test_one_wish_is_one_deployment_however_often_it_is_sent(api, client):
    client.create_template(TEMPLATE)
    first, again = (client.create_deployment({"template": "t"}, idempotency_key="wish-1") for _ in range(2))
    other = client.create_deployment({"template": "t"})
    assert first == again
    assert (about(first).replayed, about(again).replayed) == (False, True)
    assert other["id"] != first["id"], "each call has a key of its own"
    with pytest.raises(Invalid) as refused:
        client.create_deployment({"template": "t", "name": "x"}, idempotency_key="wish-1")
    assert refused.value.status == 422


def test_nobody_overwrites_what_they_have_not_seen(client):
    client.create_template(TEMPLATE)
    seen = about(client.get_template("t")).etag
    mine = {"task_groups": [{"name": "main", "tasks": [{"name": "a", "config": {"command": "/bin/mine"}}]}]}
    theirs = {
        "task_groups": [{"name": "main", "tasks": [{"name": "a", "config": {"command": "/bin/theirs"}}]}]
    }
    client.put_template("t", theirs, if_match=seen)
    with pytest.raises(PreconditionFailed):
        client.put_template("t", mine, if_match=seen)
    assert client.get_template("t")["task_groups"][0]["tasks"][0]["config"]["command"] == "/bin/theirs"


def test_errors_name_the_request(client):
    with pytest.raises(NotFound) as unknown:
        client.get_node("nowhere", request_id="mine-7")
    assert (unknown.value.status, unknown.value.request_id) == (404, "mine-7")
    assert "nowhere" in str(unknown.value)
    with pytest.raises(Invalid, match="limit"):
        client.list_nodes(limit=0)
    with pytest.raises(Conflict):
        client.get("/v1/deployments/" + client.create_deployment({"template": client.create_template(TEMPLATE)["name"]})["id"] + "/logs")  # fmt: skip


def test_all_rows_of_all_pages_in_order(api, client):
    for number in range(7):
        Puppet(api.manager, f"n{number}", ip=f"10.0.0.{number + 1}")
    assert [row["id"] for row in client.iter_nodes(limit=3, sort="-id")] == [
        f"n{n}" for n in range(6, -1, -1)
    ]
    assert client.list_nodes(limit=3, fields="id")["total"] == 7
    client.label_node("n1", {"labels": {"zone": "a", "disk": "ssd"}})
    client.label_node("n2", {"labels": {"zone": "a"}})
    assert [row["id"] for row in client.list_nodes(label=["zone=a", "disk"])["data"]] == ["n1"]


def test_a_watch_sees_every_change_to_the_last(api, client):
    """What is watched ends up at what there is; nothing is asked for again and again meanwhile."""
    seen = []

    def watch():
        with Client(api.url) as watcher:
            for row in watcher.watch_template("t", wait=20):
                seen.append(row["task_groups"][0]["tasks"][0]["config"]["command"])
                if seen[-1] == "/bin/last":
                    return

    client.create_template(TEMPLATE)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    eventually(lambda: seen)
    for word in ("one", "two", "last"):
        client.put_template("t", {"task_groups": [{"name": "main", "tasks": [{"name": "a", "config": {"command": f"/bin/{word}"}}]}]})  # fmt: skip
    eventually(lambda: not thread.is_alive())
    assert seen[0] == "/bin/true"
    assert seen[-1] == "/bin/last"
    assert len(seen) == len(set(seen)), "nothing is told twice"


def test_the_same_without_blocking(api):
    """Twenty templates made at once, pages read, and a change watched, on one loop."""

    async def work():
        async with AsyncClient(api.url) as client:
            await asyncio.gather(*(client.create_template({**TEMPLATE, "name": f"t{n}"}) for n in range(20)))
            names = [row["name"] async for row in client.iter_templates(limit=6)]
            watch = client.watch_template("t0", wait=20)
            first = await anext(watch)
            await client.put_template("t0", {"task_groups": [{"name": "main", "tasks": [{"name": "b", "config": {"command": "/bin/b"}}]}]})  # fmt: skip
            second = await anext(watch)
            await watch.aclose()
            with pytest.raises(NotFound):
                await client.get_node("nowhere")
            return names, first, second

    names, first, second = asyncio.run(work())
    assert sorted(names) == sorted(f"t{n}" for n in range(20))
    assert [each["task_groups"][0]["tasks"][0]["name"] for each in (first, second)] == ["a", "b"]


def test_many_threads_share_a_client(client):
    client.create_template(TEMPLATE)
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: client.get_template("t")["name"], range(40)))
    assert names == ["t"] * 40


def test_events_are_followed_from_where_one_is(api, client):
    past = client.list_events(limit=1)["data"]
    known = past[0]["id"] if past else "0-0"
    client.create_template(TEMPLATE)
    row = next(client.follow_events(after=known, kind="api"))
    assert row["id"] > known
    assert row["kind"].startswith("api")
