"""How far the file of `--device-csv` is behind: what its writer says beside it, who waits for it, who asks.

Contract 5's users read the file after a call and find what they changed. A file that takes long to write is
not waited for: the call would be as slow as the whole inventory is large.
"""

import contextlib
import csv
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import falcon

from manager_api.core import device_csv
from manager_api.http.services import Services
from store.codec import Json
from store.process import write_whole

WITHIN, EVERY = 1.0, 0.005
SLOW = 0.5
"""Seconds that the last writing took, from which on nobody waits."""
ANEW = 10.0
"""Seconds after which the file is written anyway: nodes come and go without a change of any record."""
SLACK = 10.0
"""Seconds by which its writer may be late."""
FIRST_LINE = 4096
"""Characters of a file's first line that are read: the columns' names are fewer."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What the file held when we wrote it last."""

    sha256: str = ""
    before: str = ""
    """The digest of what it held before: whoever was killed between the two has written one of them."""
    epoch: str = ""
    rev: int = 0
    took: float = 0.0
    cluster: str = ""
    """Whose inventory it is; empty: an earlier release did not say."""


def beside(file: Path) -> Path:
    """Where the mark of a file lies."""
    return file.with_name(f".{file.name}.mark")


def read(file: Path) -> Mark:
    """The mark of a file; an empty one if there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Mark(**json.loads(beside(file).read_text()))
    return Mark()


def write(file: Path, mark: Mark) -> None:
    """Say what the file holds.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(beside(file), json.dumps(asdict(mark)).encode())


def state(file: Path, now: float) -> Json:
    """Whether a file is kept, when it was last (seconds since 1970; None: never), and what hinders that.

    A writer that gets on writes its mark every few seconds, so nobody needs to be alive to say that it does
    not; and what the disk says against it is asked of the disk, which may be full.
    """
    try:
        written = beside(file).stat().st_mtime
    except OSError:
        written = None
    kept = written is not None and now - written <= 2 * (ANEW + read(file).took) + SLACK
    return {
        "file": str(file),
        "kept": kept,
        "written": written,
        "why": None if kept else hindrance(file),
    }


def hindrance(file: Path) -> str | None:
    """Why a file cannot be kept, as far as it and its directory tell; None: they do not."""
    try:
        if not file.parent.is_dir():
            return f"the directory {file.parent} is not there"
        _check(file)
        disk = os.statvfs(file.parent)
        needed = file.stat().st_size if file.exists() else 0
    except (OSError, ValueError, csv.Error) as error:
        return str(error)
    if not os.access(file.parent, os.W_OK | os.X_OK):
        return f"the manager's user may not write into {file.parent}"
    if (left := disk.f_bavail * disk.f_frsize) <= needed:
        return f"its disk has room for {left} bytes more, and it is written whole beside its {needed}"
    return None


def _check(file: Path) -> None:
    """The columns of a file, if it is there.

    Raises:
        OSError: it cannot be read.
        ValueError, csv.Error: it has others.
    """
    if not file.exists():
        return
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        device_csv.check_head(next(csv.reader([text.readline(FIRST_LINE)], strict=True), []))


def lines_beside(file: Path) -> Path:
    """Where the digests of a file's lines lie, as we wrote them."""
    return file.with_name(f".{file.name}.lines")


def lines(file: Path) -> set[bytes]:
    """The digests of the lines that we wrote last; empty if they are not known."""
    size = device_csv.DIGEST
    with contextlib.suppress(OSError):
        raw = lines_beside(file).read_bytes()
        return {raw[at : at + size] for at in range(0, len(raw), size)}
    return set()


class DeviceFileWait:
    """Middleware: calls that changed the inventory are answered when the file says so, too."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stuck: Mark | None = None

    def process_response(
        self,
        req: falcon.Request,
        _resp: falcon.Response,
        resource: object,
        succeeded: bool,  # noqa: FBT001
    ) -> None:
        """Wait, within reason."""
        file = self._services.access.device_csv
        if file is None or req.method in ("GET", "HEAD", "OPTIONS") or not succeeded:
            return
        if getattr(resource, "inventory", False):
            self._wait(Path(file))

    def _wait(self, file: Path) -> None:
        store: Any = self._services.store
        wanted, deadline = (store.epoch, store.seen), time.monotonic() + WITHIN
        while time.monotonic() < deadline:
            mark = read(file)
            if mark == self._stuck or mark.took > SLOW:
                return
            if mark.epoch == wanted[0] and mark.rev >= wanted[1]:
                return
            time.sleep(EVERY)
        self._stuck = mark  # its writer is in trouble, and says so: one call has waited for all
