"""The stores that `bench_store.py` measures, each on a server of its own in a directory that goes away.

Every one has `put`, `txn`, `range` (one client, which waits for each answer), `crowd` (fifty connections that put at
once), `watcher` (a function that follows changes until told to stop), `pid` of its server, and `close`.
"""

import base64
import hashlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

from rig import wait

from store import bootstrap
from store.embedded import EmbeddedServer
from store.home import Files
from store.kv.api import Change
from store.kv.lua import source
from store.kv.store import Store
from store.kv.watch import Watch

RECORDS, FIELDS, CROWD = 10_000, 100, 50
VALUE = json.dumps(
    {"v": 1, "uid": "u" * 32, "hostname": "web-1", "addresses": ["10.0.0.1"], "n": "x" * 120}
).encode()


class OurStore:
    """Muster's store on a server of its own."""

    def __init__(self, home, fsync):
        self.name = f"Muster {fsync}"
        self.server = EmbeddedServer(Files(home), fsync=fsync, binary=_binary())
        self.server.start()
        self.store = Store(self.server.client("bench"))
        bootstrap.begin(self.store, None)
        for start in range(0, RECORDS, FIELDS):
            self.store.txn([], [Change("many", f"k{n}", VALUE) for n in range(start, start + FIELDS)])
        client = self.server.client("crowd")
        self.connections = [client.connection_pool.make_connection() for _ in range(CROWD)]

    def words(self, n):
        """The command that a put sends."""
        sent = []

        def note(name, keys, args):
            sent.extend(("EVALSHA", hashlib.sha1(source(name).encode()).hexdigest(), len(keys), *keys, *args))
            return [b"ok", b"", 0]

        run, self.store.scripts.run = self.store.scripts.run, note
        self.put(n)
        self.store.scripts.run = run
        return sent

    def crowd(self, n):
        words = self.words(n)
        for connection in self.connections:
            connection.send_command(*words)
        for connection in self.connections:
            connection.read_response()

    def pid(self):
        return self.server.pid

    def put(self, n):
        self.store.put("bench", f"k{n % 1000}", VALUE)

    def txn(self, n):
        self.store.txn([], [Change("bench", f"k{n}-{field}", VALUE) for field in range(FIELDS)])

    def range(self, _):
        assert len(self.store.values("many")) == RECORDS

    def watcher(self, heard):
        watch = Watch(
            self.server.client("watch"), self.store.keys, epoch=self.store.epoch, after=self.store.seen
        )

        def follow(stopped):
            while not stopped.is_set():
                for _ in watch.poll(500):
                    heard(time.perf_counter())

        return follow

    def close(self):
        self.server.stop()


class PlainHash(OurStore):
    """Plain HSET on a server of the same kind and settings: what the promises are paid on top of."""

    def __init__(self, home, fsync):
        super().__init__(home, fsync)
        self.name = f"plain HSET {fsync}"
        self.client = self.store.client

    def words(self, n):
        return "HSET", "plain", f"k{n % 1000}", VALUE

    def put(self, n):
        self.client.hset("plain", f"k{n % 1000}", VALUE)

    def txn(self, n):
        self.client.hset("plain", mapping={f"k{n}-{field}": VALUE for field in range(FIELDS)})

    def range(self, _):
        assert len(self.client.hgetall("muster:many")) == RECORDS

    def watcher(self, _):
        return None


class Etcd:
    """etcd, one member, through its gRPC-JSON gateway on one kept connection. It always syncs."""

    def __init__(self, home, program):
        self.name = "etcd (always)"
        self.port, peer = _free(), _free()
        where = f"http://127.0.0.1:{self.port}"
        words = [program, "--data-dir", home, "--listen-client-urls", where, "--advertise-client-urls", where]
        words += ["--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls"]
        words += [f"http://127.0.0.1:{peer}", "--initial-cluster", f"default=http://127.0.0.1:{peer}"]
        words += ["--max-txn-ops", str(FIELDS), "--logger", "zap", "--log-level", "error"]
        self.process = subprocess.Popen([*words, "--log-outputs", "/dev/null"])
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        wait(self._there)
        self.connections = [
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=30) for _ in range(CROWD)
        ]
        for start in range(0, RECORDS, FIELDS):
            self._many("many", range(start, start + FIELDS))

    def _there(self):
        try:
            self._call("kv/range", {"key": _b64("a")})
        except OSError:
            self.connection.close()
            raise
        return True

    def _call(self, path, body):
        self.connection.request("POST", f"/v3/{path}", json.dumps(body))
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"etcd: {answer.status} {text[:200]!r}")
        return text

    def _many(self, prefix, numbers):
        puts = [{"requestPut": {"key": _b64(f"{prefix}/k{n}"), "value": _b64(VALUE)}} for n in numbers]
        self._call("kv/txn", {"success": puts})

    def pid(self):
        return self.process.pid

    def put(self, n):
        self._call("kv/put", {"key": _b64(f"bench/k{n % 1000}"), "value": _b64(VALUE)})

    def crowd(self, n):
        body = json.dumps({"key": _b64(f"bench/k{n % 1000}"), "value": _b64(VALUE)})
        for connection in self.connections:
            connection.request("POST", "/v3/kv/put", body)
        for connection in self.connections:
            connection.getresponse().read()

    def txn(self, n):
        self._many(f"bench/{n}", range(FIELDS))

    def range(self, _):
        found = self._call("kv/range", {"key": _b64("many/"), "range_end": _b64("many0")})
        assert f'"count":"{RECORDS}"'.encode() in found

    def watcher(self, heard):
        begun = threading.Event()

        def follow(stopped):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            asked = {"create_request": {"key": _b64("bench/"), "range_end": _b64("bench0")}}
            connection.request("POST", "/v3/watch", json.dumps(asked))
            answer = connection.getresponse()
            answer.readline()  # it was created
            begun.set()
            while not stopped.is_set():
                if b'"events"' in answer.readline():
                    heard(time.perf_counter())
            connection.close()

        follow.begun = begun
        return follow

    def close(self):
        self.process.terminate()
        self.process.wait(30)


def _b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def _free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _binary():
    found = shutil.which("redis-server")
    return Path(found) if found else None
