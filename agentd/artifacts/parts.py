"""Files that are not whole yet, with a note beside each of what they are part of.

`<key>.part` holds the first bytes of a source, `<key>.json` which source's, as of which stamp. Whoever is
killed leaves a prefix of what the note names, or a part without a note, which counts for nothing: the note
goes before the bytes do, and comes after they went. After a boot a file's last bytes may be zeros, so a
part is gone on with only if a digest that is known will tell.
"""

import fcntl
import hashlib
import json
import os
from pathlib import Path

from agentd.artifacts.leftovers import idle
from agentd.keeper.proc import boot_id
from transfer.errors import Kind, TransferError
from transfer.reader import Stat

STAY = 7 * 86400.0
"""Seconds after which a download that was given up is no longer worth its room."""
WORTH_A_NOTE = 1024**2
"""Bytes; of smaller files parts are not gone on with."""
_READ = 1024**2
_FLUSH = 8 * 1024**2
"""Bytes after which the disk is set to work, so that less is left to be done at the end."""


def key_of(*identity: str) -> str:
    """The name of the parts of a source."""
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


class Part:
    """One file in the making; nobody else writes it. `size` bytes of it are there, which `digest` is of."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.size = 0
        self.resumed = False
        self.digest = hashlib.sha256()
        self._fd = fd
        self._flushed = 0

    @property
    def _note(self) -> Path:
        return self.path.with_suffix(".json")

    def resume(self) -> None:
        """Take what is there, and read it for the digest."""
        while piece := os.pread(self._fd, _READ, self.size):
            self.digest.update(piece)
            self.size += len(piece)
        self.resumed = self.size > 0

    def begin(self, source: str, stat: Stat) -> None:
        """From zero, for this source as it is now."""
        self._note.unlink(missing_ok=True)
        os.ftruncate(self._fd, 0)
        if not (stat.stamp and stat.exact) or (stat.size is not None and stat.size < WORTH_A_NOTE):
            return
        note = {"source": source, "stamp": stat.stamp, "size": stat.size, "boot": boot_id()}
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(note))
        new.replace(self._note)

    def is_of(self, stat: Stat, *, pinned: bool) -> bool:
        """Whether what is there is the beginning of a file as it is now."""
        try:
            note = json.loads(self._note.read_bytes())
            same = note["stamp"] == stat.stamp and note["size"] == stat.size
            safe = pinned or note["boot"] == boot_id()
        except (OSError, ValueError, KeyError, TypeError):
            return False
        there = os.fstat(self._fd).st_size
        return same and safe and (stat.size is None or there <= stat.size)

    def write(self, piece: bytes) -> None:
        """More of it.

        Raises:
            OSError: the disk is full, or broken. What was written counts.
        """
        self.digest.update(piece)
        view = memoryview(piece)
        while view:
            written = os.write(self._fd, view)
            view = view[written:]
            self.size += written
        if self.size - self._flushed >= _FLUSH:
            os.posix_fadvise(self._fd, self._flushed, self.size - self._flushed, os.POSIX_FADV_DONTNEED)
            self._flushed = self.size

    def discard(self) -> None:
        """Nothing of it is worth keeping."""
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave it to whoever comes next; if it is whole and moved away, nothing stays."""
        if not self.path.exists():
            self._note.unlink(missing_ok=True)
        os.close(self._fd)


class Parts:
    """The parts of one node."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, key: str, source: str, stat: Stat, *, pinned: bool) -> Part:
        """The part of a source: what there is of it if it is of the same file, else an empty one.

        `pinned`: a digest is known that the whole must have. `source` is for people.

        Raises:
            OSError: the disk is full, or broken.
            TransferError: FAULT: another process is at it, for the moment.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._held(self._directory / f"{key}.part")
        try:
            if part.is_of(stat, pinned=pinned):
                part.resume()
            else:
                part.begin(source, stat)
        except BaseException:
            part.close()
            raise
        return part

    def sweep(self, now: float) -> None:
        """Remove what nobody went on with for long: parts with all that is noted of them. `now`: since 1970.

        Raises:
            OSError: something cannot be removed.
        """
        given_up: dict[Path, list[Path]] = {}
        for path in self._directory.iterdir():
            given_up.setdefault(path.with_suffix(".part"), []).append(path)
        for part, paths in given_up.items():
            if any(_age(path, now) <= STAY for path in paths):
                continue
            with idle(part) as ours:
                if ours or not part.exists():
                    for path in paths:
                        path.unlink(missing_ok=True)

    def _held(self, path: Path) -> Part:
        """Open, and locked: whoever had it before may have renamed it while we opened it."""
        for _ in range(3):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return Part(path, fd)
            except (BlockingIOError, FileNotFoundError):
                pass
            os.close(fd)
        raise TransferError(Kind.FAULT, "another process of this agent is still reading this file")


def _age(path: Path, now: float) -> float:
    """Seconds since it was written last; what is gone meanwhile is as good as new."""
    try:
        return now - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
