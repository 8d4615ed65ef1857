"""The manager's own server: found, started, watched, its snapshot published, its restore noticed.

Everything of it lies in one directory (`<db-path>.d`): append-only file, port, password, cluster
id. `--db-path` itself is a snapshot for people to copy; see `store.snapshot`.
"""

import logging
import resource
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

from store import rdb, serving
from store.binaries import Binary, find_binary
from store.errors import EpochChanged, Unavailable, Unsupported, WrongRelease
from store.home import Files
from store.keys import Keys
from store.kv.connection import Client, connect
from store.kv.server import Server
from store.kv.store import Store
from store.model.server import connections_for
from store.process import write_whole
from store.syncer import Syncer

log = logging.getLogger("store")

LEAST_CLIENTS, MOST_CLIENTS = 20_000, connections_for(50_000)
"""Connections asked for: 50,000 agents are what one store is for.
The server lowers it by itself to what its file limit allows."""
FILES_OF_ITS_OWN = 32


class EmbeddedServer:
    """One server process of ours, in a directory that the caller has locked."""

    def __init__(
        self,
        files: Files,
        *,
        listen: str = "127.0.0.1",
        port: int | None = None,
        binary: Path | None = None,
        fsync: str = "everysec",
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.files = files
        self._listen = listen
        self._wanted_port = port
        self._fsync = fsync
        self._pass_fds = pass_fds
        self._process: subprocess.Popen[bytes] | None = None
        self._syncer: Syncer | None = None
        self.binary = _binary_for(files, binary)
        self.port = 0

    @property
    def local_url(self) -> str:
        """Where this machine reaches it, without the password."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._listen, self._listen)  # noqa: S104
        return f"redis://{f'[{host}]' if ':' in host else host}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def client(self, name: str) -> Client:
        """A connection with the administrator's password."""
        return connect(self.local_url, name=name, password=self._password())

    def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            Unavailable: it ended, or did not come up in time; with the reason it gave.
        """
        # Once used in this life it stays: API, controller and agents know no other.
        self.port = self.port or self._wanted_port or self._stable_port()
        self._process = serving.run(self.binary, self.files.home, self._settings(), self._pass_fds)
        if self._fsync == "everysec" and self._syncer is None:
            self._syncer = Syncer(self.files.append_only)
        serving.wait_ready(self._process, self.client("manager"), self.binary, self.files.home)
        write_whole(self.files.port, str(self.port).encode())
        write_whole(self.files.flavour, self.binary.name.encode())
        log.info("store: %s on port %d, pid %d", self.binary, self.port, self._process.pid)

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """End it; its data is on disk when this returns."""
        if self._syncer is not None:
            self._syncer.stop()
            self._syncer = None
        if self._process is not None:
            serving.end(self._process)

    def load(self, snapshot: Path) -> None:
        """Take over a snapshot file as the data; the old data is kept beside it until the next time.

        It is loaded by a server of its own first: a file that cannot be read changes nothing.

        Raises:
            Unsupported: it is not a snapshot that this server can read.
            WrongRelease: it may hold records that this release does not read.
            EpochChanged: it is another cluster's.
        """
        staging = self.files.staging
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        try:
            self._rewrite_as_append_only(snapshot, staging)
            old = self.files.append_only
            if old.exists():
                aside = old.with_name("appendonlydir.replaced")
                shutil.rmtree(aside, ignore_errors=True)
                old.rename(aside)
                log.warning("the data that the snapshot replaces is kept in %s", aside)
            (staging / "appendonlydir").rename(old)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _rewrite_as_append_only(self, snapshot: Path, staging: Path) -> None:
        try:
            found = rdb.head(snapshot)
            if why := rdb.refusal(found, self.binary.name, self.binary.version):
                raise Unsupported(why)
            shutil.copyfile(snapshot, staging / "dump.rdb")
            with serving.scratch(self.binary, staging) as client:
                self._refuse_stranger(client, snapshot)
                _write_append_only(client, snapshot)
        except (Unavailable, Unsupported) as error:
            raise Unsupported(
                f"{snapshot} is not a snapshot that {self.binary} can load ({error}). "
                "The data in use until now was not touched: move the file away to go on with it"
            ) from error
        except WrongRelease as error:
            raise WrongRelease(f"{snapshot}: {error}, or move the file away to go on without it") from None

    def _refuse_stranger(self, client: Client, snapshot: Path) -> None:
        path = self.files.cluster
        known = path.read_text() if path.exists() else None
        if not serving.bring_forward(client, Keys().meta):
            raise Unsupported(f"{snapshot} holds no Muster data")
        found = Store(client).meta().cluster
        if known and found != known:
            raise EpochChanged(
                f"{snapshot} is of cluster {found}, and this manager's is {known}: its nodes would know "
                "none of it. The data in use until now was not touched: move the file away to go on with it. "
                "To bring that cluster back, start a manager of its own with the file as its --db-path"
            )

    def _settings(self) -> dict[str, str | int]:
        return {
            "bind": self._listen,
            "port": self.port,
            "requirepass": self._password(),
            "appendonly": "yes",
            # Every second it is synced by us: see `store.syncer`.
            "appendfsync": "no" if self._fsync == "everysec" else self._fsync,
            "maxclients": _most_clients(),
            # Below what a manager asks for at once, and bounds for a client that sends or reads nothing.
            "client-query-buffer-limit": "64mb",
            "client-output-buffer-limit": "normal 1gb 512mb 60",
            "tcp-keepalive": 60,
            "repl-diskless-sync": "yes",  # a backup is taken as a replica is: at once, and by no file
            "repl-diskless-sync-delay": 0,
        }

    def _password(self) -> str:
        path = self.files.password
        if not path.exists():
            write_whole(path, secrets.token_hex(32).encode())
        return path.read_text()

    def _stable_port(self) -> int:
        try:
            port = int(self.files.port.read_text())
        except (FileNotFoundError, ValueError):
            return _quiet_port(self._listen)
        if _is_free(self._listen, port):
            return port
        fresh = _quiet_port(self._listen)
        log.warning("store port %d is taken by another program; using %d", port, fresh)
        return fresh


def _binary_for(files: Files, named: Path | None) -> Binary:
    try:
        recorded = files.flavour.read_text()
    except FileNotFoundError:
        recorded = None
    return find_binary(named, wrote=recorded)


def _most_clients() -> int:
    """What the file limit allows; never less than the least, since root's server may raise its own limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return MOST_CLIENTS
    return min(MOST_CLIENTS, max(LEAST_CLIENTS, hard - FILES_OF_ITS_OWN))


def _write_append_only(client: Client, snapshot: Path) -> None:
    Store(client).meta().schema.check()
    server = Server(client)
    server.begin_append_only()
    deadline = time.monotonic() + serving.READY_WITHIN
    while not server.append_only_ready():
        if time.monotonic() > deadline:
            raise Unavailable(f"{snapshot} took too long to load")
        time.sleep(0.02)


def _quiet_port(host: str) -> int:
    """A free port below those that outgoing connections are given: nobody takes it by chance.

    Drawn by the system: programs that share a seed, as tests do, would all find the same one free.
    """
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        lowest = 32768
    for _ in range(100):
        port = 10_000 + secrets.randbelow(lowest - 10_000) if lowest > 10_000 else 0
        if port and _is_free(host, port):
            return port
    return serving.free_port()


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
