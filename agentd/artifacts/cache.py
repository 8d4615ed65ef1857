"""The node's files by their contents: `objects/<aa>/<sha256>`, least recently used first to go.

An object's mtime is when it was used last. Any number of processes may use one cache at once: an object
appears and goes by one system call, and what another has just removed is no error. Two downloads that
begin at the same moment may together exceed the quota; the next collection mends it.
"""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentd.artifacts import leftovers
from agentd.artifacts.space import full, usable
from store.model.artifacts import check_sha256, is_sha256
from store.model.quantity import size_text
from store.process import sync_directory
from transfer.errors import Kind, TransferError

JUST_USED = 60.0
"""Seconds for which what was used is not collected: the one who got it has not yet said that it is needed."""
PARTS_REST = 3600.0
"""Seconds after which a part that nobody has gone on with makes room before any object does."""
PIECE = 1024**2
"""Bytes that are read at once."""


@dataclass(frozen=True, slots=True)
class _Object:
    used: float
    name: str
    size: int


def object_path(objects: Path, sha256: str) -> Path:
    """Where an object lies.

    Raises:
        ValueError: that is no SHA-256.
    """
    return objects / check_sha256(sha256)[:2] / sha256


def damaged(sha256: str) -> TransferError:
    """An object is not what its name says, or is not there: to be fetched again."""
    return TransferError(Kind.FAULT, f"the copy of {sha256[:12]}… in this node's cache is gone or damaged")


class Cache:
    """The objects of a node. `quota` in bytes; `wall` in seconds since the epoch, as mtimes are."""

    def __init__(self, directory: Path, quota: int, wall: Callable[[], float] = time.time) -> None:
        self._quota = quota
        self._wall = wall
        self.objects = directory / "objects"
        self.parts = directory / "parts"
        for each in (directory, self.objects, self.parts):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where an object lies, or would lie."""
        return object_path(self.objects, sha256)

    def has(self, sha256: str) -> bool:
        """Whether it is there; its contents are looked at when it is placed."""
        return self.path(sha256).is_file()

    def touch(self, sha256: str) -> None:
        """It is used now."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path(sha256), (self._wall(),) * 2)

    def adopt(self, part: Path, sha256: str) -> Path:
        """Make an object of a file on the same disk whose digest was computed; also after a power cut.

        Raises:
            OSError: it cannot be kept.
        """
        error = self.adopt_all([(part, sha256)])[0]
        if error is not None:
            raise error
        return self.path(sha256)

    def adopt_all(self, parts: Sequence[tuple[Path, str]]) -> list[OSError | None]:
        """The same for many at once, which costs the disk little more than one; what keeps each from it."""
        found: list[OSError | None] = [None] * len(parts)
        opened: list[tuple[int, int]] = []
        try:
            for n, (part, _) in enumerate(parts):
                with _noted(found, n):
                    fd = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
                    opened.append((n, fd))
                    os.fchmod(fd, 0o600)
                    os.utime(fd, (self._wall(),) * 2)
                    # The disk begins with all before one is waited for: they share its journal's next write.
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            for n, fd in opened:
                with _noted(found, n):
                    os.fsync(fd)
        finally:
            for _, fd in opened:
                os.close(fd)
        directories: dict[Path, list[int]] = {}
        for n, (part, sha256) in enumerate(parts):
            if found[n] is None:
                with _noted(found, n):
                    path = self._place(sha256)
                    part.rename(path)
                    directories.setdefault(path.parent, []).append(n)
        for directory, those in directories.items():
            with _noted(found, *those):
                sync_directory(directory)
        return found

    def _place(self, sha256: str) -> Path:
        path = self.path(sha256)
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.objects)
        return path

    def used(self) -> int:
        """Bytes of all objects, and of what is being downloaded."""
        parts = (_status(path) for path in self._below(self.parts))
        return sum(each.size for each in self._all()) + sum(each.st_size for each in parts if each)

    def room_for(self, size: int, keep: Collection[str]) -> None:
        """See to it that so many more bytes fit into the quota and on the disk.

        Raises:
            TransferError: FULL, they do not.
        """
        if size > self._quota:
            raise TransferError(
                Kind.FULL,
                f"{size_text(size)} are more than this node's cache may hold: {size_text(self._quota)}, "
                "see the agent's --artifact-quota",
            )
        over = self.used() + size - self._quota
        short = size - usable(self.objects)
        freed = self._free(max(over, short), keep) if max(over, short) > 0 else 0
        if over > freed and self.used() + size > self._quota:  # others make room at the same time
            raise TransferError(
                Kind.FULL,
                f"no room for {size_text(size)} in this node's cache: tasks need {size_text(self.used())} "
                f"of its {size_text(self._quota)}, see the agent's --artifact-quota",
            )
        room = usable(self.objects)
        if size > room:
            raise full(str(self.objects), size, room)

    def collect(self, keep: Collection[str]) -> int:
        """Bring the cache below its quota, remove what is no object; bytes that this freed."""
        strays = (
            path for path in self._below(self.objects) if not path.is_dir() and not is_sha256(path.name)
        )
        freed = sum(_removed(path) for path in strays)
        over = self.used() - self._quota
        return freed + (self._free(over, keep) if over > 0 else 0)

    def _free(self, wanted: int, keep: Collection[str]) -> int:
        now = self._wall()
        before = now - JUST_USED
        freed = leftovers.free(self.parts, wanted, now - PARTS_REST, now)
        for each in sorted(self._all(), key=lambda each: (each.used, each.name)):
            if freed >= wanted:
                break
            # What the clock says is yet to come was made before the clock was put back: as old as any.
            if each.name not in keep and not before < each.used <= now:
                freed += _removed(self.path(each.name))
        return freed + leftovers.free(self.parts, wanted - freed, before, now)

    def _all(self) -> Iterator[_Object]:
        for path in self._below(self.objects):
            found = _status(path) if is_sha256(path.name) else None
            if found:
                yield _Object(found.st_mtime, path.name, found.st_size)

    @staticmethod
    def _below(directory: Path) -> Iterator[Path]:
        for each in _listed(directory):
            if each.is_dir() and not each.is_symlink():
                yield from _listed(each)
            else:
                yield each


@contextlib.contextmanager
def _noted(found: list[OSError | None], *numbers: int) -> Iterator[None]:
    """What goes wrong is noted for these."""
    try:
        yield
    except OSError as error:
        for n in numbers:
            found[n] = error


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _removed(path: Path) -> int:
    """Bytes that its removal frees: none, if somebody else has removed it."""
    try:
        size = path.lstat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size
