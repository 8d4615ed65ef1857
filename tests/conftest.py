"""Fixtures: stores of every kind, clocks that tests own, conditions to wait for."""

import itertools
import os
import shutil
import time
from pathlib import Path

import pytest

from store import bootstrap
from store.binaries import find_binary
from store.embedded import EmbeddedServer
from store.errors import Unsupported
from store.home import Files
from store.keys import Keys
from store.kv.store import Store

SOAK = bool(os.environ.get("MUSTER_SOAK"))
_numbers = itertools.count()


class ManualClock:
    """Time that passes when a test says so."""

    def __init__(self, now=1000.0, wall=1_700_000_000.0):
        self._now, self._wall = now, wall

    def now(self):
        return self._now

    def wall(self):
        return self._wall

    def advance(self, seconds):
        self._now += seconds
        self._wall += seconds


@pytest.fixture
def clock():
    return ManualClock()


def eventually(condition, seconds=20.0, every=0.02):
    """What `condition` gives, once it gives something true; fails loudly otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"never came true: {condition}")
        time.sleep(every)


def need(condition, what):
    """Skip on a laptop, fail in CI: a missing tool must not pass for a passed test."""
    if not condition:
        if os.environ.get("CI"):
            pytest.fail(f"{what} is missing in CI")
        pytest.skip(f"{what} is not installed")


def server_binary(kind):
    """The path of a server of a kind, or a skip."""
    if kind == "redis":
        path = shutil.which("redis-server")
        need(path, "redis-server")
        return Path(path)
    try:
        return find_binary(wrote="valkey").path
    except Unsupported:
        need(None, "valkey")


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Running servers by kind; one of each per test process."""
    running = {}

    def get(kind):
        if kind not in running:
            home = tmp_path_factory.mktemp(f"server-{kind}")
            server = running[kind] = EmbeddedServer(Files(home), binary=server_binary(kind))
            server.start()
        return running[kind]

    yield get
    for server in running.values():
        server.stop()


def fresh_store(client):
    """An initialised store of its own on a server that others use, too."""
    store = Store(client, Keys(f"t{os.getpid()}-{next(_numbers)}:"))
    bootstrap.begin(store, None)
    return store


def fake_client(monkeypatch):
    """A store without a server; it has no INFO, so it cannot say which one it is."""
    import fakeredis

    from store.kv import presence
    from store.kv.server import Flavour, Server

    monkeypatch.setattr(Server, "flavour", lambda _: Flavour("fake", (7, 0)))
    glance = presence._glance
    monkeypatch.setattr(presence, "_glance", lambda client, keys, *, who: glance(client, keys, who=False))
    monkeypatch.setattr("manager_api.http.nodes.admission.limit", lambda _: None)
    return fakeredis.FakeRedis(version=(7,))


@pytest.fixture(params=["fakeredis", "redis", "valkey"])
def any_client(request, servers, monkeypatch):
    """A client of each kind of store."""
    if request.param == "fakeredis":
        return fake_client(monkeypatch)
    return servers(request.param).client("test")


@pytest.fixture
def any_store(any_client):
    return fresh_store(any_client)


@pytest.fixture
def server(servers):
    return servers("valkey")


@pytest.fixture
def store(server):
    """An initialised store on a real server."""
    return fresh_store(server.client("test"))


@pytest.fixture
def fake_store(monkeypatch):
    """An initialised store without a server, for fast tests."""
    return fresh_store(fake_client(monkeypatch))


@pytest.fixture
def sshd():
    """A real SSH server on loopback, running; see `tests.sshd` for others than this plain one."""
    from tests.sshd import running

    with running() as server:
        yield server
