"""What the results of probes make of a task's health; Docker's rules, so that nobody has to learn ours."""

from dataclasses import dataclass, replace
from enum import StrEnum

from store.model.policies import HealthCheck


class Health(StrEnum):
    """The health of a run, beside its state."""

    NONE = "none"  # nobody asked for a probe
    STARTING = "starting"  # neither the first success nor enough failures yet
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one probe found. `at` is when it began, in seconds since boot.

    `reason` says what was wrong, in words to act on; it is empty when all is well. An `early`
    probe was made ahead of the policy's interval, to see a success soon: its failure counts for
    nothing.
    """

    ok: bool
    reason: str
    at: float
    early: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthView:
    """Health as it is now: `since` in seconds since boot, `reason` the last failure's.

    `failures` are consecutive and stop counting at the policy's `retries`, so that a task that
    stays ill for one reason stays one and the same view, and is not reported again and again.
    """

    state: Health = Health.NONE
    failures: int = 0
    reason: str = ""
    since: float = 0.0


def begin(policy: HealthCheck | None, started: float) -> HealthView:
    """The view of a run that has not been probed yet and was started then (seconds since boot)."""
    return HealthView(state=Health.NONE if policy is None else Health.STARTING, since=started)


def fold(view: HealthView, policy: HealthCheck, result: Result, started: float, now: float) -> HealthView:
    """The view after one more result of a run that was started then; times in seconds since boot.

    Until the first success, failures of probes that began within `start_period` do not count. A
    success makes it healthy, whatever was before; `retries` failures in a row make it unhealthy.
    """
    if result.ok:
        since = view.since if view.state is Health.HEALTHY else now
        return HealthView(state=Health.HEALTHY, since=since)
    excused = view.state is Health.STARTING and result.at - started < policy.start_period
    if excused or result.early:
        return replace(view, reason=result.reason)
    failures = min(view.failures + 1, policy.retries)
    if failures < policy.retries or view.state is Health.UNHEALTHY:
        return replace(view, failures=failures, reason=result.reason)
    return HealthView(state=Health.UNHEALTHY, failures=failures, reason=result.reason, since=now)
