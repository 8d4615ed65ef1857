"""How fast bytes may come."""

import threading
import time
from collections.abc import Callable

BURST = 0.25
"""Seconds of the rate that may come at once after a rest."""
LONGEST_WAIT = 0.5
"""Seconds after which a changed rate counts."""
SHORTEST_WAIT = 0.001


class Rate:
    """A bucket of bytes that fills with time; they are paid for once they are there."""

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._rate = rate
        self._tokens = 0.0
        self._filled = clock()

    def set(self, rate: float | None) -> None:
        """So many bytes a second from now on; None: as many as come. From any thread."""
        with self._lock:
            self._fill()
            self._rate = rate

    def take(self, count: int) -> None:
        """So many bytes have come: wait as long as they cost."""
        with self._lock:
            self._fill()
            self._tokens -= count
        while (pause := self._owed()) > SHORTEST_WAIT:
            self._wait(min(pause, LONGEST_WAIT))

    def _owed(self) -> float:
        """Seconds until the bytes that came are paid for."""
        with self._lock:
            self._fill()
            if self._rate is None:
                return 0.0
            return max(0.0, -self._tokens / self._rate)

    def _fill(self) -> None:
        now = self._clock()
        passed, self._filled = now - self._filled, now
        if self._rate is None:
            self._tokens = 0.0
        else:
            self._tokens = min(self._tokens + passed * self._rate, BURST * self._rate)
