"""Attempts under way: how many at once, which socket waits for what, and who is out of time."""

import logging
import math
import resource
import selectors
from collections.abc import Callable
from dataclasses import dataclass

from agentd.probes import target
from agentd.probes.answer import Verdict
from agentd.probes.attempt import Attempt, OutOfMeans, said_of
from agentd.probes.names import Found, Names, at_port
from agentd.probes.schedule import Due

log = logging.getLogger("agent")

MOST_YOUNG = 100
YOUNG = 0.5
"""At most that many probes are begun before the earlier ones have ended or are that old (seconds):
a thousand at once are a ripple, and targets that hang do not keep the others out."""
MOST = 1000
"""Probes under way at once; a quarter of the file descriptors of this process, if that is less."""


@dataclass(slots=True, eq=False)
class _Flight:
    due: Due
    began: float
    deadline: float
    attempt: Attempt | None = None
    fd: int = -1
    tries: int = 0
    wants: int = 0


class Pool:
    """For one thread.

    `on_end` hears of each probe once: due, when it began, and the verdict; None if this machine
    could not make the probe.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        names: Names,
        on_end: Callable[[Due, float, Verdict | None], None],
    ) -> None:
        self._selector = selector
        self._names = names
        self._on_end = on_end
        self._flights: dict[str, _Flight] = {}
        self._young: dict[_Flight, float] = {}
        self._look_at = math.inf
        """No probe runs out of time before."""
        self._most = min(MOST, max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))
        self._trouble = ""

    def room(self, now: float) -> bool:
        """Whether one more may begin."""
        while self._young:
            oldest, began = next(iter(self._young.items()))
            if now - began < YOUNG:
                break
            del self._young[oldest]
        return len(self._young) < MOST_YOUNG and len(self._flights) < self._most

    def next_at(self, *, waiting: bool) -> float:
        """When to look again, whatever the sockets say; infinite: no need.

        Args:
            waiting: `room` has just said that there is none for some probe.
        """
        if waiting and len(self._young) >= MOST_YOUNG:
            return min(self._look_at, next(iter(self._young.values())) + YOUNG)
        return self._look_at

    def begin(self, due: Due, now: float, began: float) -> None:
        """Begin a probe; `began` is what `on_end` will be told."""
        flight = _Flight(due, began, now + due.check.timeout)
        self._flights[due.key] = flight
        self._young[flight] = now
        self._look_at = min(self._look_at, flight.deadline)
        try:
            wanted = target.read(due.check)
        except ValueError as error:
            self._end(flight, Verdict(ok=False, reason=said_of(due.check, str(error))))
            return
        found = self._names.find(wanted.host, now, lambda found: self._found(flight, wanted, found))
        if found is not None:
            self._found(flight, wanted, found)

    def ready(self, flight: object) -> None:
        """The socket of a flight, the selector's data, is ready."""
        if isinstance(flight, _Flight) and self._flights.get(flight.due.key) is flight:
            self._proceed(flight)

    def expire(self, now: float) -> None:
        """End what is out of time."""
        if now < self._look_at:
            return
        for flight in [each for each in self._flights.values() if each.deadline <= now]:
            self._end(flight, self._late(flight))
        self._look_at = min((each.deadline for each in self._flights.values()), default=math.inf)

    def keep(self, wanted: Callable[[Due], bool]) -> None:
        """Break off the others; nothing is told of them."""
        for flight in [each for each in self._flights.values() if not wanted(each.due)]:
            self._drop(flight)

    def _found(self, flight: _Flight, wanted: target.Target, found: Found) -> None:
        if self._flights.get(flight.due.key) is not flight:
            return
        if not found.addresses:
            self._end(flight, Verdict(ok=False, reason=said_of(flight.due.check, found.error)))
            return
        flight.attempt = Attempt(flight.due.check, wanted, at_port(found.addresses, wanted.port))
        self._proceed(flight)

    def _proceed(self, flight: _Flight) -> None:
        assert flight.attempt is not None
        try:
            verdict = flight.attempt.proceed()
        except Exception as error:
            if repr(error) != self._trouble:
                stack = None if isinstance(error, OutOfMeans) else error
                log.error("the probe of %s cannot be made: %s", flight.due.key, error, exc_info=stack)
            self._trouble = repr(error)
            self._end(flight, None)  # our fault is not held against the target
        else:
            if verdict is None:
                self._listen(flight, flight.attempt)
            else:
                self._trouble = ""
                self._end(flight, verdict)

    def _listen(self, flight: _Flight, attempt: Attempt) -> None:
        assert attempt.sock is not None
        if flight.tries != attempt.tries:  # another address, and so another socket
            if flight.fd >= 0:
                self._selector.unregister(flight.fd)
            flight.fd, flight.tries = attempt.sock.fileno(), attempt.tries
            self._selector.register(flight.fd, attempt.wants, flight)
        elif flight.wants != attempt.wants:
            self._selector.modify(flight.fd, attempt.wants, flight)
        flight.wants = attempt.wants

    def _late(self, flight: _Flight) -> Verdict:
        if flight.attempt is not None:
            return flight.attempt.late()
        check = flight.due.check
        return Verdict(ok=False, reason=said_of(check, f"its host was not found within {check.timeout:g} s"))

    def _end(self, flight: _Flight, verdict: Verdict | None) -> None:
        self._drop(flight)
        self._on_end(flight.due, flight.began, verdict)

    def _drop(self, flight: _Flight) -> None:
        del self._flights[flight.due.key]
        self._young.pop(flight, None)
        if flight.fd >= 0:
            self._selector.unregister(flight.fd)
        if flight.attempt is not None:
            flight.attempt.close()
