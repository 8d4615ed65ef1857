"""Where the files of tasks lie ready: directories filled by placing children, remembered, and let go."""

import logging
import os
import secrets
import sys
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from agentd.artifacts import home, removing
from agentd.artifacts.home import STAGING
from agentd.artifacts.ordering import Needed
from agentd.artifacts.placed import Placed, Records
from agentd.artifacts.process import Ended, Said
from agentd.artifacts.runner import Runner
from agentd.core.files.views import Files, FilesView, Key
from transfer import urls
from transfer.errors import Kind

log = logging.getLogger("agent")

PLACING = (sys.executable, "-I", "-m", "agentd.artifacts.placing")
LOOK_EVERY = 5.0
"""Seconds between two looks whether what was placed is still there."""
READY = FilesView(state=Files.READY)
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filled:
    """How a placing went: without `kind`, well."""

    key: Key
    kind: Kind | None = None
    text: str = ""


class Shelves:
    """`allocs` holds the allocations' directories, `objects` the objects of the cache. Main thread only."""

    def __init__(self, allocs: Path, objects: Path, records: Records, runner: Runner) -> None:
        self._allocs, self._objects, self._records, self._runner = allocs, objects, records, runner
        self._numbers = count(1)
        self._placings: dict[str, Placed] = {}
        self._answers: dict[str, Filled] = {}
        self._dropped: set[str] = set()
        self._tidied = False
        self._look_at = 0.0
        self.program: tuple[str, ...] = PLACING
        self.ready: Mapping[Key, FilesView] = {}
        """What lies ready."""
        self._look()

    def home(self, key: Key) -> Path | None:
        """The directory that holds the files of a generation of a task, if they lie ready in one."""
        placed = self._records.known.get(key)
        return self._path(placed, placed.home) if placed is not None and placed.home is not None else None

    def command(self, key: Key) -> str | None:
        """The program that was fetched in place of the task's own."""
        found, placed = self.home(key), self._records.known.get(key)
        return str(found / placed.command) if found and placed and placed.command else None

    def forget(self, key: Key) -> None:
        """What a record says is not so: its directory is gone, or the program that the node had."""
        with suppress(OSError):
            self._records.drop(key)
        self.ready = dict.fromkeys(self._records.known, READY)

    def fill(self, placed: Placed, needed: Needed) -> Filled | None:
        """Begin to fill the directory of a task; how that went, if it is known at once.

        The record's `home` is for this to find.
        """
        items = needed.items(placed.objects)
        if not items:
            return self._remember(placed)
        name = home.name(placed.name, items, needed.uid, needed.gid)
        placed = replace(placed, home=name)
        path = self._path(placed, name)
        if name in self._records.homes(placed.alloc, placed.name) and _is_directory(path):
            return self._remember(placed)
        order: Json = {"into": str(path), "objects": str(self._objects), "uid": needed.uid, "gid": needed.gid}
        child = f"placing.{next(self._numbers)}"
        try:
            path.parent.mkdir(exist_ok=True)
            self._runner.start(
                child, self.program, [{**order, "items": [item.word() for item in items]}], only=True
            )
        except OSError as error:
            return Filled(placed.key, Kind.FAULT, f"{path} cannot be filled: {error.strerror}")
        self._placings[child] = placed
        return None

    def give_up(self, key: Key) -> None:
        """Fill it no longer."""
        for child, placed in self._placings.items():
            if placed.key == key:
                self._dropped.add(child)
                self._runner.kill(child)

    def mine(self, child: str) -> bool:
        """Whether a child is one of those that fill directories."""
        return child in self._placings

    def hear(self, heard: Said | Ended) -> Filled | None:
        """A placing child has said something, or is gone: only then what it said counts."""
        placed = self._placings[heard.child]
        if isinstance(heard, Said):
            failed = heard.word.get("say") == "failed"
            kind, text, about = (heard.word.get(each) for each in ("kind", "text", "object"))
            whose = next((urls.shown(each.source) for each in placed.sources if each.sha256 == about), None)
            known = Kind(kind) if kind in set(Kind) else Kind.FAULT
            self._answers[heard.child] = Filled(
                placed.key, known if failed else None, f"{whose}: {text}" if whose else str(text)
            )
            return None
        del self._placings[heard.child]
        answer = self._answers.pop(heard.child, Filled(placed.key, Kind.FAULT, heard.text))
        if heard.child in self._dropped:
            self._dropped.remove(heard.child)
            return None
        return answer if answer.kind is not None else self._remember(placed)

    def tidy(self, keep: Collection[str] | None, live: Collection[Key], now: float) -> None:
        """Forget what is of no use: all but these allocations; in them, what is too old and does not run."""
        if keep is not None and (not self._tidied or {key[0] for key in self._records.known} - set(keep)):
            if not self._tidied:
                self._sweep()
            self._tidied = True
            self._records.keep(keep)
            self._look_at = now
        for key in self._records.outdated(live):
            placed = self._records.known[key]
            self._records.drop(key)
            self._look_at = now
            self._clear(placed)
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._look()

    def _remember(self, placed: Placed) -> Filled:
        try:
            self._records.put(placed)
        except OSError as error:
            return Filled(placed.key, Kind.FULL, f"that its files are there cannot be kept: {error.strerror}")
        log.info("the files of %s/%s/%d are in place", *placed.key)
        self.ready = {**self.ready, placed.key: READY}
        return Filled(placed.key)

    def _look(self) -> None:
        for key, placed in [*self._records.known.items()]:
            if placed.home is not None and not _is_directory(self._path(placed, placed.home)):
                log.warning("%s is not there any more", self._path(placed, placed.home))
                with suppress(OSError):
                    self._records.drop(key)
        self.ready = dict.fromkeys(self._records.known, READY)

    def _clear(self, placed: Placed) -> None:
        """Let go of a task's directories that no record names. What is large is removed by a thread."""
        directory = self._allocs / placed.alloc
        filling = {each.home for each in self._placings.values() if each.alloc == placed.alloc}
        used = {each for each in filling | self._records.homes(placed.alloc, placed.name) if each is not None}
        try:
            names = home.removable(os.listdir(directory), placed.name, used)  # noqa: PTH208
            for name in names:  # from now on nobody takes it for whole, and its name may be used again
                (directory / name).rename(directory / f"{STAGING}{secrets.token_hex(8)}")
        except OSError as error:
            log.warning("%s: %s", directory, error)
        threading.Thread(target=_remove, args=(directory,), name="files-removed", daemon=True).start()

    def _sweep(self) -> None:
        """Remove what an earlier life was still removing, or filling."""
        directories = [self._allocs / alloc for alloc in {key[0] for key in self._records.known}]
        threading.Thread(target=_remove, args=(*directories,), name="files-removed", daemon=True).start()

    def _path(self, placed: Placed, name: str) -> Path:
        return self._allocs / placed.alloc / name


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(*directories: Path) -> None:
    for directory in directories:
        try:
            removing.sweep_below(directory)
        except OSError as error:
            log.warning("%s: %s", directory, error)
