"""The store's verbs beside plain HSET on the same server, and beside etcd: how many, and at what server CPU.

`put x50` has 50 connections of one client that ask at once, which is what a server under load sees (the goal is
for it); all else is one client that waits for every answer. The clients differ (redis-py with
hiredis; etcd's own gRPC-JSON gateway over plain HTTP, which costs etcd some CPU that gRPC would not), so
compare server CPU per operation before operations per second. Rounds are interleaved; medians are printed.
"""

import base64
import contextlib
import hashlib
import http.client
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from procs import cpu
from rig import header, percentile, wait

from store import bootstrap
from store.embedded import EmbeddedServer
from store.home import Files
from store.kv.api import Change
from store.kv.lua import source
from store.kv.store import Store
from store.kv.watch import Watch

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
SIZE = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
"""A factor on how many operations a round has."""
PUTS, TXNS, RANGES, WAKES = (max(3, int(SIZE * number)) for number in (3000, 150, 15, 300))
RECORDS, FIELDS, CROWD = 10_000, 100, 50
VALUE = json.dumps({"v": 1, "uid": "u" * 32, "hostname": "web-1", "addresses": ["10.0.0.1"], "n": "x" * 120}).encode()
GOAL = 40.0
"""Microseconds of Redis CPU per put, at most."""


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
        watch = Watch(self.server.client("watch"), self.store.keys, epoch=self.store.epoch, after=self.store.seen)

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

    def watcher(self, heard):
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
        self.connections = [http.client.HTTPConnection("127.0.0.1", self.port, timeout=30) for _ in range(CROWD)]
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


def measured(peer, verb, times):
    """(operations per second, microseconds of server CPU per operation)."""
    run = getattr(peer, verb)
    spent, begin = cpu([peer.pid()]), time.perf_counter()
    for n in range(times):
        run(n)
    seconds = time.perf_counter() - begin
    operations = times * (CROWD if verb == "crowd" else 1)
    return operations / seconds, (cpu([peer.pid()]) - spent) / operations * 1e6


def wakes(peer):
    """Milliseconds from the beginning of a write to its event being in the watcher's hands."""
    arrived, late = threading.Semaphore(0), []
    moments = []

    def heard(moment):
        moments.append(moment)
        arrived.release()

    follow = peer.watcher(heard)
    if follow is None:
        return []
    stopped = threading.Event()
    thread = threading.Thread(target=follow, args=(stopped,), daemon=True)
    thread.start()
    if not getattr(follow, "begun", threading.Event()).wait(0.2):
        time.sleep(0.2)
    for n in range(WAKES):
        begin = time.perf_counter()
        peer.put(n)
        if not arrived.acquire(timeout=10):
            raise SystemExit(f"{peer.name}: an event never came")
        late.append((moments[-1] - begin) * 1000)
    stopped.set()
    with contextlib.suppress(Exception):
        peer.put(0)  # so that it looks once more
    thread.join(2)
    return late


def peers(stack):
    """All that are here, each on a server of its own."""
    homes = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    found = []
    for number, (make, fsync) in enumerate(
        (kind, fsync) for fsync in ("everysec", "always") for kind in (OurStore, PlainHash)
    ):
        home = homes / str(number)
        home.mkdir()
        found.append(make(home, fsync))
        stack.callback(found[-1].close)
    program = shutil.which("etcd")
    if program is None:
        print("etcd is not here (Debian: etcd-server): it is left out")
    else:
        found.append(Etcd(homes / "etcd", program))
        stack.callback(found[-1].close)
    return found


def main():
    header(f"The store's verbs, medians of {ROUNDS} rounds; CPU is the server's, per operation")
    verbs = {"crowd": max(3, PUTS // 20), "put": PUTS, "txn": TXNS, "range": RANGES}
    with contextlib.ExitStack() as stack:
        everybody = peers(stack)
        print(f"server: {everybody[0].server.binary}; values of {len(VALUE)} bytes")
        found = {(peer.name, verb): [] for peer in everybody for verb in verbs}
        late = {peer.name: [] for peer in everybody}
        for _ in range(ROUNDS):
            for peer in everybody:
                for verb, times in verbs.items():
                    found[peer.name, verb].append(measured(peer, verb, times))
                late[peer.name] += wakes(peer)
    table(everybody, found, late)


def table(everybody, found, late):
    """One line for each peer; in brackets times ours with the same syncing."""
    medians = {key: [statistics.median(each) for each in zip(*rows, strict=True)] for key, rows in found.items()}
    print(f"\n{'':<20}{f'put x{CROWD}':>24}{'put':>24}{f'transaction of {FIELDS}':>26}{f'range of {RECORDS:,}':>26}   watch wake-up, ms")
    for peer in everybody:
        ours = f"Muster {'always' if 'always' in peer.name else 'everysec'}"
        cells = []
        for verb in ("crowd", "put", "txn", "range"):
            rate, micros = medians[peer.name, verb]
            cells.append(f"{rate:,.0f}/s {micros:,.0f} us ({micros / medians[ours, verb][1]:.2f}x)")
        waits = late[peer.name]
        said = f"p50 {percentile(waits, 0.5):.2f} p99 {percentile(waits, 0.99):.2f}" if waits else "-"
        print(f"{peer.name:<20}{cells[0]:>24}{cells[1]:>24}{cells[2]:>26}{cells[3]:>26}   {said}")
    micros = medians["Muster everysec", "crowd"][1]
    print(f"goal: a put takes at most {GOAL:.0f} us of Redis CPU: {micros:.1f}, {'met' if micros <= GOAL else 'MISSED'}")


if __name__ == "__main__":
    main()
