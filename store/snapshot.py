"""`--db-path`: a snapshot at most a few seconds behind the last record; copying it is the backup.

A file put there by somebody else is told from ours by its digest: we note a digest before the
file that has it appears.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

from store import former
from store.clock import Clock
from store.embedded import EmbeddedServer
from store.errors import StoreError
from store.faults import fault
from store.home import Files
from store.kv.api import Meta
from store.kv.server import Server
from store.kv.store import Store
from store.process import sync_directory, write_whole

log = logging.getLogger("store")

EVERY = 2.0
"""Seconds between two snapshots at most; one is only made when a record changed."""
BUSY = 0.25
"""Seconds to wait while the server is busy with another child."""


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replaced_by_hand(files: Files, db_path: Path) -> bool:
    """Whether `db_path` is to be loaded: it is not the file that we left there, or our data is gone."""
    if not db_path.exists():
        return False
    return not files.append_only.exists() or digest(db_path) not in _published(files)


def accept(files: Files, db_path: Path) -> None:
    """From now on the file at `db_path` counts as ours."""
    write_whole(files.published, json.dumps([digest(db_path)]).encode())


def _published(files: Files) -> list[str]:
    try:
        known = json.loads(files.published.read_text())
    except (FileNotFoundError, ValueError):
        return []
    return [str(each) for each in known] if isinstance(known, list) else []


class SnapshotKeeper:
    """Publishes the snapshot when records changed. Call `tick` about twice a second."""

    def __init__(self, server: EmbeddedServer, store: Store, db_path: Path, clock: Clock) -> None:
        self._embedded = server
        self._admin = Server(store.client)
        self._store = store
        self._db_path = db_path
        self._clock = clock
        self._saved = -1
        self._saving: tuple[int, str] | None = None
        self._next = clock.now()
        self._cluster = ""
        self.trouble: str | None = None

    def tick(self) -> None:
        """One step: a few round trips; when publishing, also two files read. Trouble is logged, once."""
        try:
            self._step()
        except (StoreError, OSError) as error:
            self._saving = None
            self._next = self._clock.now() + EVERY
            if self.trouble != str(error):
                log.error("no snapshot at %s: %s", self._db_path, error)
            self.trouble = str(error)

    def forgive(self) -> None:
        """Forget earlier trouble: what counts is whether it works now."""
        self.trouble = None

    def up_to_date(self) -> bool:
        """Whether the file holds every record there is. Never true of a store that lost its data."""
        return self._saved == self._store.meta().rev

    def _step(self) -> None:
        if self._saving is not None and not self._finish(*self._saving):
            return
        if self._clock.now() < self._next:
            return
        meta = self._meta()
        if meta.rev != self._saved:
            run_id = self._admin.run_id()
            if self._admin.save_in_background():
                self._meta()  # what is being saved was all there: a flush in between shows here
                self._saving = meta.rev, run_id
                self._next = self._clock.now() + EVERY
            else:
                self._next = self._clock.now() + BUSY

    def _meta(self) -> Meta:
        meta = self._store.meta()
        self._cluster = self._embedded.files.known_cluster() or self._cluster or meta.cluster
        if meta.cluster != self._cluster or meta.rev < self._saved or meta.lost:
            raise StoreError("the store lost its data: the last good snapshot is kept")
        return meta

    def _finish(self, rev: int, run_id: str) -> bool:
        """Publish the snapshot that was begun, once it is there."""
        under_way, good = self._admin.saving()
        if under_way:
            return False
        self._saving = None
        if self._admin.run_id() != run_id:
            return True  # the server that wrote it is gone, perhaps in the middle: begin again
        if not good:
            raise StoreError("the server could not write it; see server.log")
        self._publish()
        self._saved, self.trouble = rev, None
        return True

    def _publish(self) -> None:
        files = self._embedded.files
        part = self._db_path.with_name(f".{self._db_path.name}.part")
        part.unlink(missing_ok=True)
        os.link(files.dump, part)  # the server never writes into a finished dump
        part.chmod(0o600)
        new = digest(part)
        # The one that lies there now stays known, for the case that we die before the rename.
        there = [digest(self._db_path)] if self._db_path.exists() else []
        known = [each for each in there if each in _published(files)]
        write_whole(files.published, json.dumps([*known, new]).encode())
        epoch = self._store.meta().epoch
        if self._store.epoch_record(epoch).get("kind") in ("lost", "recovered"):
            former.keep(self._db_path, epoch, log)
        fault("embedded.snapshot.before")
        part.replace(self._db_path)
        fault("embedded.snapshot.after")
        sync_directory(self._db_path.parent)
        # From here on the former one is a backup like any other: putting it back means it.
        write_whole(files.published, json.dumps([new]).encode())
