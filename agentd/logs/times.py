"""When a log had which length: what `since` is answered from, and how old lines are told.

An entry says "at this wall time, the log was so long": what lies before it was written by then. One is
added at most every 5 s while the log grows, so `since` begins up to 7 s early (with the keeper's own
2 s), never late. The file is kept below 64 KiB by thinning out what is old: there, it is coarser.
"""

import os
import struct
from pathlib import Path

_ENTRY = struct.Struct("<dQ")
MOST = 4096
"""Entries that are kept."""
EVERY = 5.0


class Times:
    """The time index of one log."""

    def __init__(self, live: Path) -> None:
        self._path = live.with_name(f"{live.name}.times")
        entries = self.entries()
        self._count = len(entries)
        self._wall, self._end = entries[-1] if entries else (0.0, 0)

    def entries(self) -> list[tuple[float, int]]:
        """All of (wall time, length), by length."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return []
        return list(_ENTRY.iter_unpack(raw[: len(raw) // _ENTRY.size * _ENTRY.size]))

    def note(self, wall: float, end: int, oldest: int) -> None:
        """The log is so long now; what lies before `oldest` is not kept any more.

        Raises:
            OSError: it cannot be written.
        """
        if end == self._end or 0 <= wall - self._wall < EVERY:
            return
        if self._count >= MOST:
            self._thin(oldest)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            # A write that a full disk cut short must not shift those after it.
            os.ftruncate(fd, self._count * _ENTRY.size)
            os.write(fd, _ENTRY.pack(wall, end))
        finally:
            os.close(fd)
        self._count, self._wall, self._end = self._count + 1, wall, end

    def _thin(self, oldest: int) -> None:
        entries = self.entries()
        kept = [entry for entry in entries if entry[1] > oldest] or entries[-1:]
        if len(kept) > MOST // 2:
            half = len(kept) // 2
            kept = kept[:half:2] + kept[half:]
        part = self._path.with_name(f"{self._path.name}.part")
        part.write_bytes(b"".join(_ENTRY.pack(*entry) for entry in kept))
        part.replace(self._path)
        self._count = len(kept)

    def offset(self, wall: float) -> int:
        """An offset from which on all lies that was written after a wall time."""
        return next((end for when, end in reversed(self.entries()) if when <= wall), 0)

    def written(self, offset: int) -> float | None:
        """When the byte at an offset was there at the latest; None when nobody noted it yet."""
        return next((when for when, end in self.entries() if end > offset), None)
