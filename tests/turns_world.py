"""A leader's part in turns, real, over a store without a server; and agents that keep to the rule of turns.

A turn is valid while its ask stands in a heartbeat that was acknowledged and has not run out, and the grant
key lists it.
"""

import base64
from collections import Counter

from manager_api.base import base_settings
from manager_api.controller.mirror import Mirror
from manager_api.controller.turns import Turnstile
from store.codec import dumps, loads
from store.keys import ALLOCATIONS, DEPLOYMENTS, NODES, STATUS, VERSIONS
from store.model.turns import granted_by
from store.recipes.election import Election
from store.recipes.presence import Presence
from tests.builders import a_task, a_template
from tests.conftest import ManualClock

KEY = base64.b64encode(bytes(range(32))).decode()
BASE = base_settings("sftp://joe:hush@files/apps/")
POOLS = ("~", "sftp://files:22", "http://other:80")
SERVERS = {"~": POOLS[1]}
LIMIT, TTL, NODES_THERE = 2, 6.0, 6


class Killed(Exception):
    """The leader died here."""


class Agent:
    """A node. `opened` are its connections: ask to pool."""

    def __init__(self, world, node):
        self.world, self.node = world, node
        self.instance, self.asked = 0, 0
        self.asks, self.opened = {}, {}
        self.until, self.served = 0.0, 0
        self.silent = False

    def want(self, pool):
        if len(self.asks) < 3:
            self.asked += 1
            self.asks[f"{self.instance}-{self.asked}"] = pool

    def finish(self):
        for ask in list(self.opened)[:1]:
            del self.opened[ask], self.asks[ask]
            self.served += 1

    def die(self):
        """Its brain does, and its children with it; the next one asks under other names."""
        self.instance += 1
        pools = list(self.asks.values())
        self.asks, self.opened, self.until = {}, {}, 0.0
        for pool in pools:
            self.want(pool)

    def lapse(self):
        """Too long without an answer: all connections end, and their asks with them."""
        if self.until and self.world.clock.now() >= self.until:
            self.die()

    def beat(self, answered=True):
        if self.silent:
            return
        store, clock = self.world.store, self.world.clock
        asks = {ask: {"pool": pool, "key": KEY} for ask, pool in self.asks.items()}
        beat = {
            "v": 1, "uid": f"uid-{self.node}", "instance": str(self.instance), "ttl": TTL, "time": clock.now(),
            "rev": 0, "epoch": store.epoch, "cpus": 4, "memory_total": 8 << 30, "fetching": {"asks": asks},
        }  # fmt: skip
        keys = store.keys.node(self.node)
        store.client.set(keys.beat, dumps(beat))
        self.world.expires[self.node] = clock.now() + TTL
        if not answered:
            return
        self.until = clock.now() + TTL
        raw = store.client.get(keys.grant)
        granted = granted_by(loads(raw), f"uid-{self.node}") if raw else {}
        for ask in [ask for ask in self.opened if ask not in granted]:
            del self.opened[ask], self.asks[ask]
        self.opened |= {ask: pool for ask, pool in self.asks.items() if ask in granted}


class World:
    """A store, a leader, agents."""

    def __init__(self, store, artifacts=("x.tgz", "sftp://files/y.tgz", "http://other/x")):
        self.store, self.clock = store, ManualClock()
        self.agents = [Agent(self, f"n{number}") for number in range(NODES_THERE)]
        self.expires = {}
        body = a_template(a_task(artifacts=[{"source": each} for each in artifacts]))
        store.put(VERSIONS, "1:etl", dumps({"v": 1, "version": 1, "body": body}))
        about = {"v": 1, "template": "etl", "version": 1, "wanted": "running", "created": 1e9}
        store.put(DEPLOYMENTS, "dep", dumps(about))
        store.put(STATUS, "dep", dumps({"v": 1, "status": "RUNNING", "reason": "", "allocations": []}))
        for number, agent in enumerate(self.agents):
            record = {
                "v": 1,
                "uid": f"uid-{agent.node}",
                "hostname": "h",
                "features": [],
                "secret_sha256": "0",
            }
            store.put(NODES, agent.node, dumps(record))
            alloc = {
                "v": 1, "deployment": "dep", "template": "etl", "version": 1, "group": "group-0", "index": number, "part": 0,
                "node": agent.node, "uid": f"uid-{agent.node}", "generation": 1, "wanted": "running", "memory": 0, "cpus": 0.0,
            }  # fmt: skip
            store.put(ALLOCATIONS, f"dep.{number}", dumps(alloc))
            agent.beat()
        self.dies_in = None
        self.base = BASE.open()
        self.presence = Presence(self.clock)
        self.lead()

    def lead(self, *, same_process=False):
        """Another leader, which reads everything."""
        if not same_process:
            self.presence = Presence(self.clock)
        self.presence.grace()
        self.store.client.delete(self.store.keys.lease("leader"))
        election = Election(self.store, "me", self.clock, ttl=600)
        assert election.campaign()
        self.mirror = Mirror(self.store, self.clock, presence=self.presence)
        self.mirror.load()
        self.turnstile = Turnstile(
            self.store, self.mirror, election.token, self.clock, lambda: self.base, LIMIT
        )
        self.turnstile.load()
        self.round()

    def round(self, *, check=False):
        self.mirror.look([agent.node for agent in self.agents])
        try:
            self.turnstile.tick()
            if check:
                self.turnstile.check()
                self.turnstile.tick()
        except Killed:
            self.dies_in = None
            self.lead()

    def fault(self, _point):
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                raise Killed

    def passes(self, seconds):
        self.clock.advance(seconds)
        for agent in self.agents:
            agent.lapse()
            if self.clock.now() >= self.expires.get(agent.node, 0.0):
                self.store.client.delete(self.store.keys.node(agent.node).beat)

    def check(self):
        connected = Counter(
            SERVERS.get(pool, pool) for agent in self.agents for pool in agent.opened.values()
        )
        assert all(count <= LIMIT for count in connected.values()), connected
