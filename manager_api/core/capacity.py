"""What a node has to give: its size, less what its host and others use, less what is reserved."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manager_api.core.holdings import Reserved
from manager_api.core.layout import Part
from store.model.beat import MOST

MIB = 1024**2
GIB = 1024**3
HOST_SHARE = 0.05
"""Of a node's memory, for its system; at least and at most so many bytes:"""
HOST_LEAST, HOST_MOST = 128 * MIB, 2 * GIB
SMALL_NODE, SMALL_HOST = GIB, 64 * MIB
"""A node with less memory keeps only so much of it."""
FULL_MEMORY, FULL_DISK = 95.0, 98.0
"""Percent in use, measured, from which on a node takes nothing that has not reserved its place."""
NOMINAL = 128 * MIB
"""What a task group that reserves no memory counts for when nodes are compared; it is refused nothing."""
TOLERANCE = 1e-6
"""Of a processor: sums of decimal fractions are not exact."""


@dataclass(frozen=True, slots=True)
class Need:
    """What an allocation takes: bytes, processors, features of the agent."""

    memory: int
    cpus: float
    features: frozenset[str]

    @classmethod
    def of(cls, part: Part) -> "Need":
        """The need of the tasks of a part, together."""
        return cls(
            sum(task.reserved_memory for task in part.tasks),
            sum(task.reserved_cpus for task in part.tasks),
            frozenset[str]().union(*(task.features for task in part.tasks)),
        )


@dataclass(frozen=True, slots=True)
class Host:
    """A node by its last heartbeat: bytes, processors, shares of 1."""

    memory: int
    cpus: float
    others: int
    """Bytes in use that none of our tasks uses."""
    capacity: int
    """Bytes that allocations can reserve."""
    memory_share: float
    cpu_share: float
    disk_share: float

    @classmethod
    def of(cls, beat: Mapping[str, Any]) -> "Host":
        """What a heartbeat says; a number that is missing or nonsense counts as 0."""
        total, used = int(_number(beat.get("memory_total"))), int(_number(beat.get("memory_used")))
        others = max(0, used - _own(beat)) if used else 0
        return cls(
            total,
            _number(beat.get("cpus")),
            others,
            max(0, total - max(host_reserve(total), others)),
            _number(beat.get("memory_percent")) / 100,
            _number(beat.get("cpu_percent")) / 100,
            _number(beat.get("disk_percent")) / 100,
        )

    def full(self, need: Need) -> str | None:
        """Why it takes no more of what has reserved no place, or None."""
        if not need.memory and self.memory_share * 100 >= FULL_MEMORY:
            return f"is full: {self.memory_share:.0%} of its memory is in use".replace("%", " %")
        if self.disk_share * 100 >= FULL_DISK:
            return f"is full: {self.disk_share:.0%} of its disk is in use".replace("%", " %")
        return None

    def lack(self, reserved: tuple[int, float], memory: int, cpus: float) -> str | None:
        """What it has too little of for so many bytes and processors beside those reserved, or None."""
        bytes_reserved, cpus_reserved = reserved
        if memory and bytes_reserved + memory > self.capacity:
            return (
                f"has {gigabytes(self.memory)} of memory, {gigabytes(bytes_reserved)} of it reserved"
                f"{self._kept(bytes_reserved + memory)}; {gigabytes(memory)} are wanted"
            )
        if cpus and cpus_reserved + cpus > self.cpus + TOLERANCE:
            return f"has {self.cpus:g} cpus, {max(cpus_reserved, 0):g} of them reserved; {cpus:g} are wanted"
        return None

    def _kept(self, asked: int) -> str:
        """What is not ours to give, where that is the cause."""
        reserve = host_reserve(self.memory)
        if asked > self.memory:
            return ""
        if self.others > reserve:
            return f", {gigabytes(self.others)} used by others than Muster"
        return f", {gigabytes(reserve)} kept for its system"

    def shares(self, before: Reserved, now: Reserved) -> tuple[float, float, float, float]:
        """How busy it is: memory and cpus by load, then by reservations alone.

        What was taken in this round (`now`) cannot be in the measured load yet, and is added to it.
        """
        memory, cpus = max(self.memory, 1), max(self.cpus, 0.01)
        unsized = (before.unsized + now.unsized) * NOMINAL / memory
        kept, kept_cpus = (before.memory + now.memory) / memory, (before.cpus + now.cpus) / cpus
        return (
            max(kept, self.memory_share + now.memory / memory) + unsized,
            max(kept_cpus, self.cpu_share + now.cpus / cpus),
            kept + unsized,
            kept_cpus,
        )


def host_reserve(memory: int) -> int:
    """Bytes that a node with so much memory keeps for its system."""
    if memory < SMALL_NODE:
        return SMALL_HOST
    return int(min(max(memory * HOST_SHARE, HOST_LEAST), HOST_MOST))


def gigabytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"


def _own(beat: Mapping[str, Any]) -> int:
    """Bytes that our own tasks use. A heartbeat names the busiest only: the others count as these do."""
    tasks = beat.get("tasks")
    if not isinstance(tasks, Mapping) or not tasks:
        return 0
    named = sum(_number(each.get("rss")) for each in tasks.values() if isinstance(each, Mapping))
    return int(named * max(1.0, _number(beat.get("running")) / len(tasks)))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
        return 0.0
    return value
