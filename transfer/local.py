"""Reads files of this machine (`file://`)."""

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from transfer.errors import Kind, TransferError
from transfer.reader import Stat
from transfer.urls import Source

_PIECE = 1024 * 1024


class LocalReader:
    """Regular files only. With `patterns`, only those whose real path one of them matches."""

    def __init__(self, patterns: Sequence[str] | None = None) -> None:
        self._patterns = patterns

    def stat(self, path: str) -> Stat:
        """What is there.

        Raises:
            TransferError: MISSING, DENIED, UNSUPPORTED (no regular file, or not allowed), FAULT.
        """
        fd = self._open(path)
        try:
            return _stat(fd)
        finally:
            os.close(fd)

    def read(self, path: str, offset: int, stat: Stat) -> Iterator[bytes]:
        """The bytes from `offset` to the end.

        Raises:
            TransferError: as `stat`; CHANGED: it is not the file that `stat` is of, or not any more.
        """
        fd = self._open(path)
        try:
            left = (stat.size or 0) - offset
            if _stat(fd) != stat or left < 0:
                raise _changed(path)
            while left:
                piece = os.pread(fd, min(left, _PIECE), (stat.size or 0) - left)
                if not piece:
                    break
                left -= len(piece)
                yield piece
            if left or _stat(fd) != stat:
                raise _changed(path)
        except OSError as error:
            raise _failed(path, error) from None
        finally:
            os.close(fd)

    def close(self) -> None:
        """Nothing is held."""

    def _open(self, path: str) -> int:
        """A regular file that is allowed, open for reading.

        It is looked at before it is opened to read: opening a device may do things, opening a pipe waits.
        """
        try:
            self._check(path, os.path.realpath(path))
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                if not stat.S_ISREG(os.fstat(place).st_mode):
                    raise TransferError(Kind.UNSUPPORTED, f"{_name(path)} is no regular file")
                held = Path(f"/proc/self/fd/{place}")
                # Links may have changed since: what counts is the file that we hold.
                self._check(path, str(held.readlink()))
                return os.open(held, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            finally:
                os.close(place)
        except OSError as error:
            raise _failed(path, error) from None
        except ValueError:  # a zero byte
            raise TransferError(Kind.UNSUPPORTED, f"{path!r} is no path") from None

    def _check(self, path: str, real: str) -> None:
        if self._patterns is None or any(fnmatch.fnmatchcase(real, each) for each in self._patterns):
            return
        where = _name(path) if real == path else f"{_name(path)} (which is {real})"
        raise TransferError(Kind.UNSUPPORTED, f"this node's policy does not list {where} among its files")


def _stat(fd: int) -> Stat:
    found = os.fstat(fd)
    return Stat(found.st_size, f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}")


def _name(path: str) -> str:
    return str(Source(scheme="file", path=path))


def _changed(path: str) -> TransferError:
    return TransferError(Kind.CHANGED, f"{_name(path)} changed while it was read")


def _failed(path: str, error: OSError) -> TransferError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return TransferError(Kind.MISSING, f"no such file {_name(path)}")
    if isinstance(error, PermissionError):
        return TransferError(Kind.DENIED, f"{_name(path)} may not be read by the agent")
    return TransferError(Kind.FAULT, f"{_name(path)} cannot be read: {error.strerror}")
