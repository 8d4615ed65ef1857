"""What a leader remembers between plans: found again by looking, so that losing it costs only time."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from store.model.spec import GroupSpec

Json = dict[str, Any]
Parameters = tuple[tuple[str, str], ...]
NAMED = 20
"""Nodes that a record names."""


@dataclass(slots=True)
class Memory:
    """One leader's; all times in steady seconds."""

    filled: dict[tuple[str, Parameters], tuple[GroupSpec, ...]] = field(default_factory=dict)
    """Groups of template versions, with their parameters filled in."""
    bodies: dict[tuple[str, Parameters], Mapping[str, Any]] = field(default_factory=dict)
    """Template bodies, likewise."""
    summaries: dict[str, Any] = field(default_factory=dict)
    """What was made of each allocation; see `manager_api.core.summary`."""
    slots: dict[str, Any] = field(default_factory=dict)
    """What each deployment's release asks for; see `manager_api.core.slots`."""
    places: dict[str, Any] = field(default_factory=dict)
    """What counts of each node; see `manager_api.core.summary`."""
    calm: dict[str, Any] = field(default_factory=dict)
    """What each deployment was made of when there was nothing to do; see `manager_api.core.calm`."""
    gone: dict[str, float] = field(default_factory=dict)
    """Allocations whose machine is another one, or gone for good: since when this leader knows."""
    fetched: dict[str, tuple[int, float | None]] = field(default_factory=dict)
    """Allocations whose files were seen to come: generation, and since when they are there; None: not yet."""
    held: set[str] = field(default_factory=set)
    """Nodes with work that must not begin yet: to be planned again before long."""
    drains: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """What was written last of each node's drain."""
    stuck: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of nodes being drained: allocations that cannot leave, and why."""

    trouble: dict[str, str] = field(default_factory=dict)
    """Deployments that could not be planned for, and why."""

    def prune(
        self,
        deployments: Container[str],
        allocations: Container[str],
        versions: Container[str],
        nodes: Container[str],
    ) -> None:
        """Forget what is about records that are gone; those that there are, are asked one by one."""
        known: tuple[tuple[Container[str], tuple[dict[str, Any], ...]], ...] = (
            (deployments, (self.slots, self.calm, self.trouble)),
            (allocations, (self.summaries, self.gone, self.fetched)),
            (nodes, (self.drains, self.stuck, self.places)),
        )
        for names, memories in known:
            for memory in memories:
                for name in [name for name in memory if name not in names]:
                    del memory[name]
        self.held = {node for node in self.held if node in nodes}
        for key in [key for key in self.bodies if key[0] not in versions]:
            self.bodies.pop(key)
            self.filled.pop(key, None)


@dataclass(slots=True)
class Brake:
    """One leader's brake; `looked` and the times of nodes are steady seconds, `since` is wall time."""

    since: float | None = None
    lost: tuple[str, ...] = ()
    of: int = 0
    released: int = 0
    forgiven: set[str] = field(default_factory=set)
    """Nodes that were away when somebody released it: they count no more until they are back."""
    left: set[str] = field(default_factory=set)
    """Nodes that were away with work when it was judged last, or had been before that."""
    moved: set[str] = field(default_factory=set)
    """Those of them whose work has moved since."""
    looked: float | None = None
    turned: bool = True
    """Whether nodes came or went since it was judged last; set by whoever owns the fleet."""
    written: Json | None = None

    @property
    def reason(self) -> str | None:
        """Why nothing is rescheduled now, or None."""
        if self.since is None:
            return None
        return (
            f"the brake is engaged: {len(self.lost)} of {self.of} nodes vanished together; "
            "nothing is rescheduled until they are back or it is released"
        )

    def as_record(self) -> Json:
        """As it lies in the store."""
        engaged: Json | None = None
        if self.since is not None:
            engaged = {"since": self.since, "lost": len(self.lost), "of": self.of}
            engaged["nodes"] = list(self.lost[:NAMED])
        record: Json = {"v": 1, "engaged": engaged, "released": self.released}
        if self.since is not None and self.moved:
            record["moved"] = sorted(self.moved)
        return record | ({"forgiven": sorted(self.forgiven)} if self.forgiven else {})
