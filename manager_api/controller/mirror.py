"""Keeps a `Fleet` true: whole at first, then by the change log and the nodes' heartbeats."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from manager_api.controller.agenda import Agenda
from manager_api.controller.heartbeats import Heartbeats
from manager_api.controller.intake import Intake
from manager_api.core import brake, drain
from manager_api.core import events as told
from manager_api.core.fleet import Fleet, Json, Stored
from store.batches import batches
from store.clock import Clock
from store.keys import (
    ALLOCATIONS,
    CLAIMS,
    CONTROLS,
    CONTROLS_STATUS,
    DEPLOYMENTS,
    GROUPS,
    NAMES,
    NODES,
    NODES_STATUS,
    STATUS,
    VERSIONS,
)
from store.kv.api import Event
from store.kv.store import Store
from store.model.event import Event as Told
from store.recipes.presence import Presence

log = logging.getLogger("controller")

MIRRORED = (
    VERSIONS, GROUPS, NODES, NODES_STATUS, CONTROLS, CONTROLS_STATUS, STATUS, DEPLOYMENTS, ALLOCATIONS,
    CLAIMS, NAMES,
)  # fmt: skip
"""In the order in which they are taken in: what a record refers to comes before it."""
MOST_AT_ONCE = 500
REVISIONS_AT_ONCE = 5000
"""Checked against memory in one part."""
RECORDS_AT_ONCE = 20_000
"""Records taken in between two renewals of the lease."""


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
        self.presence = presence or Presence(clock)
        self.fleet = Fleet(store.epoch)
        self.agenda = Agenda(self.fleet, clock)
        self._beats = Heartbeats(store, self.fleet, self.agenda, clock, self.presence, self._tell)
        self._intake = Intake(self.fleet, self.agenda, clock, self._beats.forget, self._tell)

    @property
    def dirty_deployments(self) -> set[str]:
        """To be planned next."""
        return self.agenda.deployments

    @dirty_deployments.setter
    def dirty_deployments(self, names: set[str]) -> None:
        self.agenda.deployments = names

    @property
    def dirty_nodes(self) -> set[str]:
        """To be planned next."""
        return self.agenda.nodes

    @dirty_nodes.setter
    def dirty_nodes(self, names: set[str]) -> None:
        self.agenda.nodes = names

    def load(self) -> int:
        """Read everything; the revision it is from. Everything counts as moved."""
        snapshot = self._store.snapshot(MIRRORED)
        about = self._store.epoch_record()
        self.fleet.began, self.fleet.restored = int(about.get("rev", 0)), about.get("kind") == "restored"
        self._beats.begin()
        self.agenda.all_moves = True
        for name in MIRRORED:
            records = snapshot.collections.pop(name)
            for number in range(len(records)):
                field, record = records.popitem()  # so that it is never in memory twice
                self._intake.take(name, field, record)
                if number % RECORDS_AT_ONCE == RECORDS_AT_ONCE - 1:
                    self._renew()
        brake.resume(self.fleet)
        drain.resume(self.fleet)
        self.fleet.doubtful = set(self.fleet.undecided)
        self.presence.keep(set(self.fleet.nodes))
        for nodes in self._parts():
            self._beats.read_desired(nodes)
            self._beats.look(nodes, report=True)
        self._beats.catch_up()
        self.agenda.all_moves = False
        online = sum(state.online for state in self.fleet.states.values())
        log.info("%d of %d nodes are online", online, len(self.fleet.nodes))
        self.everything_moved()
        self._loaded = True
        return snapshot.rev

    def _tell(self, what: str, node: str, reason: str) -> None:
        """What turned; not what is found when all is read."""
        if self._loaded:
            self._say([told.node(what, node, reason)])

    def everything_moved(self) -> None:
        """Plan all of it next."""
        self.agenda.everything()

    def apply(self, events: Sequence[Event], *, believe: bool = False) -> None:
        """Re-read what the change log says has moved, unless (or `believe`) we wrote it ourselves."""
        wanted = list(
            dict.fromkeys(
                (event.collection, event.field)
                for event in events
                if event.collection in self._intake.collections
                and (believe or event.rev > self._intake.known_rev(event.collection, event.field))
            )
        )
        for batch in batches(wanted, MOST_AT_ONCE):
            for (collection, field), record in zip(batch, self._store.get_many(batch), strict=True):
                self._intake.take(collection, field, record)
            self._take_versions([field for collection, field in batch if collection == DEPLOYMENTS])
            nodes = [
                field for collection, field in batch if collection == NODES and field in self.fleet.nodes
            ]
            if nodes:
                self._beats.read_desired(nodes)
                self._beats.look(nodes)

    def _take_versions(self, deployments: Sequence[str]) -> None:
        """Read what some deployments refer to, if it is not known: they may have been heard of first."""
        fleet = self.fleet
        said = [fleet.deployments[each].data for each in deployments if each in fleet.deployments]
        fields = {f"{data.get('version')}:{data.get('template')}" for data in said} - fleet.versions.keys()
        asked = [(VERSIONS, field) for field in sorted(fields)]
        for (_, field), record in zip(asked, self._store.get_many(asked) if asked else (), strict=True):
            self._intake.take(VERSIONS, field, record)

    def verify(self) -> None:
        """Read anew what differs from memory: a lost log entry or a deleted hash heals by itself."""
        for _ in self.verifying():
            self._renew()

    def verifying(self) -> Iterator[None]:
        """The same, a part at a time: a large fleet takes longer than anybody should wait for a plan."""
        for name in MIRRORED:
            yield from self._verifying(name)
        for nodes in batches(list(self.fleet.nodes), MOST_AT_ONCE):
            yield
            self._beats.check_desired([node for node in nodes if node in self.fleet.nodes])
        self.agenda.prune()

    def _verifying(self, name: str) -> Iterator[None]:
        intake, known = self._intake, self._intake.collections[name]
        before, seen = set(known), set[str]()
        for part in self._store.scan_revisions(name, REVISIONS_AT_ONCE):
            seen |= part.keys()
            self._read_anew(name, [
                Event(rev, name, field, "put") for field, rev in part.items()
                if (stored := known.get(field)) is None or stored.rev != rev
                if not intake.is_unreadable(name, field, rev)
            ])  # fmt: skip
            yield
        before &= known.keys()  # what came since need not have been seen
        unread = {field for which, field in self.fleet.unreadable if which == name} - known.keys()
        self._read_anew(name, [Event(0, name, field, "del") for field in (before | unread) - seen])

    def _read_anew(self, name: str, moved: Sequence[Event]) -> None:
        if moved:
            log.info("%d records of %s had moved unheard, or just now", len(moved), name)
            self.apply(moved, believe=True)

    def _parts(self) -> Iterator[list[str]]:
        """All nodes, some at a time, with a renewal before each."""
        for nodes in batches(sorted(self.fleet.nodes), MOST_AT_ONCE):
            self._renew()
            yield nodes

    def wake(self, deployment: str, at: float) -> None:
        """Plan a deployment again at `at` (steady seconds) at the latest."""
        self.agenda.wake(deployment, at)

    def awaken(self, now: float) -> None:
        """Have those planned whose time has come."""
        self.agenda.awaken(now)

    def wrote(self, collection: str, field: str, data: Json | None, rev: int) -> None:
        """Note our own write, so that its event need not be read back."""
        if collection in self._intake.collections:
            self._intake.put(collection, field, None if data is None else Stored(data, rev))

    def projected(self, node: str, uid: str, rev: int, puts: dict[str, Json], deletes: Iterable[str]) -> None:
        """Note our own write of a node's desired hash."""
        self._beats.projected(node, uid, rev, puts, deletes)

    def next_slice(self, parts: int) -> list[str]:
        """A part of all nodes, another one each time; together with those whose time is up."""
        return self._beats.next_slice(parts)

    def look(self, nodes: Sequence[str]) -> None:
        """Read some nodes' heartbeats, and `actual` of those in which it moved."""
        self._beats.look(nodes)

    def take_ahead(self) -> set[str]:
        """The nodes that have obeyed more than the store seems to remember, since this was asked last."""
        found, self._beats.ahead = self._beats.ahead, set()
        return found
