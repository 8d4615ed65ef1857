"""The logs of this node's tasks, as the brain sees to them: rotated while they live, over when they are."""

from collections.abc import Mapping

from agentd.launch import Launcher
from agentd.logs.keeper import LogKeeper
from agentd.report import Json
from store.clock import Clock
from store.model.lifecycle import TASK_ENDED
from store.model.spec import AllocSpec


class Logbook:
    """Tells the log keeper what there is. `quota` is in bytes, for all logs together."""

    def __init__(self, launcher: Launcher, clock: Clock, quota: int) -> None:
        self._launcher = launcher
        self._keeper = LogKeeper(launcher.logs, clock, quota)
        self._seen: Mapping[str, AllocSpec] | None = None

    def watch(self, desired: Mapping[str, AllocSpec]) -> None:
        """See to the logs of these, and go on looking for room among all."""
        if self._seen is desired:
            return
        if self._seen is None:
            self._keeper.start()
        self._seen = desired
        tasks = [(alloc, task) for alloc in desired.values() for task in alloc.tasks]
        paths = {path: task.logs for alloc, task in tasks for path in self._launcher.log_paths(alloc, task)}
        self._keeper.watch(paths)

    def over(self, entry: Json | None, alloc_id: str, name: str, generation: int, *, obeyed: bool) -> bool:
        """Whether a task writes no more, in this generation or later, by what was last reported of it."""
        if entry is None:  # not reported yet, or no longer: what is ordered has yet to speak
            ordered = alloc_id in (self._seen or ())
            return obeyed and not ordered and (self._launcher.logs / alloc_id).exists()
        if entry["generation"] < generation:
            return False
        return any(task["name"] == name and task["state"] in TASK_ENDED for task in entry["tasks"])
