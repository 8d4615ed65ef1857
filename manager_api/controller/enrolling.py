"""Nodes of earlier releases become devices, and the groups that their records list become memberships.

A join does that. Who joined before, and does not join again, is brought in here: all nodes are looked at from
time to time, and some of those that lack something are seen to at each glance.
"""

import logging
from collections import deque

from manager_api.controller.mirror import Mirror
from manager_api.core.enrolment import written
from manager_api.core.fleet import Stored
from manager_api.inventory.enrolment import LEGACY, regroup, said
from manager_api.inventory.errors import TooMany, Unknown
from store.clock import Clock
from store.errors import BadRecord
from store.kv.store import Store

log = logging.getLogger("controller")

AT_ONCE = 20
"""Nodes that one glance brings in at most: each costs some round trips."""


class Enrolling:
    """One leader's, with its token."""

    def __init__(self, store: Store, mirror: Mirror, clock: Clock, token: int) -> None:
        self._store = store
        self._mirror = mirror
        self._clock = clock
        self._token = token
        self._waiting: deque[str] = deque()
        self._refused: dict[str, int] = {}
        """Nodes that cannot be brought in as they are: the revision of that."""

    def look(self) -> None:
        """Look through all nodes for those that lack something."""
        nodes = self._mirror.fleet.nodes
        self._refused = {node: rev for node, rev in self._refused.items() if node in nodes}
        lacking = (node for node, stored in nodes.items() if _lacks(stored))
        self._waiting = deque(node for node in lacking if self._refused.get(node) != nodes[node].rev)

    def go_on(self) -> None:
        """Bring in some of them.

        Raises:
            Fenced, EpochChanged, StoreEmpty, Unavailable: stop leading.
        """
        for _ in range(min(AT_ONCE, len(self._waiting))):
            node = self._waiting.popleft()
            stored = self._mirror.fleet.nodes.get(node)
            if stored is not None and _lacks(stored):
                self._bring_in(node, stored)

    def _bring_in(self, node: str, stored: Stored) -> None:
        facts = written(stored.data, said(self._store, node)) if "device" not in stored.data else None
        try:
            regroup(self._store, node, {}, self._clock.wall(), facts=facts, token=self._token)
        except Unknown:
            return  # it went meanwhile
        except (BadRecord, TooMany, ValueError) as error:
            self._refused[node] = stored.rev
            log.warning("node %s keeps the groups that an earlier release gave it: %s", node, error)


def _lacks(stored: Stored) -> bool:
    record = stored.data
    return not record.get("removing") and ("device" not in record or bool(record.get(LEGACY)))
