"""Reads files of this machine (`file://`)."""

import errno
import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence

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
            real = os.path.realpath(path)
            self._check(path, real)
            place = _held(real)
            try:
                if not stat.S_ISREG(os.fstat(place).st_mode):
                    raise TransferError(Kind.UNSUPPORTED, f"{_name(path)} is no regular file")
                return os.open(
                    f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
                )
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


def _held(real: str) -> int:
    """What lies at a path without links in it, opened but not to be read.

    Step by step, following none: links may have changed since, and those like `/proc/<pid>/root` lead into
    namespaces where whoever made them has mounted what he likes at that very path.

    Raises:
        OSError: there is nothing, or a link by now.
    """
    at = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in filter(None, real.split("/")):
        try:
            found = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        finally:
            os.close(at)
        at = found
    if stat.S_ISLNK(os.fstat(at).st_mode):
        os.close(at)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return at


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
