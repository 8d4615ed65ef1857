"""The fleet as the controller knows it: plain records with the indexes that planning needs.

Whoever owns a `Fleet` keeps it true (see `manager_api.controller.mirror`); plans only read it.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from store.model import spec
from store.model.spec import GroupSpec

Json = dict[str, Any]


@dataclass(slots=True)
class Stored:
    """A record and the revision that last changed it."""

    data: Json
    rev: int


@dataclass(slots=True)
class NodeState:
    """What is known of one node beside its record."""

    online: bool = False
    settled: bool = True
    """False while it is not yet known whether the node is there: after an election, say."""
    beat: Json = field(default_factory=dict)
    desired_rev: int = 0
    desired_epoch: str = ""
    desired_uid: str = ""
    desired: dict[str, Json] = field(default_factory=dict)
    """Desired entries by allocation id, only `rev`, `generation`, `wanted`."""
    actual: dict[str, Json] = field(default_factory=dict)


@dataclass(slots=True)
class Reserved:
    """What the allocations on a node reserve: bytes, processors."""

    memory: int = 0
    cpus: float = 0.0


class Fleet:
    """All records, indexed."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.deployments: dict[str, Stored] = {}
        self.status: dict[str, Stored] = {}
        self.versions: dict[str, Stored] = {}
        self.allocations: dict[str, Stored] = {}
        self.nodes: dict[str, Stored] = {}
        self.states: dict[str, NodeState] = defaultdict(NodeState)
        self.of_deployment: dict[str, set[str]] = defaultdict(set)
        self.on_node: dict[str, set[str]] = defaultdict(set)
        self.reserved: dict[str, Reserved] = defaultdict(Reserved)
        self._groups: dict[str, tuple[GroupSpec, ...]] = {}

    def groups(self, version_field: str) -> tuple[GroupSpec, ...]:
        """The groups of a template version.

        Raises:
            KeyError: there is no such version.
            BadRecord: it cannot be read.
        """
        found = self._groups.get(version_field)
        if found is None:
            found = self._groups[version_field] = spec.groups(self.versions[version_field].data["body"])
        return found

    def put_allocation(self, alloc_id: str, stored: Stored) -> None:
        """Add or replace an allocation."""
        self.drop_allocation(alloc_id)
        self.allocations[alloc_id] = stored
        data = stored.data
        self.of_deployment[data["deployment"]].add(alloc_id)
        self.on_node[data["node"]].add(alloc_id)
        self._reserve(data, 1)

    def drop_allocation(self, alloc_id: str) -> None:
        """Remove an allocation, if it is there."""
        old = self.allocations.pop(alloc_id, None)
        if old is not None:
            self.of_deployment[old.data["deployment"]].discard(alloc_id)
            self.on_node[old.data["node"]].discard(alloc_id)
            self._reserve(old.data, -1)

    def _reserve(self, data: Mapping[str, Any], sign: int) -> None:
        if data["wanted"] == "running":
            reserved = self.reserved[data["node"]]
            reserved.memory += sign * int(data["memory"])
            reserved.cpus += sign * float(data["cpus"])
