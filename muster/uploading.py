"""One local file on its way to the manager: hashed, then sent, and the same all the while."""

import hashlib
import os
import random
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muster.client import Client, Refused
from muster.deploying import Failed

PIECE = 1 << 18
BUSY_FOR = 600.0
"""Seconds for which a manager that is busy with other uploads is tried again."""

_sleep = time.sleep

Show = Callable[[str, int], None]
"""Told what is being done with the file, and how many bytes of it are."""


@dataclass(frozen=True, slots=True)
class Local:
    """A file here, as it was when it was looked at."""

    path: Path
    size: int
    modified: int
    """Nanoseconds since 1970."""
    sha256: str = ""


def look(path: Path) -> Local:
    """A file that can be sent.

    Raises:
        Failed: it cannot.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from None
    if stat.S_ISDIR(found.st_mode):
        name = path.resolve().name
        raise Failed(
            f"{path} is a directory: push an archive of it, made with tar czf {name}.tgz -C {path} . "
            "and unpacked on nodes by extract: true"
        )
    if not stat.S_ISREG(found.st_mode):
        raise Failed(f"{path} is no regular file")
    return Local(path, found.st_size, found.st_mtime_ns)


def hashed(local: Local, show: Show) -> Local:
    """The same with its SHA-256.

    Raises:
        Failed: it cannot be read, or changed meanwhile.
    """
    digest, done = hashlib.sha256(), 0
    try:
        with local.path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
                done += len(piece)
                show("reading", done)
            _check(local, os.fstat(file.fileno()))
    except OSError as error:
        raise Failed(f"{local.path}: {error.strerror}") from None
    return Local(local.path, local.size, local.modified, digest.hexdigest())


def _check(local: Local, now: os.stat_result) -> None:
    if (now.st_size, now.st_mtime_ns) != (local.size, local.modified):
        raise _changed(local)


def _changed(local: Local) -> Failed:
    return Failed(f"{local.path} changed while it was read: nothing was replaced")


def send(client: Client, local: Local, name: str, show: Show) -> dict[str, Any]:
    """What the manager says once a hashed file lies there whole.

    Raises:
        Failed: it changed meanwhile. Refused, Unreachable: as the client's.
    """
    try:
        return dict(client.put_artifact(name, _pieces(local, show), local.size, sha256=local.sha256))
    except Refused as error:
        if error.status == 422:  # it differs from what we hashed
            raise _changed(local) from None
        raise


def _pieces(local: Local, show: Show) -> Iterator[bytes]:
    done = 0
    try:
        file = local.path.open("rb")
    except OSError as error:
        raise Failed(f"{local.path}: {error.strerror}") from None
    with file:
        while done < local.size:
            try:
                piece = file.read(min(PIECE, local.size - done))
            except OSError as error:  # not the connection's, for which it would be taken
                raise Failed(f"{local.path}: {error.strerror}") from None
            if not piece:
                raise _changed(local)
            yield piece
            done += len(piece)
            show("sending", done)


@contextmanager
def meter(name: str, size: int) -> Iterator[Show]:
    """Shows on a terminal how far a file is, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _what, _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
    with Progress(*columns, TransferSpeedColumn(), console=Console(stderr=True), transient=True) as progress:
        task, now = progress.add_task(name, total=size), ""

        def show(what: str, done: int) -> None:
            nonlocal now
            if what != now:
                progress.reset(task, description=f"{what} {name}", total=size)
                now = what
            progress.update(task, completed=done)

        yield show


def push(client: Client, local: Local, name: str) -> dict[str, Any]:
    """Hash and send a file; what the manager says. Raises as `hashed` and `send` do.

    While the manager has its hands full with others' it is tried again.
    """
    until = time.monotonic() + BUSY_FOR
    with meter(name, local.size) as show:
        found = hashed(local, show) if not local.sha256 else local
        while True:
            try:
                return send(client, found, name, show)
            except Refused as error:
                if error.status != 503 or error.retry_after is None or time.monotonic() > until:
                    raise
                show("waiting for others,", 0)
                # Not all who wait come back at one moment.
                _sleep(error.retry_after * random.uniform(0.5, 1.5))
