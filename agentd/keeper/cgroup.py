"""Control groups as the keeper needs them: who is in one, the end of all in it, was there an OOM kill.

A run's groups are a list of directories, one in each hierarchy that is used; the first is that by
which its processes are told and killed. On cgroup v2 there is only one. Who makes groups and sets
limits is `agentd.cgroups`.
"""

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable

FREEZE_TRIES = 50
FREEZE_PAUSE = 0.002


def members(directory: str) -> list[int]:
    """The processes in a group and the groups below it; none if it is gone."""
    found = [int(pid) for pid in (read(f"{directory}/cgroup.procs") or "").split()]
    for below in _below(directory):
        found += members(below)
    return found


def _below(directory: str) -> list[str]:
    """The groups in a group: its count of links tells without looking that there is none."""
    try:
        if os.stat(directory).st_nlink <= 2:
            return []
        return [entry.path for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def kill(directory: str) -> None:
    """SIGKILL to everything in a group, also to what is forking just now."""
    if write(os.path.join(directory, "cgroup.kill"), "1"):  # v2, Linux 5.14 and later
        return
    thaw = _freeze(directory)
    for pid in members(directory):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    thaw()


def _freeze(directory: str) -> Callable[[], object]:
    """Stop all of a group, so that nothing forks while it is being killed; gives what undoes it."""
    for name, frozen, thawed, told, done in (
        ("freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN"),
        ("cgroup.freeze", "1", "0", "cgroup.events", "frozen 1"),
    ):
        path = os.path.join(directory, name)
        if not write(path, frozen):
            continue
        for _ in range(FREEZE_TRIES):
            if done in (read(os.path.join(directory, told)) or done):
                break
            time.sleep(FREEZE_PAUSE)
        return functools.partial(write, path, thawed)
    return bool


def oom_kills(directories: list[str]) -> int:
    """How many processes of a run the kernel has killed for want of memory."""
    for directory in directories:
        for name in ("memory.events", "memory.oom_control"):
            for line in (read(os.path.join(directory, name)) or "").splitlines():
                word, _, count = line.partition(" ")
                if word == "oom_kill":  # failcnt counts attempts that succeeded after all
                    return int(count)
    return 0


def remove(directories: list[str]) -> bool:
    """Remove a run's groups; whether none is left. The dying are still in theirs for a moment."""
    left = False
    for directory in directories:
        if not remove(_below(directory)):
            left = True
            continue
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError:
            left = True
    return not left


def read(path: str) -> str | None:
    """What a file of a group says; None if there is no such thing here."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return None


def write(path: str, text: str) -> bool:
    """Whether a file of a group is there and took the text."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
