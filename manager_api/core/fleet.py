"""The fleet as the controller knows it: plain records with the indexes that planning needs.

Whoever owns a `Fleet` keeps it true (see `manager_api.controller.mirror`); plans only read it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from manager_api.core.holdings import Holdings
from manager_api.core.membership import Groups
from manager_api.core.memory import Brake, Memory
from manager_api.core.turns import Turns
from store.keys import ALLOCATIONS, DEPLOYMENTS, STATUS
from store.model import spec
from store.model.beat import MOST
from store.model.lifecycle import DEPLOYMENT_ENDED
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
    away_since: float | None = None
    """Since when (steady seconds) this leader knows it to be offline; None: it is not, or may not be."""
    online_since: float | None = None
    """Since when (steady seconds) this leader sees it online without a break; None: it does not."""
    absent_at: int = 0
    """The revision that the store had surely reached when no heartbeat of it was to be seen the last time."""
    up_since: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Allocations that are up (`store.model.status.is_up`): generation, since when (steady seconds)."""


class Fleet:
    """All records, indexed."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.began = 0
        """The revision at which this epoch began."""
        self.seen = MOST
        """The highest revision this store is known to have reached: nobody can have obeyed a higher one."""
        self.restored = False
        """Whether this epoch began because a backup was put in place: what it says is meant."""
        self.catching_up = False
        """Whether nodes may yet tell what they ran in the last epoch."""
        self.doubtful: set[str] = set()
        """Deployments without a status that may have had one: it was there, or we have just begun to lead."""
        self.deployments: dict[str, Stored] = {}
        self.status: dict[str, Stored] = {}
        self.versions: dict[str, Stored] = {}
        self.allocations: dict[str, Stored] = {}
        self.nodes: dict[str, Stored] = {}
        self.claims: dict[str, Stored] = {}
        self.controls, self.controls_status = dict[str, Stored](), dict[str, Stored]()
        self.nodes_status: dict[str, Stored] = {}
        self.names, self.device_groups, self.targets = dict[str, Stored](), dict[str, Stored](), Groups()
        """Names of deployments, with the one that has each, or had it last; groups of devices; these read."""
        self.unreadable: set[tuple[str, str]] = set()
        """Records (collection, field) that are there and cannot be read: not to be taken for absent."""
        self.states: dict[str, NodeState] = defaultdict(NodeState)
        self.of_deployment: dict[str, set[str]] = defaultdict(set)
        self.on_node: dict[str, set[str]] = defaultdict(set)
        self.claims_of: dict[str, set[str]] = defaultdict(set)
        self.claims_on: dict[str, set[str]] = defaultdict(set)
        self._taken = Holdings()
        self.reserved, self.ports = self._taken.reserved, self._taken.ports
        self.due: dict[str, float] = {}
        """When (steady seconds) deployments are to be planned again, whatever happens until then."""
        self.ordered: dict[str, tuple[int, float]] = {}
        """Allocations: their generation, and since when (steady seconds) this leader knows it wanted."""
        self.undecided: set[str] = set()
        """Deployments that have no status."""
        self.hungry: set[str] = set()
        """Deployments that miss allocations, or wait for room: more of it is news for them."""
        self.everywhere: set[str] = set()
        """Deployments that want one on each node: every node is news for them."""
        self.peered: set[str] = set()
        """Deployments whose tasks depend on other groups: where these are is news for their nodes."""
        self.memory = Memory()
        self.brake, self.turns = Brake(), Turns()
        self.retiring: set[str] = set()
        """Ended deployments whose time is over; see `manager_api.core.retention`."""
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

    def secrets(self) -> dict[str, str]:
        """SHA-256 of the nodes' secrets, by node: what their users at the store are made with."""
        return {node: stored.data["secret_sha256"] for node, stored in self.nodes.items()}

    def closed(self, deployment: str) -> bool:
        """Whether a deployment cannot be read, or where it stands."""
        return (DEPLOYMENTS, deployment) in self.unreadable or (STATUS, deployment) in self.unreadable

    def obscured(self, deployment: str) -> bool:
        """Whether there are allocations of a deployment that cannot be read."""
        found = (field for name, field in self.unreadable if name == ALLOCATIONS)
        return any(alloc_id.rpartition(".")[0] == deployment for alloc_id in found)

    def plannable(self, alloc_ids: Iterable[str]) -> list[str]:
        """Of some allocations those that can be read, sorted: the others do not hold them up."""
        return [each for each in sorted(alloc_ids) if (ALLOCATIONS, each) not in self.unreadable]

    def put_allocation(self, alloc_id: str, stored: Stored) -> None:
        """Add or replace an allocation."""
        if alloc_id in self.allocations:
            self.drop_allocation(alloc_id)
        self.allocations[alloc_id] = stored
        self.of_deployment[stored.data["deployment"]].add(alloc_id)
        self.on_node[stored.data["node"]].add(alloc_id)
        self._count(alloc_id)

    def drop_allocation(self, alloc_id: str) -> None:
        """Remove an allocation, if it is there."""
        old = self.allocations.pop(alloc_id, None)
        if old is not None:
            self.of_deployment[old.data["deployment"]].discard(alloc_id)
            self.on_node[old.data["node"]].discard(alloc_id)
            self._count(alloc_id)

    def prune(self) -> None:
        """Forget the empty places that records leave in the indexes."""
        self.doubtful &= self.deployments.keys()
        for names in (self.hungry, self.everywhere, self.peered):
            names.intersection_update(self.deployments)
        for name in self.due.keys() - self.deployments.keys():
            del self.due[name]
        for claims in (self.claims_of, self.claims_on):
            for name in [name for name, left in claims.items() if not left]:
                del claims[name]
        for name in [name for name, left in self.of_deployment.items() if not left]:
            del self.of_deployment[name]
        for node in [node for node, left in self.on_node.items() if not left and node not in self.nodes]:
            del self.on_node[node]
            self.reserved.pop(node, None)
        for node in self.states.keys() - self.nodes.keys():
            del self.states[node]
        for version in self._groups.keys() - self.versions.keys():
            del self._groups[version]
        self.memory.prune(self.deployments, self.allocations, self.versions, self.nodes)

    def put_claim(self, claim_id: str, stored: Stored | None) -> None:
        """Add, replace or (None) remove what was said of unclaimed work."""
        old = self.claims.pop(claim_id, None)
        if old is not None:
            self.claims_of[old.data["order"]["deployment"]].discard(claim_id)
            self.claims_on[old.data["node"]].discard(claim_id)
        if stored is not None:
            self.claims[claim_id] = stored
            self.claims_of[stored.data["order"]["deployment"]].add(claim_id)
            self.claims_on[stored.data["node"]].add(claim_id)

    def doubt(self, deployment: str) -> None:
        """Its status was written, or is gone."""
        (self.doubtful.discard if deployment in self.status else self.doubtful.add)(deployment)

    def recount(self, deployment: str) -> None:
        """It ended, or began again: what has ended reserves nothing."""
        self.doubt(deployment)
        for alloc_id in self.of_deployment.get(deployment, ()):
            self._count(alloc_id)

    def reserves(self, alloc_id: str) -> tuple[int, float] | None:
        """Memory and cpus that an allocation keeps from others on its node; None: it has ended."""
        return self._taken.by(alloc_id)

    def _count(self, alloc_id: str) -> None:
        stored = self.allocations.get(alloc_id)
        over = stored is None or self.is_over(stored.data["deployment"])
        self._taken.count(alloc_id, None if over or stored is None else stored.data)

    def is_over(self, deployment: str) -> bool:
        """Whether a deployment has ended."""
        status = self.status.get(deployment)
        return status is not None and status.data.get("status") in DEPLOYMENT_ENDED
