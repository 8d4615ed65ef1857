"""Holes in files: how the head of a log that a task is writing is given back to the disk."""

import ctypes
import errno
import os
import tempfile
from pathlib import Path

BLOCK = 4096
UNABLE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EINVAL)
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def punch(fd: int, start: int, end: int) -> None:
    """Free the whole blocks that end at or before `end`; the file keeps its size.

    Raises:
        OSError: the file system cannot do that.
    """
    first, last = start // BLOCK * BLOCK, end // BLOCK * BLOCK
    if last > first and _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, first, last - first) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def first_data(fd: int, offset: int) -> int:
    """The first byte at or after `offset` that is no hole; a file's end is none."""
    size = os.fstat(fd).st_size  # before: what is written while we look is no hole
    try:
        return max(offset, os.lseek(fd, offset, os.SEEK_DATA))
    except OSError as error:
        if error.errno == errno.ENXIO:  # at the end, or nothing but a hole up to it
            return max(offset, size)
        return offset


def supported(directory: Path) -> bool:
    """Whether the file system of a directory can do it; a full one that cannot be asked is believed to."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            punch(file.fileno(), 0, BLOCK)
    except OSError as error:
        return error.errno not in UNABLE
    return True
