"""What nobody will miss is removed: keys of nodes that are gone, answers that never end, users, revisions."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from manager_api.core.actions import Action, Collect
from store.kv.server import Server
from store.kv.store import Store
from store.kv.usage import Usage

log = logging.getLogger("controller")

SCANNED_AT_ONCE = 1000
LEAST_STEPS, MOST_STEPS = 10, 50
SHARE = 20
"""All keys are looked at once in so many rounds, or in more where they are very many."""
MOST_ANSWERS = 1000, 128 * 1024 * 1024
"""Streams of answers that one node may have at a time, and bytes of all of them."""

MOST_REVISIONS = 200
"""Revisions without a record that one round removes of a collection."""

Taken = dict[str, tuple[int, int]]


class Sweep:
    """One leader's way through all keys; `known` are the ids of the nodes there are."""

    def __init__(self, store: Store, token: int, known: Callable[[], Mapping[str, object]]) -> None:
        self._store = store
        self._usage = Usage(store)
        self._token = token
        self._known = known
        self._cursor = 0
        self._taken: Taken = {}

    def steps(self) -> int:
        """How many steps a round is to make."""
        return min(MOST_STEPS, max(LEAST_STEPS, self._usage.keys() // SCANNED_AT_ONCE // SHARE))

    def step(self, barred: Iterable[str]) -> tuple[Taken, bool]:
        """Look at the next keys: what each node has of answers on this way, and whether it is at its end."""
        self._cursor, keys = self._usage.scan(self._cursor, SCANNED_AT_ONCE)
        by_node: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        for key in set(keys):
            owner = self._store.keys.owner(key.decode(errors="replace"))
            if owner is not None:
                by_node[owner[0]].append((owner[1], key))
        known, out = self._known(), set(barred)
        beats = [key for node in by_node.keys() & known.keys() for kind, key in by_node[node] if kind == "hb"]
        for node, found in by_node.items():
            answers = [key for kind, key in found if kind.startswith("ans:")]
            if node not in known:
                self._sweep(node, [key for _, key in found])
            elif node in out:
                self._usage.drop(answers)
            elif answers:
                count, size = self._taken.get(node, (0, 0))
                self._taken[node] = count + len(answers), size + sum(self._usage.answers(answers))
        self._usage.limit(beats)
        taken = dict(self._taken)
        if self._cursor == 0:
            self._taken = {}
        return taken, self._cursor == 0

    def _sweep(self, node: str, keys: Sequence[bytes]) -> None:
        if self._usage.sweep(node, keys, self._token):
            names = b", ".join(sorted(keys)[:8]).decode(errors="replace")
            log.info("node %s is no more: %s removed", node, names)

    def users(self) -> None:
        """Remove the users of nodes that are gone."""
        known = self._known()
        for node in self._usage.users():
            if node not in known and self._usage.is_ours(node):
                log.info("node %s is no more: its user is removed", node)
                Server(self._store.client).revoke_node(node)

    def revisions(self, collections: Iterable[str]) -> list[Action]:
        """Mod revisions without a record, left by hands that deleted records."""
        return [
            Collect(f"{collection}/{field}", ((collection, field, rev),), "its record was deleted by hand")
            for collection in collections
            for field, rev in self._usage.unrecorded(collection, MOST_REVISIONS)
        ]
