"""Room on the disk: old segments are packed, and the oldest of all go when there is too much."""

import contextlib
import gzip
import os
import shutil
from collections.abc import Iterator
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


def used(directory: Path) -> int:
    """Bytes on disk of all logs."""
    total = 0
    for alloc in _directories(directory):
        for path in alloc.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_blocks * 512
    return total


def free(directory: Path, wanted: int) -> int:
    """Remove the oldest segments of all logs until so many bytes are free; how many that were."""
    found = []
    for alloc in _directories(directory):
        for segment in files.all_segments(alloc):
            with contextlib.suppress(FileNotFoundError):
                status = segment.path.stat()
                found.append((status.st_mtime, status.st_blocks * 512, segment.path))
    freed = 0
    for _, size, path in sorted(found):
        if freed >= wanted:
            break
        path.unlink(missing_ok=True)
        freed += size
    return freed


def _directories(directory: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        for path in list(directory.iterdir()):
            if path.is_dir():
                yield path
