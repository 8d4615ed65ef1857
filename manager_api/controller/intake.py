"""Takes records into a fleet, and puts on the agenda what they move."""

import logging
from collections.abc import Callable, Mapping
from sys import intern
from typing import ClassVar

from manager_api.controller.agenda import Agenda
from manager_api.core.fleet import Fleet, Stored
from manager_api.core.membership import Group
from store.clock import Clock
from store.codec import read_record
from store.errors import BadRecord
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
from store.kv.api import Record
from store.model.lifecycle import DEPLOYMENT_ENDED

log = logging.getLogger("controller")

SHARED = ("deployment", "template", "group", "node", "uid", "wanted")
"""Texts that many allocations have in common: each is kept once."""
FEW = 400
"""Allocations of a deployment whose nodes are all planned when its status changes."""


class Intake:
    """Puts records where they belong, one at a time; `forget` is told of nodes that are removed."""

    def __init__(
        self,
        fleet: Fleet,
        agenda: Agenda,
        clock: Clock,
        forget: Callable[[str], None],
        tell: Callable[[str, str, str], None] = lambda *_: None,
    ) -> None:
        self._fleet = fleet
        self._tell = tell
        self._forget = forget
        self._agenda = agenda
        self._clock = clock
        self._now: tuple[int, float] = (0, 0.0)
        self._unreadable: set[tuple[str, str, int]] = set()
        self.collections = {
            DEPLOYMENTS: fleet.deployments, STATUS: fleet.status, VERSIONS: fleet.versions,
            ALLOCATIONS: fleet.allocations, NODES: fleet.nodes, CLAIMS: fleet.claims,
            NODES_STATUS: fleet.nodes_status, CONTROLS: fleet.controls,
            CONTROLS_STATUS: fleet.controls_status, NAMES: fleet.names, GROUPS: fleet.device_groups,
        }  # fmt: skip
        """What is known, by the collection's name."""

    def known_rev(self, collection: str, field: str) -> int:
        """The revision of a record as it is known; -1 when it is not."""
        stored = self.collections[collection].get(field)
        return stored.rev if stored else -1

    def is_unreadable(self, collection: str, field: str, rev: int) -> bool:
        """Whether this very record was tried, and could not be read."""
        return (collection, field, rev) in self._unreadable

    def take(self, collection: str, field: str, record: Record | None) -> None:
        """A record as it lies in the store, or None: it is not there."""
        try:
            stored = None
            if record is not None:
                stored = Stored(read_record(record.value, f"{collection}/{field}"), record.rev)
            self.put(collection, field, stored)
            if self._fleet.unreadable:
                self._fleet.unreadable.discard((collection, field))
        except (AttributeError, BadRecord, KeyError, TypeError, ValueError) as error:
            # Unreadable is not empty: what we knew of it stays, and nothing is planned on it.
            log.error("%s/%s cannot be read and is left alone: %r", collection, field, error)
            self._unreadable.add((collection, field, record.rev if record else 0))
            self._fleet.unreadable.add((collection, field))

    def put(self, collection: str, field: str, stored: Stored | None) -> None:
        """A record that was read, or written by ourselves."""
        self._PUTS[collection](self, field, stored)

    # -- one for each collection

    def _put_version(self, field: str, stored: Stored | None) -> None:
        _set(self._fleet.versions, field, stored)

    def _put_deployment(self, name: str, stored: Stored | None) -> None:
        _set(self._fleet.deployments, name, stored)
        self._agenda.deployments.add(name)
        self._decided(name)

    def _put_status(self, name: str, stored: Stored | None) -> None:
        fleet, agenda = self._fleet, self._agenda
        over = _is_over(fleet.status.get(name)), _is_over(stored)
        _set(fleet.status, name, stored)
        agenda.deployments.add(name)
        fleet.doubt(name)
        if over[0] != over[1]:
            fleet.recount(name)
        # Tombstones wait for the status to be recorded.
        allocations = fleet.of_deployment.get(name, ())
        everywhere = over[0] != over[1] or len(allocations) <= FEW
        for each in allocations:
            data = fleet.allocations[each].data
            if everywhere or data["wanted"] != "running":
                agenda.nodes.add(data["node"])
        self._decided(name)
        if over[1] and allocations:
            agenda.room()

    def _decided(self, name: str) -> None:
        """Whether it still waits for a decision."""
        undecided = name in self._fleet.deployments and name not in self._fleet.status
        (self._fleet.undecided.add if undecided else self._fleet.undecided.discard)(name)

    def _put_allocation(self, alloc_id: str, stored: Stored | None) -> None:
        fleet, agenda = self._fleet, self._agenda
        old = fleet.allocations.get(alloc_id)
        if stored is not None:
            data, alloc_id = stored.data, intern(alloc_id)
            for name in SHARED:
                text = data.get(name)
                if type(text) is str:
                    data[name] = intern(text)
            fleet.put_allocation(alloc_id, stored)
            self._order(alloc_id, int(data["generation"]))
        else:
            fleet.drop_allocation(alloc_id)
            fleet.ordered.pop(alloc_id, None)
        if agenda.all_moves:
            return
        for each in (old, stored):
            if each is not None:
                deployment = each.data["deployment"]
                agenda.deployments.add(deployment)
                agenda.nodes.add(each.data["node"])
                if deployment in fleet.peered:
                    agenda.peers_moved(deployment)
        if old is not None and (stored is None or stored.data["wanted"] != "running"):
            agenda.room()

    def _order(self, alloc_id: str, generation: int) -> None:
        known = self._fleet.ordered.get(alloc_id)
        if known is not None and known[0] == generation:
            return
        now = self._clock.now()
        if self._now != (generation, now):
            self._now = (generation, now)  # many are ordered at one moment, and share it
        self._fleet.ordered[alloc_id] = self._now

    def _put_node(self, node: str, stored: Stored | None) -> None:
        old = self._fleet.nodes.get(node)
        _set(self._fleet.nodes, node, stored)
        if old is not None and stored is not None and old.data["uid"] != stored.data["uid"]:
            self._tell("replaced", node, "another machine or data directory joined with this node id")
        if stored is None:
            self._forget(node)
        self._agenda.reported(node)
        self._agenda.another_fleet()

    def _put_claim(self, claim_id: str, stored: Stored | None) -> None:
        for claim in (self._fleet.claims.get(claim_id), stored):
            if claim is not None:
                self._agenda.deployments.add(claim.data["order"]["deployment"])
                self._agenda.nodes.add(claim.data["node"])
        self._fleet.put_claim(claim_id, stored)

    def _put_node_status(self, node: str, stored: Stored | None) -> None:
        _set(self._fleet.nodes_status, node, stored)
        self._agenda.reported(node)

    def _put_control(self, name: str, stored: Stored | None) -> None:
        """Somebody decided something for all: whoever may have waited for that is planned."""
        _set(self._fleet.controls, name, stored)
        for node, state in self._fleet.states.items():
            if not state.online:
                self._agenda.reported(node)
        self._agenda.room()

    def _put_group(self, group: str, stored: Stored | None) -> None:
        """Another name or rule may give work to nodes, or take it."""
        moves = self._fleet.targets.put(group, Group.of(stored.data) if stored is not None else None)
        _set(self._fleet.device_groups, group, stored)
        if moves:
            self._agenda.another_fleet()

    def _put_name(self, name: str, stored: Stored | None) -> None:
        _set(self._fleet.names, name, stored)

    def _put_controls_status(self, name: str, stored: Stored | None) -> None:
        _set(self._fleet.controls_status, name, stored)

    _PUTS: ClassVar[Mapping[str, Callable[["Intake", str, Stored | None], None]]] = {
        DEPLOYMENTS: _put_deployment, STATUS: _put_status, VERSIONS: _put_version,
        ALLOCATIONS: _put_allocation, NODES: _put_node, CLAIMS: _put_claim, NODES_STATUS: _put_node_status,
        CONTROLS: _put_control, CONTROLS_STATUS: _put_controls_status, NAMES: _put_name,
        GROUPS: _put_group,
    }  # fmt: skip


def _set(records: dict[str, Stored], field: str, stored: Stored | None) -> None:
    if stored is not None:
        records[field] = stored
    else:
        records.pop(field, None)


def _is_over(status: Stored | None) -> bool:
    return status is not None and status.data.get("status") in DEPLOYMENT_ENDED
