"""Nothing grows with time alone: after much has come and gone, the store is what it was."""

import threading

import pytest

from manager_api.controller import loop
from manager_api.controller.loop import Controller
from manager_api.core.retention import KEPT, MOST_VERSIONS, SUPERSEDED_FOR
from store.kv import store as store_module
from store.kv.api import Change
from store.kv.asks import Answers, Asks, Chunk
from store.kv.connection import connect
from store.kv.watch import Watch
from tests.conftest import SOAK, eventually, fresh_store
from tests.fakes import Manager, Puppet

pytestmark = pytest.mark.integration

ROUNDS, DEPLOYMENTS = (10, 200) if SOAK else (2, 12)
COLLECTIONS = ("templates", "templates:versions", "deployments", "deployments:status", "allocations", "nodes", "nodes:status")  # fmt: skip


def another_client(store):
    kwargs = store.client.connection_pool.connection_kwargs
    return connect(f"redis://127.0.0.1:{kwargs['port']}/0", name="watch", password=kwargs["password"])


class World:
    """A manager whose controller lives by a clock of ours, and two obedient nodes."""

    def __init__(self, store, clock):
        self.store, self.clock = store, clock
        self.manager = Manager(store)
        controller = self.manager.controller = Controller(store, another_client(store), "test", clock)
        self.nodes = [Puppet(self.manager, f"{store.keys.prefix[:-1]}.{name}") for name in ("a", "b")]
        self.thread = threading.Thread(target=controller.run, daemon=True)
        self.thread.start()
        eventually(lambda: controller.mirror is not None)
        self.version = 0

    def end(self):
        self.manager.controller.stop()
        self.thread.join(10)

    def pass_time(self, seconds=15.0, until=lambda: True):
        """Time passes, in which nodes do what they are told, until something holds."""

        def once():
            self.clock.advance(seconds)
            for node in self.nodes:
                node.obey(t={"state": "completed", "exit_code": 0})
            return until()

        eventually(once, every=0.05)

    def churn(self):
        """Templates change, deployments come, restart and end, logs are read; a day later all is gone."""
        asks = Asks(self.store.client, self.store.keys)
        for number in range(DEPLOYMENTS):
            self.version += 1
            node = self.nodes[number % 2]
            task = {"name": "t", "config": {"command": f"/bin/echo {self.version:06}", "node": node.node}}
            assert self.manager.post("/api/task/task_group", {"name": "etl", "task_groups": [{"tasks": [task]}]}).status_code == 200  # fmt: skip
            answer = self.manager.post("/api/task/task_group/deploy", {"name": "etl"})
            assert answer.status_code == 200, answer.text
            which = {"id": answer.json["id"]}
            if number % 3 == 0:
                said = self.manager.post(f"/v1/deployments/{which['id']}/restart", {})
                assert said.status_code < 300, said.text
            if number % 4 == 0:
                assert self.manager.post("/api/task/task_group/stop", which).status_code == 200
            asks.send(node.node, f"a{self.version}", "open", files=[])
            node.link.chunk(f"a{self.version}", [Chunk({"seq": 0}, b"x" * 1000)])
            asks.close(Answers(node.node, f"a{self.version}"))
        ended = ("COMPLETED", "FAILED", "STOPPED")
        self.pass_time(until=lambda: all(each["status"] in ended for each in self.statuses()))
        self.pass_time(
            KEPT + 1, until=lambda: self.store.client.hlen(self.store.keys.collection("deployments")) == 0
        )
        self.pass_time(SUPERSEDED_FOR + 1, until=lambda: self.store.client.hlen(self.store.keys.collection("templates:versions")) <= MOST_VERSIONS)  # fmt: skip
        self.pass_time(until=self._is_pruned)

    def _is_pruned(self):
        """Whether the leader has gone through its memory since, the last of its chores."""
        fleet = self.manager.controller.mirror.fleet
        return not fleet.of_deployment and fleet._groups.keys() <= fleet.versions.keys()

    def statuses(self):
        from store.codec import loads

        return [loads(raw) for raw in self.store.values("deployments:status").values()]

    def measure(self):
        client, keys = self.store.client, self.store.keys
        names = sorted(client.scan_iter(f"{keys.prefix}*", count=1000))
        fields = {
            name: (client.hlen(keys.collection(name)), client.hlen(keys.revisions(name)))
            for name in COLLECTIONS
        }
        for node in self.nodes:
            own = keys.node(node.node)
            fields[node.node] = client.hlen(own.desired), client.hlen(own.actual), client.xlen(own.wake)
        # Events fill up to their own bound, which tests/unit/test_events.py holds them to.
        counted = [name for name in names if b":ask" not in name and name.decode() != keys.events]
        memory = sum(client.memory_usage(name, samples=0) for name in counted)
        fleet = self.manager.controller.mirror.fleet
        known = [
            len(each) for each in (fleet.deployments, fleet.allocations, fleet._groups, fleet._taken._counted)
        ]
        return {"keys": names, "fields": fields, "known": known}, client.xlen(keys.log), memory


@pytest.mark.timeout(1800 if SOAK else 120)
def test_what_comes_and_goes_leaves_nothing(servers, clock, monkeypatch):
    monkeypatch.setattr(loop, "LOG_KEPT", 40)
    world = World(fresh_store(servers("redis").client("test")), clock)
    try:
        found = []
        for _ in range(2):
            for _ in range(ROUNDS):
                world.churn()
            world.pass_time(until=lambda: world.store.client.xlen(world.store.keys.log) < 40 * 3)
            found.append(world.measure())
        (first, _, memory), (second, _, later) = found
        assert second == first
        assert later <= memory * 1.1 + 2000
    finally:
        world.end()


@pytest.fixture(params=["redis", "valkey"])
def real_store(request, servers):
    return fresh_store(servers(request.param).client("test"))


def test_the_log_is_bounded_while_nobody_leads(real_store, monkeypatch):
    monkeypatch.setattr(store_module, "MOST_LOGGED", 1000)
    watch = Watch(another_client(real_store), real_store.keys, epoch=real_store.epoch, after=0)
    lengths = []
    for number in range(600):
        real_store.txn([], [Change("c", f"{n}", b"x") for n in range(20 if number % 2 else 1)])
        lengths.append(real_store.client.xlen(real_store.keys.log))
    assert max(lengths) <= 1000 + 64 * 20
    assert lengths[-1] < max(lengths)
    from store.errors import Compacted

    with pytest.raises(Compacted) as gap:
        watch.poll(0)
    oldest = int(real_store.client.xrange(real_store.keys.log, count=1)[0][0].split(b"-")[0])
    assert gap.value.oldest == oldest - 1 == int(real_store.client.get(real_store.keys.compacted))
    later = Watch(another_client(real_store), real_store.keys, epoch=real_store.epoch, after=gap.value.oldest)
    revs = [event.rev for event in later.poll(0, most=10_000)]
    assert sorted(set(revs)) == list(range(oldest, 601)), "whole revisions go, and none between is missing"
    first = [rev for rev in revs if rev == oldest]
    assert len(first) in (1, 20)
    assert len(first) == (20 if (oldest - 1) % 2 else 1), "no revision is cut in two"
