"""Looks at heartbeats: what can be seen just now, and what makes absent ones doubtful."""

import logging
from collections.abc import Mapping, Sequence
from math import inf
from sys import intern

from manager_api.core.fleet import Fleet, Json
from store.clock import Clock
from store.codec import loads
from store.errors import BadRecord
from store.kv.presence import APART, Sight
from store.kv.projection import Projection
from store.model.beat import actual as read_actual
from store.model.epoch import Seen, contradicts
from store.recipes.presence import Presence

log = logging.getLogger("controller")

MOST_DOUBT = 120.0
ENTRY_TEXTS, TASK_TEXTS = ("uid", "epoch", "wanted"), ("name", "state", "health")


class Lookout:
    """Reads heartbeats for a mirror."""

    def __init__(self, nodes: Projection, presence: Presence, clock: Clock) -> None:
        self._nodes = nodes
        self._presence = presence
        self._clock = clock
        self._blind: str | None = None
        self._orderly_at = -inf

    def watch(self, nodes: Sequence[str]) -> Sight:
        """Their heartbeats, after grace for whatever makes absent ones doubtful."""
        asked = self._clock.now()
        sight = self._nodes.look(nodes, who=True)
        for server, said in sight.clocks.items():
            broken = self._presence.answered(server, asked, said, sight.run_ids[server])
            if broken == inf and server == APART:
                self._disorder()
            if self._presence.grace(after=broken):
                seconds = min(self._presence.longest, MOST_DOUBT)
                what = f"was not to be seen for {broken:.1f} s, or its clock jumped by that"
                reason = f"the {server} {'is another server' if broken == inf else what}"
                log.warning("%s: for another time to live (%.0f s) no node is gone", reason, seconds)
                self._nodes.doubt(reason, seconds)
        if sight.blind != self._blind:
            log.warning("%s", sight.blind or "all heartbeats can be seen again")
            self._blind = sight.blind
            self._disorder()
        return sight

    def _disorder(self) -> None:
        self._orderly_at = self._clock.now() + self._presence.longest

    @property
    def doubts_order(self) -> bool:
        """Whether a heartbeat just read may be older than one read before: it lay on another server."""
        return self._clock.now() < self._orderly_at


def is_ahead(fleet: Fleet, seen: int, beat: Json) -> bool:
    """Whether a node says that it has obeyed more than the store seems to remember."""
    if not beat.get("epoch"):
        return False
    found = Seen("", fleet.epoch, seen)
    return contradicts(found, Seen("", str(beat["epoch"]), int(beat["rev"]))) is not None


def some_lag(fleet: Fleet) -> bool:
    """Whether some node has not heard of this epoch yet, and may tell what it ran in the last one."""
    return any(
        state.online and bool(state.beat.get("epoch")) and state.beat["epoch"] != fleet.epoch
        for state in fleet.states.values()
    )


def understood(node: str, entries: Mapping[str, bytes]) -> tuple[dict[str, Json], list[BadRecord]]:
    """What a node says of its allocations, as far as it can be read, and what is wrong with the rest."""
    actual: dict[str, Json] = {}
    trouble: list[BadRecord] = []
    for alloc_id, raw in entries.items():
        try:
            said = read_actual(loads(raw, f"actual of {node}/{alloc_id[:100]}"))
        except BadRecord as error:
            trouble.append(error)
            continue
        _share(said, ENTRY_TEXTS)
        for task in said["tasks"]:
            _share(task, TASK_TEXTS)
        actual[intern(alloc_id)] = said
    return actual, trouble


def _share(said: Json, names: tuple[str, ...]) -> None:
    """Keep texts that many entries have in common once only."""
    for name in names:
        text = said.get(name)
        if type(text) is str:
            said[name] = intern(text)
