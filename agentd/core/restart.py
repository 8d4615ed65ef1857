"""Restart policy: what follows an exit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.backoff import Backoff
from store.model.spec import RestartPolicy

if TYPE_CHECKING:
    from agentd.core.runs import Run


@dataclass(frozen=True, slots=True)
class Again:
    """Start again, not before `at` (seconds since boot)."""

    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """That was success."""


@dataclass(frozen=True, slots=True)
class Enough:
    """Stay down, visibly, until someone says otherwise."""

    why: str


def judge(policy: RestartPolicy, runs: "Sequence[Run]") -> Again | Done | Enough:
    """What follows the last of `runs`, which has ended.

    Ends that the task is not to blame for (the machine was rebooted) count for nothing. The
    delay grows with the failures within the window and falls back when they leave it.
    """
    from agentd.core.runs import exit_reason

    last = runs[-1]
    if last.lost and "rebooted" in last.lost:
        return Again(0.0, last.lost)
    if last.code == 0 and policy.condition != "always":
        return Done()
    how = exit_reason(last)
    if policy.condition == "no":
        return Enough(how)
    ended = last.ended or 0.0
    recent = [run for run in runs if run.ended is not None and ended - run.ended <= policy.window]
    failures = sum(1 for run in recent if not (run.lost and "rebooted" in run.lost))
    if failures > policy.max_attempts:
        return Enough(f"{how}; given up after {policy.max_attempts} restarts")
    backoff = Backoff(first=policy.delay, factor=policy.factor, most=policy.max_delay)
    delay = backoff.delay(failures)
    return Again(ended + delay, f"{how}; restarted after {delay:g} s")
