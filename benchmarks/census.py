"""A store that holds a large fleet already: records, heartbeats and reports as managers and agents leave them."""

import time
from hashlib import sha256

from agentd.facts.node import FEATURES
from store.codec import dumps
from store.keys import ALLOCATIONS, DEPLOYMENTS, NODES, STATUS, VERSIONS, version_field
from store.version import VERSION

AT_ONCE = 2000
PULSES = 20
"""Parts in which a fleet's heartbeats come."""
TEMPLATE = "service"
BODY = {
    "v": 1, "name": TEMPLATE, "version": 1, "task_groups": [{
        "name": "main", "tasks": [{
            "name": "main", "config": {"command": "/bin/sleep 1000", "env": {"LEVEL": "info"}},
            "resources": {"reservations": {"memory": "16M", "cpus": "0.01"}}}]}],
}  # fmt: skip


class Census:
    """Writes past the scripts, which would take minutes; what it leaves is what they would have left."""

    def __init__(self, store, *, nodes, allocations, per_deployment=10, ttl=60.0):
        self._store, self._ttl = store, ttl
        self._rev = store.seen
        self.nodes = [f"sim-{number}" for number in range(nodes)]
        self._per = per_deployment
        self.allocations = allocations

    def fill(self):
        """All of it; some seconds."""
        self._rev += 1
        body = {**BODY, "task_groups": [{**BODY["task_groups"][0], "count": self._per}]}
        self._records(VERSIONS, {version_field(TEMPLATE, 1): {"v": 1, "body": body}})
        self._records(NODES, {node: self._node(node) for node in self.nodes})
        of_deployment, on_node = {}, {}
        for number in range(self.allocations):
            deployment = f"{number // self._per:08x}-5c0d-4e5e-8a6b-1234567890ab"
            of_deployment.setdefault(deployment, []).append((number % self._per, number))
        allocations = {}
        for deployment, numbers in of_deployment.items():
            for index, number in numbers:
                node = self.nodes[number % len(self.nodes)]
                alloc_id = f"{deployment}.{index}"
                allocations[alloc_id] = self._allocation(deployment, index, node)
                on_node.setdefault(node, []).append(alloc_id)
        self._records(ALLOCATIONS, allocations)
        self._records(DEPLOYMENTS, {name: self._deployment() for name in of_deployment})
        self._records(STATUS, {name: self._status(name, allocations, numbers)
                               for name, numbers in of_deployment.items()})  # fmt: skip
        self._store.client.set(self._store.keys.rev, self._rev)
        self._store.attach()
        self._nodes_keys(on_node, allocations)

    def pulse(self, number):
        """The heartbeats of every so manieth node, as they would be now."""
        pipe = self._store.client.pipeline(transaction=False)
        for node in self.nodes[number % PULSES :: PULSES]:
            pipe.set(self._store.keys.node(node).beat, dumps(self._beat(node, 1)), px=int(self._ttl * 1000))
        pipe.execute()

    def _records(self, name, records):
        keys = self._store.keys
        pipe = self._store.client.pipeline(transaction=False)
        for count, (field, record) in enumerate(records.items(), 1):
            pipe.hset(keys.collection(name), field, dumps(record))
            pipe.hset(keys.revisions(name), field, self._rev)
            if count % AT_ONCE == 0:
                pipe.execute()
        pipe.execute()

    def _nodes_keys(self, on_node, allocations):
        pipe = self._store.client.pipeline(transaction=False)
        epoch, rev = self._store.epoch, self._rev
        for count, node in enumerate(self.nodes, 1):
            keys = self._store.keys.node(node)
            mine = on_node.get(node, ())
            for alloc_id in mine:
                entry = {**allocations[alloc_id], "tasks": BODY["task_groups"][0]["tasks"]}
                for ours in ("node", "uid", "part", "memory", "cpus"):
                    del entry[ours]
                pipe.hset(keys.desired, alloc_id, b'{"rev":%d,' % rev + dumps(entry)[1:])
                pipe.hset(keys.actual, alloc_id, dumps(self._said(node)))
            pipe.hset(keys.desired, mapping={"@rev": rev, "@epoch": epoch, "@node": f"uid-{node}"})
            pipe.set(keys.beat, dumps(self._beat(node, len(mine))), px=int(self._ttl * 1000))
            if count % (AT_ONCE // 10) == 0:
                pipe.execute()
        pipe.execute()

    @staticmethod
    def _node(node):
        return {
            "v": 1, "uid": f"uid-{node}", "hostname": node, "ip": "127.0.0.1", "addresses": ["127.0.0.1"],
            "version": VERSION, "features": list(FEATURES), "joined": 1.0,
            "secret_sha256": sha256(f"secret-{node}".encode()).hexdigest(),
        }  # fmt: skip

    @staticmethod
    def _deployment():
        return {"v": 1, "template": TEMPLATE, "version": 1, "wanted": "running", "created": 1.0}

    @staticmethod
    def _allocation(deployment, index, node):
        return {
            "v": 1, "deployment": deployment, "template": TEMPLATE, "version": 1, "group": "main",
            "index": index, "part": 0, "node": node, "uid": f"uid-{node}", "generation": 1,
            "wanted": "running", "memory": 16 << 20, "cpus": 0.01,
        }  # fmt: skip

    @staticmethod
    def _status(deployment, allocations, numbers):
        briefs = [
            {"id": f"{deployment}.{index}", "node": allocations[f"{deployment}.{index}"]["node"],
             "tasks": ["main"], "group": "main", "index": index}
            for index, _ in numbers
        ]  # fmt: skip
        groups = {"main": {"wanted": len(briefs), "placed": len(briefs), "up": len(briefs)}}
        return {
            "v": 1, "status": "RUNNING", "reason": "", "allocations": briefs, "next": len(briefs),
            "groups": groups, "stable": {"change": 0, "version": 1, "parameters": {}},
        }  # fmt: skip

    def _said(self, node):
        row = {
            "name": "main", "state": "running", "pid": 4711, "exit_code": None, "restarts": 0,
            "reason": "", "started": 1.0, "ended": None,
        }  # fmt: skip
        return {
            "v": 1, "rev": self._rev, "epoch": self._store.epoch, "uid": f"uid-{node}", "generation": 1,
            "wanted": "running", "deployment": "x", "group": "main", "index": 0, "tasks": [row],
        }  # fmt: skip

    def _beat(self, node, running):
        return {
            "v": 1, "instance": f"i-{node}", "started": 1.0, "uid": f"uid-{node}", "hostname": node,
            "version": VERSION, "time": time.time(), "ttl": self._ttl, "interval": 5.0,
            "epoch": self._store.epoch, "rev": self._rev, "frozen": None, "running": running,
            "unclaimed": [], "tasks": {}, "cpu_percent": 3.2, "cpus": 4, "memory_percent": 11.3,
            "memory_total": 8 << 30, "memory_used": 1 << 30, "disk_percent": 55.1, "disk_total": 99 << 30,
            "disk_used": 44 << 30, "load": [0.1, 0.2, 0.3], "actual_seq": 1,
        }  # fmt: skip
