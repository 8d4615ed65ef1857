"""What is there already of a deployment that is decided: its status was lost, or the records of its runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manager_api.core.fleet import Fleet, Json
from manager_api.core.merge import is_part, running_already
from manager_api.core.placement import Chosen
from manager_api.core.ports import Wanted
from manager_api.core.records import number_of
from manager_api.core.release import Release, groups
from manager_api.core.slots import Key, Slot, key_of, slots
from store.errors import BadRecord
from store.model import status

Place = tuple[str, int | str]
"""Group, and index or (on every node) node."""
MOST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Run:
    """What runs in a slot, as its node tells it."""

    alloc_id: str
    generation: int
    index: int
    release: Release
    slot: Slot
    """As that release has it."""
    chosen: Chosen


class Found:
    """What is there already, by the slots that it fills; each is given once."""

    def __init__(self, fleet: Fleet, deployment: str, release: Release) -> None:
        self._fleet, self._deployment, self._release = fleet, deployment, release
        template = fleet.deployments[deployment].data["template"]
        self._groups = {group.name: group for group in groups(fleet, template, release)}
        every = fleet.of_deployment.get(deployment, ())
        readable = set(fleet.plannable(every))
        runs = running_already(fleet, deployment)
        self._runs = {alloc_id: run for alloc_id, run in runs.items() if alloc_id not in readable}
        self.highest = max((number_of(each) for each in [*runs, *every]), default=-1)
        """The highest number that anything of the deployment is known by."""
        self._records: dict[Key, list[str]] = {}
        for alloc_id in sorted(readable):
            data = fleet.allocations[alloc_id].data
            if data["wanted"] == "running":
                self._records.setdefault(key_of(data, self._groups.get(data["group"])), []).append(alloc_id)
        self._named: dict[Place, list[str]] = {}
        self._nameless: set[str] = set()
        for alloc_id in self._runs:
            self._name(alloc_id)
        self._slots: dict[Release, Mapping[Key, Slot]] = {}

    def _name(self, alloc_id: str) -> None:
        """Note which instance of its group a run says it is; agents of before do not say it."""
        node, said = self._runs[alloc_id]
        order = _order(said) or said
        name, index = order.get("group"), order.get("index")
        if not isinstance(name, str) or type(index) is not int:
            self._nameless.add(alloc_id)
            return
        group = self._groups.get(name)
        where = node if group is not None and group.everywhere else index
        self._named.setdefault((name, where), []).append(alloc_id)

    def numbers(self, count: int) -> Iterator[int]:
        """Numbers for new allocations: none that anything of the deployment ever had."""
        return iter(range(self.highest + 1, self.highest + 1 + count))

    def listed(self, slot: Slot) -> str | None:
        """The record that fills a slot."""
        records = self._records.get(slot.key)
        return records.pop(0) if records else None

    def running(self, slot: Slot, position: int) -> Run | None:
        """What runs in a slot; what does not say what it is counts by its number, or its node."""
        name, index, _ = slot.key
        candidates = sorted(self._named.get((name, index), ()), key=self._worth)
        for alloc_id in candidates:
            found = self._run(alloc_id, slot)
            if found is not None:
                self._named[name, index].remove(alloc_id)
                return found
        expected = f"{self._deployment}.{position}"
        guesses = [each for each in sorted(self._nameless) if self._runs[each][0] == slot.node]
        if slot.node is None:
            guesses = [expected] if expected in self._nameless else []
        for alloc_id in guesses:
            found = self._run(alloc_id, slot)
            if found is not None:
                self._nameless.discard(alloc_id)
                return found
        return None

    def _worth(self, alloc_id: str) -> tuple[bool, int]:
        """Of several in one slot, what runs before what ended; then the one that was placed last."""
        return status.ended(status.task_states(self._runs[alloc_id][1])), -number_of(alloc_id)

    def _run(self, alloc_id: str, slot: Slot) -> Run | None:
        node, said = self._runs[alloc_id]
        order = _order(said)
        release, mine = self._as_ordered(order, slot)
        if not is_part(said, mine.part):
            return None
        published = Wanted.of(mine.part).published
        chosen = Chosen(node, ports_of(said, mine), "it runs there already", (), published)
        index = (order or said).get("index")
        index = index if type(index) is int and slot.node is not None else slot.index
        return Run(alloc_id, int(said["generation"]), index, release, mine, chosen)

    def _as_ordered(self, order: Json, slot: Slot) -> tuple[Release, Slot]:
        """The release that a node was ordered to run, which need not be the one that is meant now."""
        fleet, stored = self._fleet, self._fleet.deployments[self._deployment].data
        if not order:
            return self._release, slot
        try:
            release = Release.of(order)
            if release == self._release or order["template"] != stored["template"]:
                return self._release, slot
            if release not in self._slots:
                scale = stored.get("scale") or {}
                every = slots(fleet, self._deployment, release, scale)
                self._slots[release] = {each.key: each for each in every}
            return release, self._slots[release][slot.key]
        except (AttributeError, BadRecord, KeyError, TypeError, ValueError):
            return self._release, slot


def _order(said: Json) -> Json:
    """What a node was ordered and nobody else knows any more; what is no record says nothing."""
    order: Any = said.get("order")
    return order if isinstance(order, dict) else {}


def ports_of(said: Json, slot: Slot) -> dict[str, dict[str, int]]:
    """The ports that a node says it gave the tasks of a slot; what cannot be so is left out."""
    rows = {row["name"]: row.get("ports") for row in said.get("tasks", ())}
    ordered = _order(said).get("ports")
    found: dict[str, dict[str, int]] = {}
    for task in slot.part.tasks:
        given = rows.get(task.name) or (ordered.get(task.name) if isinstance(ordered, Mapping) else None)
        for name, number in given.items() if isinstance(given, Mapping) else ():
            if name in task.ports and type(number) is int and 0 < number <= MOST_PORT:
                found.setdefault(task.name, {})[name] = number
    return found
