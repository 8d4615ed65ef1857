"""Time, handed in. Everything that waits or dates takes a `Clock`, so that tests own time."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds, as floats."""

    def wall(self) -> float:
        """Seconds since 1970, for people and records; it may jump."""
        ...

    def now(self) -> float:
        """Seconds since boot, suspended time included; never goes back. For every decision."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def now(self) -> float:
        """Seconds since boot: the same number in every process of this boot."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
