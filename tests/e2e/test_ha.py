"""Several managers on one store under Sentinel: any of them may die, and any server of the store."""

import contextlib
import os
import signal

import psutil
import pytest

from store.kv.store import Store
from tests.conftest import eventually
from tests.e2e.conftest import UNANSWERED, Cluster, pid_and_start, shell
from tests.sentinels import SentinelStore

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

SLEEP = {"name": "t", "config": {"command": shell("exec sleep 600")}, "stop": {"timeout": "2s"}}


class Fleet:
    """Two managers on a store under Sentinel, and an agent that joined by way of the first."""

    def __init__(self, home):
        self.sentinels = SentinelStore(home)
        self.managers = []
        for name in ("a", "b"):
            (home / name).mkdir()
            self.managers.append(Cluster(home / name))

    def start(self):
        for manager in self.managers:
            manager.start_manager("--store", self.sentinels.url)
        self.managers[0].start_agent()
        return self

    def leader(self):
        """The manager that leads, or None."""
        with contextlib.suppress(Exception):
            held = self.sentinels.client().get("muster:leader")
            for manager in self.managers:
                holder = (manager.db.with_name(manager.db.name + ".d") / "holder").read_text()
                if held is not None and held.decode().partition(":")[2] == holder:
                    return manager
        return None

    def end(self):
        for manager in self.managers:
            manager.end()
        self.sentinels.end()


@pytest.fixture
def fleet(tmp_path):
    made = []

    def start():
        made.append(Fleet(tmp_path))
        return made[-1].start()

    yield start
    for each in made:
        each.end()


def running(manager, deployment):
    """Who its one task is, while it runs."""
    rows = manager.deployment(deployment)["tasks"]
    return pid_and_start(rows[0]) if len(rows) == 1 and rows[0]["state"] == "running" else None


def deployed(manager, name):
    """A deployment of a template, asked for until it is taken; its id."""
    body = {"name": name, "task_groups": [{"tasks": [SLEEP]}]}

    def asked(path, body):
        with contextlib.suppress(*UNANSWERED):
            status, answer = manager.call(path, body)
            return answer if status == 200 else None
        return None

    eventually(lambda: asked("/api/task/task_group", body), 60)

    def taken():
        answer = asked("/api/task/task_group/deploy", {"name": name})
        return answer["id"] if answer and manager.is_taken(answer["id"]) else None

    return eventually(taken, 90)


def test_a_leading_manager_dies_and_the_other_one_goes_on(fleet):
    both = fleet()
    leader = eventually(both.leader)
    other = next(each for each in both.managers if each is not leader)
    first = deployed(leader, "first")
    before = eventually(lambda: running(other, first))
    os.kill(leader.manager.pid, signal.SIGKILL)
    leader.manager.wait()
    eventually(lambda: both.leader() is other, 30)
    second = deployed(other, "second")
    eventually(lambda: running(other, second), 30)
    eventually(lambda: running(other, first) == before)
    eventually(lambda: other.nodes().get("web-1", {}).get("frozen", "?") is None)
    agents = both.managers[0]
    assert all(process.poll() is None for process in agents.agents.values())
    other.stop(first)
    other.wait(first, "STOPPED")
    assert not psutil.pid_exists(before[0])


def test_a_fail_over_stops_no_task_and_work_goes_on(fleet):
    both = fleet()
    manager = both.managers[0]
    first = deployed(manager, "first")
    before = eventually(lambda: running(manager, first))
    another = deployed(manager, "another")

    def stopped():
        answer = manager.muster("stop", "--replicated", "--no-wait", another)
        return answer.returncode, answer.stderr

    eventually(lambda: stopped() == (0, ""), 60)
    users = [lambda n=n: both.sentinels.admin(n).acl_users() for n in range(3)]
    eventually(lambda: all("node:web-1" in ask() for ask in users), 40)
    both.sentinels.kill(0)
    both.sentinels.promoted(0)
    second = deployed(both.managers[1], "second")
    eventually(lambda: running(both.managers[1], second), 60)
    assert eventually(lambda: running(manager, first), 60) == before
    eventually(lambda: manager.online("web-1") and manager.nodes()["web-1"]["frozen"] is None, 60)


def test_no_task_stops_when_a_fail_over_loses_what_was_acknowledged(fleet):
    """The order to stop is lost as well as the order to run: neither absence is obeyed."""
    both = fleet()
    manager = both.managers[0]
    kept = deployed(manager, "kept")
    before = {"kept": eventually(lambda: running(manager, kept))}
    store = Store(both.sentinels.client())
    store.attach()
    assert eventually(lambda: store.confirm(2))
    # The preflight refuses a store that takes writes without replicas; this is what it spares you.
    both.sentinels.admin(0).config_set("min-replicas-to-write", 0)
    both.sentinels.cut()
    lost = deployed(manager, "lost")
    before["lost"] = eventually(lambda: running(manager, lost))
    store.attach()
    seen = store.meta().rev
    answer = manager.muster("deploy", "--replicated", "--no-wait", "kept")
    assert answer.returncode == 0, answer.stderr
    assert "no replica of the store confirmed it" in answer.stderr
    both.sentinels.kill(0)
    both.sentinels.mend()
    new = both.sentinels.promoted(0)
    meta = eventually(lambda: meta_of(both), 30)
    assert meta.epoch != store.epoch or meta.rev < seen
    eventually(lambda: both.sentinels.admin(new).get("muster:n:{web-1}:hb"), 40)
    for process in manager.agents.values():
        assert process.poll() is None
    # A few rounds of agent and leaders on what the new primary has.
    beats = both.sentinels.admin(new)
    first = beats.get("muster:n:{web-1}:hb")
    eventually(lambda: beats.get("muster:n:{web-1}:hb") not in (None, first), 40)
    for pid, started in before.values():
        assert psutil.Process(pid).create_time() == started


def meta_of(both):
    with contextlib.suppress(Exception):
        return Store(both.sentinels.client()).meta()
    return None
