"""What is taken of each node: by the fleet, by this round's decisions, by the decision being made."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from manager_api.core.capacity import Host, Need
from manager_api.core.eligible import labels_of
from manager_api.core.fleet import Fleet, Json
from manager_api.core.holdings import Reserved
from manager_api.core.requests import Refused

GroupKey = tuple[str, str]
"""Deployment, group name."""


@dataclass(slots=True)
class Takings:
    """What decisions took, or (below zero) gave back, and the fleet does not show yet."""

    reserved: dict[str, Reserved] = field(default_factory=dict)
    ports: dict[str, dict[int, str]] = field(default_factory=dict)
    """By node: number to deployment."""
    replicas: dict[GroupKey, dict[str, int]] = field(default_factory=dict)
    """By group: node to number of allocations."""
    gone: set[str] = field(default_factory=set)
    """Allocations that give way to others: what they had is given already."""

    def reserve(self, node: str, memory: int, cpus: float, *, times: int = 1) -> None:
        """Count one allocation more on a node; with `times=-1`, one less."""
        self.reserved.setdefault(node, Reserved()).add(memory, cpus, times=times)

    def replicate(self, key: GroupKey, node: str, number: int) -> None:
        """Count allocations of a group on a node."""
        there = self.replicas.setdefault(key, {})
        there[node] = there.get(node, 0) + number

    def merge(self, other: "Takings") -> None:
        """Add what another decision took."""
        for node, each in other.reserved.items():
            mine = self.reserved.setdefault(node, Reserved())
            mine.memory, mine.cpus = mine.memory + each.memory, mine.cpus + each.cpus
            mine.unsized += each.unsized
        for node, numbers in other.ports.items():
            self.ports.setdefault(node, {}).update(numbers)
        for key, nodes in other.replicas.items():
            for node, number in nodes.items():
                self.replicate(key, node, number)
        self.gone |= other.gone


class Taken(Takings):
    """A round's takings, over one unchanged fleet; with what only one look at that fleet must cost."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: dict[Hashable, tuple[int, Refused]] = {}
        """What nobody could take before anything was taken for it; by how much had given way then."""
        self._able: dict[Hashable, set[str]] = {}
        self._hosts: dict[str, Host] = {}
        self._order: list[str] | None = None
        self._values: dict[str, dict[str | None, list[str]]] = {}
        self._living: dict[str, dict[str, dict[str, int]]] = {}

    def able(self, kind: Hashable) -> set[str]:
        """Nodes known to pass all that cannot change in a round, for one kind of request."""
        return self._able.setdefault(kind, set())

    def host(self, fleet: Fleet, node: str) -> Host:
        """A node by its last heartbeat."""
        found = self._hosts.get(node)
        if found is None:
            found = self._hosts[node] = Host.of(fleet.states[node].beat)
        return found

    def order(self, fleet: Fleet) -> list[str]:
        """All nodes, sorted."""
        if self._order is None:
            self._order = sorted(fleet.nodes)
        return self._order

    def values(self, fleet: Fleet, label: str) -> Mapping[str | None, list[str]]:
        """All nodes by their value of a label; None: they have none."""
        found = self._values.get(label)
        if found is None:
            found = self._values[label] = by_value(fleet, self.order(fleet), label)
        return found

    def living(self, fleet: Fleet, key: GroupKey) -> Mapping[str, int]:
        """Live allocations of a group that the fleet has, by node."""
        deployment, group = key
        found = self._living.get(deployment)
        if found is None:
            found = self._living[deployment] = {}
            for alloc_id in fleet.of_deployment.get(deployment, ()):
                data = fleet.allocations[alloc_id].data
                if is_live(data):
                    nodes = found.setdefault(data["group"], {})
                    nodes[data["node"]] = nodes.get(data["node"], 0) + 1
        return found.get(group, {})


def by_value(fleet: Fleet, nodes: Iterable[str], label: str) -> dict[str | None, list[str]]:
    """Some nodes by their value of a label, those without one last."""
    found: dict[str | None, list[str]] = defaultdict(list)
    for node in nodes:
        found[labels_of(fleet.nodes[node].data).get(label)].append(node)
    return {value: found[value] for value in sorted(found, key=lambda each: (each is None, each or ""))}


def value_of(fleet: Fleet, node: str, label: str) -> str | None:
    """A node's value of a label; a node that is gone has none."""
    record = fleet.nodes.get(node)
    return labels_of(record.data).get(label) if record is not None else None


def is_live(allocation: Json) -> bool:
    """Whether it has a place among the instances of its group; what has ended may begin anew there."""
    return bool(allocation["wanted"] == "running")


class Ledger:
    """One decision's view of what is taken; `log` says which nodes it touched, in order."""

    def __init__(self, fleet: Fleet, taken: Taken) -> None:
        self.fleet = fleet
        self.round = taken
        self._mine = Takings()
        self.log: list[tuple[str, GroupKey, int]] = []
        """Node, group, by how many of its allocations there are more."""

    def keep(self) -> None:
        """The decision stands: the round's next one must see what it took."""
        self.round.merge(self._mine)
        self._mine = Takings()

    def host(self, node: str) -> Host:
        """A node by its last heartbeat."""
        return self.round.host(self.fleet, node)

    def before(self, node: str) -> Reserved:
        """What the fleet's allocations reserve on a node. Not to be changed."""
        return self.fleet.reserved.get(node, _NOTHING)

    def now(self, node: str) -> Reserved:
        """What this round has taken of a node. Not to be changed."""
        earlier, mine = self.round.reserved.get(node), self._mine.reserved.get(node)
        if earlier is None or mine is None:
            return earlier or mine or _NOTHING
        return Reserved(
            earlier.memory + mine.memory, earlier.cpus + mine.cpus, earlier.unsized + mine.unsized
        )

    def reserved(self, node: str) -> tuple[int, float]:
        """Memory and cpus that are reserved on a node, by all."""
        before, now = self.before(node), self.now(node)
        return before.memory + now.memory, before.cpus + now.cpus

    def replicas(self, key: GroupKey, node: str) -> int:
        """How many allocations of a group are on a node."""
        found = self.round.living(self.fleet, key).get(node, 0)
        for takings in (self.round, self._mine):
            found += takings.replicas.get(key, {}).get(node, 0)
        return found

    def has(self, key: GroupKey) -> bool:
        """Whether anything is there of a group's deployment, or was placed of the group in this round."""
        return bool(self.fleet.of_deployment.get(key[0])) or key in self.round.replicas

    def spread(self, key: GroupKey) -> dict[str, int]:
        """How many allocations of a group there are, by node."""
        found = dict(self.round.living(self.fleet, key))
        for takings in (self.round, self._mine):
            for node, number in takings.replicas.get(key, {}).items():
                found[node] = found.get(node, 0) + number
        return found

    def numbers(self, node: str, free: frozenset[str]) -> set[int]:
        """The ports of a node that are taken, but for those that only allocations in `free` have."""
        found = {
            number
            for number, holders in self.fleet.ports.get(node, {}).items()
            if not free or any(each not in free for each in holders)
        }
        for takings in (self.round, self._mine):
            found.update(takings.ports.get(node, ()))
        return found

    def holder(self, node: str, number: int, free: frozenset[str]) -> str:
        """The deployment that has a port of a node."""
        holders = self.fleet.ports.get(node, {}).get(number, ())
        for each in holders:
            if each not in free:
                return str(self.fleet.allocations[each].data["deployment"])
        earlier, mine = self.round.ports.get(node, {}), self._mine.ports.get(node, {})
        return earlier.get(number) or mine.get(number) or ""

    def is_gone(self, alloc_id: str) -> bool:
        """Whether an allocation gave way already."""
        return alloc_id in self.round.gone or alloc_id in self._mine.gone

    def take(self, node: str, key: GroupKey, need: Need, numbers: Iterable[int]) -> None:
        """An allocation of a group goes to a node."""
        self._mine.reserve(node, need.memory, need.cpus)
        self._mine.replicate(key, node, 1)
        for number in numbers:
            self._mine.ports.setdefault(node, {})[number] = key[0]
        self.log.append((node, key, 1))

    def reserve(self, node: str, memory: int, cpus: float) -> None:
        """An allocation that is on a node reserves its place there again."""
        self._mine.reserve(node, memory, cpus)
        self.log.append((node, ("", ""), 0))

    def release(self, alloc_ids: Iterable[str]) -> None:
        """Allocations give way: what they reserve is free for others, but not their ports."""
        for alloc_id in sorted(alloc_ids):
            stored = self.fleet.allocations.get(alloc_id)
            if stored is None or self.is_gone(alloc_id):
                continue
            self._mine.gone.add(alloc_id)
            data, reserves = stored.data, self.fleet.reserves(alloc_id)
            if reserves is not None:
                self._mine.reserve(data["node"], *reserves, times=-1)
            key, fewer = (data["deployment"], data["group"]), int(is_live(data))
            self._mine.replicate(key, data["node"], -fewer)
            self.log.append((data["node"], key, -fewer))


_NOTHING = Reserved()
