"""Nodes whose keys or connections take more than a node's may are barred, and it is said why.

Whoever holds a node's credential can fill that node's own keys. That must cost the node its access,
not the fleet its store. What a node takes is measured in turns, and at once when memory grows.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from manager_api.controller.node_status import say
from manager_api.core import events
from manager_api.core.bar import Bar, bar_of
from store.batches import batches
from store.clock import Clock
from store.keys import NODES_STATUS
from store.kv.server import Server
from store.kv.store import Store
from store.kv.usage import Size, Usage
from store.model.event import Event

log = logging.getLogger("controller")

KB, MB = 1024, 1024 * 1024
BOUNDS = {"actual": 4 * MB, "facts": 256 * KB, "hb": 256 * KB}
"""Bytes of one node's key, as the server counts them."""
ENTRY_BOUND, ACTUAL_BOUND = 64 * KB, 32 * MB
"""What each allocation adds to the bound of `actual`, and what it never passes."""
CONNECTION_BOUND = 32 * MB
"""Bytes that one connection of a node may hold: what it sent and did not end, or does not read."""
GROWTH = 64 * MB
"""Growth of the server's memory that makes us look at all nodes at once."""
COOL_DOWN = 600.0
"""Seconds after which a barred node may come back with the secret it had."""
INSPECTED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Barred:
    """Why a node is kept out, and until when."""

    secret: str
    until: float
    """On the leader's monotonic clock."""


class Police:
    """One leader's; `secrets` gives the digests of the nodes' secrets, `entries` how much one is to run."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        token: int,
        secrets: Callable[[], Mapping[str, str]],
        entries: Callable[[str], int],
        renew: Callable[[], object],
    ) -> None:
        self._store = store
        self._usage = Usage(store)
        self._clock = clock
        self._token = token
        self._secrets = secrets
        self._entries = entries
        self._renew = renew
        self._calm: int | None = None
        self._turn = 0
        self.barred: dict[str, Barred] = {}
        self.say: Callable[[Iterable[Event]], None] = lambda _: None
        """Whom to tell of it."""

    def load(self) -> None:
        """Take over what an earlier leader decided."""
        until = self._clock.now() + COOL_DOWN
        for node, raw in self._store.values(NODES_STATUS).items():
            if (bar := bar_of(raw)) is not None:
                self.barred[node] = Barred(bar.secret, until)

    def alarmed(self) -> bool:
        """Whether memory has grown markedly since it was last found in order, or we never looked."""
        if self._calm is None:
            return True
        used = self._usage.memory()
        self._calm = min(self._calm, used)
        return used - self._calm > GROWTH

    def calm(self) -> None:
        """All is looked at: what is used now, or less, is what is needed."""
        self._calm = self._usage.memory()

    def inspect(self, nodes: Sequence[str]) -> None:
        """Measure some nodes' keys; what is too large goes, and its node with it."""
        for batch in batches(nodes, INSPECTED_AT_ONCE):
            for size in self._usage.sizes(batch):
                most = self._bound(size)
                if size.bytes > most:
                    self.bar(size.node, f"its {size.kind} takes {_mb(size.bytes)}, at most {_mb(most)}")
                    self._usage.drop([size.key])
                elif not size.fits:
                    log.warning("node %s: its %s had another type; it is removed", size.node, size.kind)
                    self._usage.drop([size.key])
            self._renew()

    def _bound(self, size: Size) -> int:
        if size.kind != "actual":
            return BOUNDS[size.kind]
        return min(ACTUAL_BOUND, BOUNDS["actual"] + ENTRY_BOUND * self._entries(size.node))

    def inspect_turn(self, nodes: Sequence[str], turns: int) -> None:
        """The same for a part of the nodes, another one each time."""
        self._turn = (self._turn + 1) % turns
        self.inspect(nodes[self._turn :: turns])

    def inspect_connections(self) -> None:
        """End what nodes' connections heap up in the server's memory."""
        heavy = [each for each in self._usage.connections() if each[2] > CONNECTION_BOUND]
        for _, node, size in heavy:
            log.error("node %s: one of its connections held %s of the store's memory", node, _mb(size))
        self._usage.cut(number for number, _, _ in heavy)

    def bar(self, node: str, reason: str) -> None:
        """Turn a node's user off, and say so where people look."""
        secret = self._secrets().get(node)
        if secret is None:
            return
        Server(self._store.client).bar_node(node)
        if node in self.barred:
            return
        log.error(
            "node %s is barred from the store: %s. Its credential may have been stolen: look at the machine, "
            "then give the node a new secret. With the old one it may come back in %d minutes",
            node, reason, COOL_DOWN // 60,
        )  # fmt: skip
        word = Bar(self._clock.wall(), reason, secret).as_word()
        say(self._store, node, "barred", word, token=self._token)
        self.barred[node] = Barred(secret, self._clock.now() + COOL_DOWN)
        self.say([events.node("barred", node, reason)])

    def enforce(self) -> None:
        """Who is barred stays so: users may have been granted anew. Who is not any more comes back."""
        now, secrets, server = self._clock.now(), self._secrets(), Server(self._store.client)
        for node, barred in list(self.barred.items()):
            secret = secrets.get(node)
            if secret == barred.secret and now < barred.until:
                server.bar_node(node)
                continue
            why = "the time is over" if secret == barred.secret else "its secret is another one"
            log.warning("node %s is let in again: %s", node, why)
            say(self._store, node, "barred", None, token=self._token)
            del self.barred[node]
            self.say([events.node("admitted", node, why)])
            if secret == barred.secret:
                server.grant_node(self._store.keys, node, secret)

    def answers(self, taken: Mapping[str, tuple[int, int]], bounds: tuple[int, int]) -> Iterable[str]:
        """Bar who fills the store with answers, counted as (keys, bytes) by node; who was."""
        for node, (keys, size) in taken.items():
            if keys > bounds[0] or size > bounds[1]:
                most = f"{bounds[0]} with {_mb(bounds[1])}"
                self.bar(node, f"it has {keys} streams of answers with {_mb(size)}, at most {most}")
                yield node


def _mb(size: int) -> str:
    return f"{size / MB:.1f} MB"
