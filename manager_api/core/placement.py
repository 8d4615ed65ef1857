"""Where allocations go. First form: pins; otherwise the least loaded node that is online and fits."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manager_api.core.fleet import Fleet, Reserved
from manager_api.core.layout import Part
from store.model.spec import GroupSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be placed: one part of one instance of a group."""

    deployment: str
    group: GroupSpec
    part: Part
    index: int = 0
    priority: int = 50
    preempt: bool = False
    node: str | None = None
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Chosen:
    """Where it goes, with which ports, why, and who must make room."""

    node: str
    ports: Mapping[str, Mapping[str, int]]
    why: str
    victims: tuple[str, ...] = ()


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
class Refused:
    """No node can take it: why, as a whole and for each node."""

    reason: str
    nodes: Mapping[str, str]


Taken = dict[str, Reserved]
"""What this round's decisions have taken of each node, and the fleet does not show yet."""


class Placer:
    """Places one deployment's parts, one after the other, each seeing what those before it took.

    `taken` is what the round's other deployments took; `keep` adds what this one did.
    """

    def __init__(self, fleet: Fleet, taken: Taken) -> None:
        self._fleet = fleet
        self._round = taken
        self._taken = {node: Reserved(each.memory, each.cpus) for node, each in taken.items()}
        self._queues: dict[tuple[Need, str | None, str, frozenset[str]], _Queue] = {}

    def keep(self) -> None:
        """The deployment was accepted: the next one must see what it takes."""
        self._round.update(self._taken)

    def place(self, request: Request) -> Chosen | Refused:
        """The node for a part, or why there is none."""
        need, part, group = Need.of(request.part), request.part, request.group
        pin = request.node or part.pin or group.policy.placement.node
        key = (need, pin, group.name, request.avoid)
        queue = self._queues.get(key)
        if queue is None:
            found = self._candidates(pin)
            if isinstance(found, Refused):
                return found
            why = {each: eligible(self._fleet, each, group) for each in found}
            why |= dict.fromkeys(request.avoid & why.keys(), "is to be left")
            queue = self._queues[key] = _Queue([each for each in found if why[each] is None])
            queue.refusals.update({each: text for each, text in why.items() if text})
        chosen = self._best(queue, need)
        if chosen is None:
            return _refused(queue.refusals)
        taken = self._taken.setdefault(chosen, Reserved())
        taken.memory += need.memory
        taken.cpus += need.cpus
        return Chosen(chosen, {}, "the least loaded node that fits")

    def _candidates(self, pin: str | None) -> list[str] | Refused:
        if pin is None:
            return sorted(self._fleet.nodes)
        pinned = matching(self._fleet, pin)
        if len(pinned) > 1:
            whole = f"{pin} is several nodes: {', '.join(pinned)}; pin by node id"
            return Refused(whole, dict.fromkeys(pinned, whole))
        if not pinned:
            whole = f"no node has the id, host name or address {pin}"
            return Refused(whole, dict.fromkeys(sorted(self._fleet.nodes), f"is not {pin}"))
        return pinned

    def _best(self, queue: "_Queue", need: Need) -> str | None:
        """The least loaded node that fits. Loads only grow while placing: an old one is looked at again."""
        for node in queue.fresh:
            self._enqueue(queue, node, need)
        queue.fresh = []
        while queue.heap:
            load, node = heapq.heappop(queue.heap)
            self._enqueue(queue, node, need)
            if queue.heap and queue.heap[0] == (load, node):
                return node
            # It is busier than it was, or full by now; the next one is as it should be, or looked at next.
        return None

    def _enqueue(self, queue: "_Queue", node: str, need: Need) -> None:
        why = self.refusal(node, need)
        if why is None:
            heapq.heappush(queue.heap, (self._load(node), node))
        else:
            queue.refusals[node] = why

    def refusal(self, node: str, need: Need) -> str | None:
        """Why a node cannot take it, as a predicate ("is offline"), or None."""
        state, record = self._fleet.states[node], self._fleet.nodes[node].data
        if not state.online and not state.settled:
            return "is not known to be online"
        if not state.online or state.beat.get("uid") != record["uid"]:
            return "is offline"
        if state.beat.get("frozen"):
            return f"is frozen: {state.beat['frozen']}"
        missing = sorted(need.features - set(record["features"]))
        if missing:
            return f"runs agent {record['version']}, which does not offer {', '.join(missing)}"
        return self._lack(node, need)

    def shortage(self, allocations: Iterable[Mapping[str, Any]]) -> str | None:
        """Why the nodes of some allocations that reserve nothing now have no room for them, or None."""
        for each in allocations:
            need = Need(int(each["memory"]), float(each["cpus"]), frozenset())
            lack = self._lack(each["node"], need) if self._fleet.states[each["node"]].beat else None
            if lack is not None:
                return f"node {each['node']} {lack}"
            taken = self._taken.setdefault(each["node"], Reserved())
            taken.memory += need.memory
            taken.cpus += need.cpus
        return None

    def _lack(self, node: str, need: Need) -> str | None:
        """What a node has too little of, or None."""
        state, reserved = self._fleet.states[node], self._reserved(node)
        capacity = int(state.beat.get("memory_total", 0))
        if need.memory and reserved.memory + need.memory > capacity:
            return (
                f"has {gigabytes(capacity)} of memory, {gigabytes(reserved.memory)} of it reserved; "
                f"{gigabytes(need.memory)} are wanted"
            )
        cpus = float(state.beat.get("cpus", 0))
        if need.cpus and reserved.cpus + need.cpus > cpus:
            return f"has {cpus:g} cpus, {reserved.cpus:g} of them reserved; {need.cpus:g} are wanted"
        return None

    def _load(self, node: str) -> tuple[float, float]:
        beat, reserved = self._fleet.states[node].beat, self._reserved(node)
        memory = reserved.memory / max(int(beat.get("memory_total", 0)), 1)
        cpus = reserved.cpus / max(float(beat.get("cpus", 0)), 0.01)
        return (
            max(memory, float(beat.get("memory_percent", 0)) / 100),
            max(cpus, float(beat.get("cpu_percent", 0)) / 100),
        )

    def _reserved(self, node: str) -> Reserved:
        there, ours = self._fleet.reserved[node], self._taken.get(node, Reserved())
        return Reserved(there.memory + ours.memory, there.cpus + ours.cpus)


def eligible(fleet: Fleet, node: str, group: GroupSpec) -> str | None:
    """Why a node is not meant for a group at all, as a predicate, or None."""
    record = fleet.nodes[node].data
    if record.get("drain"):
        return "is being drained"
    if record.get("cordoned") or record.get("removing"):
        return "is cordoned"
    pin = group.policy.placement.node
    if pin is not None and node not in matching(fleet, pin):
        return f"is not {pin}"
    labels = {**record.get("own_labels", {}), **record.get("labels", {})}
    for key, values in group.policy.placement.labels.items():
        if labels.get(key) not in values:
            return f"has no label {key}={'|'.join(values)}"
    return None


class _Queue:
    """The nodes that may take one kind of need, least loaded first."""

    def __init__(self, candidates: list[str]) -> None:
        self.fresh = candidates
        self.heap: list[tuple[tuple[float, float], str]] = []
        self.refusals: dict[str, str] = {}


def _refused(refusals: Mapping[str, str]) -> Refused:
    if len(refusals) == 1:
        return Refused("; ".join(f"node {node} {why}" for node, why in refusals.items()), refusals)
    return Refused("no node can take it" if refusals else "there is no node yet: start an agent", refusals)


def matching(fleet: Fleet, pin: str) -> list[str]:
    """The nodes that a pin means: by id if there is one, else by host name, else by address."""
    if pin in fleet.nodes:
        return [pin]
    records = sorted((node, stored.data) for node, stored in fleet.nodes.items())
    by_name = [node for node, data in records if data["hostname"] == pin]
    return by_name or [node for node, data in records if pin == data["ip"] or pin in data["addresses"]]


def gigabytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"
