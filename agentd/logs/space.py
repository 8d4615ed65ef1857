"""Room on the disk: old segments are packed, and the oldest of all go when there is too much."""

import contextlib
import gzip
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agentd.logs import files
from agentd.logs.files import Segment

_PIECE = 256 * 1024


def pack(segment: Segment) -> None:
    """Compress a segment. Readers read both forms; while both are there, they are the same.

    Raises:
        OSError: no room for it, say; the segment stays as it is.
    """
    final = files.packed_path(segment.path)
    part = files.part_path(final)
    try:
        with segment.path.open("rb") as source, part.open("wb") as raw:
            with gzip.GzipFile("", "wb", 1, raw, mtime=0) as out:
                shutil.copyfileobj(source, out, _PIECE)
            status = os.fstat(source.fileno())
            part.chmod(0o640)
        os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))  # its age is that of its lines
        part.rename(final)
    finally:
        part.unlink(missing_ok=True)
    segment.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of some log: when it was last written, and what it takes on disk."""

    path: Path
    written: float
    size: int

    @property
    def is_segment(self) -> bool:
        """Whether it is a part that was rotated away."""
        return files.is_segment(self.path.name)

    @property
    def is_live(self) -> bool:
        """Whether a task may write it."""
        return self.path.suffix.removeprefix(".") in files.STREAMS


def survey(directory: Path) -> list[Entry]:
    """All files of all logs, oldest first."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in directory.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append(Entry(path, status.st_mtime, status.st_blocks * 512))
    return sorted(found, key=lambda entry: entry.written)


def free(entries: Iterable[Entry], wanted: int) -> int:
    """Remove files until so many bytes are free; how many that were."""
    freed = 0
    for entry in entries:
        if freed >= wanted:
            break
        entry.path.unlink(missing_ok=True)
        freed += entry.size
    return freed
