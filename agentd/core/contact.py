"""Contact with the store: until when work that may be started elsewhere goes on without it.

Seconds since boot, those of sleep included. What counts is when a heartbeat that was acknowledged
was *sent*: the store cannot have had it earlier, so no leader gives the node up before we do.
"""

import math
from dataclasses import dataclass

from agentd.core.restart import CUT_OFF
from agentd.core.runs import Run
from store.model.spec import AllocSpec

RENEW_BEHIND = 0.25
"""A dead man's switch is moved once it is behind by so much of `stop_after`: not at every heartbeat."""
RENEW_NEAR = 0.5
"""No heartbeat has been acknowledged for long: so near its end it is moved to what was promised."""


@dataclass(frozen=True, slots=True)
class Contact:
    """What one life of the brain knows of it."""

    acked: float | None = None
    """When the last acknowledged heartbeat was sent; None: none was, in this life."""
    gap: float = math.inf
    """The longest time between two of them since what is obeyed here was known to be what the store wants."""

    def refusal(self, alloc: AllocSpec, now: float) -> str | None:
        """Why no task of an allocation may be started now; None: they may be.

        The orders on disk may be old: what ends when cut off may run elsewhere by now, unless the
        store has said in this life of the agent, and lately, that it has not been moved.
        """
        if alloc.stop_after is None:
            return None
        if self.acked is None:
            return "waits for the store, which has not been reached since the agent started"
        if now >= self.acked + alloc.stop_after:
            return f"waits for the store: {cut_off(alloc.stop_after)}"
        if self.gap >= alloc.stop_after:
            return "waits for orders: it may have been moved meanwhile, and those of the store are not obeyed"
        return None

    def deadline(self, alloc: AllocSpec) -> float | None:
        """Until when a run that is started now may go on if nothing more is heard; None: for ever."""
        if alloc.stop_after is None or self.acked is None:
            return None
        return self.acked + alloc.stop_after

    def until(self, run: Run, stop_after: float) -> float:
        """Until when a living run may go on: an earlier life of the brain may have known more than we do."""
        if self.acked is not None:
            return self.acked + stop_after
        return run.deadline if run.deadline is not None else 0.0

    def switch(self, run: Run, stop_after: float | None, now: float) -> float | None:
        """Where the dead man's switch of a living run belongs; where it is, if that will do for now."""
        if stop_after is None:
            return None
        if self.acked is None:
            return run.deadline
        promised = self.acked + stop_after
        if run.deadline is None or run.deadline > promised:
            return promised
        behind, near = promised - run.deadline, run.deadline - now
        moves = behind >= stop_after * RENEW_BEHIND or (behind > 0 and near <= stop_after * RENEW_NEAR)
        return promised if moves else run.deadline

    def look_again(self, deadline: float, stop_after: float, now: float) -> float | None:
        """When a switch has to be looked at again although nothing was heard; None: that time is over."""
        at = deadline - stop_after * RENEW_NEAR
        return at if at > now else None

    def matters_from(self, deadline: float, stop_after: float, now: float) -> float:
        """When a heartbeat must have been sent for it to move a switch at once."""
        if self.look_again(deadline, stop_after, now) is None:
            return -math.inf
        return deadline - stop_after * (1 - RENEW_BEHIND)


def cut_off(stop_after: float) -> str:
    """Why runs are stopped, for people."""
    return f"{CUT_OFF} for {stop_after:g} s"
