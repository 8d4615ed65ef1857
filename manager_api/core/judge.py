"""Whether one node can take an allocation, and how good it would be."""

from collections.abc import Hashable
from dataclasses import dataclass

from manager_api.core import eligible as meant
from manager_api.core import ports
from manager_api.core.candidates import Key
from manager_api.core.capacity import TOLERANCE, Need
from manager_api.core.fleet import Fleet
from manager_api.core.ledger import Ledger, Taken, is_live
from manager_api.core.requests import Request

ALIKE = 0.25
"""Of a node's load: what one more instance of the same group on it counts for when nodes are compared.

Without it a moment's difference in what is measured would put all instances of a group on one node.
"""


@dataclass(slots=True)
class Want:
    """What one part of a group wants of a node."""

    need: Need
    ports: ports.Wanted
    kind: Hashable
    able: set[str]
    """Nodes that nothing speaks against but what is taken of them: that alone changes in a round."""

    @classmethod
    def of(cls, request: Request, taken: Taken) -> "Want":
        """What a request wants. Those of one kind share what is known of nodes."""
        placement, need = request.group.policy.placement, Need.of(request.part)
        labels = tuple(sorted(placement.labels.items()))
        kind = placement.node, placement.group, labels, need.features, bool(need.memory)
        return cls(need, ports.Wanted.of(request.part), kind, taken.able(kind))


class Judge:
    """Judges nodes for requests, by the fleet and by what is taken."""

    def __init__(self, fleet: Fleet, ledger: Ledger) -> None:
        self._fleet = fleet
        self._ledger = ledger

    def look(self, request: Request, want: Want, node: str) -> Key | str:
        """How good a node is, or why it cannot take it."""
        why = self.unable(request, want, node)
        if why is not None:
            return why
        why = self.crowded(request, node) or self.taken_port(request, want, node)
        return why or self._lack(request, want.need, node) or self._key(request, node)

    def unable(self, request: Request, want: Want, node: str) -> str | None:
        """What speaks against a node however little is taken of it, or None.

        Cordoned or full, a node keeps what it has: that may be replaced in its place.
        """
        if node in want.able:
            return None
        stays = request.node == node and any(self.on(each, node) for each in request.free)
        record = self._fleet.nodes[node].data
        why = None if stays else meant.closed(record)
        why = (
            why
            or meant.unmeant(self._fleet, node, request.group.policy.placement)
            or self._absent(node)
            or meant.unable(record, want.need.features)
            or (None if stays else self._ledger.host(node).full(want.need))
        )
        if why is None and not stays:
            want.able.add(node)
        return why

    def _absent(self, node: str) -> str | None:
        state = self._fleet.states[node]
        if not state.online and not state.settled:
            return "is not known to be online"
        if not state.online or state.beat.get("uid") != self._fleet.nodes[node].data["uid"]:
            return "is offline"
        return f"is frozen: {state.beat['frozen']}" if state.beat.get("frozen") else None

    def _lack(self, request: Request, need: Need, node: str) -> str | None:
        if not need.memory and not need.cpus:
            return None
        reserved, memory, cpus = self._asked(request, need, node)
        return self._ledger.host(node).lack(reserved, memory, cpus)

    def missing(self, request: Request, need: Need, node: str) -> tuple[int, float]:
        """Memory and cpus that a node has too little; not above 0: it has enough."""
        host, (reserved, memory, cpus) = self._ledger.host(node), self._asked(request, need, node)
        return (
            reserved[0] + memory - host.capacity if memory else 0,
            reserved[1] + cpus - host.cpus - TOLERANCE if cpus else 0.0,
        )

    def _asked(self, request: Request, need: Need, node: str) -> tuple[tuple[int, float], int, float]:
        """What others reserve on a node, and the memory and cpus wanted beside it.

        What takes no more than it had is not refused for what others use by now.
        """
        reserved = self._ledger.reserved(node)
        if not request.free:
            return reserved, need.memory, need.cpus
        memory, cpus = self._freed(request, node)
        left = reserved[0] - memory, reserved[1] - cpus
        return left, need.memory if need.memory > memory else 0, need.cpus if need.cpus > cpus else 0.0

    def crowded(self, request: Request, node: str) -> str | None:
        """Why a node has enough of a group, or None."""
        most = request.group.policy.placement.max_replicas_per_node
        if most is None:
            return None
        there = self._ledger.replicas(request.key, node) - sum(
            self.on(each, node) and self._is_of(each, request.key) for each in request.free
        )
        if there < most:
            return None
        wanted = f"{most} per node {'is' if most == 1 else 'are'} wanted"
        return f"already runs {there} of group {request.group.name} of this deployment, at most {wanted}"

    def taken_port(self, request: Request, want: Want, node: str) -> str | None:
        """Which port is not to be had, or None."""
        if not want.ports:
            return None
        taken = self._ledger.numbers(node, request.free)
        return ports.refusal(
            want.ports, taken, lambda number: self.holder(node, number, request.free, request.deployment)
        )

    def holder(
        self, node: str, number: int, free: frozenset[str] = frozenset(), asking: str | None = None
    ) -> str:
        """Who has a port of a node, for the deployment that asks for it."""
        holder = self._ledger.holder(node, number, free)
        if holder == asking:
            return "another allocation of this deployment"
        stored = self._fleet.deployments.get(holder)
        return f"deployment {holder} ({stored.data['template']})" if stored else f"deployment {holder}"

    def _key(self, request: Request, node: str) -> Key:
        ledger = self._ledger
        memory, cpus, kept, kept_cpus = ledger.host(node).shares(ledger.before(node), ledger.now(node))
        if request.group.policy.placement.strategy == "binpack":
            return -max(kept, kept_cpus), -memory
        alike = ALIKE * ledger.replicas(request.key, node)
        return max(memory, cpus) + alike, memory + cpus

    def on(self, alloc_id: str, node: str) -> bool:
        """Whether an allocation is on a node."""
        stored = self._fleet.allocations.get(alloc_id)
        return stored is not None and stored.data["node"] == node

    def _is_of(self, alloc_id: str, key: tuple[str, str]) -> bool:
        data = self._fleet.allocations[alloc_id].data
        live = is_live(data) and not self._ledger.is_gone(alloc_id)
        return live and (data["deployment"], data["group"]) == key

    def freed_nodes(self, request: Request) -> list[str]:
        """The nodes on which something gives way to a request."""
        stored = [self._fleet.allocations.get(each) for each in sorted(request.free)]
        nodes = {each.data["node"] for each in stored if each is not None}
        return sorted(nodes & self._fleet.nodes.keys())

    def _freed(self, request: Request, node: str) -> tuple[int, float]:
        """Memory and cpus that what it takes the place of has on a node."""
        memory, cpus = 0, 0.0
        for each in request.free:
            reserves = self._fleet.reserves(each) if self.on(each, node) else None
            if reserves is not None and not self._ledger.is_gone(each):
                memory, cpus = memory + reserves[0], cpus + reserves[1]
        return memory, cpus
