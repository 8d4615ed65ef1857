"""Whether a desired state is to be obeyed, and what of it. Absence is never an order."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from store.errors import BadRecord
from store.model import spec
from store.model.epoch import epoch_number
from store.model.spec import AllocSpec

Json = dict[str, Any]
ENDED_KEPT = 500
"""Stopped is terminal, also for a store that forgot saying so: for so many allocations."""
UNCLAIMED = "unclaimed: no longer listed, and nobody said stop"


@dataclass(frozen=True, slots=True)
class Orders:
    """What this machine was last told, and by which store: kept on disk, obeyed without one."""

    epoch: str = ""
    rev: int = 0
    entries: Mapping[str, Json] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    """Allocations that were stopped here and are listed no more, with their generation; the last ones."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A desired hash as it was just read."""

    epoch: str
    rev: int
    uid: str
    entries: Mapping[str, Json | str]
    """Parsed entries; a text says why one could not be parsed."""


@dataclass(frozen=True, slots=True)
class Obeyed:
    """New orders; `oddities` are entries left as they were, with the reason."""

    orders: Orders
    oddities: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Frozen:
    """Nothing is obeyed; everything goes on as it is."""

    reason: str


def consider(offer: Offer, known: Orders, uid: str) -> Obeyed | Frozen:
    """Obey an offer, or say why not."""
    if not offer.epoch and not known.epoch:
        return Obeyed(known, {})  # a new node, and the leader has not written to it yet
    refusal = _refusal(offer, known, uid)
    if refusal:
        return Frozen(refusal)
    entries: dict[str, Json] = {}
    oddities: dict[str, str] = {}
    for alloc_id, entry in offer.entries.items():
        old = known.entries.get(alloc_id) or _tombstone(entry, known.ended.get(alloc_id))
        problem = _problem(alloc_id, entry, old)
        if problem is None:
            assert isinstance(entry, dict)
            entries[alloc_id] = entry
        else:
            oddities[alloc_id] = problem
            if old is not None:
                entries[alloc_id] = old
    for alloc_id, old in known.entries.items():
        if alloc_id not in offer.entries and old["wanted"] == "running":
            entries[alloc_id] = old
            oddities[alloc_id] = UNCLAIMED
    return Obeyed(Orders(offer.epoch, offer.rev, entries, _ended(known, entries)), oddities)


def _tombstone(entry: Json | str, ended: int | None) -> Json | None:
    """What is known of an entry that was stopped here, and listed no more since."""
    if ended is None or isinstance(entry, str):
        return None
    return {**entry, "wanted": "stopped", "generation": ended}


def _ended(known: Orders, entries: Mapping[str, Json]) -> dict[str, int]:
    """The last allocations that were stopped here and are listed no more."""
    gone = {
        alloc_id: int(old["generation"])
        for alloc_id, old in known.entries.items()
        if old["wanted"] == "stopped"
    }
    found = {key: value for key, value in {**known.ended, **gone}.items() if key not in entries}
    return dict(list(found.items())[-ENDED_KEPT:])


def _refusal(offer: Offer, known: Orders, uid: str) -> str | None:
    if not offer.epoch:
        return "the store has no desired state for this node, though it had one"
    if offer.uid != uid:
        return "the desired state is meant for another machine with this node id"
    if offer.epoch == known.epoch:
        if offer.rev < known.rev:
            return f"the store fell back to revision {offer.rev} from {known.rev}"
        return None
    if known.epoch:
        return _refuse_epoch(offer, known)
    return None


def _refuse_epoch(offer: Offer, known: Orders) -> str | None:
    if epoch_number(offer.epoch) <= epoch_number(known.epoch):
        return f"the store is in epoch {offer.epoch}, not later than {known.epoch}"
    if offer.rev <= known.rev:
        return f"epoch {offer.epoch} has not reached revision {known.rev} yet"
    return None


def _problem(alloc_id: str, entry: Json | str, old: Json | None) -> str | None:
    """Why an entry is not obeyed, or None."""
    if isinstance(entry, str):
        return f"unreadable: {entry}"
    try:
        new = spec.allocation(alloc_id, entry)
    except BadRecord as error:
        return f"unreadable: {error}"
    if old is None:
        return None
    if new.generation < old["generation"]:
        return f"generation {new.generation} is older than {old['generation']}, which was obeyed already"
    if new.generation == old["generation"] and old["wanted"] == "stopped" and new.wanted != "stopped":
        return "stopped is for ever: this generation was stopped already"
    return None


def allocations(orders: Orders) -> dict[str, AllocSpec]:
    """The orders as specs; they were readable when they were taken."""
    found = {}
    for alloc_id, entry in orders.entries.items():
        try:
            found[alloc_id] = spec.allocation(alloc_id, entry)
        except BadRecord:
            continue  # written by a later release whose agent ran here before: left alone
    return found


def unclaimed(running: Iterable[str], desired: Collection[str], oddities: Mapping[str, str]) -> list[str]:
    """Allocations that no order names (any more), though they run or were never said to stop; at most 100."""
    kept = {alloc_id for alloc_id, why in oddities.items() if why == UNCLAIMED}
    return sorted((set(running) - set(desired)) | kept)[:100]
