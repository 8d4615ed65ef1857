"""No node is declared dead by what the leader could not see: real servers, real controllers."""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from manager_api.controller.loop import Controller
from manager_api.http.nodes.nodes import join
from store import bootstrap
from store.clock import SystemClock
from store.codec import dumps
from store.embedded import EmbeddedServer
from store.errors import StoreError
from store.home import Files
from store.kv.node import RedisNodeLink
from store.kv.presence import Apart
from store.kv.projection import Projection
from store.kv.store import Store
from tests.conftest import SOAK, eventually, need, server_binary

pytestmark = pytest.mark.integration
TTL = 3.0
EVERY = TTL / 10  # a node may be late by more than two seconds
NODES = [f"n{number}" for number in range(500 if SOAK else 20)]
DEAD, LIVING = NODES[0], NODES[1:]


class Beaters:
    """Nodes that beat many times in their time to live, unless they are silent."""

    def __init__(self, store, presence=None):
        self.store = store
        for node in NODES:
            said = {"id": node, "uid": f"uid-{node}", "hostname": node, "addresses": ["10.0.0.1"]}
            join(store, {**said, "secret_sha256": "0" * 64, "version": "0", "features": []}, "10.0.0.1", 1.0)
        client = store.client
        self.links = {
            node: RedisNodeLink(client, client, store.keys, node, presence=presence) for node in NODES
        }
        self.silent = set()
        self.turn = threading.Lock()
        self.ended = threading.Event()
        self.count = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while not self.ended.wait(EVERY):
            for node in NODES:
                with self.turn:
                    if node not in self.silent:
                        self.count += 1
                        with contextlib.suppress(StoreError):
                            self.links[node].beat(self._words(node), int(TTL * 1000))

    def hush(self):
        """Nobody beats any more, and what was under way has arrived."""
        with self.turn:
            self.silent = set(NODES)

    def _words(self, node):
        return dumps(
            {"v": 1, "uid": f"uid-{node}", "instance": node, "started": 1.0, "hostname": node, "ttl": TTL,
             "time": float(self.count), "actual_seq": 0}
        )  # fmt: skip

    def there(self):
        return [raw for raw in Projection(self.store).beats(NODES) if raw is not None]


@contextlib.contextmanager
def a_server(home, kind="redis", **more):
    home.mkdir()
    server = EmbeddedServer(Files(home), binary=server_binary(kind), **more)
    server.start()
    yield server
    if server.pid:
        os.kill(server.pid, signal.SIGCONT)
    server.stop()


@pytest.fixture(params=["redis", "valkey"])
def server(request, tmp_path):
    with a_server(tmp_path / "server", request.param) as found:
        yield found


@pytest.fixture
def beaters(server):
    store = Store(server.client("test"))
    bootstrap.begin(store, None)
    found = Beaters(store)
    yield found
    found.ended.set()


class Leader:
    """A controller process, known by its log."""

    def __init__(self, home, url, password):
        self.log = home / "controller.log"
        (home / "password").write_text(password)
        env = {**os.environ, "MUSTER_STORE_URL": url, "MUSTER_STORE_PASSWORD_FILE": str(home / "password")}
        argv = [sys.executable, "-P", "-m", "manager_api.controller"]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True)

    def said(self, text):
        return [line for line in self.log.read_text().splitlines() if text in line]

    def named(self, text):
        """The nodes of which it has said so."""
        return {line.split("node ")[-1].split()[0] for line in self.said(text)}

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        assert self.process.wait(20) == 0


class Proxy:
    """Between a client and a server, until it is cut; then nobody is let through until it is mended."""

    def __init__(self, port):
        self._to = port
        self._open = threading.Event()
        self._open.set()
        self._pairs = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    if not self._open.is_set():
                        raise ConnectionError
                    far = socket.create_connection(("127.0.0.1", self._to))
                except ConnectionError:
                    near.close()
                    continue
                self._pairs.append((near, far))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self._open.clear()
        for pair in self._pairs:
            for each in pair:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self):
        self._open.set()

    def end(self):
        self._listener.close()
        self.cut()


@pytest.fixture
def leader(server, beaters, tmp_path):
    proxy = Proxy(server.port)
    found = Leader(tmp_path, f"redis://127.0.0.1:{proxy.port}/0", server._password())
    found.proxy = proxy
    eventually(lambda: found.named("is online") == set(NODES))
    yield found
    found.end()
    proxy.end()


def passes(seconds):
    """What is broken stays so for a time."""
    threading.Event().wait(seconds)


def grace_was_given(beaters, leader, mended):
    """All keys are gone, nobody is declared dead, who comes back lives on, and who does not dies late."""
    assert beaters.there() == [], "every heartbeat has run out"
    eventually(lambda: leader.said("no node is gone"))
    online = len(leader.said("is online"))
    beaters.silent = {DEAD}
    eventually(lambda: leader.said("is offline"))
    assert time.monotonic() - mended >= TTL
    eventually(lambda: len(beaters.there()) == len(LIVING))
    passes(TTL)
    assert [line.split("node ")[-1] for line in leader.said("is offline")] == [f"{DEAD} is offline"]
    beaters.silent = set()
    eventually(lambda: len(leader.said("is online")) > online)


def test_a_server_that_stood_still(server, beaters, leader):
    beaters.hush()
    os.kill(server.pid, signal.SIGSTOP)
    passes(1.5 * TTL)
    mended = time.monotonic()
    os.kill(server.pid, signal.SIGCONT)
    grace_was_given(beaters, leader, mended)


def test_a_leader_that_stood_still(beaters, leader):
    beaters.hush()
    leader.process.send_signal(signal.SIGSTOP)
    passes(1.5 * TTL)
    mended = time.monotonic()
    leader.process.send_signal(signal.SIGCONT)
    grace_was_given(beaters, leader, mended)


def test_a_connection_that_was_cut_and_made_again(beaters, leader):
    beaters.hush()
    leader.proxy.cut()
    passes(1.5 * TTL)
    mended = time.monotonic()
    leader.proxy.mend()
    grace_was_given(beaters, leader, mended)


def test_a_server_that_was_killed_and_started_again(server, beaters, leader):
    beaters.hush()
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: server.poll() is not None)
    passes(TTL)
    mended = time.monotonic()
    server.start()
    grace_was_given(beaters, leader, mended)


@pytest.fixture
def clock_file(tmp_path, monkeypatch):
    """Seconds by which the wall clock of a server started now is ahead, as a file to write."""
    need(shutil.which("cc"), "cc (gcc and libc6-dev)")
    shim, ahead = tmp_path / "skewed.so", tmp_path / "ahead"
    source = Path(__file__).with_name("skewed.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
    ahead.write_bytes(struct.pack("l", 0))
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    monkeypatch.setenv("SKEW_FILE", str(ahead))
    return ahead


def test_a_server_whose_clock_jumped(tmp_path, clock_file, monkeypatch):
    with a_server(tmp_path / "server") as server:
        monkeypatch.delenv("LD_PRELOAD")
        store = Store(server.client("test"))
        bootstrap.begin(store, None)
        beaters = Beaters(store)
        leader = Leader(tmp_path, server.local_url, server._password())
        try:
            eventually(lambda: leader.named("is online") == set(NODES))
            beaters.hush()
            before = store.client.time()[0]
            mended = time.monotonic()
            with clock_file.open("r+b") as file:
                file.write(struct.pack("l", 3600))
            assert store.client.time()[0] >= before + 3600
            grace_was_given(beaters, leader, mended)
        finally:
            beaters.ended.set()
            leader.end()


def test_an_unseen_node_is_not_known_to_be_gone_to_people_either(server, beaters):
    """The API says why, while the leader gives grace."""
    controller = Controller(beaters.store, server.client("watch"), "me", SystemClock())
    thread = threading.Thread(target=controller.run, daemon=True)
    thread.start()
    eventually(lambda: controller.mirror and all(controller.mirror.fleet.states[n].online for n in NODES))
    beaters.hush()
    os.kill(server.pid, signal.SIGSTOP)
    passes(1.5 * TTL)
    os.kill(server.pid, signal.SIGCONT)
    raws, doubt = eventually(
        lambda: (found := Projection(beaters.store).judged(NODES)) and found[1] and found
    )
    assert raws == [None] * len(NODES)
    assert "was not to be seen for" in doubt
    eventually(lambda: not any(controller.mirror.fleet.states[n].online for n in NODES))
    controller.stop()
    thread.join(10)


def test_who_beat_on_a_presence_store_that_is_away_is_not_known_to_be_gone(server, tmp_path):
    """Neither reached it nor the store: that may be the network's fault, and stays unknown."""
    with a_server(tmp_path / "apart") as apart:
        presence = Apart(apart.client("presence"), SystemClock())
        store = Store(server.client("test"), presence=presence)
        bootstrap.begin(store, None)
        beaters = Beaters(store, Apart(apart.client("beaters"), SystemClock()))
        controller = Controller(store, server.client("watch"), "me", SystemClock())
        thread = threading.Thread(target=controller.run, daemon=True)
        thread.start()

        def online():
            return [n for n in NODES if controller.mirror and controller.mirror.fleet.states[n].online]

        eventually(lambda: online() == NODES)
        assert not any(store.client.exists(store.keys.node(node).beat) for node in NODES)
        beaters.hush()
        os.kill(apart.pid, signal.SIGKILL)
        eventually(lambda: apart.poll() is not None)
        passes(1.5 * TTL)
        assert online() == NODES
        assert "the presence store is away" in Projection(store).judged(NODES)[1]
        beaters.silent = {DEAD}
        eventually(lambda: all(store.client.exists(store.keys.node(node).beat) for node in LIVING))
        apart.start()
        eventually(lambda: online() == LIVING)
        beaters.ended.set()
        controller.stop()
        thread.join(10)


def test_a_look_at_no_node_is_a_look_at_the_server(server):
    """A fleet of one is in one slice of four: the other three must not count as a break."""
    sight = Projection(Store(server.client("test"))).look([], who=True)
    assert (sight.raws, len(sight.clocks), len(sight.run_ids)) == ([], 1, 1)
