"""The brake on what people do: more than a share of a task group at once needs to be meant.

Pure: it says what an action would touch; who asks decides what comes of it.
"""

from collections.abc import Mapping
from typing import Any

from store.model.lifecycle import DEPLOYMENT_ENDED

Json = dict[str, Any]

SHARE = 0.5
"""Of the living allocations of a group that may be touched at once without a word."""
LEAST = 5
"""Living allocations below which a group is small enough to be seen through."""


def live(status: Json | None, homes: Mapping[str, str]) -> dict[str, int]:
    """How many allocations of each group live; `homes` has the group of each task, for older records."""
    if status is None or status.get("status") in DEPLOYMENT_ENDED:
        return {}
    if "groups" in status:
        return {name: int(group.get("placed", 0)) for name, group in status["groups"].items()}
    found: dict[str, int] = {}
    for brief in status.get("allocations", ()):
        group = brief.get("group") or next((homes[task] for task in brief["tasks"] if task in homes), None)
        if group is not None:
            found[group] = found.get(group, 0) + 1
    return found


def problem(verb: str, touched: Mapping[str, int], living: Mapping[str, int]) -> str | None:
    """Why an action needs to be confirmed, as the groups it touches beyond the share; None: it does not."""
    found = [
        f"{verb} {min(touched[name], of)} of {of} of group {name} at once"
        for name, of in sorted(living.items())
        if of >= LEAST and touched.get(name, 0) > SHARE * of
    ]
    return "; ".join(found) or None


def surplus(living: Mapping[str, int], wanted: Mapping[str, int]) -> dict[str, int]:
    """How many allocations of each group would be too many."""
    return {name: living[name] - wanted[name] for name in living if wanted.get(name, 10**9) < living[name]}
