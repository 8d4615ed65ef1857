"""The manager's own server: found, started, watched, its snapshot published, its restore noticed.

Everything of it lies in one directory (`<db-path>.d`): append-only file, port, password, cluster
id. `--db-path` itself is a snapshot for people to copy; see `store.snapshot`.
"""

import logging
import secrets
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from store.binaries import Binary, find_binary
from store.errors import StoreError, Unavailable, Unsupported
from store.kv.connection import Client, connect
from store.kv.server import Server
from store.process import tied_to_parent, write_whole

log = logging.getLogger("store")

READY_WITHIN = 60.0
"""Seconds for the server to load its data. 1 GB of AOF took 9 s."""
STOP_WITHIN = 20.0


@dataclass(frozen=True, slots=True)
class Files:
    """What lies in the manager's directory."""

    home: Path

    @property
    def password(self) -> Path:
        """The server's password; 0600, never in argv."""
        return self.home / "password"

    @property
    def port(self) -> Path:
        """The port, so that it is the same after every start."""
        return self.home / "port"

    @property
    def cluster(self) -> Path:
        """The cluster id this directory belongs to."""
        return self.home / "cluster"

    @property
    def flavour(self) -> Path:
        """The kind of server that wrote the data."""
        return self.home / "flavour"

    @property
    def append_only(self) -> Path:
        """The directory of the append-only file."""
        return self.home / "appendonlydir"

    @property
    def dump(self) -> Path:
        """The server's own snapshot."""
        return self.home / "dump.rdb"

    @property
    def published(self) -> Path:
        """Digests of the snapshots we put at `--db-path`."""
        return self.home / "published.json"

    @property
    def staging(self) -> Path:
        """Where a restore is tried before it replaces anything."""
        return self.home / "staging"


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
        self.binary = _binary_for(files, binary)
        self.port = 0

    @property
    def local_url(self) -> str:
        """Where this machine reaches it, without the password."""
        host = "127.0.0.1" if self._listen in ("0.0.0.0", "::") else self._listen  # noqa: S104
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
        self.port = self._wanted_port or self._stable_port()
        self._process = self._run(self.files.home, append_only=True, listen=self._listen, port=self.port)
        self._wait_ready(self._process, self.client("manager"), self.files.home)
        write_whole(self.files.port, str(self.port).encode())
        write_whole(self.files.flavour, self.binary.name.encode())
        log.info("store: %s on port %d, pid %d", self.binary, self.port, self._process.pid)

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """End it; its data is on disk when this returns."""
        if self._process is not None:
            _end(self._process)

    def load(self, snapshot: Path) -> None:
        """Take over a snapshot file as the data; the old data is kept beside it until the next time.

        It is loaded by a server of its own first: a file that cannot be read changes nothing.

        Raises:
            Unsupported: it is not a snapshot that this server can read.
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
        shutil.copyfile(snapshot, staging / "dump.rdb")
        port = _free_port()
        process = self._run(staging, append_only=False, listen="127.0.0.1", port=port)
        client = connect(f"redis://127.0.0.1:{port}/0", name="restore", password=self._password())
        try:
            self._wait_ready(process, client, staging)
            if not client.exists("muster:meta"):
                raise Unsupported(f"{snapshot} holds no Muster data")
            server = Server(client)
            server.begin_append_only()
            deadline = time.monotonic() + READY_WITHIN
            while not server.append_only_ready():
                if time.monotonic() > deadline:
                    raise Unavailable(f"{snapshot} took too long to load")
                time.sleep(0.02)
        except Unavailable as error:
            raise Unsupported(
                f"{snapshot} is not a snapshot that {self.binary} can load ({error}). "
                "The data in use until now was not touched: move the file away to go on with it"
            ) from error
        finally:
            client.close()
            _end(process)

    def _run(self, home: Path, *, append_only: bool, listen: str, port: int) -> subprocess.Popen[bytes]:
        conf = home / "server.conf"
        lines = {
            "bind": listen,
            "port": port,
            "dir": _quoted(str(home.resolve())),
            "requirepass": self._password(),
            "appendonly": "yes" if append_only else "no",
            "appendfsync": self._fsync,
            "save": '""',
            "maxmemory-policy": "noeviction",
            "maxclients": 20000,
            "tcp-keepalive": 60,
            "logfile": "server.log",
        }
        write_whole(conf, "".join(f"{key} {value}\n" for key, value in lines.items()).encode())
        (home / "server.log").unlink(missing_ok=True)  # so that its end is this start's
        return subprocess.Popen(
            tied_to_parent([str(self.binary.path), str(conf)]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=self._pass_fds,
            start_new_session=True,  # a Ctrl-C at the terminal is for the manager to pass on
            umask=0o077,
        )

    def _wait_ready(self, process: subprocess.Popen[bytes], client: Client, home: Path) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            if process.poll() is not None:
                raise Unavailable(f"{self.binary} ended at once: {_reason(home)}")
            try:
                Server(client).ping()
                return
            except StoreError as error:
                if time.monotonic() > deadline:
                    _end(process)
                    raise Unavailable(f"{self.binary} did not come up: {error}") from error
            time.sleep(0.01)

    def _password(self) -> str:
        path = self.files.password
        if not path.exists():
            write_whole(path, secrets.token_hex(32).encode())
        return path.read_text()

    def _stable_port(self) -> int:
        try:
            port = int(self.files.port.read_text())
        except (FileNotFoundError, ValueError):
            return _free_port()
        if _is_free(self._listen, port):
            return port
        fresh = _free_port()
        log.warning("store port %d is taken by another program; using %d", port, fresh)
        return fresh


def _binary_for(files: Files, named: Path | None) -> Binary:
    try:
        recorded = files.flavour.read_text()
    except FileNotFoundError:
        recorded = None
    return find_binary(named, wrote=recorded)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _reason(home: Path) -> str:
    try:
        lines = (home / "server.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "it wrote no log"
    telling = [line for line in lines if " # " in line] or lines or ["it wrote no log"]
    return "; ".join(line.split(" # ")[-1].strip() for line in telling[-3:])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
