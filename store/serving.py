"""Server processes in a directory of their own: started, waited for, ended; some only to read a file."""

import contextlib
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from store.binaries import Binary
from store.errors import StoreError, Unavailable
from store.kv.connection import Client, connect
from store.kv.server import Server
from store.process import tied_to_parent, write_whole

READY_WITHIN = 60.0
"""Seconds for the server to load its data. 1 GB of AOF took 9 s."""
STOP_WITHIN = 20.0


def run(
    binary: Binary, home: Path, settings: Mapping[str, str | int], pass_fds: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start a server on a directory; `settings` are lines of its configuration."""
    conf = home / "server.conf"
    lines = {
        "dir": quoted(str(home.resolve())),
        "save": '""',
        "maxmemory-policy": "noeviction",
        "logfile": "server.log",
        **settings,
    }
    write_whole(conf, "".join(f"{key} {value}\n" for key, value in lines.items()).encode())
    (home / "server.log").unlink(missing_ok=True)  # so that its end is this start's
    return subprocess.Popen(
        tied_to_parent([str(binary.path), str(conf)]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=pass_fds,
        start_new_session=True,  # a Ctrl-C at the terminal is for the manager to pass on
        umask=0o077,
    )


def wait_ready(process: subprocess.Popen[bytes], client: Client, binary: Binary, home: Path) -> None:
    """Until it serves.

    Raises:
        Unavailable: it ended, or did not come up in time; with the reason it gave.
    """
    deadline = time.monotonic() + READY_WITHIN
    while True:
        if process.poll() is not None:
            raise Unavailable(f"{binary} ended at once: {_reason(home)}")
        try:
            Server(client).ping()
            return
        except StoreError as error:
            if time.monotonic() > deadline:
                end(process)
                raise Unavailable(f"{binary} did not come up: {error}") from error
        time.sleep(0.01)


@contextlib.contextmanager
def scratch(binary: Binary, home: Path) -> Iterator[Client]:
    """A server of its own over `home/dump.rdb`, gone afterwards; it writes nothing unless told to.

    Raises:
        Unavailable: it does not come up, most often since it cannot read the file; with its reason.
    """
    port, password = free_port(), secrets.token_hex(32)
    settings: dict[str, str | int] = {
        "bind": "127.0.0.1",
        "port": port,
        "requirepass": password,
        "appendonly": "no",
    }
    process = run(binary, home, settings)
    client = connect(f"redis://127.0.0.1:{port}/0", name="scratch", password=password)
    try:
        wait_ready(process, client, binary, home)
        yield client
    finally:
        client.close()
        end(process)


def bring_forward(client: Client, key: str, first: int = 0) -> bool:
    """Make the database of a scratch server that holds `key` number 0; whether there is one.

    `first` is looked at first: a server that others use, too, may have several.
    """
    used = [int(name.removeprefix("db")) for name in client.info("keyspace")]
    for number in sorted(used, key=lambda each: (each != first, each)):
        client.swapdb(0, number)
        if client.exists(key):
            return True
        client.swapdb(0, number)
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL."""
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


def quoted(text: str) -> str:
    """A value for the server's configuration."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def free_port() -> int:
    """Any port that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
