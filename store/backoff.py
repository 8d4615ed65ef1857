"""Growing delays, as plain arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """`first`, then times `factor`, up to `most`, in seconds; plus up to `jitter` (a share) more."""

    first: float = 0.2
    factor: float = 2.0
    most: float = 5.0
    jitter: float = 0.0

    def delay(self, failures: int, random: Callable[[], float] = lambda: 0.0) -> float:
        """Seconds to wait after so many failures in a row (1 or more); `random` gives [0, 1)."""
        steps = min(max(failures - 1, 0), 64)  # 2**64 is beyond every cap, and does not overflow
        base = min(self.first * self.factor**steps, self.most)
        return base * (1.0 + self.jitter * random())
