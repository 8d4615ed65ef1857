"""The records that a plan writes: new allocations with their numbers, what a status says is missing."""

from collections.abc import Iterable
from dataclasses import dataclass

from manager_api.core.fleet import Fleet, Json
from manager_api.core.memory import NAMED
from manager_api.core.placement import Chosen, Need, Refused
from manager_api.core.release import Release
from manager_api.core.slots import Slot
from store.model.placed import numbers


@dataclass(frozen=True, slots=True)
class Missing:
    """A slot that could not be filled, and what each node says to that."""

    slot: Slot
    refused: Refused


def next_number(fleet: Fleet, deployment: str) -> int:
    """The number of a deployment's next allocation: numbers are never used again."""
    status = fleet.status[deployment].data
    if "next" in status:
        return int(status["next"])
    known = [*fleet.of_deployment.get(deployment, ()), *(brief["id"] for brief in status["allocations"])]
    ranges = numbers(status.get("placed", ()))
    return 1 + max([*(number_of(each) for each in known), *ranges], default=-1)


def number_of(alloc_id: str) -> int:
    """The number of an allocation in its deployment; -1 for an id that is none of ours."""
    text = alloc_id.rpartition(".")[2]
    return int(text) if text.isascii() and text.isdigit() else -1


def allocation(fleet: Fleet, deployment: str, release: Release, slot: Slot, chosen: Chosen) -> Json:
    """The record of a new allocation."""
    data, need = fleet.deployments[deployment].data, Need.of(slot.part)
    found: Json = {
        "v": 1,
        "deployment": deployment,
        "template": data["template"],
        "version": release.version,
        "group": slot.group.name,
        "index": slot.index,
        "part": slot.number,
        "node": chosen.node,
        "uid": fleet.nodes[chosen.node].data["uid"],
        "generation": 1,
        "wanted": "running",
        "memory": need.memory,
        "cpus": need.cpus,
        "why": chosen.why,
    }
    found |= released(release)
    if chosen.ports:
        found["ports"] = {task: dict(given) for task, given in chosen.ports.items()}
    if chosen.published:
        found["published"] = list(chosen.published)
    return found | {key: data[key] for key in ("limits", "adjusted") if key in data}


def released(release: Release) -> Json:
    """What an allocation says of its release, beside its version."""
    found: Json = {"change": release.change} if release.change else {}
    return found | ({"parameters": dict(release.parameters)} if release.parameters else {})


def make_room(data: Json, deployment: str) -> Json:
    """An allocation that is stopped for a deployment of higher priority."""
    return {**data, "wanted": "stopped", "stopped": f"makes room for deployment {deployment}"}


def named(missing: Iterable[Missing]) -> list[Json]:
    """Some slots that could not be filled, as a status lists them."""
    return [
        {
            "group": each.slot.group.name,
            "index": each.slot.index,
            "reason": each.refused.reason,
            "nodes": [
                {"node": node, "reason": why} for node, why in sorted(each.refused.nodes.items())[:NAMED]
            ],
        }
        for each in list(missing)[:NAMED]
    ]
