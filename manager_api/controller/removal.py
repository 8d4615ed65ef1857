"""The last step of a node that people removed: once nothing lives on it, all of it goes.

In this order, so that whatever is cut short is done again: its claims and allocations, its users, its
record (fenced, as it was read), its keys. Until the record is gone its agent is not taken in.
"""

import logging

from manager_api.controller.executor import Executor
from manager_api.controller.mirror import Mirror
from manager_api.controller.node_status import say
from manager_api.core import removal
from manager_api.core.actions import Action, Collect
from store.errors import Conflict, Unavailable, Unsupported
from store.faults import fault
from store.keys import CLAIMS, NODES, NODES_STATUS
from store.kv import servers
from store.kv.api import Change, Compare
from store.kv.presence import revoke_beats
from store.kv.store import Store
from store.kv.usage import Usage

log = logging.getLogger("controller")

AT_ONCE = 20
"""Nodes that one look removes at most: each costs some round trips."""


class Removal:
    """One leader's."""

    def __init__(self, store: Store, mirror: Mirror, executor: Executor) -> None:
        self._store = store
        self._mirror = mirror
        self._executor = executor
        self._said: dict[str, str] = {}

    def round(self) -> None:
        """Go on with the nodes that are to go.

        Raises:
            Fenced, EpochChanged, StoreEmpty, Unavailable: stop leading.
        """
        fleet = self._mirror.fleet
        nodes = removal.removing(fleet)
        self._said = {node: text for node, text in self._said.items() if node in nodes}
        cleared = 0
        for node in nodes:
            self._executor.perform(removal.bound(fleet, node))
            waits = removal.waits_for(fleet, node)
            if waits is not None:
                self._say(node, waits)
            elif cleared < AT_ONCE:
                cleared += 1
                self._clear(node)

    def _say(self, node: str, waits: str) -> None:
        """Tell people what it waits for, once."""
        if self._said.get(node) != waits:
            say(self._store, node, "removal", {"reason": waits}, token=self._executor.token)
            self._said[node] = waits

    def _clear(self, node: str) -> None:
        fleet = self._mirror.fleet
        actions: list[Action] = list(removal.leftovers(fleet, node))
        actions += [
            Collect(claim, ((CLAIMS, claim, fleet.claims[claim].rev),), f"node {node} is removed")
            for claim in sorted(fleet.claims_on.get(node, ()))
        ]
        if actions:
            self._executor.perform(actions)
        if removal.leftovers(fleet, node) or fleet.claims_on.get(node):
            return  # something moved meanwhile, or there is more of it: the next round goes on
        self._remove(node)

    def _remove(self, node: str) -> None:
        store, token = self._store, self._executor.token
        self._revoke(node)
        rev = self._mirror.fleet.nodes[node].rev
        changes = [Change(NODES, node, None), Change(NODES_STATUS, node, None)]
        fault("controller.remove.before")
        try:
            gone = store.txn([Compare(NODES, node, rev)], changes, token=token)
        except Conflict as error:
            log.info("node %s is looked at again before it is removed: %s", node, error)
            return
        fault("controller.remove.after")
        self._mirror.wrote(NODES, node, None, gone)
        keys = store.keys.node(node)
        # Answers to readers of logs expire by themselves, or are swept.
        left = [keys.desired, keys.wake, keys.actual, keys.facts, keys.beat, keys.ask, keys.grant]
        Usage(store).sweep(node, left, token)
        log.warning("node %s is removed, as asked for: its record, its users and its keys", node)

    def _revoke(self, node: str) -> None:
        """Its users go first: a leader that dies here is followed by one that does it again."""
        store = self._store
        try:
            servers.revoke(store.client, node)
        except Unsupported:
            log.info("node %s had no user of its own", node)
        if store.presence is not None:
            try:
                store.presence.ask(lambda client: revoke_beats(client, store.keys, node))
            except Unavailable as error:
                log.warning("node %s keeps its user for heartbeats for now: %s", node, error)
