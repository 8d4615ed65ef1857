"""The next step of one deployment, while it is drawn up: what is there, and what is to be written."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from typing import Any

from manager_api.core.actions import Wake
from manager_api.core.eligible import expelled
from manager_api.core.fleet import Fleet, Json
from manager_api.core.moment import Moment
from manager_api.core.placement import Chosen, Placer, Refused, Taken
from manager_api.core.portions import MOST_AT_ONCE
from manager_api.core.quiet import as_heard
from manager_api.core.records import Missing, allocation, make_room, next_number
from manager_api.core.release import Release, groups, target
from manager_api.core.slots import Key, Slot, key_of, known_slots, request
from manager_api.core.summary import Summary, Where, summarize, where
from store.keys import ALLOCATIONS
from store.model.spec import GroupSpec

MOST_NEW = 1000
"""New allocations that one step places: to look at a large deployment again takes longer than some more."""
AGAIN = 5.0
"""Seconds after which something that could not be placed is tried again, if nothing moves until then."""


class Draft:
    """What is known of a deployment, and its next step so far. `live` and `stopped` follow the draft."""

    def __init__(self, fleet: Fleet, deployment: str, now: Moment, taken: Taken) -> None:
        self.fleet, self.deployment, self.now = fleet, deployment, now
        self.record = fleet.deployments[deployment]
        self.status = fleet.status[deployment]
        self.taken = taken
        self.placer = Placer(fleet, taken)
        self.use(target(fleet, deployment))
        self.live: dict[str, Json] = {}
        self.stopped: dict[str, Json] = {}
        self.puts: dict[str, tuple[int, Json]] = {}
        self.why: dict[str, str] = {}
        self.missing: list[Missing] = []
        self.unmoved: dict[str, str] = {}
        """Allocations that should be elsewhere, and why they are not."""
        self.rollout: Json | None = self.status.data.get("rollout")
        self.stable: Json | None = self.status.data.get("stable")
        if self.release.change and (self.rollout or {}).get("change") != self.release.change:
            self.rollout = {
                "state": "running",
                "change": self.release.change,
                "began": now.wall,
                "reason": "",
            }
            self.rollout["groups"] = {}
        self.more = False
        """Whether the step is cut short by its bound."""
        self.held = ""
        """Why nothing missing may be placed just now."""
        self._wake: tuple[float, str] = (inf, "")
        self._next = next_number(fleet, deployment)
        self._indices: dict[str, set[int]] = {}
        self._places: dict[str, Where] = {}
        self._survey()

    def use(self, release: Release) -> None:
        """Make this release what allocations are brought to."""
        self.release = release
        template = self.record.data["template"]
        self.groups = {group.name: group for group in groups(self.fleet, template, release)}
        self.slots: Mapping[Key, Slot] = known_slots(self.fleet, self.deployment, release)

    def _survey(self) -> None:
        fleet, unreadable = self.fleet, self.fleet.unreadable
        self.summaries: dict[str, Summary] = {}
        self.by_slot: dict[Key, list[str]] = {}
        self.canaries: dict[Key, str] = {}
        self.blind: set[Key] = set()
        """Slots of allocations that cannot be read any more."""
        self.unsettled: list[str] = []
        """Live allocations whose node is lost, or is to lose them."""
        for alloc_id in fleet.of_deployment.get(self.deployment, ()):
            data = fleet.allocations[alloc_id].data
            if unreadable and (ALLOCATIONS, alloc_id) in unreadable:
                self.blind.add(self.key(data))
            elif data["wanted"] == "running":
                self.live[alloc_id] = data
                at = self.where(data["node"])
                summary = self.summaries[alloc_id] = summarize(fleet, alloc_id, data, at)
                if summary.lost or at.gone or at.draining or at.removing:
                    self.unsettled.append(alloc_id)
                self._index(alloc_id, data)
            else:
                self.stopped[alloc_id] = data

    def _index(self, alloc_id: str, data: Json) -> None:
        if data.get("canary"):
            self.canaries[self.key(data)] = alloc_id
        else:
            self.by_slot.setdefault(self.key(data), []).append(alloc_id)

    def where(self, node: str) -> Where:
        """What counts of a node, looked at once."""
        found = self._places.get(node)
        if found is None:
            found = self._places[node] = where(self.fleet, node)
        return found

    def key(self, data: Json) -> Key:
        """The slot of an allocation."""
        return key_of(data, self.groups.get(data["group"]))

    def group(self, data: Json) -> GroupSpec | None:
        """The group of an allocation, as the release has it."""
        return self.groups.get(data["group"])

    def is_old(self, data: Json) -> bool:
        """Whether an allocation is of another release than the one that is meant."""
        release = self.release
        return (
            int(data.get("change", 0)) != release.change
            or data["version"] != release.version
            or (bool(data.get("parameters") or release.parameters) and Release.of(data) != release)
        )

    def unsuited(self, data: Json) -> bool:
        """Whether its node is not meant for it any more; a cordon says nothing of what runs already."""
        group, record = self.group(data), self.fleet.nodes.get(data["node"])
        if (
            group is None
            or record is None
            or any(record.data.get(key) for key in ("cordoned", "drain", "removing"))
        ):
            return False
        return expelled(self.fleet, data["node"], group)

    @property
    def promoted(self) -> bool:
        """Whether the release needs no canaries any more: somebody promoted it, or it ran here before."""
        rollout, change = self.rollout or {}, self.release.change
        back = self.stable is not None and Release.of(self.stable).runs_as(self.release)
        asked = int(self.record.data.get("promote", -1)) == change
        return asked or back or rollout.get("state") == "reverted" or bool(rollout.get("promoted"))

    @property
    def careful(self) -> bool:
        """Whether the release is not to be spread just now: it failed, waits, or is only tried."""
        if self.rollout is None or self.rollout["state"] in ("done", "reverted"):
            return False
        tried = any(group.policy.update.canary for group in self.groups.values()) and not self.promoted
        return tried or self.rollout["state"] in ("failed", "paused") or bool(self.record.data.get("paused"))

    def release_for(self, slot: Slot) -> Release:
        """The release that a replacement in a slot gets: the last good one while the new one is held back."""
        if self.careful and self.stable is not None:
            stable = Release.of(self.stable)
            if slot.key in known_slots(self.fleet, self.deployment, stable, keep=False):
                return stable
        return self.release

    def slot_in(self, release: Release, slot: Slot) -> Slot:
        """The same slot as another release has it."""
        if release == self.release:
            return slot
        return known_slots(self.fleet, self.deployment, release, keep=False)[slot.key]

    @property
    def full(self) -> bool:
        """Whether no more is changed in this step: the next one goes on."""
        return self._full(MOST_AT_ONCE)

    @property
    def filled(self) -> bool:
        """The same of new allocations."""
        return self._full(MOST_NEW)

    def _full(self, most: int) -> bool:
        if len(self.puts) >= most:
            self.more = True
        return self.more

    @property
    def next(self) -> int:
        """The number of the next allocation."""
        return self._next

    def wake(self, at: float, reason: str) -> None:
        """Plan again at `at` (steady seconds)."""
        self._wake = min(self._wake, (at, reason))

    @property
    def waiting(self) -> bool:
        """Whether something is to be looked at again at some time."""
        return self._wake[0] < inf

    def alarm(self) -> list[Wake]:
        """When to plan again, if that is sooner than what is due already."""
        at, reason = self._wake
        if at == inf or self.fleet.due.get(self.deployment, inf) <= at:
            return []
        return [Wake(self.deployment, at, reason)]

    def write(self, alloc_id: str, data: Json, why: str) -> None:
        """Write a live allocation anew."""
        self._put(alloc_id, data, why)
        self.live[alloc_id] = data

    def stop(self, alloc_id: str, why: str) -> None:
        """Stop an allocation for good."""
        heard = as_heard(self.fleet, alloc_id, self.live.pop(alloc_id))
        data = {**heard, "wanted": "stopped", "stopped": why}
        self._put(alloc_id, data, why)
        self.stopped[alloc_id] = data
        key = self.key(data)
        if data.get("canary"):
            self.canaries.pop(key, None)
        else:
            self.by_slot[key] = [each for each in self.by_slot[key] if each != alloc_id]

    def find(
        self, slot: Slot, avoid: Iterable[str] = (), release: Release | None = None, free: Iterable[str] = ()
    ) -> Chosen | Refused:
        """Where a slot would go; what it takes there is taken for the rest of this step.

        What the allocations in `free` have, which go in the same step, is free for it.
        """
        asked = request(self.fleet, self.deployment, slot, release or self.release)
        return self.placer.place(replace(asked, avoid=frozenset(avoid), free=frozenset(free)))

    def add(self, slot: Slot, chosen: Chosen, why: str, release: Release | None = None, **more: Any) -> str:
        """A new allocation for a slot; those that make room for it are stopped."""
        alloc_id, self._next = f"{self.deployment}.{self._next}", self._next + 1
        data = allocation(self.fleet, self.deployment, release or self.release, slot, chosen)
        if slot.node is not None:
            data["index"] = self._free_index(slot.group.name)
        data |= more
        for victim in chosen.victims:
            stored = self.fleet.allocations.get(victim)
            if stored is not None and victim not in self.puts:
                heard = as_heard(self.fleet, victim, stored.data)
                self._put(victim, make_room(heard, self.deployment), f"makes room for {alloc_id}")
        self._put(alloc_id, data, why)
        self.live[alloc_id] = data
        self.summaries[alloc_id] = summarize(self.fleet, alloc_id, data, self.where(data["node"]))
        self._index(alloc_id, data)
        return alloc_id

    def _put(self, alloc_id: str, data: Json, why: str) -> None:
        stored = self.fleet.allocations.get(alloc_id)
        self.puts[alloc_id] = (stored.rev if stored is not None else 0), data
        self.why[alloc_id] = why

    def _free_index(self, group: str) -> int:
        used = self._indices.get(group)
        if used is None:
            used = {int(data["index"]) for data in self.live.values() if data["group"] == group}
            self._indices[group] = used
        index = next(number for number in range(len(used) + 1) if number not in used)
        used.add(index)
        return index
