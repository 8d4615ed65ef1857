"""Large steps in portions that fit a transaction each: to stop after one of them leaves nothing untrue."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from manager_api.core.actions import Advance, Json, Place
from manager_api.core.records import number_of
from store.model.placed import merged, numbers, ranges

MOST_AT_ONCE = 250
"""Allocations in one transaction."""
MOST_TEXT = 150_000
"""Characters of parameters in one transaction, of up to 4 bytes each; all else of an allocation is short."""


def portions(action: Place | Advance) -> Iterator[Place | Advance]:
    """The same in portions, to be written in their order, each on the status that the one before it wrote.

    Each has the last status, but for the new allocations that are still to come. Their numbers count as
    used from the first on.
    """
    puts = _puts(action)
    parts = list(_parts(puts))
    if len(parts) <= 1:
        yield action
        return
    status = _without(action.status, _new(action.deployment, puts))
    for number, part in enumerate(parts, 1):
        if number < len(parts):
            status = _with(status, _new(action.deployment, dict(part)), action.status)
        else:
            status = action.status
        if number == 1 and isinstance(action, Place):
            first = {alloc_id: data for alloc_id, (_, data) in part}
            yield replace(action, allocations=first, status=status)
            continue
        reasons = action.why if isinstance(action, Advance) else {}
        why = {alloc_id: reasons.get(alloc_id) or str(data.get("why", "")) for alloc_id, (_, data) in part}
        rev = action.status_rev if isinstance(action, Advance) else 0
        reason = f"{action.reason} ({number} of {len(parts)})"
        yield Advance(action.deployment, action.rev, rev, dict(part), status, why, reason)


def _parts(puts: Mapping[str, tuple[int, Json]]) -> Iterator[list[tuple[str, tuple[int, Json]]]]:
    part, size = list[tuple[str, tuple[int, Json]]](), 0
    for alloc_id, (rev, data) in puts.items():
        weight = sum(len(value) for value in (data.get("parameters") or {}).values())
        if part and (len(part) >= MOST_AT_ONCE or size + weight > MOST_TEXT):
            yield part
            part, size = [], 0
        part.append((alloc_id, (rev, data)))
        size += weight
    if part:
        yield part


def _puts(action: Place | Advance) -> Mapping[str, tuple[int, Json]]:
    if isinstance(action, Advance):
        return action.puts
    return {alloc_id: (0, data) for alloc_id, data in action.allocations.items()}


def _new(deployment: str, puts: Mapping[str, tuple[int, Json]]) -> dict[str, Json]:
    """A deployment's new allocations among some."""
    return {key: data for key, (rev, data) in puts.items() if rev == 0 and data["deployment"] == deployment}


def _without(status: Json, new: Mapping[str, Json]) -> Json:
    """A status that knows nothing of some new allocations."""
    found = {**status, "allocations": [each for each in status["allocations"] if each["id"] not in new]}
    if "placed" in status:
        hidden = {number_of(alloc_id) for alloc_id in new}
        found["placed"] = ranges(each for each in numbers(status["placed"]) if each not in hidden)
    return _counted(found, new, -1)


def _with(status: Json, new: Mapping[str, Json], whole: Json) -> Json:
    """The same with some of them, as the whole status has them."""
    known = {each["id"] for each in status["allocations"]} | new.keys()
    found = {**status, "allocations": [each for each in whole["allocations"] if each["id"] in known]}
    if "placed" in status:
        found["placed"] = merged([*status["placed"], *ranges(number_of(alloc_id) for alloc_id in new)])
    return _counted(found, new, 1)


def _counted(status: Json, new: Mapping[str, Json], times: int) -> Json:
    if "groups" not in status:
        return status
    placed = {name: {**counts} for name, counts in status["groups"].items()}
    for data in new.values():
        if data["group"] in placed:
            placed[data["group"]]["placed"] += times
    return {**status, "groups": placed}
