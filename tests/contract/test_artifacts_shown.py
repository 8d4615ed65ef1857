"""What a node says of files reaches whoever asks, and the leader's words of a deployment stay as they are."""

import pytest

from store.codec import loads
from store.keys import STATUS
from tests.builders import FEATURES, a_task, a_template
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.contract
FILES = a_template(a_task(artifacts=[{"source": "clean.tgz", "sha256": "0" * 64}]))


class Fetcher(Puppet):
    """A node that knows of files."""

    def join_body(self, *words, **more):
        return super().join_body(*words, features=[*FEATURES, "artifacts"], **more)


@pytest.fixture
def manager(store, server):
    found = Manager(store, watcher=server.client("watch")).lead()
    eventually(lambda: found.get("/readyz").status_code == 200)
    yield found
    found.end()


def test_files_go_to_a_node_that_knows_of_them_as_they_were_written(manager):
    old = Puppet(manager, "old", "10.0.0.1")
    manager.post("/api/task/task_group", FILES)
    refused = manager.post("/api/task/task_group/deploy", {"name": "etl"})
    assert refused.status_code == 409, refused.text
    (row,) = refused.json["nodes"]
    assert row == {"node": "old", "reason": "runs agent 0.1.0, which does not offer artifacts"}
    new = Fetcher(manager, "new", "10.0.0.2")
    manager.post("/api/task/task_group/deploy", {"name": "etl"})
    (order,) = eventually(lambda: list(new.orders().values()))
    assert order["tasks"][0]["artifacts"] == [{"source": "clean.tgz", "sha256": "0" * 64}]
    assert not [each for each in old.orders().values() if each["wanted"] == "running"]


def test_bytes_that_come_are_seen_by_who_asks_and_written_by_nobody_but_their_node(manager):
    node = Fetcher(manager)
    manager.post("/api/task/task_group", FILES)
    found = manager.post("/api/task/task_group/deploy", {"name": "etl"}).json["id"]
    eventually(node.orders)

    def status():
        return manager.store.get(STATUS, found)

    def says(reason, **fetch):
        node.obey(main={"state": "fetching", "pid": None, "reason": reason, "fetch": fetch})

    says("no turn yet", done=0, total=None, rate=None)
    eventually(lambda: "no turn yet" in loads(status().value)["reason"])
    says("", done=1, total=9, rate=2.5)
    eventually(lambda: loads(status().value)["reason"] == "task main on web-1 fetching")
    before = manager.store.meta().rev
    for done in (2, 3, 4):
        says("", done=done, total=9, rate=2.5, more="x" * 10_000)
    wanted = {"done": 4, "total": 9, "rate": 2.5}
    for row in (manager.get(f"/deployments/{found}").json, manager.get("/v1/deployments").json["data"][0]):
        assert row["tasks"][0]["fetch"] == wanted
        assert row["tasks"][0]["state"] == "fetching"
    says("the end", done=9, total=9, rate=2.5)
    eventually(lambda: "the end" in loads(status().value)["reason"])
    assert manager.store.meta().rev == before + 1, "one word for all that: the last"
    assert b'"fetch"' not in status().value
