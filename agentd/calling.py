"""The keeper as a program: how it is found where it listens, and how one is started."""

import os
import socket
import subprocess
import sys
from pathlib import Path

PROGRAM = [sys.executable, "-I", "-S", str(Path(__file__).resolve().parent / "keeper")]


def knock(directory: Path) -> socket.socket | None:
    """A connection to the keeper of a directory; None: nobody listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:  # by descriptor: the path itself may be too long for a socket's
        sock.connect(f"/proc/self/fd/{fd}/keeper.sock")
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    finally:
        os.close(fd)
    return sock


def start(directory: Path) -> "subprocess.Popen[bytes]":
    """Start a keeper, in a session of its own; what it has to complain of goes to keeper.log."""
    with (directory / "keeper.log").open("ab") as out:
        return subprocess.Popen(
            [*PROGRAM, str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
        )


def check(within: float) -> str | None:
    """Why our keeper's program cannot run here, as far as it can tell in `within` seconds; None: it can."""
    said = subprocess.run([*PROGRAM, "--check"], capture_output=True, timeout=within, check=False)
    return None if said.returncode == 0 else said.stderr.decode(errors="replace")[-500:]
