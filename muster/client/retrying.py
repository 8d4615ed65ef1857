"""Which calls are tried again, and after how long (pure but for the dice that are handed in)."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from muster.client.errors import Conflict, MusterError, Refused, Unavailable, Unreachable
from muster.client.exchange import Call


@dataclass(frozen=True, slots=True)
class Retries:
    """How a client deals with what may pass. All times are seconds."""

    tries: int = 4
    """How often a call is sent at most; 1: never again."""
    first: float = 0.1
    """The first pause; each further one is twice as long."""
    longest: float = 5.0
    """Where the pauses stop growing."""
    patience: float = 30.0
    """A manager that asks for a longer pause than this is not waited for."""

    def pause(
        self, call: Call, tried: int, error: MusterError, dice: Callable[[], float] = random.random
    ) -> float | None:
        """How long to wait before a call that was sent `tried` times is sent again; None: it is not.

        `dice`: gives a number from 0 to 1, so that not all who wait come back at one moment.
        """
        if tried >= self.tries or not passing(call, error):
            return None
        asked = error.retry_after if isinstance(error, Refused) else None
        if asked is not None and asked > self.patience:
            return None
        return self.before(tried, error, dice)

    def before(self, failed: int, error: MusterError, dice: Callable[[], float] = random.random) -> float:
        """How long to wait after `failed` failures, whatever they were."""
        asked = error.retry_after if isinstance(error, Refused) else None
        grown: float = self.first * 2.0 ** min(failed - 1, 30)
        return (asked or 0.0) + min(self.longest, grown) * (0.5 + dice() / 2)


NEVER = Retries(tries=1)


def passing(call: Call, error: MusterError) -> bool:
    """Whether an error may be gone the next time, and asking again does no harm."""
    if isinstance(error, Unreachable):
        return call.content is None and (call.repeatable or not error.sent)
    if isinstance(error, Conflict):  # the first one with this key is still being carried out
        return call.repeatable and "Idempotency-Key" in call.headers and error.retry_after is not None
    return isinstance(error, Unavailable) and call.repeatable
