"""A manager in one process, and nodes that are puppets of a test."""

import hashlib
import threading

import falcon.testing

from manager_api.controller.loop import Controller
from manager_api.http.app import create_app
from manager_api.http.deployments import deployments
from manager_api.http.services import Services
from manager_api.settings import StoreAccess
from store.clock import SystemClock
from store.codec import dumps, loads
from store.kv.node import RedisNodeLink
from tests.builders import FEATURES
from tests.conftest import eventually

ACCESS = StoreAccess(url="redis://127.0.0.1:1/0", advertised_port=None, password_file=None, holder="test")

USUAL, PATIENT = deployments.DECIDED_WITHIN, 20.0
"""Seconds that a deploy waits for a leader who is there: on a busy machine that takes a while."""


class Manager:
    """API (by Falcon's test client) over a store, with a controller thread if wanted."""

    def __init__(self, store, *, watcher=None):
        _decided_within(USUAL, instead_of=PATIENT)  # a test that had its own may have put it back
        self.store = store
        self.services = Services(ACCESS, SystemClock(), store)
        self.http = falcon.testing.TestClient(create_app(self.services))
        self.controller = Controller(store, watcher or store.client, "test", SystemClock())
        self._thread = None

    def lead(self):
        _decided_within(PATIENT, instead_of=USUAL)
        self._thread = threading.Thread(target=self.controller.run, daemon=True)
        self._thread.start()
        return self

    def notice(self, node):
        """If there is a leader, wait until it knows that a node is online: what is placed before is placed elsewhere."""
        if self._thread is None:
            return

        def known():
            mirror = self.controller.mirror
            state = mirror.fleet.states.get(node) if mirror is not None else None
            return state is not None and state.online

        eventually(known)

    def end(self):
        _decided_within(USUAL, instead_of=PATIENT)
        self.controller.stop()
        if self._thread:
            self._thread.join(10)

    def post(self, path, body):
        return self.http.simulate_post(path, json=body)

    def get(self, path):
        return self.http.simulate_get(path)


def _decided_within(seconds, *, instead_of):
    """A test that has its own keeps it."""
    if instead_of == deployments.DECIDED_WITHIN:
        deployments.DECIDED_WITHIN = seconds


class Puppet:
    """A node whose test says what it says."""

    def __init__(self, manager, node="web-1", ip="192.168.10.100", **beat):
        self.manager, self.node, self.uid = manager, node, f"uid-{node}"
        self.link = RedisNodeLink(manager.store.client, manager.store.client, manager.store.keys, node)
        self.seq = 0
        self.fields = {
            "v": 1, "uid": self.uid, "instance": f"i-{node}", "started": 1.0, "hostname": f"host-{node}",
            "time": 1.0, "ttl": 600.0, "interval": 5.0, "rev": 0, "epoch": "", "frozen": None, "running": 0,
            "cpu_percent": 49.6, "memory_percent": 30.4, "disk_percent": 12.0, "memory_total": 8 << 30, "cpus": 4,
            **beat,
        }  # fmt: skip
        joined = manager.post("/v1/nodes/join", self.join_body(ip))
        assert joined.status_code == 200, joined.text
        self.beat()
        manager.notice(node)

    def join_body(self, ip="192.168.10.100", **more):
        return {
            "id": self.node, "uid": self.uid, "hostname": f"host-{self.node}", "addresses": [ip],
            "secret_sha256": hashlib.sha256(b"x").hexdigest(), "version": "0.1.0",
            "features": [*FEATURES], **more,
        }  # fmt: skip

    def beat(self, ttl_ms=600_000, **more):
        self.fields.update(more)
        pulse = self.link.beat(dumps({**self.fields, "actual_seq": self.seq}), ttl_ms)
        self.link.hint()
        return pulse

    def orders(self):
        return {key: loads(raw) for key, raw in self.link.fetch().entries.items()}

    def obey(self, **states):
        """Say of every task in the orders what `states` has by task name, else running or stopped."""
        desired, puts = self.link.fetch(), {}
        for key, raw in desired.entries.items():
            entry = loads(raw)
            usual = "running" if entry["wanted"] == "running" else "stopped"
            rows = [{"name": task["name"], "state": usual, "pid": 4711, "exit_code": None, "restarts": 0, "reason": ""} for task in entry["tasks"]]  # fmt: skip
            for row in rows:
                row.update(states.get(row["name"], {}))
            puts[key] = dumps({"v": 1, "uid": self.uid, "epoch": desired.epoch, "rev": entry["rev"], "generation": entry["generation"], "wanted": entry["wanted"], "tasks": rows})  # fmt: skip
        self.link.report(puts, [key for key in self.link.reported() if key not in puts])
        self.seq += 1
        self.beat(rev=desired.rev, epoch=desired.epoch)
