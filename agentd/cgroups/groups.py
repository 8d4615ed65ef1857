"""The groups of runs: made before a start, changed while it runs, read back, swept away."""

import contextlib
import os
from collections.abc import Collection, Sequence
from typing import Any

from agentd.cgroups.places import Places
from agentd.keeper import cgroup
from store.model.policies import Limits

PERIOD = 100_000
"""Microseconds over which processor time is shared out."""
UNLIMITED = 2**62
"""v1 says "no limit" as a number beyond all memory."""


class GroupError(Exception):
    """A group could not be made or limited; the message says which limit, and why."""


class Groups:
    """Makes and changes groups in some places."""

    def __init__(self, places: Places) -> None:
        self.places = places

    def make(self, name: str, limits: Limits) -> list[str]:
        """The directories of a new group with these limits; that by which it is killed comes first.

        Raises:
            GroupError: a limit is not taken; nothing is left behind.
        """
        made = [f"{self.places.kill}/{name}"]
        made += [f"{place}/{name}" for place in self._limiting(limits)]
        try:
            for directory in made:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory)
            limit(made, limits)
        except OSError as error:
            cgroup.remove(made)
            raise GroupError(f"no control group: {error.strerror}") from error
        except GroupError:
            cgroup.remove(made)
            raise
        return made

    def extend(self, groups: Sequence[str], limits: Limits) -> list[str]:
        """Give a living run the groups that new limits need; all its groups.

        On v1, memory in use already stays counted where it was.

        Raises:
            OSError: one cannot be made.
        """
        name = os.path.basename(groups[0])
        missing = [f"{place}/{name}" for place in self._limiting(limits) if f"{place}/{name}" not in groups]
        for directory in missing:
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory)
            for pid in cgroup.members(groups[0]):
                cgroup.write(f"{directory}/cgroup.procs", str(pid))
        return [*groups, *missing]

    def unheld(self, limits: Limits) -> Limits:
        """The part of some limits for which there is no controller here."""
        held = self.places.controllers
        return Limits(
            memory=None if "memory" in held else limits.memory,
            cpus=None if "cpu" in held else limits.cpus,
            pids=None if "pids" in held else limits.pids,
        )

    def _limiting(self, limits: Limits) -> list[str]:
        asked = {"memory": limits.memory, "cpu": limits.cpus, "pids": limits.pids}
        wanted = [key for key, value in asked.items() if value is not None]
        return list(dict.fromkeys(self.places.limits[key] for key in wanted if key in self.places.limits))

    def sweep(self, known: Collection[str]) -> None:
        """Remove groups that no run has any more, and in which nothing lives."""
        for place in {self.places.kill, *self.places.limits.values()}:
            for entry in os.scandir(place):
                if entry.is_dir() and entry.path not in known:
                    cgroup.remove([entry.path])


def limit(groups: Sequence[str], limits: Limits) -> None:
    """Write limits to groups that exist, also of a run that lives.

    Raises:
        GroupError: the kernel does not take one.
    """
    for directory in groups:
        _limit_memory(directory, limits.memory)
        if os.path.exists(f"{directory}/cpu.max"):
            _put(directory, "cpu.max", f"{_quota(limits.cpus) or 'max'} {PERIOD}", "cpus")
        elif os.path.exists(f"{directory}/cpu.cfs_quota_us"):
            _put(directory, "cpu.cfs_period_us", str(PERIOD), "cpus")
            _put(directory, "cpu.cfs_quota_us", str(_quota(limits.cpus) or -1), "cpus")
        if os.path.exists(f"{directory}/pids.max"):
            _put(directory, "pids.max", "max" if limits.pids is None else str(limits.pids), "pids")


def effective(groups: Sequence[str]) -> dict[str, Any]:
    """The limits as the kernel has them: `{"memory": bytes, "cpus": number, "pids": number}`."""
    found: dict[str, Any] = {}
    for directory in groups:
        memory = _number(directory, "memory.max") or _number(directory, "memory.limit_in_bytes")
        here = {"memory": memory, "cpus": _cpus(directory), "pids": _number(directory, "pids.max")}
        found |= {key: value for key, value in here.items() if value is not None}
    return found


def _limit_memory(directory: str, wanted: int | None) -> None:
    if os.path.exists(f"{directory}/memory.max"):
        _put(directory, "memory.max", "max" if wanted is None else str(wanted), "memory")
        cgroup.write(f"{directory}/memory.swap.max", "max" if wanted is None else "0")
        cgroup.write(f"{directory}/memory.oom.group", "1")
        return
    if not os.path.exists(f"{directory}/memory.limit_in_bytes"):
        return
    text = "-1" if wanted is None else str(wanted)
    now = _number(directory, "memory.limit_in_bytes") or UNLIMITED
    names = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
    if wanted is None or wanted > now:
        names.reverse()  # memory with swap may never be less than memory alone
    for name in names:
        if os.path.exists(f"{directory}/{name}"):
            _put(directory, name, text, "memory")


def _put(directory: str, name: str, text: str, what: str) -> None:
    try:
        with open(f"{directory}/{name}", "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise GroupError(
            f"limit {what}: the kernel does not take {text} for {name}: {error.strerror}"
        ) from error


def _quota(cpus: float | None) -> int | None:
    return None if cpus is None else max(1000, int(cpus * PERIOD))


def _cpus(directory: str) -> float | None:
    words = (cgroup.read(f"{directory}/cpu.max") or "").split()
    if words:
        return None if words[0] == "max" else int(words[0]) / int(words[1])
    quota, period = _number(directory, "cpu.cfs_quota_us"), _number(directory, "cpu.cfs_period_us")
    return quota / period if quota is not None and period else None


def _number(directory: str, name: str) -> int | None:
    """A limit as a number; None if there is none."""
    text = (cgroup.read(f"{directory}/{name}") or "").strip()
    if not text.lstrip("-").isdigit():
        return None
    found = int(text)
    return found if 0 <= found < UNLIMITED else None
