"""The decision on a new deployment: all of it is placed, or it is refused as a whole, or it waits."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from manager_api.core.actions import Action, Advance, Json, Place, Refuse, Reorder, SetStatus, Wake
from manager_api.core.draft import AGAIN
from manager_api.core.fleet import Fleet
from manager_api.core.found import Found
from manager_api.core.moment import Moment
from manager_api.core.placement import Placer, Refused, Taken, eligible
from manager_api.core.portions import MOST_AT_ONCE
from manager_api.core.progress import brief_of
from manager_api.core.quiet import as_heard
from manager_api.core.records import allocation, make_room, number_of
from manager_api.core.release import Release, groups, target
from manager_api.core.slots import Slot, request, slots
from store.model.lifecycle import Deployment
from store.model.placed import MOST_BRIEFS, ranges
from store.model.spec import GroupSpec


@dataclass(slots=True)
class _Plan:
    """What was found a place so far."""

    kept: dict[str, Json] = field(default_factory=dict)
    """What runs already, and has no record."""
    highest: int = -1
    """The highest number that anything of the deployment is known by."""
    puts: dict[str, Json] = field(default_factory=dict)
    known: dict[str, Json] = field(default_factory=dict)
    """Records that are there already."""
    victims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What makes room for each."""


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
    found = Found(fleet, deployment, release)
    plan = _Plan(highest=found.highest)
    refused = _nowhere(fleet, wanted, known)
    if refused is None:
        refused = _place_all(fleet, deployment, release, wanted, placer, plan, found)
    if len(plan.kept) >= MOST_AT_ONCE:  # with a status, what has no record would be placed again
        every = {alloc_id: (0, data) for alloc_id, data in plan.kept.items()}
        return [Reorder(deployment, every, "they run already, and their records were lost")]
    if refused is not None:
        later = _not_now(fleet, deployment, now, refused)
        if not later or not (plan.known or plan.kept):
            return later
        plan.puts.clear()  # what runs is not given up because something of it is missing
    placer.keep()
    return [_accept(fleet, deployment, plan)]


def _nowhere(fleet: Fleet, wanted: list[Slot], known: Iterable[GroupSpec]) -> tuple[str, Refused] | None:
    """A group on every node, and no node is meant."""
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
    fleet: Fleet,
    deployment: str,
    release: Release,
    wanted: list[Slot],
    placer: Placer,
    plan: _Plan,
    found: Found,
) -> tuple[str, Refused] | None:
    """Find a place for each slot; the group and the refusal of the first that finds none."""
    left = _keep(fleet, deployment, wanted, placer, plan, found)
    numbers = found.numbers(len(left))
    indices = _Indices(plan)
    for slot in left:
        chosen = placer.place(request(fleet, deployment, slot, release))
        if isinstance(chosen, Refused):
            if slot.node is not None and _others(wanted, slot):
                continue  # of a group on every node, those that have room
            return slot.group.name, chosen
        data, alloc_id = allocation(fleet, deployment, release, slot, chosen), f"{deployment}.{next(numbers)}"
        if slot.node is not None:
            data["index"] = indices.next(slot.group.name)
        plan.puts[alloc_id] = data
        if chosen.victims:
            plan.victims[alloc_id] = chosen.victims
    unplaced = {slot.group.name for slot in wanted} - {
        data["group"] for data in [*plan.kept.values(), *plan.puts.values(), *plan.known.values()]
    }
    if unplaced:
        name = min(unplaced)
        slot = next(slot for slot in wanted if slot.group.name == name)
        again = Placer(fleet, Taken()).place(request(fleet, deployment, slot, release))
        return name, again if isinstance(again, Refused) else Refused("no node can take it", {})
    return None


def _keep(
    fleet: Fleet, deployment: str, wanted: list[Slot], placer: Placer, plan: _Plan, found: Found
) -> list[Slot]:
    """Note what is there already, and what it takes; the slots that nothing fills."""
    left: list[Slot] = []
    for position, slot in enumerate(wanted):
        known = found.listed(slot)
        if known is not None:
            plan.known[known] = fleet.allocations[known].data
            continue
        run = found.running(slot, position)
        if run is None:
            left.append(slot)
            continue
        data = {**allocation(fleet, deployment, run.release, run.slot, run.chosen), "index": run.index}
        plan.kept[run.alloc_id] = {**data, "generation": run.generation}
        placer.note(request(fleet, deployment, run.slot, run.release), run.chosen)
    return left


class _Indices:
    """Indices in groups on every node: each the lowest that nothing has."""

    def __init__(self, plan: _Plan) -> None:
        self._used: dict[str, set[int]] = {}
        for data in [*plan.kept.values(), *plan.known.values()]:
            self._used.setdefault(data["group"], set()).add(int(data["index"]))
        self._next: dict[str, int] = {}

    def next(self, group: str) -> int:
        """The next one of a group."""
        number, used = self._next.get(group, 0), self._used.get(group, ())
        while number in used:
            number += 1
        self._next[group] = number + 1
        return number


def _others(wanted: list[Slot], slot: Slot) -> bool:
    return any(each.group.name == slot.group.name and each.node != slot.node for each in wanted)


def _accept(fleet: Fleet, deployment: str, plan: _Plan) -> Place | Advance:
    stored, status = fleet.deployments[deployment], fleet.status.get(deployment)
    first, making_room = _first(fleet, deployment, plan)
    highest = max((number_of(each) for each in [*first, *plan.known]), default=-1)
    there = {**plan.known, **first}
    record: Json = {"v": 1, **restarted(stored.data), "status": Deployment.PENDING}
    record |= {"reason": "waiting for its nodes", "next": max(highest, plan.highest) + 1}
    if len(there) > MOST_BRIEFS:
        record |= {"allocations": [], "placed": ranges(number_of(each) for each in there)}
    else:
        record["allocations"] = [brief_of(fleet, alloc_id, each) for alloc_id, each in there.items()]
    record["groups"] = _counted(fleet, deployment, plan.puts, plan.known)
    if stored.data.get("change"):
        record["release"] = target(fleet, deployment).as_record()
    nodes = sorted({each["node"] for each in [*plan.kept.values(), *plan.puts.values()]})
    why = f"placed on {', '.join(nodes[:5])}{' and more' if len(nodes) > 5 else ''}"
    if status is None and not making_room:
        return Place(deployment, stored.rev, first, record, why)
    puts = making_room | {alloc_id: (0, data) for alloc_id, data in first.items()}
    reasons = {
        each: first[each]["why"] if each in first else data["stopped"] for each, (_, data) in puts.items()
    }
    return Advance(deployment, stored.rev, status.rev if status else 0, puts, record, reasons, why)


def _first(fleet: Fleet, deployment: str, plan: _Plan) -> tuple[dict[str, Json], dict[str, tuple[int, Json]]]:
    """The new allocations; with those that make room, which go in the same transaction: what fits in one."""
    if not any(plan.victims.values()):
        return {**plan.kept, **plan.puts}, {}
    first: dict[str, Json] = {}
    making_room: dict[str, tuple[int, Json]] = {}
    for alloc_id, data in {**plan.kept, **plan.puts}.items():
        victims = plan.victims.get(alloc_id, ())
        if first and len(first) + len(making_room) + len(victims) >= MOST_AT_ONCE:
            break
        first[alloc_id] = data
        for victim in victims:
            stored = fleet.allocations[victim]
            heard = as_heard(fleet, victim, stored.data)
            making_room[victim] = stored.rev, make_room(heard, deployment)
    return first, making_room


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
    if any(_may_turn_up(fleet, each) for each in why.nodes):
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


def _may_turn_up(fleet: Fleet, node: str) -> bool:
    """Whether a node that takes nothing may do so soon: it has its grace, or has yet to hear of the epoch."""
    state = fleet.states[node]
    is_behind = bool(state.beat.get("frozen")) and state.beat.get("epoch") != fleet.epoch
    return not state.settled or (fleet.catching_up and is_behind)


def restarted(data: Json) -> Json:
    """For the first status of a deployment: what was asked of it before needs no restart any more."""
    return {"restarted": data["restart"]} if "restart" in data else {}
