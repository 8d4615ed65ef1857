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


def members(run: Run, among: list[int] | None = None) -> list[int]:
    """What lives of a run, its main process aside; without groups, `among` these pids or among all."""
    if run.get("cgroups"):
        found = cgroup.members(run["cgroups"][0])
        return [pid for pid in found if proc.start_time(pid) is not None and not _is_main(run, pid)]
    leader = proc.stat(run["pid"])
    reused = leader is not None and leader.start != run["start"]
    session = None if reused else run["pid"]
    mark = f"MUSTER_RUN={run['id']}".encode()
    stats = proc.everybody() if among is None else [each for pid in among if (each := proc.stat(pid))]
    return [
        each.pid
        for each in stats
        if not each.dead
        and each.pid != run["pid"]
        and (each.session == session or proc.carries(each.pid, mark))
    ]


def _is_main(run: Run, pid: int) -> bool:
    return bool(pid == run["pid"] and proc.start_time(pid) == run["start"])


def strays(run: Run, living: list[int]) -> list[int]:
    """What of a run does not end by a signal to its group: all that outlived it, or left its session."""
    if not is_alive(run):
        return living
    return [pid for pid in living if (found := proc.stat(pid)) is not None and found.session != run["pid"]]


def kill(run: Run, living: list[int]) -> None:
    """SIGKILL to all of a run's processes; `living` are those that `members` found."""
    if run.get("cgroups"):
        cgroup.kill(run["cgroups"][0])
    main = [run["pid"]] if is_alive(run) else []  # with groups: it has left its own, as root can
    for pid in main if run.get("cgroups") else [*living, *main]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def signal_group(run: Run, number: int) -> bool:
    """A signal to the process group of a run's main process, as a terminal would send it; was there one?"""
    try:
        os.killpg(run["pid"], number)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


def is_alive(run: Run) -> bool:
    """Whether the main process of a run is still that process."""
    return run["start"] is not None and proc.start_time(run["pid"]) == run["start"]


def tell(pids: list[int]) -> list[list[Any]]:
    """Pids with their commands, for people."""
    return [[pid, proc.command(pid)] for pid in pids[:MOST_TOLD]]
