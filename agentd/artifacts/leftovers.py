"""Parts of files that nobody is at: they take room, and can be had again."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def idle(part: Path) -> Iterator[bool]:
    """Whether nobody writes a part, nor will as long as this lasts."""
    try:
        fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)


def free(parts: Path, wanted: int, before: float, after: float) -> int:
    """Remove parts, the oldest first, until so many bytes are freed; how many were.

    Only such as were written to before one time or, as clocks are put back, after another (seconds since
    1970).
    """
    found = []
    for path in parts.glob("*.part"):
        with contextlib.suppress(OSError):
            stat = path.lstat()
            if not before <= stat.st_mtime <= after:
                found.append((stat.st_mtime, stat.st_size, path))
    freed = 0
    for _, size, path in sorted(found):
        if freed >= wanted:
            break
        with idle(path) as ours:
            if ours:
                path.with_suffix(".json").unlink(missing_ok=True)  # the note goes before the bytes do
                path.unlink(missing_ok=True)
                freed += size
    return freed
