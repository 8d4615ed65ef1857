"""What is asked of placement, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from manager_api.core.eligible import closed
from manager_api.core.fleet import Fleet
from manager_api.core.layout import Part
from store.model.spec import GroupSpec

DEFAULT_PRIORITY = 50
"""Of 1 to 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One allocation that wants a node."""

    deployment: str
    priority: int = DEFAULT_PRIORITY
    preempt: bool = False
    """Whether allocations of lower priority may have to make room."""
    group: GroupSpec
    index: int
    part: Part
    avoid: frozenset[str] = frozenset()
    """Nodes that it is not to go to."""
    node: str | None = None
    """The only node that it may go to."""
    free: frozenset[str] = frozenset()
    """Allocations that it takes the place of in the same transaction: what they have is free for it."""

    @property
    def key(self) -> tuple[str, str]:
        """Deployment and group: what it is one of."""
        return self.deployment, self.group.name

    @property
    def identity(self) -> str:
        """The instance that it is, whichever allocation stands for it."""
        return f"{self.deployment}/{self.group.name}/{self.index}"

    def at(self, node: str) -> str:
        """The instance on one node. Before it moves it runs on both, and they may share a host."""
        return f"{self.identity}/{node}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A node for an allocation, and what it gets there."""

    node: str
    ports: Mapping[str, Mapping[str, int]]
    """All named ports: task, port name, number."""
    why: str
    victims: tuple[str, ...] = ()
    """Allocations of lower priority that must be stopped for it."""
    published: tuple[int, ...] = ()
    """What its containers publish on the node beside its ports; to be kept in the allocation."""

    @property
    def numbers(self) -> set[int]:
        """All ports of the node that it takes."""
        return {*self.published, *(number for given in self.ports.values() for number in given.values())}


@dataclass(frozen=True, slots=True)
class Refused:
    """No node can take it: why, as a whole and for each node."""

    reason: str
    nodes: Mapping[str, str]

    @classmethod
    def by(cls, refusals: Mapping[str, str]) -> "Refused":
        """The refusal that is made of each node's own."""
        if len(refusals) == 1:
            return cls("; ".join(f"node {node} {why}" for node, why in refusals.items()), refusals)
        return cls("no node can take it" if refusals else "there is no node yet: start an agent", refusals)


def without_needless(fleet: Fleet, request: Request) -> Request:
    """Closed nodes need not be avoided: so requests that leave them are alike, and all is looked at once."""
    if not request.avoid or request.free or request.node is not None:
        return request
    avoid = (each for each in request.avoid if each not in fleet.nodes or not closed(fleet.nodes[each].data))
    return replace(request, avoid=frozenset(avoid))
