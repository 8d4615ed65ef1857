"""What ties work to the store: tells the plan of the contact, and moves the keeper's dead man's switches."""

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping

from agentd.core.contact import Contact
from agentd.core.runs import Run
from agentd.driver import Driver, KeeperError
from store.clock import Clock
from store.model.spec import AllocSpec

log = logging.getLogger("agent")


class Lifeline:
    """`heard` and `offered` are the uplink's to call, the rest the brain's."""

    def __init__(self, driver: Driver, clock: Clock, kick: Callable[[], None]) -> None:
        self._driver = driver
        self._clock = clock
        self._kick = kick
        self._lock = threading.Lock()
        self._acked: float | None = None
        self._gap = math.inf
        self._known = False
        self._matters_from: float | None = None
        """An acknowledged heartbeat that was sent then or later has to be acted upon; None: none has."""
        self._warned = False

    def heard(self, sent: float, *, known: bool) -> None:
        """A heartbeat that was sent then was acknowledged; `known`: the store wants what it offered last."""
        with self._lock:
            before = self._acked if self._acked is not None else -math.inf
            self._acked, self._known = sent, known
            self._gap = max(self._gap, sent - before)
            matters = self._matters_from is not None and sent >= self._matters_from
        if matters:
            self._kick()

    def offered(self) -> None:
        """What the store wants was handed over."""
        with self._lock:
            self._known = True

    def look(self) -> tuple[float | None, bool]:
        """What was heard so far, for `contact`. To be asked before the offer is taken, not after it."""
        with self._lock:
            return self._acked, self._known

    def contact(self, looked: tuple[float | None, bool], *, current: bool) -> Contact:
        """The contact as of a look; `current`: the last offer is obeyed."""
        acked, known = looked
        with self._lock:
            if current and known and acked is not None and self._acked is not None:
                self._gap = self._acked - acked
            return Contact(acked, self._gap)

    def renew(self, contact: Contact, desired: Mapping[str, AllocSpec], runs: Iterable[Run]) -> float | None:
        """Put every switch where it belongs; when to look again although nothing was heard.

        Raises:
            KeeperGone: there is no keeper.
        """
        now = self._clock.now()
        moves: dict[str, float | None] = {}
        matters, times = [], []
        for run in runs:
            alloc = desired.get(run.alloc)
            if alloc is None or not run.live or (alloc.stop_after is None and run.deadline is None):
                continue
            where = contact.switch(run, alloc.stop_after, now)
            if where != run.deadline:
                moves[run.id] = where
            if alloc.stop_after is not None and where is not None:
                matters.append(contact.matters_from(where, alloc.stop_after, now))
                times.append(contact.look_again(where, alloc.stop_after, now))
        if any(contact.refusal(alloc, now) for alloc in desired.values()):
            matters.append(-math.inf)
        with self._lock:
            self._matters_from = min(matters, default=None)
        if moves:
            self._move(moves)
        return min((at for at in times if at is not None), default=None)

    def _move(self, moves: Mapping[str, float | None]) -> None:
        try:
            self._driver.expire_all(moves)
        except KeeperError as error:
            if not self._warned:
                log.warning("only this process, not the keeper, stops what is cut off: %s", error)
            self._warned = True
