"""`--device-csv`: the inventory as a file, read at start if people changed it, written after each change.

A child of the manager. No line that we wrote ourselves is read back: the store may be ahead of it, also by
other managers' doing. A line that is refused is kept in `FILE.refused`, since the file is about to be written
anew. Of several managers that are given the same file one keeps it, the others stand by.
"""

import contextlib
import csv
import errno
import hashlib
import io
import logging
import os
import stat
import sys
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic

from manager_api.core import device_csv
from manager_api.http.inventory import device_mark
from manager_api.http.inventory.device_lines import taken, written
from manager_api.http.inventory.device_mark import ANEW, Mark
from manager_api.inventory.bulk import REFUSED
from manager_api.settings import StoreAccess
from store import former, logs
from store.backoff import Backoff
from store.clock import SystemClock
from store.errors import EpochChanged, StoreError
from store.keys import DEVICES, NODES
from store.kv.connection import connect
from store.kv.presence import apart
from store.kv.store import Store
from store.kv.watch import Watch
from store.process import Lock, on_end, write_whole

log = logging.getLogger("devices")

LISTEN_MS = 500
MOST_PAUSE = 5.0
STANDS_BY = 1.0
"""Seconds after which one that stands by looks again whether the file is kept."""


class DeviceFile:
    """Keeps one file true to one store."""

    def __init__(self, store: Store, file: Path) -> None:
        self._store = store
        self._file = file
        self._digest = self._cluster = ""
        self._ended = threading.Event()
        self._read = False
        self._lock: Lock | None = None

    def stop(self) -> None:
        """End after what is being written."""
        self._ended.set()

    def run(self) -> None:
        """Until stopped; trouble with the store or the disk is tried again, and said once."""
        failures, backoff, said = 0, Backoff(first=0.2, most=5.0), ""
        while not self._ended.is_set():
            try:
                self._follow()
            except (StoreError, OSError, ValueError) as error:
                failures += 1
                if str(error) != said:
                    said = str(error)
                    log.warning("%s is not kept up to date: %s; trying again", self._file, error)
                self._ended.wait(backoff.delay(failures))

    def _hold(self) -> bool:
        """Have the file for ourselves, at last; False: we are to end.

        Raises:
            OSError: nothing can be written beside it.
        """
        if self._lock is None:
            with contextlib.ExitStack() as tried:
                lock, said = Lock(self._file.with_name(f".{self._file.name}.lock")), False
                tried.callback(lock.close)
                while not self._is_ours(lock):
                    if not said:
                        log.warning("%s is kept by another manager: this one stands by", self._file)
                    said = True
                    if self._ended.wait(STANDS_BY):
                        return False
                tried.pop_all()
            self._lock = lock
        return True

    def _is_ours(self, lock: Lock) -> bool:
        """Whether the lock is had; also where no file can be locked: it should be no other manager's."""
        try:
            return lock.try_acquire()
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            log.warning("%s: its file system knows no locks; no other manager may keep this file", self._file)
            return True

    def _follow(self) -> None:
        if not self._hold():
            return
        meta = self._store.attach()
        if not self._read:
            self.take()
            self._read = True
        watch = Watch(self._store.client, self._store.keys, epoch=meta.epoch, after=meta.rev)
        took = self.write(meta.rev)
        last = monotonic()
        while not self._ended.is_set():
            events = watch.poll(LISTEN_MS)
            moved = any(event.collection in (DEVICES, NODES) for event in events)
            if moved or monotonic() - last > ANEW + took:
                took, last = self.write(watch.rev), monotonic()
                self._ended.wait(min(took, MOST_PAUSE))  # half of the time at most, however large it is
            elif events:
                device_mark.write(self._file, self._mark(watch.rev, took))
        if watch.poll(0):
            self.write(watch.rev)

    def take(self) -> None:
        """Read the file, if there is one that somebody else wrote.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no file of devices; it is left as it is, and so is the inventory.
        """
        try:
            raw = self._file.open("rb")
        except FileNotFoundError:
            return
        with raw:
            self._digest = hashlib.file_digest(raw, "sha256").hexdigest()
            known = device_mark.read(self._file)
            ours = known.cluster in ("", self._store.meta().cluster)
            if ours and self._digest in (known.sha256, known.before):
                return
            raw.seek(0)
            self._take(raw, device_mark.lines(self._file) if ours else set())

    def _take(self, raw: io.BufferedReader, untouched: set[bytes]) -> None:
        counts: dict[str, int] = {}
        refused: dict[int, str] = {}
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="", errors="surrogateescape")
        for outcome in taken(self._store, text, seed=self._digest, untouched=untouched):
            counts[outcome.result] = counts.get(outcome.result, 0) + 1
            if outcome.result == REFUSED:
                refused[outcome.line] = outcome.why
        said = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
        log.info("%s was read: %s", self._file, said or "no device")
        if refused:
            raw.seek(0)
            self._keep(raw, refused)

    def _keep(self, raw: io.BufferedReader, refused: dict[int, str]) -> None:
        """The lines that were not taken, with the reasons, before the file is written anew."""
        path = self._file.with_name(self._file.name + ".refused")
        with path.open("w", encoding="utf-8", newline="", errors="surrogateescape") as out:
            rows = csv.writer(out)
            rows.writerow([*device_csv.COLUMNS, "refused"])
            lines = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="", errors="surrogateescape")
            for number, line in enumerate(lines, 1):
                if number in refused:
                    out.write(line.rstrip("\r\n") + "," + _cell(refused[number]) + "\r\n")
        log.warning(
            "%d lines of %s were refused: they are in %s, with reasons", len(refused), self._file, path
        )

    def write(self, rev: int) -> float:
        """Write the file anew, whole or not at all; the seconds that it took.

        Raises:
            OSError: it cannot be written; the old one is as it was.
            StoreEmpty, EpochChanged: what was read is no inventory of this epoch; the old one is as it was.
        """
        began, part, digest = monotonic(), self._file.with_name(f".{self._file.name}.part"), hashlib.sha256()
        lines = bytearray()
        try:
            with part.open("wb") as out:
                with contextlib.suppress(FileNotFoundError):  # whom people let read it may read it on
                    os.fchmod(out.fileno(), stat.S_IMODE(self._file.stat().st_mode))
                for piece in written(self._store, lines):
                    digest.update(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            if (meta := self._store.meta()).epoch != self._store.epoch:  # or nothing is there: it was emptied
                raise EpochChanged(f"the store is in epoch {meta.epoch} by now, not {self._store.epoch}")
            if device_mark.read(self._file).epoch not in ("", meta.epoch):
                former.keep(self._file, meta.epoch, log)
            old, self._digest, self._cluster = self._digest, digest.hexdigest(), meta.cluster
            took = monotonic() - began
            # The mark first: a file that it does not know is read as if people had written it.
            device_mark.write(self._file, replace(self._mark(0, took), before=old))
            part.replace(self._file)
            # Then its lines: one that they do not know is taken in, and is what we have just read.
            write_whole(device_mark.lines_beside(self._file), bytes(lines))
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        device_mark.write(self._file, self._mark(rev, took))
        return took

    def _mark(self, rev: int, took: float) -> Mark:
        return Mark(self._digest, self._digest, self._store.epoch, rev, took, self._cluster)


def _cell(text: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="").writerow([text])
    return out.getvalue()


def main() -> None:
    """The program: told by environment, like the manager's other children."""
    access = StoreAccess.from_environment(dict(os.environ))
    log_file = os.environ.get("MUSTER_LOG_FILE")
    logs.setup(Path(log_file) if log_file else None)
    assert access.device_csv is not None
    client = connect(access.url, name="devices", password=access.password(), recheck=True)
    presence = apart(access.presence_url, name="devices-presence", clock=SystemClock())
    keeper = DeviceFile(Store(client, presence=presence), Path(access.device_csv))
    on_end(keeper.stop)
    keeper.run()
    sys.exit(0)


if __name__ == "__main__":
    main()
