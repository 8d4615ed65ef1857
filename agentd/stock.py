"""The files of tasks, as who starts tasks sees them: where they lie, and which program is meant."""

import os
import shutil
from pathlib import Path
from typing import Protocol

from store.model.spec import AllocSpec, TaskSpec


class Stock(Protocol):
    """What is there now."""

    def home(self, alloc: AllocSpec, task: TaskSpec) -> Path | None:
        """The directory in which the files of a task's generation lie ready; None: there is none."""

    def command(self, alloc: AllocSpec, task: TaskSpec) -> str | None:
        """The fetched program that stands for a task's `command`, which this node lacks, or None."""

    def missing(self, alloc: AllocSpec, task: TaskSpec) -> None:
        """What should lie ready for a task does not: it has to be got again."""


class Empty:
    """Nothing is there."""

    def home(self, alloc: AllocSpec, task: TaskSpec) -> Path | None:
        """None."""

    def command(self, alloc: AllocSpec, task: TaskSpec) -> str | None:
        """None."""

    def missing(self, alloc: AllocSpec, task: TaskSpec) -> None:
        """Nothing was promised."""


def find(program: str, search: str, home: Path | None = None) -> str | None:
    """The path of a program: as it is given, or looked up in `search` (a PATH).

    What is relative and lies in `home`, where the files of the task are, is that. Other relative
    paths stay as they are: they start at the task's working directory.
    """
    # isfile, unlike Path.is_file, says no to whatever cannot be looked at.
    if home is not None and not program.startswith("/") and os.path.isfile(home / program):  # noqa: PTH113
        return str(home / program)
    return program if "/" in program else shutil.which(program, path=search)
