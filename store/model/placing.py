"""Where the allocations of a group go, and what becomes of them when that changes; durations in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from store.model import quantity

STRATEGIES = ("spread", "binpack")
DUPLICATES = ("allow", "never")
KEEP = "keep"
NEVER = "never"
ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which nodes may take the allocations of a group, and which of them is the best."""

    node: str | None = None
    """One node: id, host name or address."""
    group: str | None = None
    """A group of devices."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What a node's labels must be: one of the values given."""
    spread: str | None = None
    """The label over whose values the allocations are spread evenly."""
    strategy: str = "spread"
    """`spread`: the least loaded node that fits; `binpack`: the fullest."""
    max_replicas_per_node: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How a group goes to another version."""

    max_parallel: int = 1
    min_healthy: float = 10.0
    """How long an allocation must be up (and healthy) to count."""
    healthy_deadline: float = 300.0
    """Until when it must; else the update has failed."""
    canary: int = 0
    auto_promote: bool = False
    auto_revert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for each allocation of a group, wherever it is."""

    placement: Placement = field(default_factory=Placement)
    update: Update = field(default_factory=Update)
    reschedule_after: float | None = 30.0
    """How long its node must be offline for it to be placed elsewhere; None: it never is."""
    stop_after: float | None = None
    """How long its node may be cut off before it stops the tasks by itself; None: it keeps them."""
    duplicates: str = "allow"


def policy(raw: Mapping[str, Any]) -> Policy:
    """The policy of a stored group."""
    reschedule = raw.get("reschedule", {})
    after = None if reschedule == NEVER else quantity.duration(reschedule.get("after", "30s"))
    return Policy(
        placement=_placement(raw.get("placement", {})),
        update=_update(raw.get("update", {})),
        reschedule_after=after,
        stop_after=stop_after(raw.get("on_disconnect", KEEP)),
        duplicates=raw.get("duplicates", "allow"),
    )


def stop_after(raw: Any) -> float | None:
    """A stored `on_disconnect`: None keeps the tasks."""
    return None if raw == KEEP else quantity.duration(raw["stop_after"])


def _placement(raw: Mapping[str, Any]) -> Placement:
    labels = {
        key: (value,) if isinstance(value, str) else tuple(value)
        for key, value in raw.get("labels", {}).items()
    }
    default = Placement()
    return Placement(
        node=raw.get("node"),
        group=raw.get("group"),
        labels=labels,
        spread=raw.get("spread"),
        strategy=raw.get("strategy", default.strategy),
        max_replicas_per_node=raw.get("max_replicas_per_node"),
    )


def _update(raw: Mapping[str, Any]) -> Update:
    default = Update()
    healthy = quantity.duration(raw["min_healthy"]) if "min_healthy" in raw else default.min_healthy
    deadline = (
        quantity.duration(raw["healthy_deadline"]) if "healthy_deadline" in raw else default.healthy_deadline
    )
    return Update(
        max_parallel=int(raw.get("max_parallel", default.max_parallel)),
        min_healthy=healthy,
        healthy_deadline=deadline,
        canary=int(raw.get("canary", default.canary)),
        auto_promote=bool(raw.get("auto_promote", default.auto_promote)),
        auto_revert=bool(raw.get("auto_revert", default.auto_revert)),
    )
