"""Limits where there are no control groups: ulimits for each process, samples of the whole task.

What can be had: memory and processes of a task are looked at every second, and a task that has more
than it may is stopped; one process alone cannot even get more memory. Processor time is not limited.
"""

import resource
from collections.abc import Mapping

from agentd.core.runs import Run
from agentd.keeper import proc
from store.model.policies import Limits

EVERY = 1.0
"""Seconds between two samples."""
_PAGE = resource.getpagesize()


def rlimits(limits: Limits, uid: int | None) -> list[tuple[int, int, int]]:
    """Ulimits that stand in for limits. RLIMIT_NPROC counts a user's processes and spares root."""
    found = []
    if limits.memory is not None:
        found.append((resource.RLIMIT_DATA, limits.memory, limits.memory))
    if limits.pids is not None and uid:
        highest = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        most = limits.pids if highest == resource.RLIM_INFINITY else min(limits.pids, highest)
        found.append((resource.RLIMIT_NPROC, most, most))
    return found


class Sampler:
    """Finds runs that use more than they may."""

    def __init__(self) -> None:
        self._next = 0.0
        self._excess: dict[str, str] = {}

    def look(self, limited: Mapping[str, tuple[Run, Limits]], now: float) -> dict[str, str]:
        """By run id, what it has too much of. Looks at most once in `EVERY` seconds."""
        if not limited or now < self._next:
            return {run_id: text for run_id, text in self._excess.items() if run_id in limited}
        self._next = now + EVERY
        sizes: dict[int, tuple[int, int]] = {}
        for each in proc.everybody():
            pids, memory = sizes.get(each.session, (0, 0))
            sizes[each.session] = pids + 1, memory + _resident(each.pid)
        self._excess = {}
        for run_id, (run, limits) in limited.items():
            pids, memory = sizes.get(run.pid or 0, (0, 0))
            if limits.memory is not None and memory > limits.memory:
                self._excess[run_id] = f"out of memory: {memory} bytes of {limits.memory} (sampled)"
            elif limits.pids is not None and pids > limits.pids:
                self._excess[run_id] = f"too many processes: {pids} of {limits.pids} (sampled)"
        return self._excess


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
