"""A simulated fleet under real controllers: what the scenarios of many nodes play in."""

import os
import signal
import subprocess
import sys
import time
import uuid
from urllib.parse import urlsplit

from benchmarks.fleet.crew import Fleet
from benchmarks.fleet.enrol import enrol
from benchmarks.fleet.setting import Setting, Who
from manager_api.http.templates.schemas import TemplateSchema
from manager_api.http.templates.templates import save
from store import bootstrap
from store.codec import dumps, loads
from store.embedded import EmbeddedServer
from store.errors import Conflict
from store.home import Files
from store.keys import ALLOCATIONS, DEPLOYMENTS, NODES, STATUS
from store.kv.projection import Projection
from store.kv.store import Store
from tests.conftest import eventually, server_binary

INTERVAL, TTL = 0.5, 3.0
_SCHEMA = TemplateSchema()


class World:
    """A store, simulated agents, and controllers: processes of their own, so that they can be killed.

    Without a `mix` the nodes are there, and whoever asked for them plays their agents.
    """

    def __init__(self, home, nodes, mix="obey"):
        self.home = home
        home.mkdir()
        self.server = EmbeddedServer(Files(home), binary=server_binary("redis"))
        self.server.start()
        self.store = store = Store(self.server.client("world"))
        bootstrap.begin(store, None)
        self.nodes = [f"sim-{number:03}" for number in range(nodes)]
        enrol(store, [Who(node) for node in self.nodes])
        url = urlsplit(self.server.local_url)
        setting = Setting((url.hostname, url.port), store.keys.prefix, interval=INTERVAL, ttl=TTL)
        self.fleet = Fleet(setting, self.nodes, mix, processes=0) if mix else None
        self.controllers = []
        self.projection = Projection(store)

    def lead(self, holder="first", **more):
        """Start a controller, with `more` in its environment; it leads once nobody else does."""
        environment = {
            **os.environ, "MUSTER_STORE_URL": self.server.local_url, "MUSTER_HOLDER": holder,
            "MUSTER_STORE_PASSWORD_FILE": str(self.server.files.password), **more,
        }  # fmt: skip
        argv = [sys.executable, "-P", "-m", "manager_api.controller"]
        with (self.home / f"{holder}.log").open("ab") as log:
            process = subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.controllers.append(process)
        return process

    def end(self):
        if self.fleet:
            self.fleet.end()
        for process in self.controllers:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(20)
        self.server.stop()

    # -- what people do

    def template(self, *groups, name="web", **more):
        body = _SCHEMA.load({"name": name, "task_groups": list(groups), **more})
        return name, save(self.store, body)

    def deploy(self, template, **record):
        deployment = str(uuid.uuid4())
        record = {"v": 1, "template": template[0], "version": template[1], "wanted": "running",
                  "created": time.time(), **record}  # fmt: skip
        self.store.put(DEPLOYMENTS, deployment, dumps(record), rev=0)
        return deployment

    def change(self, deployment, **fields):
        self._change(DEPLOYMENTS, deployment, fields)

    def change_node(self, node, **fields):
        self._change(NODES, node, fields)

    def _change(self, collection, field, fields):
        while True:
            found = self.store.get(collection, field)
            try:
                self.store.put(collection, field, dumps({**loads(found.value), **fields}), rev=found.rev)
            except Conflict:
                continue
            return

    # -- what is so

    def online(self):
        beats = self.projection.beats(self.nodes)
        return [node for node, beat in zip(self.nodes, beats, strict=True) if beat is not None]

    def status(self, deployment):
        found = self.store.get(STATUS, deployment)
        return loads(found.value) if found else {}

    def live(self, deployment):
        """The allocations that are to run, by id."""
        found = {key: loads(raw) for key, raw in self.store.values(ALLOCATIONS).items()}
        return {
            key: data
            for key, data in found.items()
            if data["deployment"] == deployment and data["wanted"] == "running"
        }

    def running(self, deployment):
        """What the nodes say runs of a deployment: allocation id to node."""
        return self.running_of(deployment, self.nodes)

    def settled(self, deployment, count, **wanted):
        """So many live allocations, each running where it should, with such fields."""
        live, runs = self.live(deployment), self.running(deployment)
        there = {key: data["node"] for key, data in live.items()}
        right = all(data.get(key) == value for data in live.values() for key, value in wanted.items())
        return len(live) == count and right and {key: runs.get(key) for key in there} == there

    def wait(self, deployment, *states, seconds=60):
        eventually(lambda: self.status(deployment).get("status") in states, seconds)

    def settled_elsewhere(self, deployment, count, lost):
        """So many live allocations, none of them on these nodes, each running where it should."""
        live, runs = self.live(deployment), self.running_of(deployment, set(self.nodes) - set(lost))
        there = {key: data["node"] for key, data in live.items()}
        return (
            len(live) == count
            and not {*there.values()} & {*lost}
            and {k: runs.get(k) for k in there} == there
        )

    def running_of(self, deployment, nodes):
        """What some nodes say runs of a deployment: allocation id to node."""
        found = {}
        for node, entries in zip(sorted(nodes), self.projection.actual(sorted(nodes)), strict=True):
            for key, raw in (entries or {}).items():
                said = loads(raw) if key.startswith(f"{deployment}.") else {}
                if said.get("wanted") == "running" and {row["state"] for row in said["tasks"]} == {"running"}:
                    found[key] = node
        return found

    def brake(self):
        found = self.store.get("controls:status", "brake")
        return loads(found.value) if found else {}

    def entries(self, deployment):
        """The desired entries of a deployment, by allocation id."""
        return {
            key: loads(raw)
            for desired in self.projection.desired(self.nodes).values()
            for key, raw in desired.entries.items()
            if key.startswith(f"{deployment}.")
        }

    def peers(self, deployment, key):
        """What those who depend on `key` are told of it."""
        return [
            each["peers"][key] for each in self.entries(deployment).values() if key in each.get("peers", {})
        ]
