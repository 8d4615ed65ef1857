"""Keeps a `Fleet` true: whole at first, then by the change log and the nodes' heartbeats."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from manager_api.controller.complaints import Complaints
from manager_api.controller.lookout import Lookout, is_ahead, some_lag, understood
from manager_api.core import events as told
from manager_api.core.fleet import Fleet, Json, NodeState, Stored
from store.batches import batches
from store.clock import Clock
from store.codec import loads, read_record
from store.errors import BadRecord
from store.keys import ALLOCATIONS, CLAIMS, DEPLOYMENTS, NODES, STATUS, VERSIONS
from store.kv.api import Event, Record
from store.kv.projection import Desired, Projection
from store.kv.store import Store
from store.model.beat import heartbeat
from store.model.event import Event as Told
from store.model.status import is_up
from store.recipes.presence import Presence

log = logging.getLogger("controller")

MIRRORED = (DEPLOYMENTS, STATUS, VERSIONS, ALLOCATIONS, NODES, CLAIMS)
DEFAULT_TTL = 15.0
TURNED = {"online": "there", "offline": "absent for longer than it may be"}
MOST_AT_ONCE = 500


class Mirror:
    """A fleet in memory, and which parts of it moved since the last plan.

    `renew` is called between parts of what takes long: a lease may live for less than a large fleet
    takes to be read.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        renew: Callable[[], object] = lambda: None,
        presence: Presence | None = None,
        say: Callable[[Iterable[Told]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._say = say
        self._loaded = False
        self._renew = renew
        self._nodes = Projection(store)
        self.presence = presence or Presence(clock)
        self._lookout = Lookout(self._nodes, self.presence, clock)
        self._complaints = Complaints(clock)
        self.fleet = Fleet(store.epoch)
        self.dirty_deployments: set[str] = set()
        self.dirty_nodes: set[str] = set()
        self.ahead: set[str] = set()
        """Nodes that have obeyed more than the store seems to remember."""
        self._clock = clock
        self._seq: dict[str, tuple[object, object]] = {}
        self._slice, self._catch_up_until = 0, 0.0
        self._unreadable: set[tuple[str, str, int]] = set()

    def load(self) -> int:
        """Read everything; the revision it is from. Everything counts as moved."""
        snapshot = self._store.snapshot(MIRRORED)
        about = self._store.epoch_record()
        self.fleet.began, self.fleet.restored = int(about.get("rev", 0)), about.get("kind") == "restored"
        self._catch_up_until = self._clock.now() + DEFAULT_TTL
        for name in (VERSIONS, NODES, STATUS, DEPLOYMENTS, ALLOCATIONS, CLAIMS):
            for field, record in snapshot.collections[name].items():
                self._apply(name, field, record)
        self.fleet.doubtful = self.fleet.deployments.keys() - self.fleet.status.keys()
        self.presence.keep(set(self.fleet.nodes))
        for nodes in self._parts():
            for node, desired in self._nodes.desired(nodes).items():
                self._take_desired(node, desired)
            self.look(nodes)
            self._read_actual(nodes)
        self.everything_moved()
        self._loaded = True
        return snapshot.rev

    def _tell(self, what: str, node: str, reason: str) -> None:
        """What turned; not what is found when all is read."""
        if self._loaded:
            self._say([told.node(what, node, reason)])

    def everything_moved(self) -> None:
        """Plan all of it next."""
        self.dirty_deployments = set(self.fleet.deployments) | set(self.fleet.status)
        self.dirty_nodes = set(self.fleet.nodes)

    def apply(self, events: Sequence[Event], *, believe: bool = False) -> None:
        """Re-read what the change log says has moved, unless (or `believe`) we wrote it ourselves."""
        wanted = list(
            dict.fromkeys(
                (event.collection, event.field)
                for event in events
                if event.collection in MIRRORED
                and (believe or event.rev > self._known_rev(event.collection, event.field))
            )
        )
        for batch in batches(wanted, MOST_AT_ONCE):
            for (collection, field), record in zip(batch, self._store.get_many(batch), strict=True):
                self._apply(collection, field, record)
                if collection == NODES and record is not None:
                    self._take_desired(field, self._nodes.desired([field])[field])
                    self.look([field])

    def verify(self) -> None:
        """Read anew what differs from memory: a lost log entry or a deleted hash heals by itself."""
        moved: list[Event] = []
        for name in MIRRORED:
            revisions, known = self._store.revisions(name), self._collection(name)
            moved += [
                Event(rev, name, field, "put")
                for field, rev in revisions.items()
                if rev != self._known_rev(name, field) and (name, field, rev) not in self._unreadable
            ]
            known_of = known.keys() | {field for which, field in self.fleet.unreadable if which == name}
            moved += [Event(0, name, field, "del") for field in known_of - revisions.keys()]
        if moved:
            log.info("%d records had moved unheard, or just now", len(moved))
            self.apply(moved, believe=True)
        for nodes in self._parts():
            for node, marks in zip(nodes, self._nodes.marks(nodes), strict=True):
                state = self.fleet.states[node]
                if marks != (state.desired_rev, state.desired_epoch, state.desired_uid):
                    log.warning("the desired state of node %s is not as it was written", node)
                    self._take_desired(node, self._nodes.desired([node])[node])
                    self.dirty_nodes.add(node)

    def _parts(self) -> Iterator[list[str]]:
        """All nodes, some at a time, with a renewal before each."""
        for nodes in batches(sorted(self.fleet.nodes), MOST_AT_ONCE):
            self._renew()
            yield nodes

    def wake(self, deployment: str, at: float) -> None:
        """Plan a deployment again at `at` (steady seconds) at the latest."""
        self.fleet.due[deployment] = min(at, self.fleet.due.get(deployment, at))

    def awaken(self, now: float) -> None:
        """Have those planned whose time has come."""
        due = [name for name, at in self.fleet.due.items() if at <= now]
        for name in due:
            del self.fleet.due[name]
        self.dirty_deployments.update(due)

    def wrote(self, collection: str, field: str, data: Json | None, rev: int) -> None:
        """Note our own write, so that its event need not be read back."""
        self._put(collection, field, None if data is None else Stored(data, rev))

    def projected(self, node: str, uid: str, rev: int, puts: dict[str, Json], deletes: Iterable[str]) -> None:
        """Note our own write of a node's desired hash."""
        state = self.fleet.states[node]
        if state.desired_uid != uid:
            state.desired = {}
        for alloc_id, entry in puts.items():
            state.desired[alloc_id] = _marks(entry, rev)
        for alloc_id in deletes:
            state.desired.pop(alloc_id, None)
        state.desired_rev, state.desired_epoch, state.desired_uid = rev, self.fleet.epoch, uid

    def next_slice(self, parts: int) -> list[str]:
        """A part of all nodes, another one each time; together with those whose time is up."""
        nodes = sorted(self.fleet.nodes)
        self._slice = (self._slice + 1) % (parts := max(1, min(parts, len(nodes))))
        return sorted({*nodes[self._slice :: parts], *self.presence.due()})

    def look(self, nodes: Sequence[str]) -> None:
        """Read some nodes' heartbeats, and `actual` of those in which it moved."""
        self.fleet.seen, moved, turned = self._store.seen, [], False
        sight = self._lookout.watch(nodes)
        fresh = [node for node, raw in zip(nodes, sight.raws, strict=True) if self._is_news(node, raw)]
        left = dict(zip(fresh, self._nodes.remaining(fresh), strict=True))
        for node, raw in zip(nodes, sight.raws, strict=True):
            state = self.fleet.states[node]
            beat = self._beat(node, raw) if raw is not None and node in left else None
            if beat is not None:
                state.beat = beat
            ttl = float(state.beat.get("ttl", DEFAULT_TTL))
            if raw is None and sight.blind:
                self.presence.unknown(node, ttl)
            elif self.presence.observe(node, raw, ttl, left.get(node)):
                turn = "online" if self.presence.online(node) else "offline"
                log.info("node %s is %s", node, turn)
                self._tell(turn, node, f"its heartbeat is {TURNED[turn]}")
            now = self.presence.online(node), self.presence.settled(node)
            if now != (state.online, state.settled):
                state.online, state.settled = now
                away = state.settled and not state.online
                state.away_since = (state.away_since or self._clock.now()) if away else None
                self._node_moved(node)
                turned = True
            seq = (state.beat.get("instance"), state.beat.get("actual_seq"))
            if beat is not None and self._seq.get(node) != seq:
                self._seq[node] = seq
                moved.append(node)
            if beat is not None:
                self._compare(node, state, beat)
        self._read_actual(moved)
        self.fleet.catching_up = self._clock.now() < self._catch_up_until and some_lag(self.fleet)
        if turned:
            self.dirty_deployments |= self.fleet.deployments.keys() - self.fleet.status.keys()

    def _compare(self, node: str, state: NodeState, beat: Json) -> None:
        if is_ahead(self.fleet, self._store.seen, beat):
            self.ahead.add(node)
        if state.desired_rev < int(beat.get("rev") or 0) <= self.fleet.seen:
            self.dirty_nodes.add(node)

    def _is_news(self, node: str, raw: bytes | None) -> bool:
        return raw is not None and (raw != self.presence.raw(node) or not self.fleet.states[node].beat)

    def _read_actual(self, nodes: Sequence[str]) -> None:
        for node, entries in zip(nodes, self._nodes.actual(nodes), strict=True):
            if entries is None:
                self._complaints.about(node, "its actual cannot be read; what it said before stands")
                continue
            actual, trouble = understood(node, entries)
            if trouble:
                self._complaints.about(node, f"{len(trouble)} entries cannot be read: {trouble[0]}")
            state = self.fleet.states[node]
            state.actual, state.up_since = actual, self._up_since(state, actual)
            self._node_moved(node)

    def _up_since(self, state: NodeState, actual: dict[str, Json]) -> dict[str, tuple[int, float]]:
        now = self._clock.now()
        up = {key: int(said["generation"]) for key, said in actual.items() if is_up(said)}
        known = state.up_since
        return {
            key: known[key] if key in known and known[key][0] == generation else (generation, now)
            for key, generation in up.items()
        }

    def _beat(self, node: str, raw: bytes) -> Json:
        """A heartbeat; one that cannot be read makes its node as good as offline, and nothing else."""
        try:
            return heartbeat(loads(raw, "heartbeat"))
        except BadRecord as error:
            self._complaints.about(node, error)
            return {}

    def _node_moved(self, node: str) -> None:
        self.dirty_nodes.add(node)
        for alloc_id in self.fleet.on_node.get(node, ()):
            self.dirty_deployments.add(self.fleet.allocations[alloc_id].data["deployment"])

    def _known_rev(self, collection: str, field: str) -> int:
        stored = self._collection(collection).get(field)
        return stored.rev if stored else -1

    def _collection(self, name: str) -> dict[str, Stored]:
        fleet = self.fleet
        return {
            DEPLOYMENTS: fleet.deployments,
            STATUS: fleet.status,
            VERSIONS: fleet.versions,
            ALLOCATIONS: fleet.allocations,
            NODES: fleet.nodes,
            CLAIMS: fleet.claims,
        }[name]

    def _apply(self, collection: str, field: str, record: Record | None) -> None:
        try:
            data = read_record(record.value, f"{collection}/{field}") if record else None
            self._put(collection, field, Stored(data, record.rev) if record and data is not None else None)
            self.fleet.unreadable.discard((collection, field))
        except (BadRecord, KeyError, TypeError, ValueError) as error:
            # Unreadable is not empty: what we knew of it stays, and nothing is planned on it.
            log.error("%s/%s cannot be read and is left alone: %r", collection, field, error)
            self._unreadable.add((collection, field, record.rev if record else 0))
            self.fleet.unreadable.add((collection, field))

    def _put(self, collection: str, field: str, stored: Stored | None) -> None:
        fleet = self.fleet
        if collection == ALLOCATIONS:
            self._put_allocation(field, stored)
            return
        if collection == CLAIMS:
            self._put_claim(field, stored)
            return
        records = self._collection(collection)
        old = records.get(field)
        if stored is not None:
            if collection == NODES and old is not None and old.data.get("uid") != stored.data.get("uid"):
                self._tell("replaced", field, "another machine or data directory joined with this node id")
            records[field] = stored
        else:
            records.pop(field, None)
        if collection in (DEPLOYMENTS, STATUS):
            self.dirty_deployments.add(field)
            if collection == STATUS:
                fleet.recount(field)
                # Tombstones wait for the status to be recorded
                allocations = fleet.of_deployment.get(field, ())
                self.dirty_nodes.update(fleet.allocations[each].data["node"] for each in allocations)
        elif collection == NODES:
            if stored is None:
                self.presence.forget(field)
                self._complaints.forget(field)
                self._seq.pop(field, None)
            self._node_moved(field)

    def _put_allocation(self, alloc_id: str, stored: Stored | None) -> None:
        old = self.fleet.allocations.get(alloc_id)
        if stored is not None:
            self.fleet.put_allocation(alloc_id, stored)
        else:
            self.fleet.drop_allocation(alloc_id)
        for each in (old, stored):
            if each is not None:
                self.dirty_deployments.add(each.data["deployment"])
                self.dirty_nodes.add(each.data["node"])

    def _put_claim(self, claim_id: str, stored: Stored | None) -> None:
        for claim in (self.fleet.claims.get(claim_id), stored):
            if claim is not None:
                self.dirty_deployments.add(claim.data["order"]["deployment"])
                self.dirty_nodes.add(claim.data["node"])
        self.fleet.put_claim(claim_id, stored)

    def _take_desired(self, node: str, desired: Desired) -> None:
        state: NodeState = self.fleet.states[node]
        state.desired_rev, state.desired_epoch, state.desired_uid = desired.rev, desired.epoch, desired.uid
        state.desired = {}
        for alloc_id, raw in desired.entries.items():
            try:
                entry = loads(raw, f"desired of {node}/{alloc_id}")
                state.desired[alloc_id] = _marks(entry, int(entry["rev"]))
            except (BadRecord, KeyError, TypeError, ValueError) as error:
                log.error("desired of %s/%s cannot be read: %r", node, alloc_id, error)


def _marks(entry: Json, rev: int) -> Json:
    marks = {"rev": rev, "generation": entry["generation"], "wanted": entry["wanted"]}
    return {**marks, "adjusted": entry.get("adjusted", 0)}
