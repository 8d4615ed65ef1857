"""Copying a part of a growing file, inside the kernel where it can."""

import ctypes
import errno
import os
from pathlib import Path

_held = ctypes.PyDLL(None, use_errno=True)
"""libc without letting other threads run before the next call."""
_pread = getattr(_held, "pread64", None) or _held.pread
_pread.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64]
_pread.restype = ctypes.c_ssize_t
_WINDOW = 64 * 1024
_REST = 256 * 1024
_PIECE = 16 * 1024 * 1024


class Shrunk(Exception):
    """The file became shorter while it was copied."""


def copy(fd: int, start: int, end: int | None, target: Path) -> int:
    """Copy [start, end) of a file to a new one, up to wherever it ends if `end` is None; where that was.

    Raises:
        Shrunk: there is no longer so much.
        OSError: no room, say; the target may be there, in part.
    """
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        while end is None or start < end:
            got = _move(out, fd, start, _PIECE if end is None else min(end - start, _PIECE))
            if got == 0 and end is not None:
                raise Shrunk
            if got == 0:
                break
            start += got
    finally:
        os.close(out)
    return start


def take_rest(fd: int, start: int, target: Path) -> tuple[int, int]:
    """Append what a file has from `start` on to a target, and truncate it; (its end, bytes lost).

    A writer's bytes are lost when they come in the microseconds between our last read and the
    truncation; those are not counted. Counted are those that the target had no room for.
    """
    buffer, lost = ctypes.create_string_buffer(_REST), 0
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        got = _REST
        while got == _REST:
            got = _pread(fd, buffer, _REST, start)
            if 0 <= got < _REST:
                _held.ftruncate(fd, 0)
            if got < 0:
                raise OSError(ctypes.get_errno(), "pread")
            start += got
            try:
                done = os.write(out, buffer.raw[:got])
            except OSError:
                done = 0
            lost += got - done
    finally:
        os.close(out)
    return start, lost


def _move(out: int, fd: int, offset: int, size: int) -> int:
    try:
        return os.sendfile(out, fd, offset, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    data = os.pread(fd, min(size, _WINDOW), offset)
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]
    return len(data)
