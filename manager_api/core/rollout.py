"""How a group goes to another release, step by step (a stand-in: ROLLOUT's replaces it)."""

from dataclasses import dataclass

from store.model.placing import Update


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One live allocation of the group (canaries included); times in seconds."""

    id: str
    current: bool
    canary: bool
    generation: int
    up_for: float | None
    ordered_for: float
    failed: bool
    away: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of a deployment that is to be of one release."""

    name: str
    update: Update
    wanted: int
    units: tuple[Unit, ...]
    paused: bool
    promoted: bool
    needs_canary: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do for it now, and where it stands."""

    update: tuple[str, ...] = ()
    canaries: int = 0
    stop: tuple[str, ...] = ()
    state: str = "done"
    reason: str = ""
    wake: float | None = None
    updated: int = 0
    healthy: int = 0


def step(group: Group) -> Step:
    """The next step of a group."""
    policy = group.update
    new = [each for each in group.units if each.current]
    old = [each for each in group.units if not each.current and not each.away]
    left = [each for each in group.units if not each.current]
    unwell = [each for each in new if each.up_for is None or each.up_for < policy.min_healthy]
    said = {"updated": len(new), "healthy": len(new) - len(unwell)}
    for each in unwell:
        if each.failed or (each.ordered_for >= policy.healthy_deadline and not each.away):
            why = "failed" if each.failed else f"was not healthy within {policy.healthy_deadline:g}s"
            return Step(state="failed", reason=f"{each.id} {why}", **said)
    if group.paused and left:
        return Step(state="paused", reason="paused", **said)
    if not left and not unwell:
        return Step(**said)
    dues = [policy.healthy_deadline - each.ordered_for for each in unwell]
    dues += [policy.min_healthy - each.up_for for each in unwell if each.up_for is not None]
    wake = min((due for due in dues if due > 0), default=None)
    canaries = sum(each.canary for each in group.units)
    if group.needs_canary and not group.promoted and left:
        if canaries < policy.canary:
            return Step(canaries=policy.canary - canaries, state="running", wake=wake, **said)
        well = not any(each.canary for each in unwell)
        if not (well and policy.auto_promote):
            state = "promotion" if well else "running"
            return Step(state=state, reason="waits to be promoted" if well else "", wake=wake, **said)
    down = [each for each in old if each.up_for is None]
    order = [*down, *(each for each in old if each.up_for is not None)]
    room = max(0, policy.max_parallel - len(unwell))
    return Step(update=tuple(each.id for each in order[:room]), state="running", wake=wake, **said)
