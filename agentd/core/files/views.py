"""The files of tasks, as the plan sees them."""

from dataclasses import dataclass
from enum import StrEnum

Key = tuple[str, str, int]
"""Allocation, task, generation: what files are got for."""


class Files(StrEnum):
    """How far the files of a task are."""

    READY = "ready"
    FETCHING = "fetching"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesView:
    """The files of one generation of a task. Sizes in bytes."""

    state: Files
    reason: str = ""
    """While fetching: what it waits for, or what went wrong and when it is tried again. Failed: why."""
    done: int = 0
    total: int | None = None
    """Of all its files; None: not known yet."""
    rate: float | None = None
    """Bytes per second, of late."""


MOST_REASON = 500
"""Characters of a reason that travel to the store."""
UNKNOWN = FilesView(state=Files.FETCHING)
"""Nothing has been asked for yet."""
