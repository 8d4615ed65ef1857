"""The prober's thread: sleeps until a socket is ready, a probe is due, or somebody leaves word."""

import logging
import math
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable, Mapping

from agentd.core.health import Result
from agentd.probes.answer import Verdict
from agentd.probes.names import Names
from agentd.probes.pool import Pool
from agentd.probes.schedule import Due, Schedule
from store.clock import Clock
from store.model.policies import HealthCheck

log = logging.getLogger("agent")

PUT_OFF = 5.0
"""Seconds until a probe is tried again that this machine had no means for."""
OURS = 1.0
"""Seconds that the loop may oversleep before its sleep counts as ours, not the targets': the machine
was suspended, or this process starved."""


class Loop:
    """`start`, `post` and `stop` are for all threads; the rest runs on the loop's own."""

    def __init__(
        self,
        on_result: Callable[[str, Result], None],
        start_exec: Callable[[str, HealthCheck], None],
        clock: Clock,
    ) -> None:
        self._on_result = on_result
        self._start_exec = start_exec
        self._clock = clock
        self._lost = 0.0
        self._schedule = Schedule()
        self._queue: deque[Due] = deque()
        """Due, but there is no room yet."""
        self._executing: dict[str, tuple[Due, float]] = {}
        self._parked: dict[str, Due] = {}
        """Due, but the command of an earlier watch of the key has not ended yet."""
        self._inbox: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._lock = threading.Lock()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        self._pool = Pool(self._selector, Names(self.post), self._ended)
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self._thread.start()

    def post(self, word: Callable[[], None]) -> None:
        """Have something done on the loop's thread; after its end, nothing."""
        self._inbox.append(word)
        with self._lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def stop(self) -> None:
        """End, for good."""
        self._stopping = True
        self.post(lambda: None)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def replace(self, wanted: Mapping[str, HealthCheck]) -> None:
        """Probe these and nothing else."""
        self._schedule.replace(wanted, self._now())
        self._pool.keep(self._schedule.wants)

    def exec_ended(self, key: str, verdict: Verdict | None) -> None:
        """A command has ended; None: nothing is known of its target."""
        due, began = self._executing.pop(key, (None, 0.0))
        if due is None:
            return
        self._ended(due, began, verdict)
        parked = self._parked.pop(key, None)
        if parked is not None:
            self._queue.append(parked)

    def _now(self) -> float:
        """The time in which this loop was able to run: all its deadlines are in it."""
        return self._clock.now() - self._lost

    def _run(self) -> None:
        seen, wait = self._now(), 0.0
        while not self._stopping:
            events = self._selector.select(None if wait == math.inf else wait)
            passed = self._now() - seen
            self._lost += passed if passed > wait + OURS else 0.0
            seen = self._now()
            try:
                wait = self._turn([key.data for key, _ in events])
            except Exception as error:
                log.error("probes", exc_info=error)
                wait = PUT_OFF
        self._pool.keep(lambda _: False)
        with self._lock:
            self._selector.close()
            os.close(self._wake_fd)
            self._wake_fd = -1

    def _turn(self, ready: list[object]) -> float:
        """Do what there is to do; how long to sleep then."""
        for flight in ready:
            if flight is None:
                os.eventfd_read(self._wake_fd)
            else:
                self._pool.ready(flight)
        while self._inbox:
            self._inbox.popleft()()
        now = self._now()
        self._pool.expire(now)  # after what was ready: an answer that is there is in time
        self._queue.extend(self._schedule.due(now))
        while self._queue and self._pool.room(now):
            due = self._queue.popleft()
            if self._schedule.wants(due):
                self._begin(due, now)
        next_at = self._pool.next_at(waiting=bool(self._queue))
        return max(0.0, min(next_at, self._schedule.next_at()) - self._now())

    def _begin(self, due: Due, now: float) -> None:
        began = self._clock.now()
        if due.check.kind != "exec":
            self._pool.begin(due, now, began)
            return
        if due.key in self._executing:
            self._parked[due.key] = due
            return
        self._executing[due.key] = (due, began)
        try:
            self._start_exec(due.key, due.check)
        except Exception as error:
            log.error("probe of %s", due.key, exc_info=error)
            del self._executing[due.key]
            self._ended(due, began, None)

    def _ended(self, due: Due, began: float, verdict: Verdict | None) -> None:
        if not self._schedule.wants(due):
            return
        if verdict is None:
            self._schedule.put_off(due, self._now() + min(PUT_OFF, due.check.interval))
            return
        self._schedule.done(due, self._now(), ok=verdict.ok)
        result = Result(ok=verdict.ok, reason=verdict.reason, at=began, early=due.early)
        try:
            self._on_result(due.key, result)
        except Exception as error:
            log.error("result of %s", due.key, exc_info=error)
