"""Large steps in portions that fit a transaction each: to stop after one of them leaves nothing untrue."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

from manager_api.core.actions import Advance, Json, Place
from manager_api.core.records import number_of
from store.batches import batches
from store.model.placed import numbers, ranges

MOST_AT_ONCE = 250
"""Allocations in one transaction."""


def portions(action: Place | Advance) -> Iterator[Place | Advance]:
    """The same in portions, to be written in their order, each on the status that the one before it wrote.

    Each has the last status, but for the new allocations that are still to come. Their numbers count as
    used from the first on.
    """
    puts = _puts(action)
    parts = list(batches(puts.items(), MOST_AT_ONCE))
    if len(parts) <= 1:
        yield action
        return
    for number, part in enumerate(parts, 1):
        later = dict(chain.from_iterable(parts[number:]))
        status = _without(action.status, action.deployment, later)
        if number == 1 and isinstance(action, Place):
            first = {alloc_id: data for alloc_id, (_, data) in part}
            yield replace(action, allocations=first, status=status)
            continue
        reasons = action.why if isinstance(action, Advance) else {}
        why = {alloc_id: reasons.get(alloc_id) or str(data.get("why", "")) for alloc_id, (_, data) in part}
        rev = action.status_rev if isinstance(action, Advance) else 0
        reason = f"{action.reason} ({number} of {len(parts)})"
        yield Advance(action.deployment, action.rev, rev, dict(part), status, why, reason)


def _puts(action: Place | Advance) -> Mapping[str, tuple[int, Json]]:
    if isinstance(action, Advance):
        return action.puts
    return {alloc_id: (0, data) for alloc_id, data in action.allocations.items()}


def _without(status: Json, deployment: str, later: Mapping[str, tuple[int, Json]]) -> Json:
    """A status that does not know yet of the new allocations among some."""
    new = {
        alloc_id: data
        for alloc_id, (rev, data) in later.items()
        if rev == 0 and data["deployment"] == deployment
    }
    if not new:
        return status
    found = {**status, "allocations": [each for each in status["allocations"] if each["id"] not in new]}
    if "placed" in status:
        hidden = {number_of(alloc_id) for alloc_id in new}
        found["placed"] = ranges(each for each in numbers(status["placed"]) if each not in hidden)
    if "groups" in status:
        left = Counter(data["group"] for data in new.values())
        found["groups"] = {
            name: {**counts, "placed": counts["placed"] - left[name]}
            for name, counts in status["groups"].items()
        }
    return found
