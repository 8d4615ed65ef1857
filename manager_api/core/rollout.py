"""How a group goes from one release to another: a few at a time, canaries first, no further once one fails.

Level-triggered: what is to be done is read from the units as they are, so a step that was carried out in
part, or by a leader that is no more, is gone on with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from store.model.placing import Update

RUNNING, PROMOTION, PAUSED, DONE, FAILED, REVERTED = (
    "running", "promotion", "paused", "done", "failed", "reverted",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One live allocation of a group, as a rollout sees it. Times in seconds."""

    id: str
    current: bool
    """Whether it runs the target release already, or is ordered to."""
    canary: bool
    generation: int
    up_for: float | None
    """How long it has been up in this generation; None: it is not up."""
    ordered_for: float
    """How long it has been ordered to be as it is, by this leader's count."""
    failed: bool
    """Whether it ended for good, badly, in this generation."""
    away: bool
    """Whether its node is offline: nothing can be said of it."""
    trouble: str = ""
    """What its node says is wrong with it."""
    seen_for: float = inf
    """How long its node has been online without a break, if that is known: nobody is late who was away."""
    files_for: float = inf
    """How long its files have been there, if they were seen to come: nobody is late who waits for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group, with what is wanted of it."""

    name: str
    update: Update
    wanted: int
    """Instances, without canaries."""
    units: tuple[Unit, ...]
    """In order of index."""
    paused: bool
    promoted: bool
    """Whether a person promoted this change; or it goes back to what was there before."""
    needs_canary: bool
    first: bool = False
    """A first deployment: there is nothing to go back to, and nothing ever fails it."""
    state: str = ""
    """What is on record of this change, if anything: `failed` stays so, and what was well stays proven."""
    others_tried: bool = False
    """Whether canaries of other groups have yet to show that they are well: all groups go on together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do now."""

    update: tuple[str, ...] = ()
    """Take these to the target release, in place."""
    canaries: int = 0
    """Place so many more canaries."""
    stop: tuple[str, ...] = ()
    """Stop these: canaries that are not wanted any more, and units whose place a canary takes."""
    promote: tuple[str, ...] = ()
    """Canaries that become ordinary: each takes the place of a unit in `stop`, or an empty one, in order."""
    state: str = DONE
    reason: str = ""
    wake: float | None = None
    """Seconds from now when something is due."""
    updated: int = 0
    """Ordinary units of the target release."""
    healthy: int = 0
    """Those of them that are healthy."""


def step(group: Group) -> Step:
    """What a rollout does next; once it is done, failed, paused or waits for a person, nothing."""
    view = _View(group)
    if group.state == FAILED:
        return view.step(FAILED)
    if view.over():
        return view.step(DONE, view.missing())
    if group.paused:
        return view.step(PAUSED, "paused; resume to go on")
    culprit = view.culprit()
    if culprit is not None:
        return view.step(FAILED, culprit)
    return _canaries(view) or _update(view)


def tried(group: Group) -> bool:
    """Whether canaries of a group have yet to show that the rest may follow."""
    view = _View(group)
    due = None if view.over() else _canaries(view)
    return due is not None and due.state == RUNNING


def _canaries(view: "_View") -> Step | None:
    """What is due until the canaries have shown that the others may follow; None: nothing is, or no more.

    As many as are left to be updated will do: at the end of an update that promotes itself, canaries take
    the last places one by one.
    """
    group, update = view.group, view.group.update
    need = min(update.canary, len(view.old))
    if group.promoted or not group.needs_canary or not need:
        return None
    missing, stale = need - len(view.canaries), tuple(unit.id for unit in view.stale)
    if missing > 0:
        said = f"{missing} more canaries are needed, {len(view.canaries)} are there"
        return view.step(RUNNING, said, canaries=min(missing, view.room), stop=stale)
    well = len(view.well(view.canaries))
    if well < need:
        return view.step(RUNNING, f"{well} of {need} canaries are healthy", stop=stale)
    if update.auto_promote and group.others_tried:
        return view.step(RUNNING, f"{need} canaries are healthy; waits for those of other groups", stop=stale)
    if update.auto_promote:
        return None
    return view.step(PROMOTION, f"{need} canaries are healthy; promote to go on", stop=stale)


def _update(view: "_View") -> Step:
    """The next units, in place; in the end the canaries take the places of as many as they are.

    Those that are down lose nothing by it and go first. Canaries keep their mark until then: it shows that
    they are there, and need not be placed again, to whoever goes on with this.
    """
    stop = tuple(unit.id for unit in view.stale)
    kept = sum(not unit.away for unit in view.canaries)
    down = [unit for unit in view.reachable if unit.up_for is None or unit.failed]
    up = [unit for unit in view.reachable if unit.up_for is not None and not unit.failed]
    left = [*down, *up[kept:], *up[:kept]]
    turn = left[: max(len(left) - kept, 0)]
    if turn:
        now = tuple(unit.id for unit in turn[: view.room])
        return view.step(RUNNING, view.waiting(now), update=now, stop=stop)
    ready = view.well(view.canaries)
    if left:
        pairs = tuple(zip((unit.id for unit in left), (unit.id for unit in ready), strict=False))
        stop, promote = stop + tuple(old for old, _ in pairs), tuple(new for _, new in pairs)
        return view.step(RUNNING, view.waiting(()), stop=stop, promote=promote)
    if view.old:  # on nodes that are offline: the canaries are kept for their places
        return view.step(RUNNING, view.waiting(()), stop=stop)
    empty = max(view.group.wanted - len(view.ordinary), 0)
    promote = tuple(unit.id for unit in ready[:empty])
    if not empty:
        stop += tuple(unit.id for unit in view.canaries)
    return view.step(RUNNING, view.waiting(()), stop=stop, promote=promote)


class _View:
    """A group's units, sorted by what they mean for its rollout."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.ordinary = [unit for unit in group.units if not unit.canary]
        self.canaries = [unit for unit in group.units if unit.canary and unit.current]
        self.stale = [unit for unit in group.units if unit.canary and not unit.current]
        self.old = [unit for unit in self.ordinary if not unit.current]
        self.reachable = [unit for unit in self.old if not unit.away]
        self.current = [unit for unit in group.units if unit.current]
        # A unit that went away in the middle is waited for as long as any other, and then without it.
        self.unwell = [
            unit
            for unit in self.current
            if unit.failed or not (self._is_well(unit) or (unit.away and unit.ordered_for >= self._deadline))
        ]
        self.room = max(group.update.max_parallel - len(self.unwell), 0)

    @property
    def _deadline(self) -> float:
        return self.group.update.healthy_deadline

    def _is_well(self, unit: Unit) -> bool:
        return not unit.failed and unit.up_for is not None and unit.up_for >= self.group.update.min_healthy

    def well(self, units: Sequence[Unit]) -> list[Unit]:
        """Those that are healthy, and within reach."""
        return [unit for unit in units if self._is_well(unit) and not unit.away]

    def over(self) -> bool:
        """Whether all that can be reached is as it should be, or has been once and there is nothing to do.

        What is on nodes that are offline follows when they are back, and cannot hold up the word for weeks.
        """
        if self.reachable or self.stale or self.canaries:
            return False
        if self.group.state == DONE:
            return True
        seen = not self.old or bool(self.well(self.current))
        return seen and not self.unwell and len(self.ordinary) >= self.group.wanted

    def missing(self) -> str:
        """What is left for later."""
        return f"{len(self.old)} on nodes that are offline follow when they are back" if self.old else ""

    def culprit(self) -> str | None:
        """Who has shown that this release does not work, and how; None: nobody, or it does not matter."""
        if self.group.first or self.group.state in (DONE, REVERTED):
            return None
        for unit in self.unwell:
            if unit.failed:
                return f"{unit.id} has failed" + (f": {unit.trouble}" if unit.trouble else "")
            late = not unit.away and self._waited(unit) >= self._deadline
            if late and not self._proven(unit):
                late_by = f"{unit.id} was not healthy within {self._deadline:g} s"
                return late_by + (f": {unit.trouble}" if unit.trouble else "")
        return None

    def _waited(self, unit: Unit) -> float:
        return min(unit.ordered_for, unit.seen_for, unit.files_for)

    def _proven(self, unit: Unit) -> bool:
        """Whether it was healthy once, so that being down now is no failure of the update.

        A canary was, if a person was asked to promote. Others must have been, if as many as may be updated
        at a time were ordered after them.
        """
        if self.group.state == PROMOTION and unit.canary:
            return True
        later = sum(other.ordered_for < unit.ordered_for for other in self.current)
        return later >= self.group.update.max_parallel

    def waiting(self, now: Sequence[str]) -> str:
        """How far it is, and whom it waits for."""
        done = f"{len(self.ordinary) - len(self.old)} of {max(self.group.wanted, len(self.ordinary))} updated"
        if now:
            return f"{done}; next {_some(now)}"
        if self.unwell:
            return f"{done}; waits for {_some([unit.id for unit in self.unwell])} to be healthy"
        if self.old and not self.reachable:
            return f"{done}; {len(self.old)} wait for their nodes, which are offline"
        if len(self.ordinary) < self.group.wanted:
            return f"{done}; {self.group.wanted - len(self.ordinary)} are not placed"
        return done

    def _wake(self) -> float | None:
        update = self.group.update
        due = [update.min_healthy - unit.up_for for unit in self.unwell if unit.up_for is not None]
        due += [self._deadline - self._waited(unit) for unit in self.unwell]
        return min((seconds for seconds in due if seconds > 0), default=None)

    def step(
        self,
        state: str,
        reason: str = "",
        *,
        update: tuple[str, ...] = (),
        canaries: int = 0,
        stop: tuple[str, ...] = (),
        promote: tuple[str, ...] = (),
    ) -> Step:
        """A step, with how far the group is. Once a change was done, nothing makes it undone."""
        done = self.group.state == DONE and state == RUNNING
        current = [unit for unit in self.ordinary if unit.current]
        return Step(
            update=update,
            canaries=canaries,
            stop=stop,
            promote=promote,
            state=DONE if done else state,
            reason=reason,
            wake=self._wake() if state in (RUNNING, PROMOTION) else None,
            updated=len(current),
            healthy=len(self.well(current)),
        )


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"{', '.join(ids[:3])}{more}"
