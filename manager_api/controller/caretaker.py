"""What a leader does beside planning, so that nothing grows with time alone and nobody fills the store."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from manager_api.controller.enrolling import Enrolling
from manager_api.controller.executor import Executor
from manager_api.controller.mirror import MIRRORED, Mirror
from manager_api.controller.police import Police
from manager_api.controller.removal import Removal
from manager_api.controller.sweep import MOST_ANSWERS, Sweep
from manager_api.core.retention import Retention
from manager_api.inventory import leftovers
from store.clock import Clock
from store.errors import EpochChanged, Fenced, StoreEmpty, StoreError, Unavailable
from store.keys import DEVICES, DOWNLOADS, GROUP_NAMES, TEMPLATES
from store.kv.store import Store
from store.model.event import Event

log = logging.getLogger("controller")

T = TypeVar("T")

GLANCE = 1.0
"""Seconds between looks at the server's memory."""
TURNS = 20
"""Every node's keys are measured once while chores are done so many times, if nothing is suspicious."""


class Caretaker:
    """One leader's, with its token; `renew` keeps the lease over long looks."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        executor: Executor,
        clock: Clock,
        renew: Callable[[], object],
        say: Callable[[Iterable[Event]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._executor = executor
        self._clock = clock
        self._renew = renew
        self._retention = Retention()
        self._sweep = Sweep(store, executor.token, lambda: mirror.fleet.nodes)
        self._police = Police(store, clock, executor.token, mirror.fleet.secrets, self._entries, renew)
        self._removal = Removal(store, mirror, executor)
        self._enrolling = Enrolling(store, mirror, clock, executor.token)
        self._police.say = say
        self._next_glance = clock.now()
        self._passed_over = ""
        self._police.load()

    def _entries(self, node: str) -> int:
        return len(self._mirror.fleet.on_node.get(node, ())) + len(self._mirror.fleet.states[node].desired)

    def granted(self) -> None:
        """All nodes' users were granted: those of barred nodes are turned off again."""
        self._guarded(self._police.enforce)

    def glance(self) -> None:
        """Often: if memory grows, find out whose fault it is; remove nodes that are to go; enrol old ones."""
        now = self._clock.now()
        if now >= self._next_glance:
            self._next_glance = now + GLANCE
            self._guarded(self._look_for_floods)
            self._guarded(self._removal.round)
            self._guarded(self._enrolling.go_on)

    def chores(self) -> Iterator[None]:
        """From time to time: retention, a part of all keys, a part of all nodes, what groups left behind.

        A part at a time, so that in a large fleet nobody waits for all of it.
        """
        cares = (
            self._police.enforce, self._retire, self._collect, self._collect_revisions,
            self._mirror.fleet.prune, self._enrolling.look, self._measure_some,
        )  # fmt: skip
        for care in cares:
            self._guarded(care)
            yield
        for _ in range(self._guarded(self._sweep.steps) or 0):
            if self._guarded(self._step) is not False:
                break
            yield
        for _ in range(leftovers.AT_ONCE // leftovers.BIT):
            if not self._guarded(self._collect_leftovers):
                break
            yield

    def _collect_leftovers(self) -> int:
        taken = leftovers.collect_all(self._store, leftovers.BIT)
        if taken:
            log.info("%d devices were taken out of groups that are gone", taken)
        return taken

    def _retire(self) -> None:
        fleet = self._mirror.fleet
        retiring = self._retention.retire(fleet, self._clock.wall(), self._clock.now())
        self._mirror.dirty_deployments |= retiring
        fleet.retiring = retiring

    def _collect(self) -> None:
        fleet, templates = self._mirror.fleet, self._store.revisions(TEMPLATES)
        self._executor.perform(self._retention.collect(fleet, self._clock.now(), templates))

    def _collect_revisions(self) -> None:
        self._executor.perform(self._sweep.revisions((*MIRRORED, TEMPLATES, DOWNLOADS, DEVICES, GROUP_NAMES)))

    def _measure_some(self) -> None:
        self._police.inspect_turn(sorted(self._mirror.fleet.nodes), TURNS)

    def _look_for_floods(self) -> None:
        if not self._police.alarmed():
            return
        log.info("leading anew, or the store's memory has grown: all nodes' keys are measured")
        self._police.calm()  # first: what the server does not let us measure is not tried every second
        self._police.inspect_connections()
        self._police.inspect(sorted(self._mirror.fleet.nodes))
        for _ in range(self._sweep.steps() * 4):
            if self._step():
                break
            self._renew()

    def _step(self) -> bool:
        taken, ended = self._sweep.step(self._police.barred)
        for node in self._police.answers(taken, MOST_ANSWERS):
            log.warning("node %s: its answers are removed", node)
        if ended:
            self._sweep.users()
        return ended

    def _guarded(self, care: Callable[[], T]) -> T | None:
        """A server that does not let us do this is no reason not to lead."""
        try:
            return care()
        except (Unavailable, Fenced, EpochChanged, StoreEmpty):
            raise
        except StoreError as error:
            if str(error) != self._passed_over:
                self._passed_over = str(error)
                log.warning("the store is not looked after as it should be: %s", error)
        return None
