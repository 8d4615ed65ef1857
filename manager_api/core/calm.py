"""Deployments at rest: of which nothing has changed since there was nothing to be done about them.

Most looks at a deployment find it as the look before did, and working that out anew takes long where it is
large. Nothing need be told to forget: what a plan was made of is held, and is compared with what is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from manager_api.core.draft import Draft
from manager_api.core.fleet import Fleet, Stored
from manager_api.core.progress import unlisted
from manager_api.core.release import target
from manager_api.core.slots import Key, Slot, known_slots
from manager_api.core.summary import NOTHING_SAID, Summary, Where, where
from manager_api.core.updating import OVER


@dataclass(frozen=True, slots=True)
class Calm:
    """All that a plan for a deployment was made of, which found nothing to do now or at a later time."""

    record: Stored
    status: Stored
    slots: Mapping[Key, Slot]
    summaries: Mapping[str, Summary]


def note(draft: Draft, *, idle: bool) -> None:
    """Remember a deployment that needs nothing (`idle`); one that waits for something is none of them."""
    fleet, deployment = draft.fleet, draft.deployment
    if idle and not draft.waiting and _is_settled(draft):
        kept = Calm(draft.record, draft.status, draft.slots, draft.summaries)
        fleet.memory.calm[deployment] = kept
    else:
        fleet.memory.calm.pop(deployment, None)


def _is_settled(draft: Draft) -> bool:
    """Whether each slot has the one allocation it asks for, on a node that is there to stay."""
    return not (
        draft.fleet.unreadable
        or draft.unsettled
        or draft.stopped
        or draft.canaries
        or draft.held
        or draft.missing
        or draft.unmoved
        or len(draft.live) != len(draft.slots)
        or any(group.everywhere for group in draft.groups.values())
        or (draft.rollout is not None and draft.rollout["state"] not in OVER)
        or unlisted(draft.fleet, draft.deployment)
    )


def is_calm(fleet: Fleet, deployment: str) -> bool:
    """Whether a deployment and all that is known of it are the very same as when it needed nothing."""
    kept: Calm | None = fleet.memory.calm.get(deployment)
    if kept is None or fleet.unreadable or len(fleet.of_deployment[deployment]) != len(kept.summaries):
        return False
    if kept.record is not fleet.deployments[deployment] or kept.status is not fleet.status.get(deployment):
        return False
    if known_slots(fleet, deployment, target(fleet, deployment)) is not kept.slots:
        return False
    allocations, states, places = fleet.allocations, fleet.states, dict[str, Where]()
    for alloc_id, summary in kept.summaries.items():
        stored = allocations.get(alloc_id)
        if stored is None or stored.data is not summary.data:
            return False
        node = summary.data["node"]
        if states[node].actual.get(alloc_id, NOTHING_SAID) is not summary.said:
            return False
        if node not in places:
            places[node] = where(fleet, node)
        if places[node] is not summary.where and places[node] != summary.where:
            return False
    return True
