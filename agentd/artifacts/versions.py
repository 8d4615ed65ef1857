"""Who goes back to the files that a task had before gets those that ran then, whatever their source is now.

Each generation has a *definition*: its artifacts as its template says, nothing filled in. A generation with
the definition of the one before it is a restart, which asks the sources. One with that of an older one goes
back.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from agentd.artifacts.placed import Placed, Records
from agentd.core.files.items import JobKey
from store.model.spec import AllocSpec, TaskSpec

log = logging.getLogger("agent")

Known = Mapping[JobKey, tuple[str, str]]
"""What to take without asking: SHA-256 and stamp."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was wished for last, of a task; `before`: the definition before it."""

    generation: int
    definition: str
    before: str


class Versions:
    """`directory/<allocation>/<name>.wish`, beside the records of what was placed. Main thread only."""

    def __init__(self, directory: Path, records: Records) -> None:
        self._directory, self._records = directory, records

    def known(self, alloc: AllocSpec, task: TaskSpec, name: str) -> Known:
        """What the files were that this generation goes back to, if it does. `name`: of its files."""
        older = self._older(alloc, task)
        path = self._directory / alloc.id / f"{name}.wish"
        said = definition(task)
        if not older or self._before(path, older[-1], alloc.generation, said) in ("", said):
            return {}
        then = next((each for each in reversed(older) if each.definition == said), None)
        sources = then.sources if then is not None else ()
        return {JobKey(each.source, "", each.fingerprint): (each.sha256, each.stamp) for each in sources}

    def _older(self, alloc: AllocSpec, task: TaskSpec) -> list[Placed]:
        found = (
            each for each in self._records.known.values() if (each.alloc, each.task) == (alloc.id, task.name)
        )
        return sorted(
            (each for each in found if each.generation < alloc.generation), key=lambda each: each.generation
        )

    def _before(self, path: Path, last: Placed, generation: int, said: str) -> str:
        """The definition before this generation's: the last one that was wished for, had or not."""
        wish = _read(path)
        if wish is not None and wish.generation == generation:
            return wish.before
        later = wish is not None and wish.generation > last.generation
        new = Wish(generation, said, wish.definition if wish is not None and later else last.definition)
        try:  # not synced: without it, what was placed last counts
            path.with_suffix(".new").write_text(json.dumps(asdict(new)))
            path.with_suffix(".new").replace(path)
        except OSError as error:
            log.warning("%s: %s", path, error)
        return new.before


def definition(task: TaskSpec) -> str:
    """A digest of what a task's files are, by its template."""
    words = [asdict(each) for each in task.artifacts]
    program = task.argv[0] if task.fetch and task.argv else None
    return hashlib.sha256(json.dumps([words, program], sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> Wish | None:
    with suppress(OSError, ValueError, TypeError):
        return Wish(**json.loads(path.read_bytes()))
    return None
