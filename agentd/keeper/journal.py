"""An append-only file of numbered JSON lines: what was started, what became of it."""

import errno
import json
import os
from collections.abc import Iterator
from typing import Any

from agentd.keeper.faults import fault

Entry = dict[str, Any]
COMPACT_ABOVE = 1024 * 1024
"""Bytes of journal above which it is written anew from what still matters."""


class Journal:
    """One writer. An entry is in the kernel's hands when `append` returns; `sync` puts it on disk."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._backlog = b""
        self._compacted = 0
        self.dirty = False
        self.seq = 0

    def replay(self) -> Iterator[Entry]:
        """All entries there are. A torn last line is cut off; a damaged one in between is passed over."""
        with open(self._path, "rb") as file:
            data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._fd, whole)
        for line in data[:whole].splitlines():
            try:
                entry = json.loads(line)
                self.seq = max(self.seq, int(entry["seq"]))
            except (ValueError, KeyError, TypeError):
                continue
            yield entry

    def append(self, kind: str, *, must: bool = False, **fields: Any) -> Entry:
        """Write one entry and hand it back, with its number.

        What has happened is true whether it can be written or not: such an entry waits in memory
        while the disk is full. What is about to happen (`must`) does not, then.

        Raises:
            OSError: `must`, and it could not be written whole; nothing of it remains.
        """
        entry: Entry = {"seq": self.seq + 1, "kind": kind, **fields}
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        fault("keeper.journal.before")
        try:
            self._write(self._backlog + line)
            self._backlog = b""
        except OSError:
            if must:
                raise
            self._backlog += line
        fault("keeper.journal.after")
        self.seq += 1
        self.dirty = True
        return entry

    def _write(self, data: bytes) -> None:
        before = os.lseek(self._fd, 0, os.SEEK_END)
        if os.write(self._fd, data) != len(data):
            os.ftruncate(self._fd, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Put what was appended on disk; what does not fit stays for the next time."""
        if not self.dirty:
            return
        try:
            if self._backlog:
                self._write(self._backlog)
                self._backlog = b""
            os.fdatasync(self._fd)
            self.dirty = False
        except OSError:
            return

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def size(self) -> int:
        """Bytes."""
        return os.fstat(self._fd).st_size

    def outgrown(self) -> bool:
        """Whether most of it is history."""
        return self.size() > max(COMPACT_ABOVE, 2 * self._compacted)

    def rewrite(self, entries: list[Entry]) -> None:
        """Replace all entries by these, as a whole; on a full disk the old ones stay."""
        part = self._path + ".part"
        data = b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries)
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(fd)
            os.rename(part, self._path)
        except OSError:
            os.close(fd)
            os.unlink(part)
            return
        os.close(self._fd)
        self._fd, self._backlog, self._compacted = fd, b"", len(data)
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(directory)
        os.close(directory)
