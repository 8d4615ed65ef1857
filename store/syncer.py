"""Syncs the append-only file once a second, from outside of the server that writes it.

The server's own `appendfsync everysec` holds writes back, up to 2 s, while a sync is under way, and
answers them all the same: killed then, it has lost what it acknowledged. With `no` it writes before
it answers; what is left is the power cut, and this thread.
"""

import logging
import os
import threading
from pathlib import Path

log = logging.getLogger("store")

EVERY = 1.0
"""Seconds between syncs: what a power cut may cost."""


class Syncer:
    """One thread, until stopped. It looks only at files that have changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._synced: dict[Path, tuple[int, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="syncer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end."""
        self._stop.set()

    def sync(self) -> list[Path]:
        """Sync what has changed since the last time; the files that did."""
        found: dict[Path, tuple[int, int]] = {}
        for path in self._directory.glob("*.aof"):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # rewritten meanwhile
                continue
            try:
                status = os.fstat(fd)
                found[path] = (status.st_ino, status.st_size)
                if self._synced.get(path) != found[path]:
                    os.fdatasync(fd)
            finally:
                os.close(fd)
        changed = [path for path, mark in found.items() if self._synced.get(path) != mark]
        self._synced = found
        return changed

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self.sync()
            except OSError as error:
                log.error("the append-only file could not be synced: %s", error)
