"""The nodes' grant keys: brought up to the turns that hold, with logins sealed to whoever asked."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from manager_api.base import Base
from manager_api.controller.waiting import Waiting
from manager_api.core import filework
from manager_api.core.fleet import Fleet
from store.batches import batches
from store.clock import Clock
from store.codec import dumps, loads
from store.errors import BadRecord, StoreError
from store.kv.projection import Grant, Projection
from store.model.turns import Ask, Held, Json, grant_record, granted_by, waiting_in
from transfer.seal import seal
from transfer.urls import BASE

log = logging.getLogger("controller")

WRITTEN_AT_ONCE = 200


@dataclass(slots=True)
class Said:
    """What a grant key says, as far as we know."""

    asks: frozenset[str] = frozenset()
    waiting: dict[str, str] = field(default_factory=dict)


class Grants:
    """One leader's, with its token."""

    def __init__(self, nodes: Projection, fleet: Fleet, token: int, clock: Clock) -> None:
        self._nodes = nodes
        self._fleet = fleet
        self._turns = fleet.turns
        self._token = token
        self._clock = clock
        self._said: dict[str, Said] = {}
        self.waiting = Waiting(fleet.turns, clock)
        self.base: Base | None = None
        """Where artifacts lie."""

    def read(self, nodes: Sequence[str]) -> set[str]:
        """Read some nodes' keys. Turns in them that are asked for and were forgotten are counted again.

        Returns:
            The nodes that have such turns.
        """
        forgotten: set[str] = set()
        for node, said in zip(nodes, self._read(nodes), strict=True):
            if said is None:
                self._said.pop(node, None)
                continue
            self._said[node] = known = _understood(said, self._uid(node))
            self.waiting.resume(node, known.waiting)
            asking, holder = self._turns.asking.get(node), self._turns.holders.get(node)
            if asking is None or (holder is not None and holder.uid != asking.uid):
                continue
            turns = {
                ask: server
                for ask, each in asking.asks.items()
                if ask in known.asks and (server := self._turns.server(each.pool)) is not None
            }
            if turns.keys() - (holder.turns.keys() if holder is not None else set()):
                log.warning("node %s: turns that it has were forgotten, and are counted again", node)
                held = Held(asking.uid, turns, asking.ttl)
                self._turns.recover(node, held, until=self._clock.now() + asking.ttl, heard=True)
                forgotten.add(node)
        return forgotten

    def check(self, nodes: Sequence[str]) -> set[str]:
        """Those of some nodes whose keys do not list what they should."""
        wrong: set[str] = set()
        for node, said in zip(nodes, self._read(nodes), strict=True):
            found = _understood(said or {}, self._uid(node))
            if found.asks != self._turns.stands(node).keys():
                self._said[node] = found
                wrong.add(node)
        return wrong

    def _read(self, nodes: Sequence[str]) -> list[Json | None]:
        found: list[Json | None] = []
        for raw in self._nodes.grants(nodes):
            try:
                found.append(loads(raw, "grant") if raw is not None else None)
            except BadRecord:
                found.append({})
        return found

    def _uid(self, node: str) -> str:
        asking, holder = self._turns.asking.get(node), self._turns.holders.get(node)
        return asking.uid if asking is not None else holder.uid if holder is not None else ""

    def tell(self, nodes: Iterable[str]) -> None:
        """Bring some nodes' keys up to what holds; who got a turn is woken.

        Raises:
            Fenced, EpochChanged, StoreEmpty, Unavailable: stop leading.
        """
        grants: list[Grant] = []
        for node in sorted(nodes):
            holder = self._turns.holders.get(node)
            if node not in self._fleet.nodes:
                self._said.pop(node, None)  # what is left of it is swept
                self.waiting.of(node)
                continue
            if holder is not None and not holder.heard:
                continue  # what it asks is not known yet: its key stays as it is
            known = self._said.pop(node, Said())
            said = Said(frozenset(self._turns.stands(node)), self.waiting.of(node))
            if said != Said():
                self._said[node] = said
            if said != known:
                grants.append(Grant(node, self._text(node, said), wake=not said.asks <= known.asks))
        for part in batches(grants, WRITTEN_AT_ONCE):
            for grant, error in zip(part, self._nodes.grant_many(part, token=self._token), strict=True):
                if type(error) is StoreError:  # of this node's keys: one of another type, say
                    log.error("node %s: its grant cannot be written: %s", grant.node, error)
                elif error is not None:
                    raise error

    def _text(self, node: str, said: Said) -> bytes:
        if said == Said():
            return b""
        sealed = {ask: self._sealed(node, each) for ask, each in self._turns.stands(node).items()}
        return dumps(grant_record(self._fleet.nodes[node].data["uid"], sealed, said.waiting))

    def _sealed(self, node: str, ask: Ask) -> str | None:
        """The login, for the one process that asked for it; None: it needs none."""
        base = self.base
        if base is None or not filework.takes_login(ask, base.source):
            return None
        if not filework.needs(self._fleet, node, base.source).base:
            return None
        try:
            return seal(base.sealed_text(whole=ask.pool == BASE), ask.key)
        except ValueError as error:
            log.debug("node %s: %s", node, error)
            return None


def _understood(said: Json, uid: str) -> Said:
    return Said(frozenset(granted_by(said, uid)), waiting_in(said))
