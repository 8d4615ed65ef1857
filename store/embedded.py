"""The manager's own server: found, started, watched, its snapshot published, its restore noticed.

Everything of it lies in one directory (`<db-path>.d`): append-only file, port, password, cluster
id. `--db-path` itself is a snapshot for people to copy; see `store.snapshot`.
"""

import logging
import random
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

from store.binaries import Binary, find_binary
from store.errors import StoreError, Unavailable, Unsupported
from store.home import Files
from store.kv.connection import Client, connect
from store.kv.server import Server
from store.process import tied_to_parent, write_whole

log = logging.getLogger("store")

READY_WITHIN = 60.0
"""Seconds for the server to load its data. 1 GB of AOF took 9 s."""
STOP_WITHIN = 20.0


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
            "maxclients": 50000,
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


def _quiet_port(host: str) -> int:
    """A free port below those that outgoing connections are given: nobody takes it by chance."""
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        lowest = 32768
    for _ in range(100):
        port = random.randrange(10_000, lowest) if lowest > 10_000 else 0
        if port and _is_free(host, port):
            return port
    return _free_port()


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
