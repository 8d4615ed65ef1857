"""What is written into a home that is being filled: by open directories, so that no link is ever followed."""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from agentd.artifacts.entries import Parts
from agentd.artifacts.home import DIRECTORY
from agentd.artifacts.links import Links

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_BITS = 0o755
"""Bits of a mode that are kept: not setuid, setgid or sticky, and nobody else may write."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom things belong to; None: to us."""

    uid: int | None = None
    gid: int | None = None

    def take(self, fd: int) -> None:
        """Give them an open file or directory."""
        if self.uid is not None or self.gid is not None:
            os.fchown(fd, *self.ids)

    @property
    def ids(self) -> tuple[int, int]:
        """As the system calls have them."""
        return (-1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)


class Taken(Exception):
    """There is something of that name already."""

    def __init__(self, path: Parts) -> None:
        super().__init__(b"/".join(path).decode("utf-8", "replace"))
        self.path = path


@dataclass(frozen=True, slots=True)
class _Late:
    mode: int
    mtime: float
    owner: Owner


class Tree:
    """A directory open at `fd`, which belongs to nobody else as long as it is filled."""

    def __init__(self, fd: int, owner: Owner) -> None:
        self.fd = fd
        self.owner = owner
        self.links = Links()
        self._open: list[tuple[bytes, int]] = []
        self._directories: dict[Parts, _Late] = {}
        self._links: dict[Parts, _Late] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close(0)

    def directory(self, path: Parts, owner: Owner) -> int:
        """An open directory, made with those above it if need be; good until the next call.

        Raises:
            Taken: something on the way is none.
        """
        same = 0
        for (name, _), wanted in zip(self._open, path, strict=False):
            if name != wanted:
                break
            same += 1
        self._close(same)
        for depth in range(same, len(path)):
            _check(path[depth])
            at = self._open[-1][1] if self._open else self.fd
            try:
                self._open.append((path[depth], _entered(at, path[depth], owner)))
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    raise Taken(path[: depth + 1]) from None
                raise
        return self._open[-1][1] if self._open else self.fd

    def late_directory(self, path: Parts, owner: Owner, mode: int, mtime: float) -> None:
        """A directory that gets its mode and time when all is in it."""
        self.directory(path, owner)
        if path:
            self._directories[path] = _Late(mode & FILE_BITS | 0o700, mtime, owner)

    @contextlib.contextmanager
    def file(self, path: Parts, owner: Owner, mode: int, mtime: float | None) -> Iterator[int]:
        """A new file, open to be written (and read).

        Raises:
            Taken: there is something of that name.
        """
        parent = self.directory(path[:-1], owner)
        _check(path[-1])
        try:
            fd = os.open(path[-1], _NEW, 0o600, dir_fd=parent)
        except FileExistsError:
            raise Taken(path) from None
        try:
            yield fd
            owner.take(fd)
            os.fchmod(fd, mode)
            if mtime is not None:
                os.utime(fd, (mtime, mtime))
        finally:
            os.close(fd)

    def hard_link(self, path: Parts, target: Parts, owner: Owner) -> None:
        """Another name for a file that is there.

        Raises:
            Taken: there is something of that name.
        """
        source = os.dup(self.directory(target[:-1], owner))
        try:
            _check(target[-1])
            _check(path[-1])
            parent = self.directory(path[:-1], owner)
            os.link(target[-1], path[-1], src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            raise Taken(path) from None
        finally:
            os.close(source)

    def late_link(self, path: Parts, target: bytes, within: Parts, owner: Owner, mtime: float) -> None:
        """A symbolic link that is made when all else is there, so that nothing goes through it."""
        if path in self._links:
            raise Taken(path)
        self.links.add(path, target, within)
        self._links[path] = _Late(0, mtime, owner)

    def finish(self) -> None:
        """Make the links, if none leads out; give directories their modes and times.

        Raises:
            TransferError: HOSTILE, a link leads out.
            Taken: where a link should be is something else.
        """
        self.links.check()
        for path, late in self._links.items():
            parent = self.directory(path[:-1], late.owner)
            _check(path[-1])
            try:
                os.symlink(self.links.targets[path], path[-1], dir_fd=parent)
            except FileExistsError:
                raise Taken(path) from None
            if late.owner.ids != (-1, -1):
                os.chown(path[-1], *late.owner.ids, dir_fd=parent, follow_symlinks=False)
            os.utime(path[-1], (late.mtime, late.mtime), dir_fd=parent, follow_symlinks=False)
        for path, late in self._directories.items():
            fd = self.directory(path, late.owner)
            os.fchmod(fd, late.mode)
            os.utime(fd, (late.mtime, late.mtime))

    def _close(self, keep: int) -> None:
        while len(self._open) > keep:
            os.close(self._open.pop()[1])


def _check(name: bytes) -> None:
    """The last guard: what is no plain name stays out, whoever let it come this far."""
    if name in (b"", b".", b"..") or b"/" in name:
        raise ValueError(f"{name!r} is not the name of something in a directory")


def _entered(parent: int, name: bytes, owner: Owner) -> int:
    """A directory opened, and made if it is not there."""
    made = True
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        made = False
    fd = os.open(name, DIRECTORY, dir_fd=parent)
    if made:
        try:
            owner.take(fd)
            os.fchmod(fd, 0o755)
        except BaseException:
            os.close(fd)
            raise
    return fd


def write(fd: int, pieces: Iterable[bytes]) -> int:
    """Write all pieces; how many bytes they were."""
    count = 0
    for piece in pieces:
        view = memoryview(piece)
        count += len(view)
        while view:
            view = view[os.write(fd, view) :]
    return count
