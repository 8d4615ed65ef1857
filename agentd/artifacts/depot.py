"""The brain's care for files: what is wanted, what is asked for, what is there."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agentd.core.actions import Fetch
from agentd.core.files import FilesView, Key
from store.model.spec import AllocSpec, TaskSpec

Json = dict[str, Any]


class Depot:
    """Level-triggered: `want` says each round what is needed, `views` how far it is.

    Main thread only, but for `granted` and `heard`, which the uplink's thread calls.
    """

    def __init__(self) -> None:
        self.views: Mapping[Key, FilesView] = {}
        """How far the files are that are wanted, or are there."""

    def want(self, fetches: Iterable[Fetch], desired: Mapping[str, AllocSpec]) -> float | None:
        """These are wanted now, and no others; when to look again (seconds since boot), if at a time."""
        _ = fetches, desired
        return None

    def home(self, alloc: AllocSpec, task: TaskSpec) -> Path | None:
        """The directory in which the files of a task's generation lie ready; None: it has none."""
        _ = alloc, task
        return None

    def command(self, alloc: AllocSpec, task: TaskSpec) -> str | None:
        """The fetched program that stands for a `command` which this node lacks (`fetch: true`), or None."""
        _ = alloc, task
        return None

    def asks(self) -> Json:
        """What the heartbeat says of it: nothing, or `{"fetching": {"asks": …}}`; see `store.model.turns`."""
        return {}

    def granted(self, raw: bytes | None) -> None:
        """The grant key as it was just read. From any thread."""

    def heard(self, sent: float) -> None:
        """A heartbeat sent at `sent` (seconds since boot) has arrived. From any thread."""

    def stop(self) -> None:
        """End all children; what they have so far stays."""
