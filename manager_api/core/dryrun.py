"""What would come of it: a new deployment, an update, a drain. The fleet stays as it is."""

from copy import copy
from dataclasses import replace

from manager_api.core import whereabouts
from manager_api.core.explain import MOST_LISTED, said_by, spec_of
from manager_api.core.fleet import Fleet, Json, Stored
from manager_api.core.layout import parts
from manager_api.core.moment import Moment
from manager_api.core.placement import Chosen, Placer, Refused, Taken
from manager_api.core.release import DIFFERENT, LIMITS, Release, group_of, groups, same
from manager_api.core.slots import Key, Slot, key_of, request, slots
from store.errors import BadRecord
from store.keys import ALLOCATIONS


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
        found = placer.place(request(self._fleet, self._deployment, slot, self._release))
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
    taken = Taken()
    rows: list[Json] = []
    for deployment in sorted({fleet.allocations[each].data["deployment"] for each in living}):
        placer = Placer(fleet, taken)
        mine = [each for each in living if fleet.allocations[each].data["deployment"] == deployment]
        rows += [_leaves(fleet, placer, each, now) for each in mine]
        placer.keep()
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


def _leaves(fleet: Fleet, placer: Placer, alloc_id: str, now: Moment) -> Json:
    data = fleet.allocations[alloc_id].data
    row: Json = {key: data[key] for key in ("deployment", "template", "group", "index")}
    row |= {"id": alloc_id, "to": None, "state": whereabouts.state(fleet, alloc_id, now)["state"]}
    try:
        group = group_of(fleet, data)
        slot = Slot(group, data["index"], data["part"], parts(group)[data["part"]])
    except (BadRecord, IndexError, KeyError, TypeError, ValueError) as error:
        return {**row, "reason": f"cannot be moved: its template cannot be read: {error!r}"}
    if group.everywhere:
        return {**row, "reason": "belongs to its node: it is stopped when all else has left"}
    if slot.pinned:
        return {
            **row,
            "reason": "is pinned to its node: it stays, unless the drain has a deadline; then it is stopped",
        }
    release = Release.of(data)
    asked = request(fleet, data["deployment"], slot, release)
    found = placer.place(replace(asked, avoid=frozenset({data["node"]})))
    if isinstance(found, Refused):
        return {**row, "reason": f"cannot be moved: {found.reason}"}
    return {**row, "to": found.node, "reason": found.why}
