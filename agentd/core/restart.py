"""Restart policy: what follows an exit."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentd.core.endings import exit_reason
from agentd.keeper.events import EXPIRED
from store.backoff import Backoff
from store.model.policies import RestartPolicy

if TYPE_CHECKING:
    from agentd.core.runs import Run


OVER = "its duration is over"
CUT_OFF = "cut off from the store"
JITTER = 0.2
"""Delays are up to this much longer: what fails on many nodes at once must not come back at once."""


@dataclass(frozen=True, slots=True)
class Again:
    """Start again, not before `at` (seconds since boot)."""

    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """That was success."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Enough:
    """Stay down, visibly, until someone says otherwise."""

    why: str


def judge(policy: RestartPolicy, runs: "Sequence[Run]", boot: str) -> Again | Done | Enough:
    """What follows the last of `runs`, which has ended; `boot` is the present boot.

    Ends that the task is not to blame for count for nothing: the machine was rebooted, the store
    was out of reach, or the task was asked to stop although it is wanted (its keeper ended). Times
    of different boots cannot be compared: the window holds runs of the last one's boot, and a delay
    that began in an earlier boot is over. Ends with 0, which `always` restarts, delay but never
    exhaust.
    """
    last = runs[-1]
    if severed(last):
        return Again(0.0, f"it was stopped, {_reached(last)}")
    if not blamed(last):
        return Again(0.0, last.lost or "it was stopped with its keeper")
    if (last.why or "").startswith(OVER):
        return Done(last.why or "")
    if last.code == 0 and last.why is None and policy.condition != "always":
        return Done()
    how = exit_reason(last)
    if policy.condition == "no":
        return Enough(how)
    counted = [run for run in runs if blamed(run) and within(policy, run, last)]
    failures = max(1, len(counted))
    if sum(run.code != 0 or run.why is not None for run in counted) > policy.max_attempts:
        return Enough(f"{how}; given up after {policy.max_attempts} restarts")
    backoff = Backoff(first=policy.delay, factor=policy.factor, most=policy.max_delay)
    delay = backoff.delay(failures) * (1 + JITTER * _fraction(last.id))
    at = (last.ended or 0.0) + delay if last.boot == boot else 0.0
    return Again(at, f"{how}; restarted after {delay:.3g} s")


def _fraction(run: str) -> float:
    """A number from 0 to 1, the same whenever one run is judged."""
    return zlib.crc32(run.encode()) / 2**32


def severed(run: "Run") -> bool:
    """Whether a run was ended because the store was out of reach, by its brain or its keeper."""
    return (run.why or "").startswith((CUT_OFF, EXPIRED))


def _reached(run: "Run") -> str:
    return f"{CUT_OFF}: {run.why}" if run.why == EXPIRED else run.why or CUT_OFF


def blamed(run: "Run") -> bool:
    """Whether the end of a run is the task's own doing."""
    if severed(run):
        return False
    if run.why is not None:
        return True
    return run.stop_at is None and not (
        run.lost and ("rebooted" in run.lost or "before it began" in run.lost)
    )


def within(policy: RestartPolicy, run: "Run", last: "Run") -> bool:
    """Whether a run ended within the window that `last` closes."""
    if run.ended is None or last.ended is None or run.boot != last.boot:
        return run is last
    return last.ended - run.ended <= policy.window
