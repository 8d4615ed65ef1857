"""What the allocations on the nodes take of them: memory, processors, ports. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Reserved:
    """What the allocations on a node reserve: bytes, processors."""

    memory: int = 0
    cpus: float = 0.0
    unsized: int = 0
    """How many of them reserve no memory: they will use some all the same."""

    def add(self, memory: int, cpus: float, *, times: int = 1) -> None:
        """Count an allocation; with `times=-1`, no longer."""
        self.memory += times * memory
        self.cpus += times * cpus
        self.unsized += 0 if memory else times


class Holdings:
    """Kept as allocations come, change and end."""

    def __init__(self) -> None:
        self.reserved: dict[str, Reserved] = defaultdict(Reserved)
        """By node."""
        self.ports: dict[str, dict[int, tuple[str, ...]]] = {}
        """Ports that are taken, by node: number to the allocations that have it, stopped ones included."""
        self._counted: dict[str, tuple[str, int, float]] = {}
        self._held: dict[str, tuple[str, frozenset[int]]] = {}

    def by(self, alloc_id: str) -> tuple[int, float] | None:
        """Memory and cpus that an allocation keeps from others on its node; None: nothing."""
        counted = self._counted.get(alloc_id)
        return counted[1:] if counted is not None else None

    def count(self, alloc_id: str, data: Mapping[str, Any] | None) -> None:
        """Take an allocation's record for what it is now; None: it is gone, or its deployment has ended."""
        node, memory, cpus = self._counted.pop(alloc_id, ("", 0, 0.0))
        if node:
            self.reserved[node].add(memory, cpus, times=-1)
        self._hold(alloc_id, data)
        if data is None or data["wanted"] != "running":
            return
        counted = self._counted[alloc_id] = data["node"], int(data["memory"]), float(data["cpus"])
        self.reserved[counted[0]].add(counted[1], counted[2])

    def _hold(self, alloc_id: str, data: Mapping[str, Any] | None) -> None:
        """Ports stay taken until all of their allocation is known to have ended, however it is wanted."""
        node, numbers = self._held.pop(alloc_id, ("", frozenset[int]()))
        for number in numbers:
            left = tuple(each for each in self.ports[node][number] if each != alloc_id)
            if left:
                self.ports[node][number] = left
            else:
                del self.ports[node][number]
        if numbers and not self.ports[node]:
            del self.ports[node]
        held = numbers_of(data) if data is not None else frozenset[int]()
        if data is not None and held:
            self._held[alloc_id] = data["node"], held
            there = self.ports.setdefault(data["node"], {})
            for number in held:
                there[number] = (*there.get(number, ()), alloc_id)


def numbers_of(allocation: Mapping[str, Any]) -> frozenset[int]:
    """The ports that an allocation takes of its node: named ones, and those its containers publish."""
    ports, published = allocation.get("ports"), allocation.get("published")
    if not ports and not published:
        return frozenset()
    named = [number for given in dict(ports or {}).values() for number in dict(given).values()]
    return frozenset(int(number) for number in (*named, *(published or ())))
