"""Keeps true what a fleet knows of its nodes beside their records: heartbeats, reports, desired hashes."""

import logging
from collections.abc import Callable, Iterable, Sequence
from sys import intern

from manager_api.controller.agenda import Agenda
from manager_api.controller.complaints import Complaints
from manager_api.controller.lookout import Lookout, is_ahead, some_lag, understood
from manager_api.core.fleet import Fleet, Json, NodeState
from store.clock import Clock
from store.codec import loads
from store.errors import BadRecord
from store.kv.projection import Desired, Projection
from store.kv.store import Store
from store.model.beat import DEFAULT_TTL, heartbeat
from store.model.status import is_up
from store.recipes.presence import Presence

log = logging.getLogger("controller")

TURNED = {"online": "there", "offline": "absent for longer than it may be"}
NAMED = 100
"""Nodes of a fleet that are named one by one when a new leader finds them online."""


class Heartbeats:
    """Reads what nodes say, and takes note of what they are told."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        agenda: Agenda,
        clock: Clock,
        presence: Presence,
        tell: Callable[[str, str, str], None] = lambda *_: None,
    ) -> None:
        self._tell = tell
        self._store = store
        self._fleet = fleet
        self._agenda = agenda
        self._clock = clock
        self._presence = presence
        self._nodes = Projection(store)
        self._lookout = Lookout(self._nodes, presence, clock)
        self._complaints = Complaints(clock)
        self._seq: dict[str, tuple[object, object]] = {}
        self._slice, self._catch_up_until = 0, 0.0
        self.ahead: set[str] = set()
        """Nodes that have obeyed more than the store seems to remember."""

    def begin(self) -> None:
        """Nodes may lag behind the epoch for as long as one of them may be silent."""
        self._catch_up_until = self._clock.now() + DEFAULT_TTL

    def forget(self, node: str) -> None:
        """The node was removed."""
        self._presence.forget(node)
        self._fleet.turns.forget(node, self._clock.now())
        self._complaints.forget(node)
        self._seq.pop(node, None)

    def next_slice(self, parts: int) -> list[str]:
        """A part of all nodes, another one each time; together with those whose time is up."""
        nodes = list(self._fleet.nodes)
        self._slice = (self._slice + 1) % (parts := max(1, min(parts, len(nodes))))
        part, watched = nodes[self._slice :: parts], self._fleet.turns.watched()
        also = (each for each in (*self._presence.due(), *watched) if each in self._fleet.nodes)
        return list(dict.fromkeys((*part, *also)))

    def look(self, nodes: Sequence[str], *, report: bool = False) -> None:
        """Read some nodes' heartbeats, and `actual` of those in which it moved; of all, with `report`."""
        fleet, presence = self._fleet, self._presence
        fleet.seen, turned = self._store.seen, False
        sight = self._lookout.watch(nodes)
        fresh = [node for node, raw in zip(nodes, sight.raws, strict=True) if self._is_news(node, raw)]
        left = dict(zip(fresh, self._nodes.remaining(fresh), strict=True))
        moved: list[str] = []
        named = not report or len(fleet.nodes) <= NAMED
        for node, raw in zip(nodes, sight.raws, strict=True):
            state = fleet.states[node]
            if raw is None and not sight.blind:
                state.absent_at = fleet.seen
            beat = self._beat(node, raw) if raw is not None and node in left else None
            if beat is not None:
                turned = turned or bool(state.beat.get("frozen")) > bool(beat.get("frozen"))
                state.beat = beat
                if not self._lookout.doubts_order:
                    fleet.turns.hear(node, beat)
            ttl = float(state.beat.get("ttl", DEFAULT_TTL))
            if raw is None and sight.blind:
                presence.unknown(node, ttl)
            elif presence.observe(node, raw, ttl, left.get(node)):
                self._say(node, named=named)
            turned = self._turn(node, state, unseen=raw is None and not state.beat) or turned
            if beat is not None and self._has_reported(node, state, beat):
                moved.append(node)
        self.read_actual(nodes if report else moved)
        if not report:
            self.catch_up()
        if turned:
            self._agenda.deployments |= fleet.undecided
            self._agenda.another_fleet()

    def catch_up(self) -> None:
        """Note whether nodes may yet tell what they ran in the last epoch."""
        self._fleet.catching_up = self._clock.now() < self._catch_up_until and some_lag(self._fleet)

    def _say(self, node: str, *, named: bool) -> None:
        what = "online" if self._presence.online(node) else "offline"
        if named:
            log.info("node %s is %s", node, what)
        self._tell(what, node, f"its heartbeat is {TURNED[what]}")

    def _turn(self, node: str, state: NodeState, *, unseen: bool) -> bool:
        """Whether a node came or went, as far as is known. Who is `unseen` but has its grace did neither."""
        now = self._presence.online(node), self._presence.settled(node)
        if unseen and now[0]:
            now = False, False
        if now == (state.online, state.settled):
            return False
        if now[0] != state.online:
            state.online_since = self._clock.now() if now[0] else None
        state.online, state.settled = now
        away = state.settled and not state.online
        state.away_since = (state.away_since or self._clock.now()) if away else None
        self._fleet.brake.turned = True
        self._agenda.reported(node)
        return True

    def _has_reported(self, node: str, state: NodeState, beat: Json) -> bool:
        """Note a new heartbeat; whether its `actual` moved."""
        if is_ahead(self._fleet, self._store.seen, beat):
            self.ahead.add(node)
        if state.desired_rev < int(beat.get("rev") or 0) <= self._fleet.seen:
            self._agenda.nodes.add(node)
        seq = (beat.get("instance"), beat.get("actual_seq"))
        if self._seq.get(node) == seq:
            return False
        self._seq[node] = seq
        return True

    def _is_news(self, node: str, raw: bytes | None) -> bool:
        return raw is not None and (raw != self._presence.raw(node) or not self._fleet.states[node].beat)

    def _beat(self, node: str, raw: bytes) -> Json:
        """A heartbeat; one that cannot be read makes its node as good as offline, and nothing else."""
        try:
            return heartbeat(loads(raw, "heartbeat"))
        except BadRecord as error:
            self._complaints.about(node, error)
            return {}

    def read_actual(self, nodes: Sequence[str]) -> None:
        """Read what some nodes say of their allocations."""
        for node, entries in zip(nodes, self._nodes.actual(nodes), strict=True):
            if entries is None:
                self._complaints.about(node, "its actual cannot be read; what it said before stands")
                continue
            actual, trouble = understood(node, entries)
            if trouble:
                self._complaints.about(node, f"{len(trouble)} entries cannot be read: {trouble[0]}")
            state = self._fleet.states[node]
            state.actual, state.up_since = actual, self._up_since(state, actual)
            self._agenda.reported(node)

    def _up_since(self, state: NodeState, actual: dict[str, Json]) -> dict[str, tuple[int, float]]:
        now, known = self._clock.now(), state.up_since
        fresh: dict[int, tuple[int, float]] = {}  # most have one generation, and share it
        found: dict[str, tuple[int, float]] = {}
        for key, said in actual.items():
            if is_up(said):
                generation = int(said["generation"])
                old = known.get(key)
                if old is None or old[0] != generation:
                    old = fresh.setdefault(generation, (generation, now))
                found[key] = old
        return found

    # -- desired hashes

    def read_desired(self, nodes: Sequence[str]) -> None:
        """Read what lies in some nodes' desired hashes."""
        for node, desired in self._nodes.desired(nodes).items():
            self._take_desired(node, desired)

    def check_desired(self, nodes: Sequence[str]) -> None:
        """Read anew what is not as it was written."""
        for node, marks in zip(nodes, self._nodes.marks(nodes), strict=True):
            state = self._fleet.states[node]
            if marks != (state.desired_rev, state.desired_epoch, state.desired_uid):
                log.warning("the desired state of node %s is not as it was written", node)
                self.read_desired([node])
                self._agenda.nodes.add(node)

    def _take_desired(self, node: str, desired: Desired) -> None:
        state = self._fleet.states[node]
        state.desired_rev, state.desired_epoch = desired.rev, intern(desired.epoch)
        state.desired_uid = intern(desired.uid)
        state.desired = {}
        known: dict[tuple[object, ...], Json] = {}
        for alloc_id, raw in desired.entries.items():
            try:
                entry = loads(raw, f"desired of {node}/{alloc_id}")
                state.desired[intern(alloc_id)] = _marks(entry, int(entry["rev"]), known)
            except (BadRecord, KeyError, TypeError, ValueError) as error:
                log.error("desired of %s/%s cannot be read: %r", node, alloc_id, error)

    def projected(self, node: str, uid: str, rev: int, puts: dict[str, Json], deletes: Iterable[str]) -> None:
        """Note our own write of a node's desired hash."""
        state = self._fleet.states[node]
        if state.desired_uid != uid:
            state.desired = {}
        known: dict[tuple[object, ...], Json] = {}
        for alloc_id, entry in puts.items():
            state.desired[alloc_id] = _marks(entry, rev, known)
        for alloc_id in deletes:
            state.desired.pop(alloc_id, None)
        state.desired_rev, state.desired_epoch, state.desired_uid = rev, self._fleet.epoch, uid


def _marks(entry: Json, rev: int, known: dict[tuple[object, ...], Json]) -> Json:
    """What planning must know of an entry that was written; `known` are others, perhaps the very same."""
    generation, wanted, adjusted = entry["generation"], intern(entry["wanted"]), entry.get("adjusted", 0)
    change = entry.get("change", 0)
    key = (rev, generation, wanted, adjusted, change)
    marks = known.get(key)
    if marks is None:
        marks = known[key] = {
            "rev": rev, "generation": generation, "wanted": wanted, "adjusted": adjusted, "change": change,
        }  # fmt: skip
    return {**marks, "peers": entry["peers"]} if entry.get("peers") else marks
