"""All processes of a run, however they forked: exact by its control group, else as good as can be.

Without groups they are told by the run's session and by `MUSTER_RUN` in their environment. Whose
parent has ended is our child, since we are a subreaper; those of a run that is not our child may
be anywhere.
"""

import contextlib
import os
import signal
from typing import Any

from agentd.keeper import cgroup, proc

Run = dict[str, Any]
MOST_TOLD = 10
"""Leftovers of one run that are worth telling."""


def members(run: Run, *, ours: bool) -> list[int]:
    """What lives of a run whose main process has ended."""
    if run.get("cgroups"):
        return [pid for pid in cgroup.members(run["cgroups"][0]) if proc.start_time(pid) is not None]
    leader = proc.stat(run["pid"])
    session = (
        run["pid"] if leader is None or leader.start == run["start"] else None
    )  # its number may be reused
    mark = f"MUSTER_RUN={run['id']}".encode()
    found = [each for pid in proc.children() if (each := proc.stat(pid))] if ours else proc.everybody()
    return [
        each.pid
        for each in found
        if not each.dead
        and each.pid != run["pid"]
        and (each.session == session or proc.carries(each.pid, mark))
    ]


def strays(run: Run) -> list[int]:
    """What of a run does not end by a signal to its group: all that outlived it, or left its session."""
    alive = is_alive(run)
    return [
        pid
        for pid in members(run, ours=False)
        if not alive or ((found := proc.stat(pid)) is not None and found.session != run["pid"])
    ]


def kill(run: Run, *, ours: bool) -> None:
    """SIGKILL to all of a run's processes."""
    if run.get("cgroups"):
        cgroup.kill(run["cgroups"][0])
        return
    alive = is_alive(run)
    victims = members(run, ours=ours and not alive)  # while it lives, its children are not ours
    for pid in [*victims, run["pid"]] if alive else victims:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def signal_group(run: Run, number: int) -> None:
    """A signal to the process group of a run's main process, as a terminal would send it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(run["pid"], number)


def is_alive(run: Run) -> bool:
    """Whether the main process of a run is still that process."""
    return run["start"] is not None and proc.start_time(run["pid"]) == run["start"]


def tell(pids: list[int]) -> list[list[Any]]:
    """Pids with their commands, for people."""
    return [[pid, proc.command(pid)] for pid in pids[:MOST_TOLD]]
