"""What a controller decides comes out as events, with reasons, and into its manager's history."""

import contextlib

import pytest

from manager_api.chronicle import FILE, Reader
from manager_api.recorder import Recorder
from store.clock import SystemClock
from store.kv.events import Events
from store.model.event import BEGINNING, Wanted
from tests.conftest import eventually
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.integration

TASK = {"name": "a", "config": {"command": "sleep 1"}}


@pytest.fixture
def manager(store, server):
    found = Manager(store, watcher=server.client("watch")).lead()
    eventually(lambda: "leader" in kinds(found))  # what it found at first is no news
    yield found
    found.end()


def told(manager):
    events = Events(manager.store.client, manager.store.keys)
    return [each.event for each in events.after(BEGINNING)]


def kinds(manager):
    return [each["kind"] for each in told(manager)]


def test_the_life_of_a_deployment_is_told_and_recorded(manager, server, tmp_path):
    recorder = Recorder(tmp_path / FILE, lambda: server.client("recorder"), SystemClock(), manager.store.keys)
    recorder.start()
    puppet = Puppet(manager)
    manager.post("/api/task/task_group", {"name": "x", "task_groups": [{"tasks": [TASK]}]})
    deployment = manager.post("/api/task/task_group/deploy", {"name": "x"}).json["id"]
    eventually(lambda: "deployment.placed" in kinds(manager) or "deployment.advanced" in kinds(manager))
    eventually(puppet.orders)
    puppet.obey()
    manager.post("/api/task/task_group/stop", {"id": deployment})
    eventually(lambda: "allocation.stopped" in kinds(manager))
    puppet.obey()

    def history():
        wanted, reader = Wanted(deployment=deployment), Reader(tmp_path / FILE)
        with contextlib.suppress(OSError):  # the recorder has yet to make it
            found = [each["kind"] for each in reader.page(wanted, None, 100, newest_first=False)[0]]
            return found if "allocation.stopped" in found else None
        return None

    found = eventually(history)
    assert {"allocation.placed", "allocation.stopped", "api"} <= set(found)
    assert kinds(manager)[0] == "leader"
    assert all(each["reason"] and each["epoch"] == manager.store.epoch for each in told(manager))
    recorder.stop()


def test_a_refusal_says_why(manager):
    Puppet(manager)
    greedy = {**TASK, "resources": {"reservations": {"memory": "900G"}}}
    manager.post("/api/task/task_group", {"name": "x", "task_groups": [{"tasks": [greedy]}]})
    assert manager.post("/api/task/task_group/deploy", {"name": "x"}).status_code == 409
    eventually(lambda: "deployment.refused" in kinds(manager))
    [refused] = [each for each in told(manager) if each["kind"] == "deployment.refused"]
    assert refused["reason"]
    assert not [each for each in told(manager) if each["reason"].endswith("deploy")]


def test_nodes_that_go_come_and_are_replaced(manager):
    puppet = Puppet(manager, ttl=1.0)
    eventually(lambda: kinds(manager).count("node.online") == 1)
    puppet.link.leave()
    eventually(lambda: "node.offline" in kinds(manager))
    puppet.uid = "another"
    assert manager.post("/v1/nodes/join", puppet.join_body()).status_code == 200
    eventually(lambda: "node.replaced" in kinds(manager))


def test_a_new_leader_does_not_tell_of_all_nodes_again(manager, server):
    Puppet(manager)
    eventually(lambda: "node.online" in kinds(manager))
    manager.end()
    other = Manager(manager.store, watcher=server.client("watch")).lead()
    eventually(lambda: kinds(manager).count("leader") == 2)
    Puppet(other, "web-2", "192.168.10.101")
    eventually(lambda: kinds(manager).count("node.online") == 2)
    assert [each["subject"]["node"] for each in told(manager) if each["kind"] == "node.online"] == [
        "web-1",
        "web-2",
    ]
    other.end()


def test_a_stream_that_cannot_be_written_stops_nobody(manager):
    manager.store.client.delete(manager.store.keys.events)
    manager.store.client.set(manager.store.keys.events, "in the way")
    puppet = Puppet(manager)
    manager.post("/api/task/task_group", {"name": "x", "task_groups": [{"tasks": [TASK]}]})
    assert manager.post("/api/task/task_group/deploy", {"name": "x"}).status_code == 200
    eventually(puppet.orders)
