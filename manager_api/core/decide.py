"""The decision on a new deployment: all of it is placed, or it is refused as a whole, or it waits."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from manager_api.core.actions import Action, Advance, Json, Place, Refuse, SetStatus, Wake
from manager_api.core.draft import AGAIN
from manager_api.core.fleet import Fleet
from manager_api.core.merge import is_part, running_already
from manager_api.core.moment import Moment
from manager_api.core.placement import Chosen, Placer, Refused, Taken
from manager_api.core.progress import MOST_BRIEFS, brief_of
from manager_api.core.records import allocation, make_room, number_of
from manager_api.core.release import Release, groups, target
from manager_api.core.slots import Key, Slot, key_of, request, slots
from store.model.lifecycle import Deployment
from store.model.placed import ranges
from store.model.spec import GroupSpec


@dataclass(slots=True)
class _Plan:
    """What was found a place so far."""

    puts: dict[str, Json] = field(default_factory=dict)
    known: dict[str, Json] = field(default_factory=dict)
    """Records that are there already."""
    victims: dict[str, tuple[int, Json]] = field(default_factory=dict)


def decide(fleet: Fleet, deployment: str, now: Moment, taken: Taken) -> list[Action]:
    """Accept, refuse or keep waiting one deployment; nothing while a node that may yet turn up might take it.

    What runs already, since it was decided in a history that was lost, is decided the same. `taken` grows
    by what it takes, for the next decision of the same round.

    Raises:
        KeyError, BadRecord: its template version is not there, or cannot be read.
    """
    stored, release = fleet.deployments[deployment], target(fleet, deployment)
    wanted = slots(fleet, deployment, release, stored.data.get("scale") or {})
    placer = Placer(fleet, taken)
    known = groups(fleet, stored.data["template"], release)
    if any(group.everywhere for group in known):
        fleet.everywhere.add(deployment)
    plan = _Plan()
    refused = _nowhere(fleet, wanted, known)
    if refused is None:
        refused = _place_all(fleet, deployment, release, wanted, placer, plan)
    if refused is not None:
        return _not_now(fleet, deployment, now, refused)
    placer.keep()
    return [_accept(fleet, deployment, plan)]


def _nowhere(fleet: Fleet, wanted: list[Slot], known: tuple) -> tuple[str, Refused] | None:  # type: ignore[type-arg]
    """A group on every node, and no node is meant."""
    from manager_api.core.placement import eligible

    there = {slot.group.name for slot in wanted}
    for group in known:
        if group.everywhere and group.name not in there:
            why = {node: eligible(fleet, node, group) or "is not online" for node in sorted(fleet.nodes)}
            whole = (
                "no node that is online is meant for it" if why else "there is no node yet: start an agent"
            )
            return group.name, Refused(whole, why)
    return None


def _place_all(
    fleet: Fleet, deployment: str, release: Release, wanted: list[Slot], placer: Placer, plan: _Plan
) -> tuple[str, Refused] | None:
    """Find a place for each slot; the group and the refusal of the first that finds none."""
    found = _Found(fleet, deployment, {id(slot.group): slot.group for slot in wanted}.values())
    numbers = found.numbers(len(wanted))
    for position, slot in enumerate(wanted):
        if found.listed(slot, plan):
            continue
        runs = found.running(slot, f"{deployment}.{position}")
        if runs is not None:
            alloc_id, node, said = runs
            generation = int(said["generation"])
            chosen: Chosen | Refused = Chosen(node, _ports(said), "it runs there already")
        else:
            alloc_id, generation = f"{deployment}.{next(numbers)}", 1
            chosen = placer.place(request(fleet, deployment, slot, release))
        if isinstance(chosen, Refused):
            if slot.node is not None and _others(wanted, slot):
                continue  # of a group on every node, those that have room
            return slot.group.name, chosen
        data = {**allocation(fleet, deployment, release, slot, chosen), "generation": generation}
        if slot.node is not None:
            data["index"] = found.index(slot.group.name)
        plan.puts[alloc_id] = data
        for victim in chosen.victims:
            stored = fleet.allocations[victim]
            plan.victims[victim] = stored.rev, make_room(stored.data, deployment)
    unplaced = {slot.group.name for slot in wanted} - {
        data["group"] for data in [*plan.puts.values(), *plan.known.values()]
    }
    if unplaced:
        name = min(unplaced)
        slot = next(slot for slot in wanted if slot.group.name == name)
        again = Placer(fleet, Taken()).place(request(fleet, deployment, slot, release))
        return name, again if isinstance(again, Refused) else Refused("no node can take it", {})
    return None


def _others(wanted: list[Slot], slot: Slot) -> bool:
    return any(each.group.name == slot.group.name and each.node != slot.node for each in wanted)


class _Found:
    """What is there of a deployment already: records whose status was lost, runs whose records were."""

    def __init__(self, fleet: Fleet, deployment: str, known: Iterable[GroupSpec]) -> None:
        self._already = running_already(fleet, deployment)
        self._named: dict[tuple[object, object], list[str]] = {}
        """What runs, by the group and index that its order names."""
        for alloc_id, (_, said) in self._already.items():
            order = said.get("order") or {}
            if order:
                self._named.setdefault((order.get("group"), order.get("index")), []).append(alloc_id)
        by_name = {group.name: group for group in known}
        self._listed: dict[Key, list[tuple[str, Json]]] = {}
        """Records, by the slot they fill."""
        for each in fleet.plannable(fleet.of_deployment.get(deployment, ())):
            data = fleet.allocations[each].data
            if data["wanted"] == "running" and each not in self._already:
                key = key_of(data, by_name.get(data["group"]))
                self._listed.setdefault(key, []).append((each, data))
        self._highest = max(
            (number_of(each) for each in [*self._already, *fleet.of_deployment.get(deployment, ())]),
            default=-1,
        )
        self._indices: dict[str, int] = {}

    def numbers(self, count: int) -> Iterator[int]:
        """Numbers for new allocations: none that anything of the deployment ever had."""
        start = self._highest + 1 if self._highest >= 0 else 0
        return iter(range(start, start + count))

    def index(self, group: str) -> int:
        """The next index in a group on every node."""
        self._indices[group] = self._indices.get(group, -1) + 1
        return self._indices[group]

    def listed(self, slot: Slot, plan: _Plan) -> bool:
        """Whether a record fills the slot; it is noted."""
        there = self._listed.get(slot.key)
        if not there:
            return False
        alloc_id, data = there.pop(0)
        plan.known[alloc_id] = data
        return True

    def running(self, slot: Slot, expected: str) -> tuple[str, str, Json] | None:
        """What runs in a slot: its id, its node and what that says of it."""
        for alloc_id in (expected, *self._named.get((slot.group.name, slot.index), ())):
            node, said = self._already.get(alloc_id, ("", {}))
            if node and is_part(said, slot.part):
                del self._already[alloc_id]
                return alloc_id, node, said
        return None


def _ports(said: Json) -> dict[str, dict[str, int]]:
    """The ports that a node says it gave."""
    given = (said.get("order") or {}).get("ports") or {}
    return {task: dict(numbers) for task, numbers in given.items()}


def _accept(fleet: Fleet, deployment: str, plan: _Plan) -> Place | Advance:
    stored, status = fleet.deployments[deployment], fleet.status.get(deployment)
    highest = max((number_of(each) for each in [*plan.puts, *plan.known]), default=-1)
    there = {**plan.known, **plan.puts}
    record: Json = {"v": 1, **restarted(stored.data), "status": Deployment.PENDING}
    record |= {"reason": "waiting for its nodes", "next": highest + 1}
    if len(there) > MOST_BRIEFS:
        record |= {"allocations": [], "placed": ranges(number_of(each) for each in there)}
    else:
        record["allocations"] = [brief_of(fleet, alloc_id, each) for alloc_id, each in there.items()]
    record["groups"] = _counted(fleet, deployment, plan.puts, plan.known)
    if stored.data.get("change"):
        record["release"] = target(fleet, deployment).as_record()
    nodes = sorted({each["node"] for each in plan.puts.values()})
    why = f"placed on {', '.join(nodes[:5])}{' and more' if len(nodes) > 5 else ''}"
    if status is None and not plan.victims:
        return Place(deployment, stored.rev, plan.puts, record, why)
    puts = plan.victims | {alloc_id: (0, data) for alloc_id, data in plan.puts.items()}
    reasons = {
        each: plan.puts[each]["why"] if each in plan.puts else data["stopped"]
        for each, (_, data) in puts.items()
    }
    return Advance(deployment, stored.rev, status.rev if status else 0, puts, record, reasons, why)


def _counted(fleet: Fleet, deployment: str, puts: dict[str, Json], known: dict[str, Json]) -> Json:
    data, release = fleet.deployments[deployment].data, target(fleet, deployment)
    found = {
        group.name: {"wanted": 0, "placed": 0, "up": 0} for group in groups(fleet, data["template"], release)
    }
    for slot in slots(fleet, deployment, release, data.get("scale") or {}):
        found[slot.group.name]["wanted"] += 1
    for each in [*puts.values(), *known.values()]:
        if each["group"] in found:
            found[each["group"]]["placed"] += 1
    return found


def _not_now(fleet: Fleet, deployment: str, now: Moment, refused: tuple[str, Refused]) -> list[Action]:
    """No room: refused, or it waits for some; nothing is said while a node may yet turn up."""
    stored, status = fleet.deployments[deployment], fleet.status.get(deployment)
    name, why = refused
    if any(not fleet.states[each].settled for each in why.nodes):
        return []
    reason = f"group {name!r}: {why.reason}"
    nodes = [{"node": node, "reason": text} for node, text in sorted(why.nodes.items())]
    if not stored.data.get("wait"):
        record: Json = {"v": 1, "status": Deployment.FAILED, "refused": True, "reason": reason}
        record |= {"nodes": nodes, "allocations": [], "tasks": []}
        return [Refuse(deployment, stored.rev, record, reason)]
    fleet.hungry.add(deployment)
    record = {"v": 1, **restarted(stored.data), "status": Deployment.PENDING, "waiting": True}
    record |= {"reason": f"waits for capacity: {reason}", "nodes": nodes[:20], "allocations": [], "next": 0}
    at = now.steady + AGAIN
    due = fleet.due.get(deployment)
    alarm = [Wake(deployment, at, "to look for room")] if due is None or due > at else []
    if status is not None and status.data == record:
        return [*alarm]
    rev = status.rev if status is not None else 0
    return [SetStatus(deployment, rev, record, record["reason"]), *alarm]


def restarted(data: Json) -> Json:
    """For the first status of a deployment: what was asked of it before needs no restart any more."""
    return {"restarted": data["restart"]} if "restart" in data else {}
