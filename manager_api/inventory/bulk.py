"""Many devices written at once: dozens to a transaction, each under the compare of its own record."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from manager_api.core import device_csv
from manager_api.core import devices as core
from manager_api.inventory import devices
from manager_api.inventory.devices import Kept
from manager_api.inventory.search import serials
from manager_api.inventory.seen import Seen
from store.batches import batches
from store.codec import Json, read_record
from store.errors import BadRecord, Conflict, TooLarge
from store.faults import fault
from store.keys import DEVICES
from store.kv.api import Record
from store.kv.store import Store

AT_ONCE = 60
"""Devices of one transaction: a new one takes a compare, a change and four lines of its 512 fields."""
CREATED, CHANGED, SAME, REFUSED = "created", "changed", "same", "refused"


@dataclass(frozen=True, slots=True)
class Wish:
    """One device as it is to be: all of the contract's fields. An empty id: a new one."""

    line: int
    device: str
    body: Json
    suggested: str = ""
    """The id that a new one gets if it is free; the device that has it and is as wished is this one."""

    by_sn: bool = False
    """Whether `device`, or else `suggested`, was found by the serial number."""

    @property
    def sn(self) -> str:
        """The serial number that it says; empty: none."""
        return str(self.body["hardware"]["sn"])

    @property
    def key(self) -> str:
        """The id under which it may lie already; empty: none."""
        return self.device or self.suggested


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a wish."""

    line: int
    device: str
    result: str
    why: str = ""


def put(
    store: Store, wishes: Iterable[Wish | Outcome], *, dry_run: bool = False, by_sn: bool = False
) -> Iterator[Outcome]:
    """Make or change devices so that they are as wished, in their order; memory does not grow with them.

    What is an outcome already is passed on in its place. The status of a device that is a node is its
    heartbeat's: what a wish says of it is passed over.

    `by_sn`: a wish without an id is for the one device that has its serial number, or makes it. It is refused
    where that does not tell which: it has none, or an earlier wish, or several devices, have it, too. Then
    memory grows, by some bytes for each.
    """
    for batch in batches(_apart(wishes) if by_sn else wishes, AT_ONCE):
        wished = [each for each in batch if isinstance(each, Wish)]
        done = iter(_put(store, wished, dry_run=dry_run, by_sn=by_sn))
        yield from (next(done) if isinstance(each, Wish) else each for each in batch)


def _apart(wishes: Iterable[Wish | Outcome]) -> Iterator[Wish | Outcome]:
    """Refuse those without an id whose serial number an earlier one has: else they become one device."""
    seen = Seen()
    for each in wishes:
        if isinstance(each, Wish) and not each.device and each.sn and not seen.add(each.sn):
            yield _refused(each, f"an earlier line without an id has serial number {each.sn!r}, too")
        else:
            yield each


def _put(store: Store, batch: Sequence[Wish], *, dry_run: bool, by_sn: bool) -> list[Outcome]:
    known = _found(store, batch) if by_sn else list(batch)
    if len(batch) > 1 and _meet(known):  # the later one is to see the earlier one
        return _one_by_one(store, batch, dry_run=dry_run, by_sn=by_sn)
    outcomes, pairs = [], []
    for wish, record in zip(known, _records(store, known), strict=True):
        outcome, pair = (wish, None) if isinstance(wish, Outcome) else _planned(wish, record)
        outcomes.append(outcome)
        pairs += [pair] if pair else []
    if pairs and not dry_run and not write(store, pairs):  # somebody else was quicker: look again
        return _one_by_one(store, batch, dry_run=dry_run, by_sn=by_sn)
    return [_dry(wish, each) for wish, each in zip(known, outcomes, strict=True)] if dry_run else outcomes


def _one_by_one(store: Store, batch: Sequence[Wish], *, dry_run: bool, by_sn: bool) -> list[Outcome]:
    return [each for wish in batch for each in _put(store, [wish], dry_run=dry_run, by_sn=by_sn)]


def _found(store: Store, batch: Sequence[Wish]) -> list[Wish | Outcome]:
    """Wishes without an id, with that of the device that has their serial number.

    One that nobody has makes the id: of two that are made at the same moment, one finds the other.
    """
    there = serials(store, {wish.sn for wish in batch if not wish.device and wish.sn})
    return [wish if wish.device else _match(wish, there.get(wish.sn, [])) for wish in batch]


def _match(wish: Wish, there: Sequence[str]) -> Wish | Outcome:
    if not wish.sn:
        return _refused(wish, "neither an id nor a serial number, by which it could be found again")
    if len(there) > 1:
        those = " and ".join(there[:2])
        return _refused(wish, f"{those} both have serial number {wish.sn!r}: say the id")
    if there:
        return replace(wish, device=there[0], by_sn=True)
    return replace(wish, suggested=devices.id_of(f"sn:{wish.sn}"), by_sn=True)


def _refused(wish: Wish, why: str) -> Outcome:
    return Outcome(wish.line, wish.device, REFUSED, why)


def _meet(known: Sequence[Wish | Outcome]) -> bool:
    """Whether two of some wishes are for one device, or may be: what one says is where another is found."""
    wishes = [each for each in known if isinstance(each, Wish)]
    keys = [wish.key for wish in wishes if wish.key]
    sns = [wish.sn for wish in wishes]
    return len(set(keys)) < len(keys) or any(wish.by_sn and sns.count(wish.sn) > 1 for wish in wishes)


def _records(store: Store, known: Sequence[Wish | Outcome]) -> list[Record | None]:
    return store.get_many([(DEVICES, each.key if isinstance(each, Wish) else "") for each in known])


def _planned(wish: Wish, record: Record | None) -> tuple[Outcome, tuple[Kept | None, Json] | None]:
    """What becomes of a wish, and what is to be written for it, if anything."""
    try:
        old = _kept(record, wish)
    except BadRecord as error:
        return _refused(wish, str(error)), None
    if old is None and wish.by_sn and wish.device:
        return _refused(
            wish,
            "its device has just changed: try again; if it stays so, muster doctor",
        ), None
    new = _as_wished(old, wish, free=record is None)
    result = SAME if old and new == old.data else CHANGED if old else CREATED
    return Outcome(wish.line, new["id"], result), None if result == SAME else (old, new)


def _dry(wish: Wish | Outcome, outcome: Outcome) -> Outcome:
    """A new id that nobody was given is not told."""
    return outcome if isinstance(wish, Outcome) or wish.device else Outcome(outcome.line, "", outcome.result)


def write(store: Store, pairs: Sequence[tuple[Kept | None, Json]]) -> bool:
    """Write devices in one transaction: as they were, as they are to be; False: one by one, then.

    Raises:
        TooLarge: already the only one of them is.
    """
    parts = [devices.transaction(old, new) for old, new in pairs]
    compares = [each for part in parts for each in part[0]]
    changes = [each for part in parts for each in part[1]]
    fault("api.device.before")
    try:
        store.txn(compares, changes, lines=[each for part in parts for each in part[2]])
    except Conflict:
        return False
    except TooLarge:
        if len(pairs) == 1:
            raise
        return False
    fault("api.device.after")
    return True


def _kept(record: Record | None, wish: Wish) -> Kept | None:
    if record is None or not wish.key:
        return None
    kept = Kept(read_record(record.value, f"device {wish.key}"), record.rev)
    if wish.by_sn:
        return kept if kept.data["hardware"]["sn"] == wish.sn else None
    return kept if wish.device or not device_csv.differing(kept.data, wish.body) else None


def _as_wished(old: Kept | None, wish: Wish, *, free: bool) -> Json:
    if old is None:
        return {**wish.body, "v": 1, "id": wish.device or (free and wish.suggested) or devices.new_id()}
    said = {key: value for key, value in wish.body.items() if key != "status" or not old.data.get("node")}
    return core.changed(old.data, device_csv.differing(old.data, said))
