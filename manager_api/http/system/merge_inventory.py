"""Groups and devices of a merge: found again by name, and by id.

A device of a node of the fleet is never touched, nor are its memberships: what a merge does to the place of
work is done by groups alone.
"""

from collections.abc import Sequence

from manager_api.core import devices as shapes
from manager_api.http.system.merge_part import Choice, Part
from manager_api.http.system.merge_report import Report
from manager_api.inventory import bulk, devices, groups
from manager_api.inventory.devices import Kept
from store.batches import batches
from store.codec import Json, loads
from store.keys import DEVICES, GROUPS, NODES
from store.kv.store import Store
from store.kv.swap import Swap


class Inventory(Part):
    """Groups, then the devices that are in them."""

    def __init__(self, store: Store, staged: Swap, choice: Choice, report: Report) -> None:
        super().__init__(store, staged, choice, report)
        self._groups: dict[str, str] = {}
        """Group ids there -> here."""

    def run(self) -> None:
        """Groups first: devices name them."""
        self._each(GROUPS, self._group)
        for batch in batches(self._records(DEVICES), bulk.AT_ONCE):
            self._devices(batch)
            self._staged.renew()

    def _group(self, group: str, record: Json) -> None:
        name, body = record["name"], _without(record, "id")
        there = groups.named(self._store, name)
        if there is None:
            taken = self._store.get(GROUPS, group) is not None or groups.is_named(self._store, group)
            self._groups[group] = group
            self._report.note(GROUPS, "made")
            self._report.regrouped.append((None, {**body, "id": "" if taken else group}))
            if not self._report.dry_run:
                made = groups.create(self._store, body, wanted=None if taken else group)
                self._groups[group] = made.data["id"]
            return
        self._groups[group] = there
        mine, theirs = groups.find(self._store, there).data, {**body, "id": there}
        if mine == theirs:
            self._report.note(GROUPS, "same")
        elif self._differs(GROUPS, name, "a group of this name is here and says something else"):
            self._report.regrouped.append((mine, theirs))
            self._do(lambda: groups.change(self._store, there, lambda _: theirs))

    def _devices(self, batch: Sequence[tuple[str, Json]]) -> None:
        """A round trip for what is here of them, one for their nodes, one transaction."""
        found = self._store.get_many([(DEVICES, device) for device, _ in batch])
        mine = [
            Kept(loads(each.value, f"devices/{device}"), each.rev) if each else None
            for (device, _), each in zip(batch, found, strict=True)
        ]
        named = {record.get("node") for _, record in batch} | {old.data.get("node") for old in mine if old}
        nodes = sorted(each for each in named if each)
        there = zip(nodes, self._store.values_of(NODES, nodes), strict=True)
        here = {node for node, raw in there if raw is not None}
        wanted: list[tuple[Kept | None, Json]] = []
        for (device, record), old in zip(batch, mine, strict=True):
            body = self._device(device, record, old, here)
            if body is not None:
                wanted.append((old, body))
        if wanted and not self._report.dry_run and not bulk.write(self._store, wanted):
            for old, body in wanted:
                self._write_one(old, body)

    def _write_one(self, old: Kept | None, body: Json) -> None:
        """Somebody else was quicker with one of them, or they are too much for one transaction."""
        if old is None:
            devices.create(self._store, _without(body, "id"), wanted=body["id"])
        else:
            devices.change(self._store, body["id"], lambda now: now if self._is_node(now) else body)

    def _is_node(self, device: Json) -> bool:
        node = device.get("node")
        return node is not None and self._store.get(NODES, node) is not None

    def _device(self, device: str, record: Json, old: Kept | None, here: set[str]) -> Json | None:
        """What a device is to be here; None: it stays what it is."""
        body = shapes.in_groups(
            record, [self._groups[each] for each in record.get("groups", ()) if each in self._groups]
        )
        mine = old.data if old else {}
        its = [each for each in (body.get("node"), mine.get("node")) if each in here]
        if its:
            self._report.note(DEVICES, "skipped", device, f"node {its[0]} is here, a device of its own")
            return None
        was_node = body.pop("node", None)
        if body.pop("edited", None) is not None or was_node:
            body["status"] = "offline"
        if "node" in mine:  # it may come back
            body |= {key: mine[key] for key in ("node", "edited", "status") if key in mine}
        if old is not None and mine == body:
            self._report.note(DEVICES, "same")
            return None
        if old is None:
            self._report.note(DEVICES, "made")
            return body
        why = "a device with this id is here and says something else"
        return body if self._differs(DEVICES, device, why) else None


def _without(record: Json, *names: str) -> Json:
    return {key: value for key, value in record.items() if key not in names}
