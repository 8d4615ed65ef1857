"""What would come of it: a new deployment, an update, a drain. The fleet stays as it is."""

from copy import copy

from manager_api.core import whereabouts
from manager_api.core.effort import NOT_LOOKED_AT, Effort
from manager_api.core.explain import MOST_LISTED, said_by, spec_of
from manager_api.core.fleet import Fleet, Json, Stored
from manager_api.core.layout import parts
from manager_api.core.moment import Moment
from manager_api.core.placement import Chosen, Placer, Refused, Taken
from manager_api.core.release import DIFFERENT, LIMITS, Release, group_of, groups, same
from manager_api.core.slots import Key, Slot, key_of, request, slots
from store.errors import BadRecord
from store.keys import ALLOCATIONS

_PINNED = "is pinned to its node: it stays, unless the drain has a deadline; then it is stopped"


def plan_new(fleet: Fleet, record: Json, now: Moment, deployment: str = "dry-run") -> Json:
    """What a deployment's record would come to; of a living one, what its update would.

    `would`: `place` (all of it has a place), `wait` or `refuse` (it has not), `update`, `nothing`.

    Raises:
        KeyError, BadRecord: its template version is not there, or cannot be read.
    """
    ghost = copy(fleet)
    ghost.deployments = {**fleet.deployments, deployment: Stored(record, 0)}
    return _Plan(ghost, deployment, record).made(now)


class _Plan:
    def __init__(self, fleet: Fleet, deployment: str, record: Json) -> None:
        self._fleet, self._deployment, self._record = fleet, deployment, record
        self._release = Release.of(record)
        self._specs = groups(fleet, record["template"], self._release)
        self._rows: list[Json] = []
        self._left_out = 0
        self._counts = dict.fromkeys(("place", "restart", "limits", "stay", "stop"), 0)
        self._refused: Refused | None = None
        self._effort = Effort(fleet)
        self._why = ""

    def made(self, now: Moment) -> Json:
        wanted = slots(self._fleet, self._deployment, self._release, self._record.get("scale") or {})
        left = {slot.key: slot for slot in wanted}
        living = self._living(left)
        placer = Placer(self._fleet, Taken())
        for slot in left.values():
            self._place(placer, slot)
        ends = self._record["created"] + self._record["ttl"] if self._record.get("ttl") is not None else None
        found: Json = {
            "would": self._word(living=living),
            "reason": self._why,
            "counts": self._counts,
            "allocations": self._rows,
            "left_out": self._left_out,
            "nodes": [],
            "ends": max(ends, now.wall) if ends is not None else None,
        }
        return found | (said_by(self._refused.nodes) if self._refused is not None else {})

    def _living(self, left: dict[Key, Slot]) -> bool:
        """What becomes of what is there; takes out of `left` what it fills."""
        living = False
        for alloc_id in whereabouts.ordered(self._fleet.of_deployment.get(self._deployment, ())):
            data = self._fleet.allocations[alloc_id].data
            if data["wanted"] != "running" or (ALLOCATIONS, alloc_id) in self._fleet.unreadable:
                continue
            living = True
            slot = left.pop(key_of(data, spec_of(self._specs, data["group"])), None)
            word, why = self._becomes(data, slot)
            self._row(
                word,
                {
                    "id": alloc_id,
                    "group": data["group"],
                    "index": data["index"],
                    "node": data["node"],
                    "why": why,
                },
            )
        return living

    def _becomes(self, data: Json, slot: Slot | None) -> tuple[str, str]:
        if slot is None:
            return "stop", "it would not be wanted any more"
        differs = same(self._fleet, data["template"], Release.of(data), self._release, data["group"])
        if differs == DIFFERENT:
            return "restart", "its tasks would be other ones: they begin anew, where they are"
        return ("limits", "its limits would be other ones") if differs == LIMITS else ("stay", "")

    def _place(self, placer: Placer, slot: Slot) -> None:
        if self._effort.enough and self._refused is not None:
            return  # it is known what comes of it as a whole
        asked = request(self._fleet, self._deployment, slot, self._release)
        found = placer.place(asked)
        self._effort.note(asked, found)
        if isinstance(found, Chosen):
            row: Json = {"group": slot.group.name, "index": slot.index, "node": found.node, "why": found.why}
            row["ports"] = {task: dict(given) for task, given in found.ports.items()}
            if found.victims:
                row["victims"] = list(found.victims)
            self._row("place", row)
        elif self._refused is None:
            self._refused = found
            self._why = f"group {slot.group.name!r}: {found.reason}"

    def _row(self, word: str, row: Json) -> None:
        self._counts[word] += 1
        if len(self._rows) < MOST_LISTED:
            self._rows.append({"would": word, **row})
        else:
            self._left_out += 1

    def _word(self, *, living: bool) -> str:
        if living:
            changed = any(self._counts[each] for each in ("place", "restart", "limits", "stop"))
            return "update" if changed or self._refused is not None else "nothing"
        if self._refused is not None:
            return "wait" if self._record.get("wait") else "refuse"
        return "place"


def drain_plan(fleet: Fleet, node: str, now: Moment) -> Json:
    """What a drain of a node would move, and where to; how much of each group that is.

    Raises:
        KeyError: there is no such node.
    """
    record = fleet.nodes[node].data
    living = [
        each
        for each in whereabouts.ordered(fleet.on_node.get(node, ()))
        if _lives(fleet, each) and fleet.allocations[each].data["uid"] == record["uid"]
    ]
    rows = _Leaving(fleet, node, now).all(living)
    return {
        "node": node,
        "allocations": rows[:MOST_LISTED],
        "left_out": max(0, len(rows) - MOST_LISTED),
        "groups": _shares(fleet, living),
    }


def _lives(fleet: Fleet, alloc_id: str) -> bool:
    data = fleet.allocations[alloc_id].data
    readable = (ALLOCATIONS, alloc_id) not in fleet.unreadable
    return (
        readable
        and data["wanted"] == "running"
        and not data.get("done")
        and not _over(fleet, data["deployment"])
    )


def _over(fleet: Fleet, deployment: str) -> bool:
    status = fleet.status.get(deployment)
    return status is not None and bool(status.data.get("ended"))


def _shares(fleet: Fleet, living: list[str]) -> list[Json]:
    """Of each group with something on a node: how much of it that is."""
    here: dict[tuple[str, str], int] = {}
    for alloc_id in living:
        data = fleet.allocations[alloc_id].data
        key = data["deployment"], data["group"]
        here[key] = here.get(key, 0) + 1
    found = []
    for (deployment, group), count in sorted(here.items()):
        everywhere = (each for each in fleet.of_deployment.get(deployment, ()) if _lives(fleet, each))
        of = sum(fleet.allocations[each].data["group"] == group for each in everywhere)
        found.append({"deployment": deployment, "group": group, "here": count, "of": of})
    return found


class _Leaving:
    """What is to leave a node, while a place is looked for."""

    def __init__(self, fleet: Fleet, node: str, now: Moment) -> None:
        """As if the drain had begun: the node takes nothing, so what is alike is looked at once."""
        self._fleet, self._now, self._taken = copy(fleet), now, Taken()
        stored = fleet.nodes[node]
        drained = Stored(
            {**stored.data, "drain": stored.data.get("drain") or {"since": now.wall}}, stored.rev
        )
        self._fleet.nodes = {**fleet.nodes, node: drained}
        self._effort = Effort(fleet)

    def all(self, living: list[str]) -> list[Json]:
        """A row for each allocation, one deployment after the other."""
        mine: dict[str, list[str]] = {}
        for each in living:
            mine.setdefault(self._fleet.allocations[each].data["deployment"], []).append(each)
        rows: list[Json] = []
        for _, ids in sorted(mine.items()):
            placer = Placer(self._fleet, self._taken)
            rows += [self._row(placer, each) for each in ids]
            placer.keep()
        return rows

    def _row(self, placer: Placer, alloc_id: str) -> Json:
        data = self._fleet.allocations[alloc_id].data
        row: Json = {key: data[key] for key in ("deployment", "template", "group", "index")}
        row |= {
            "id": alloc_id,
            "to": None,
            "state": whereabouts.state(self._fleet, alloc_id, self._now)["state"],
        }
        try:
            group = group_of(self._fleet, data)
            slot = Slot(group, data["index"], data["part"], parts(group)[data["part"]])
        except (BadRecord, IndexError, KeyError, TypeError, ValueError) as error:
            return {**row, "reason": f"cannot be moved: its template cannot be read: {error!r}"}
        if group.everywhere:
            return {**row, "reason": "belongs to its node: it is stopped when all else has left"}
        if slot.pinned:
            return {**row, "reason": _PINNED}
        if self._effort.enough:
            return {**row, "reason": NOT_LOOKED_AT}
        asked = request(self._fleet, data["deployment"], slot, Release.of(data))
        found = placer.place(asked)
        self._effort.note(asked, found)
        if isinstance(found, Refused):
            return {**row, "reason": f"cannot be moved: {found.reason}"}
        return {**row, "to": found.node, "reason": found.why}
