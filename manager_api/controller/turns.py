"""Gives nodes their turns at servers of files: fenced, and remembered for the next leader.

A turn that is given is written into `downloads` first and into the node's grant key then; one that is given
back goes from the key first. So whatever is cut short, the next leader finds at least the turns in use.
"""

import logging
from collections.abc import Callable

from manager_api.base import Base
from manager_api.controller.grants import WRITTEN_AT_ONCE, Grants
from manager_api.controller.mirror import Mirror
from manager_api.core import filework
from store.batches import batches
from store.clock import Clock
from store.codec import dumps, read_record
from store.config import ConfigError
from store.errors import BadRecord
from store.faults import fault
from store.keys import DOWNLOADS
from store.kv.api import Change
from store.kv.projection import Projection
from store.kv.store import Store
from store.model.beat import DEFAULT_TTL
from store.model.turns import PER_SOURCE, Ask, Held

log = logging.getLogger("controller")

MOST_JUDGED = 500
"""Asks that one round looks at closely."""
READ_AT_ONCE = 1000
EPOCH = "@epoch"
"""The field of `downloads` that says in which epoch it was kept last. No node is called so."""
SAID_EVERY = 1.0
"""Seconds between looks at what nodes are told of their waiting."""


class Turnstile:
    """One leader's, with its token. `opened` tells where artifacts lie, and how to log in there."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        token: int,
        clock: Clock,
        opened: Callable[[], Base | None] = lambda: None,
        limit: int = PER_SOURCE,
    ) -> None:
        self._store = store
        self._fleet = mirror.fleet
        self._presence = mirror.presence
        self._turns = mirror.fleet.turns
        self._turns.limit = limit
        self._token = token
        self._clock = clock
        self._opened = opened
        self._grants = Grants(Projection(store), mirror.fleet, token, clock)
        self._trouble = ""
        self._next_say = 0.0
        self._unsure: set[str] = set()
        self._sure_at: float | None = None
        self._late: set[str] = set()
        """Nodes whose turns may lie in the store otherwise than they are."""

    # -- what earlier leaders left

    def load(self, renew: Callable[[], object] = lambda: None) -> None:
        """Count what earlier leaders have given. The fleet has been read.

        Raises:
            Fenced, EpochChanged, StoreEmpty, Unavailable: stop leading.
        """
        self._look_at_base()
        found, now = self._store.values(DOWNLOADS), self._clock.now()
        epoch = found.pop(EPOCH, None)
        for node, raw in found.items():
            try:
                held = Held.of(read_record(raw, f"{DOWNLOADS}/{node}"))
            except BadRecord as error:
                log.error("%s: these turns are not counted", error)
                self._late.add(node)
                continue
            state = self._fleet.states.get(node)
            heard = state is not None and bool(state.beat)
            self._turns.recover(node, held, until=now + held.ttl, heard=heard)
        for part in batches(sorted({*self._turns.asking, *self._turns.holders}), READ_AT_ONCE):
            renew()
            self._late |= self._grants.read(part)
        if epoch != self._epoch():
            self._doubt(now)

    def _epoch(self) -> bytes:
        return dumps({"v": 1, "epoch": self._store.epoch})

    def _doubt(self, now: float) -> None:
        """Turns may be forgotten: none is given before every node has beaten in this epoch, or is gone.

        A node that beats reads its grant key, and lets go of what that does not list.
        """
        self._unsure = set(self._fleet.nodes)
        self._sure_at = now + max(DEFAULT_TTL, self._presence.longest)

    def _is_unsure(self) -> bool:
        if self._sure_at is None:
            return False
        if self._clock.now() < self._sure_at:
            self._unsure = {node for node in self._unsure if self._may_beat(node)}
            if self._unsure:
                return True
        self._store.txn([], [Change(DOWNLOADS, EPOCH, self._epoch())], token=self._token)
        self._sure_at = None
        return False

    def _may_beat(self, node: str) -> bool:
        """Whether a node may be there, and has not beaten in this epoch."""
        if self._is_away(node):
            return False
        state = self._fleet.states[node]
        return not state.online or state.beat.get("epoch") != self._fleet.epoch

    # -- rounds

    def round(self) -> None:
        """Give what is free to those who are next. Cheap when nothing moved.

        Raises:
            Fenced, EpochChanged, StoreEmpty, Unavailable: stop leading.
        """
        gave, moved = self._turns.take_back()
        if self._sure_at is not None:  # whoever comes along may have what nobody remembers
            self._late |= self._grants.read(sorted(moved & self._turns.asking.keys()))
        unsure = self._sure_at is not None and (self._turns.behind or self._is_unsure())
        got = set[str]() if unsure else self._turns.give(self._judge, MOST_JUDGED)
        less, self._late = gave | self._late, set()
        self._write(less, got)
        self._grants.tell(moved - less - got)

    def tick(self) -> None:
        """Now and then: whose nodes are gone, and what those are told who wait."""
        gone = self._turns.silent(self._clock.now(), self._is_away)
        if gone:
            log.info("the turns of %d nodes that are gone are free again, such as %s", len(gone), min(gone))
            self._late |= gone
        self.round()
        if self._clock.now() >= self._next_say:
            self._next_say = self._clock.now() + SAID_EVERY
            self._grants.tell(self._grants.waiting.news(unsure=self._sure_at is not None))

    def check(self) -> None:
        """From time to time: does the store have it as it was written? Has the login changed?"""
        self._look_at_base()
        found, holders = self._store.values(DOWNLOADS), self._turns.holders
        self._late |= {node for node in {*found, *holders} - {EPOCH} if found.get(node) != self._record(node)}
        heard = sorted(node for node in holders.keys() & self._fleet.nodes.keys() if holders[node].heard)
        self._late |= self._grants.check(heard)

    def _is_away(self, node: str) -> bool:
        if node not in self._fleet.nodes:
            return True
        state = self._fleet.states[node]
        return state.settled and not state.online

    def _judge(self, node: str, ask: Ask) -> str | None:
        base = self._grants.base
        return filework.refusal(self._fleet, node, ask, base.source if base is not None else None)

    def _look_at_base(self) -> None:
        """The login may have been changed in its files; what cannot be read now stays as it was."""
        trouble = ""
        try:
            self._grants.base = self._opened()
        except ConfigError as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            log.error("%s", trouble)
        self._trouble = trouble
        base = self._grants.base
        self._turns.rebase(base.source.pool if base is not None else None)

    def _write(self, less: set[str], more: set[str]) -> None:
        """Turns that were given back, and given: each in the order that errs towards too few."""
        if not less and not more:
            return
        self._grants.tell(less - more)
        fault("controller.turns.before")
        for part in batches(sorted(less | more), WRITTEN_AT_ONCE):
            changes = [Change(DOWNLOADS, node, self._record(node)) for node in part]
            self._store.txn([], changes, token=self._token)
        fault("controller.turns.after")
        self._grants.tell(more)

    def _record(self, node: str) -> bytes | None:
        held = self._turns.record(node)
        return dumps(held.as_record()) if held is not None else None
