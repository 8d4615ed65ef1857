"""A hundred nodes, one server of files, four turns: under real leaders that are killed, and with no secret told."""

import base64
import json
import os
import random
import threading
import time
from pathlib import Path

import pytest

from agentd.core.files.lease import HELD
from benchmarks.fleet.setting import Who
from manager_api.controller.turns import EPOCH
from store.codec import dumps, loads
from store.keys import DOWNLOADS, NODES, VERSIONS
from store.kv.connection import connect
from store.kv.node import RedisNodeLink
from store.kv.server import user_of
from tests.builders import a_task, a_template
from tests.conftest import SOAK, eventually
from tests.world import INTERVAL, TTL, World
from transfer import seal

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

PASSWORD = "hunter2-correct-horse"
LIMIT = 4
POOLS = ("~", "sftp://files.example:2222", "sftp://FILES.example:2222")
SOURCES = ("x.tgz", "sftp://files.example:2222/x.tgz")
BASE = {
    "MUSTER_SFTP_HOST": "sftp://joe@files.example:2222/apps/", "MUSTER_SFTP_PASSWORD": PASSWORD,
    "MUSTER_SFTP_FINGERPRINT": "SHA256:" + "a" * 43, "MUSTER_SOURCE_LIMIT": str(LIMIT),
}  # fmt: skip


class Door:
    """The server of files: who is connected, and how many there were at most."""

    def __init__(self):
        self.inside, self.most, self.served = set(), 0, []

    def enter(self, who):
        self.inside.add(who)
        self.most = max(self.most, len(self.inside))


class Agent:
    """One node that fetches a file so many times, by the rule of turns; one step at a time."""

    def __init__(self, world, node, door, times):
        self.node, self.door, self.times = node, door, times
        who = Who(node)
        url = world.server.local_url
        self.client = connect(url, name=node, username=user_of(node), password=who.secret)
        self.keys = world.store.keys
        self.link = RedisNodeLink(self.client, self.client, self.keys, node)
        self.uid = who.uid
        self.number, self.ask, self.private = 0, None, None
        self.until = self.next_beat = self.done_at = 0.0
        self.epoch, self.dead, self.told = "", False, set()
        self.sealed = 0

    def step(self):
        now = time.monotonic()
        if self.dead:
            self.door.inside.discard(self.node)
            return
        if self.ask is not None and self.inside and now >= self.until:
            self.close()  # nobody has answered for too long
        if self.inside and now >= self.done_at:
            self.times -= 1
            self.door.served.append(self.node)
            self.close()
            self.beat(hint=True)
        elif self.ask is None and self.times and self.epoch:
            self.number += 1
            self.ask = f"i-{self.number}", random.choice(POOLS)
            self.private, self.public = seal.new()
            self.beat(hint=True)
        elif now >= self.next_beat:
            self.beat()
        if self.ask is not None and not self.inside:
            self.look()

    @property
    def inside(self):
        return self.node in self.door.inside

    def close(self):
        self.door.inside.discard(self.node)
        self.ask = None

    def die(self):
        """As a machine does; it is noticed on the crew's thread."""
        self.dead = True

    def beat(self, *, hint=False):
        asks = {self.ask[0]: {"pool": self.ask[1], "key": self.public}} if self.ask else {}
        sent = time.monotonic()
        beat = {
            "v": 1, "uid": self.uid, "instance": "i", "ttl": TTL, "interval": INTERVAL, "epoch": self.epoch, "rev": 0,
            "cpus": 4, "memory_total": 8 << 30, "time": time.time(), "actual_seq": 0, "fetching": {"asks": asks},
        }  # fmt: skip
        self.epoch = self.link.beat(dumps(beat), int(TTL * 1000)).epoch
        self.until, self.next_beat = sent + TTL * HELD, sent + INTERVAL
        if hint:
            self.link.hint()

    def look(self):
        raw = self.client.get(self.keys.node(self.node).grant)
        said = loads(raw) if raw else {"grants": {}, "waiting": {}}
        self.told |= set(said["waiting"].values())
        grant = said["grants"].get(self.ask[0])
        if grant is None or time.monotonic() >= self.until:
            return
        told = json.loads(seal.unseal(grant["sealed"], self.private))
        assert (told["user"], told["password"]) == ("joe", PASSWORD)
        assert ("base" in told) is (self.ask[1] == "~")
        self.sealed += 1
        self.door.enter(self.node)
        self.done_at = time.monotonic() + random.uniform(0.02, 0.1)


class Crew(threading.Thread):
    """All agents, on one thread."""

    def __init__(self, agents):
        super().__init__(daemon=True)
        self.agents, self.stopping, self.trouble = agents, threading.Event(), None

    def run(self):
        try:
            while not self.stopping.wait(0.002):
                for agent in self.agents:
                    agent.step()
        except Exception as error:  # the test is told
            self.trouble = error

    def end(self):
        self.stopping.set()
        self.join(20)
        for agent in self.agents:
            agent.client.close()
        if self.trouble:
            raise self.trouble


def a_world(tmp_path, nodes):
    world = World(tmp_path / "store", nodes, mix=None)
    for node in world.nodes:
        found = loads(world.store.get(NODES, node).value)
        world.change_node(node, features=sorted({*found["features"], "artifacts"}))
    wanted = [{"source": each, "to": f"{n}"} for n, each in enumerate(SOURCES)]
    body = a_template(a_task(artifacts=wanted), name="files", count="all")
    world.store.put(VERSIONS, "1:files", dumps({"v": 1, "version": 1, "body": body}))
    return world


def secrets_in(world):
    """The files of the store, and logs beside it, that hold the password in any form it may take."""
    forms = [PASSWORD.encode(), base64.b64encode(PASSWORD.encode()), PASSWORD.encode().hex().encode()]
    client = world.store.client
    files = {str(path): path.read_bytes() for path in world.home.rglob("*") if path.is_file()}
    keys = {str(key): client.dump(key) or b"" for key in client.scan_iter("*")}
    return [name for name, raw in (files | keys).items() if any(form in raw for form in forms)]


@pytest.fixture
def world(tmp_path):
    found = a_world(tmp_path, 100)
    yield found
    found.end()


def test_never_more_than_the_limit_whoever_leads_and_the_password_is_nowhere(world):
    door, store = Door(), world.store
    agents = [Agent(world, node, door, times=10 if SOAK else 2) for node in world.nodes]
    rounds = agents[0].times
    first = world.lead("first", **BASE)
    crew = Crew(agents)
    crew.start()
    try:
        deployment = world.deploy(("files", 1))
        eventually(lambda: len(world.live(deployment)) == 100, 60)
        world.lead("second", **BASE)
        eventually(lambda: len(door.served) >= 20 and len(door.inside) == LIMIT, 60)
        assert secrets_in(world) == []
        victims = [agent for agent in agents if agent.node in door.inside][:2]
        first.kill()
        for agent in victims:
            agent.die()
        before = len(door.served)
        eventually(lambda: len(door.served) > before + LIMIT, 60)
        dead = {agent.node for agent in victims}
        eventually(lambda: not any(agent.times for agent in agents if not agent.dead), 90)
    finally:
        crew.end()
    assert door.most == LIMIT
    assert len(door.served) >= rounds * (100 - len(dead))
    assert any(
        "all 4 turns at sftp://files.example:2222 are taken" in each for a in agents for each in a.told
    )
    eventually(lambda: store.values(DOWNLOADS).keys() <= {EPOCH}, 20)
    keys = [store.keys.node(node).grant for node in world.nodes]
    eventually(lambda: store.client.exists(*keys) == 0, 20)
    store.client.bgrewriteaof()
    eventually(lambda: not store.client.info("persistence")["aof_rewrite_in_progress"])
    assert secrets_in(world) == []
    for process in world.controllers[1:]:
        assert PASSWORD.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


def test_a_stolen_credential_gets_no_turn_without_work_and_nobody_else_s_grant(tmp_path):
    world = a_world(tmp_path, 3)
    door = Door()
    agents = [Agent(world, node, door, times=1) for node in world.nodes]
    thief = agents[2]
    try:
        world.change_node(thief.node, cordoned={"since": time.time()})  # nothing is placed there
        world.lead("first", **BASE)
        for agent in agents:
            agent.beat(hint=True)
        deployment = world.deploy(("files", 1))

        def placed():
            for agent in agents:
                agent.beat()
            return {each["node"] for each in world.live(deployment).values()} == set(world.nodes[:2])

        eventually(placed, 30)

        def asking():
            for agent in agents:
                agent.ask = agent.ask or (f"i-{os.urandom(4).hex()}", "~")
                if agent.private is None:
                    agent.private, agent.public = seal.new()
                agent.beat(hint=True)
            raws = [world.store.client.get(world.store.keys.node(a.node).grant) for a in agents]
            if not all(raws):
                return None
            found = [loads(raw) for raw in raws]  # a leader that has just begun grants nothing yet
            return found if found[0]["grants"] and found[1]["grants"] and found[2]["waiting"] else None

        grants = eventually(asking, 30)
        assert [list(each["grants"]) for each in grants] == [[agents[0].ask[0]], [agents[1].ask[0]], []]
        assert "nothing that is to run on this node needs files" in grants[2]["waiting"][thief.ask[0]]
        assert json.loads(seal.unseal(grants[0]["grants"][agents[0].ask[0]]["sealed"], agents[0].private))
        with pytest.raises(ValueError, match="cannot be opened"):
            seal.unseal(grants[0]["grants"][agents[0].ask[0]]["sealed"], thief.private)
        for words in (
            ("GET", world.store.keys.node(agents[0].node).grant),
            ("SET", world.store.keys.node(thief.node).grant, "x"),
            ("DEL", world.store.keys.node(thief.node).grant),
            ("HGETALL", world.store.keys.collection(DOWNLOADS)),
        ):
            with pytest.raises(Exception, match=r"(?i)no permissions"):
                thief.client.execute_command(*words)
    finally:
        for agent in agents:
            agent.client.close()
        world.end()
