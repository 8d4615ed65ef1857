"""Which allocations of lower priority would make room on a node."""

from dataclasses import dataclass

from manager_api.core.fleet import Fleet
from manager_api.core.ledger import Ledger
from store.keys import ALLOCATIONS, version_field

DEFAULT_PRIORITY = 50


@dataclass(frozen=True, slots=True, order=True)
class Sacrifice:
    """What a node would have to give up; the least is best."""

    highest: int
    """Priority of the most important of the victims."""
    number: int
    memory: int
    node: str
    victims: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Victim:
    alloc_id: str
    priority: int
    memory: int
    cpus: float


def standing(fleet: Fleet, version: str) -> tuple[int, bool]:
    """The priority of a template version, and whether it may take the place of lower ones.

    Raises:
        KeyError: there is no such version.
    """
    body = fleet.versions[version].data["body"]
    priority = body.get("priority", DEFAULT_PRIORITY)
    known = isinstance(priority, int) and not isinstance(priority, bool)
    return (priority if known else DEFAULT_PRIORITY), body.get("preempt") is True


def sacrifice(
    ledger: Ledger, node: str, missing: tuple[int, float], priority: int, deployment: str
) -> Sacrifice | None:
    """The fewest, least important allocations below a priority that have the memory and cpus missing.

    None of the deployment that asks is among them. None: there are not enough.
    """
    memory, cpus = missing
    chosen: list[_Victim] = []
    for each in _lower(ledger, node, priority, deployment):
        if memory <= 0 and cpus <= 0:
            break
        if (memory > 0 and each.memory) or (cpus > 0 and each.cpus):
            chosen.append(each)
            memory, cpus = memory - each.memory, cpus - each.cpus
    if memory > 0 or cpus > 0:
        return None
    for each in reversed(chosen[:]):  # some of the first may not be needed beside those that came later
        if memory + each.memory <= 0 and cpus + each.cpus <= 0:
            chosen.remove(each)
            memory, cpus = memory + each.memory, cpus + each.cpus
    return Sacrifice(
        max((each.priority for each in chosen), default=0),
        len(chosen),
        sum(each.memory for each in chosen),
        node,
        tuple(sorted(each.alloc_id for each in chosen)),
    )


def _lower(ledger: Ledger, node: str, priority: int, deployment: str) -> list[_Victim]:
    """What may have to go from a node: the least important first, of these the largest."""
    fleet, found = ledger.fleet, []
    for alloc_id in fleet.on_node.get(node, ()):
        reserves = fleet.reserves(alloc_id)
        data = fleet.allocations[alloc_id].data
        if reserves is None or data["deployment"] == deployment or ledger.is_gone(alloc_id):
            continue
        version = version_field(data["template"], data["version"])
        if version not in fleet.versions or (ALLOCATIONS, alloc_id) in fleet.unreadable:
            continue  # unreadable is not unimportant
        importance, _ = standing(fleet, version)
        if importance < priority:
            found.append(_Victim(alloc_id, importance, *reserves))
    return sorted(found, key=lambda each: (each.priority, -each.memory, -each.cpus, each.alloc_id))
