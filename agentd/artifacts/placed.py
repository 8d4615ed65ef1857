"""What was placed for each generation of a task, on disk: with it, no source is needed to start it again."""

import json
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agentd.core.files.views import Key
from store.process import write_whole

log = logging.getLogger("agent")

VERSION = 1
KEPT = 2
"""Generations of a task, and definitions, the newest ones, that are remembered: the present one, and the one
to go back to, however often the present one was restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a source was; `stamp` as in `transfer.reader.Stat`, empty: not known."""

    source: str
    fingerprint: str
    sha256: str
    stamp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The files of one generation of a task, as they were put in place."""

    alloc: str
    task: str
    generation: int
    name: str
    """Of the task's files: `agentd.launch.file_name`."""
    home: str | None = None
    """The directory's name, below the allocation's; None: nothing had to be fetched."""
    objects: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    command: str | None = None
    """The name in the home of the program that was fetched for `fetch: true`."""
    at: float = 0.0
    """Seconds since 1970."""
    definition: str = ""
    """Of these files, as in `agentd.artifacts.versions`."""

    @property
    def key(self) -> Key:
        """What it was placed for."""
        return self.alloc, self.task, self.generation


class Records:
    """`directory/<allocation>/<name>@<generation>.json`; what is unreadable, or another node's, is absent."""

    def __init__(self, directory: Path, uid: str) -> None:
        self._directory, self._uid = directory, uid
        self._known: dict[Key, Placed] = {}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(directory.glob("*/*.json")):
            found = self._read(path)
            if found is not None and self._path(found) == path:
                self._known[found.key] = found

    @property
    def known(self) -> Mapping[Key, Placed]:
        """All of them."""
        return self._known

    def put(self, placed: Placed) -> None:
        """Remember; also after a power cut.

        Raises:
            OSError: it cannot be written.
        """
        path = self._path(placed)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        record = {"v": VERSION, "uid": self._uid, **asdict(placed)}
        write_whole(path, json.dumps(record).encode())
        self._known[placed.key] = placed

    def drop(self, key: Key) -> None:
        """It is not true any more."""
        placed = self._known.pop(key, None)
        if placed is not None:
            self._path(placed).unlink(missing_ok=True)

    def keep(self, allocs: Collection[str]) -> None:
        """Forget all others'."""
        for key in [key for key in self._known if key[0] not in allocs]:
            del self._known[key]
        for entry in os.scandir(self._directory):
            if entry.name not in allocs:
                shutil.rmtree(entry.path, ignore_errors=True)

    def outdated(self, live: Collection[Key]) -> list[Key]:
        """Generations to which nobody goes back any more, and in which nothing runs."""
        kept: set[Key] = set()
        newest: dict[tuple[str, str], list[Placed]] = {}
        for each in sorted(self._known.values(), key=lambda each: -each.generation):
            before = newest.setdefault((each.alloc, each.task), [])
            definitions = {other.definition for other in before}
            if len(before) < KEPT or (each.definition not in definitions and len(definitions) < KEPT):
                kept.add(each.key)
            before.append(each)
        return [key for key in self._known if key not in kept and key not in live]

    def homes(self, alloc: str, name: str) -> set[str]:
        """The directories of a task that are still good for something."""
        found = (each for each in self._known.values() if (each.alloc, each.name) == (alloc, name))
        return {each.home for each in found if each.home is not None}

    def known_sources(self) -> Iterable[tuple[tuple[str, str], tuple[str, str]]]:
        """What sources were the last time: (source, fingerprint) to (sha256, stamp), the oldest first."""
        for placed in sorted(self._known.values(), key=lambda each: each.at):
            for each in placed.sources:
                if each.stamp:
                    yield (each.source, each.fingerprint), (each.sha256, each.stamp)

    def _path(self, placed: Placed) -> Path:
        return self._directory / placed.alloc / f"{placed.name}@{placed.generation}.json"

    def _read(self, path: Path) -> Placed | None:
        try:
            raw: dict[str, Any] = json.loads(path.read_bytes())
            if raw.pop("v") != VERSION or raw.pop("uid") != self._uid:
                return None
            with suppress(KeyError):
                raw["sources"] = tuple(Source(**each) for each in raw["sources"])
                raw["objects"] = tuple(raw["objects"])
            return Placed(**raw)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is passed over: %r", path, error)
            return None
