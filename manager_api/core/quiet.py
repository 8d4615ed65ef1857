"""Until when a copy that nobody hears of may still run: what `duplicates: never` waits for."""

from math import inf

from manager_api.core.fleet import Fleet, Json
from manager_api.core.moment import Moment
from manager_api.core.release import group_of
from manager_api.core.summary import is_lost, obeyed
from store.errors import BadRecord
from store.keys import ALLOCATIONS
from store.model.placing import NEVER
from store.model.spec import GroupSpec

QUIET = "quiet"
"""Of an allocation: the longest time (None: without end) by a policy that its machine may still obey."""


def quiet_after(group: GroupSpec) -> float:
    """Seconds after which a machine that was cut off has surely stopped a group's tasks by itself."""
    if group.policy.stop_after is None:
        return inf
    return group.policy.stop_after + max(task.stop.timeout for task in group.tasks)


def may_run_until(fleet: Fleet, alloc_id: str, data: Json, now: Moment) -> float:
    """Until when (steady seconds) an allocation that is stopped, or lost, may still run; 0: it does not."""
    node = data["node"]
    if node not in fleet.nodes:
        return inf  # the store lost its record: the agent joins again
    if is_lost(fleet, data):
        return _gone_since(fleet, alloc_id, now) + _quiet(fleet, alloc_id, data)
    if data["wanted"] == "stopped":
        if obeyed(fleet, node, alloc_id):
            return 0.0
        if not _finds_tombstone(fleet, node, alloc_id):
            return inf
    away = fleet.states[node].away_since
    return inf if away is None else away + _quiet(fleet, alloc_id, data)


def carried(fleet: Fleet, data: Json, to: GroupSpec) -> Json:
    """What to note of an allocation that gets another policy: its machine may be cut off before it hears."""
    before, known = quiet_after(group_of(fleet, data)), data.get(QUIET, 0.0)
    longest = inf if known is None else max(before, float(known))
    return {QUIET: longest if longest < inf else None} if longest > quiet_after(to) else {}


def as_heard(fleet: Fleet, alloc_id: str, data: Json) -> Json:
    """A live allocation without the policies before the one that its machine says it obeys.

    To be written when it is stopped: from then on its machine's word is of something else.
    """
    if QUIET not in data or not _has_heard(fleet, alloc_id, data):
        return data
    return {key: value for key, value in data.items() if key != QUIET}


def _quiet(fleet: Fleet, alloc_id: str, data: Json) -> float:
    """Seconds after which its machine has surely stopped an allocation, by whatever policy it last heard."""
    try:
        now = quiet_after(group_of(fleet, data))
    except (BadRecord, KeyError, TypeError, ValueError):
        return inf
    if QUIET not in data or _has_heard(fleet, alloc_id, data):
        return now
    return inf if data[QUIET] is None else max(now, float(data[QUIET]))


def _has_heard(fleet: Fleet, alloc_id: str, data: Json) -> bool:
    """Whether its machine has said that it obeys the allocation as it is now."""
    state = fleet.states[data["node"]]
    known, said = state.desired.get(alloc_id), state.actual.get(alloc_id)
    if known is None or said is None or said.get("uid") != data["uid"] or said.get("epoch") != fleet.epoch:
        return False
    same = all(known.get(key, 0) == data.get(key, 0) for key in ("generation", "change", "wanted"))
    return same and int(said.get("rev", 0)) >= known["rev"]


def _finds_tombstone(fleet: Fleet, node: str, alloc_id: str) -> bool:
    """Whether a node that is away finds the order to stop when it is back, and no older one.

    It lies there, and no heartbeat did after it was written: an agent reads what it is to do only after one.
    """
    known = fleet.states[node].desired.get(alloc_id)
    return bool(known and known["wanted"] == "stopped" and fleet.states[node].absent_at >= known["rev"])


def _gone_since(fleet: Fleet, alloc_id: str, now: Moment) -> float:
    return fleet.memory.gone.setdefault(alloc_id, now.steady)


def must_wait(fleet: Fleet, data: Json, now: Moment | None) -> bool:
    """Whether a replacement must not be told to start yet: what it replaces may still run, or run again."""
    old = fleet.allocations.get(data.get("replaces", ""))
    if old is None:
        return False
    if (ALLOCATIONS, data["replaces"]) in fleet.unreadable:
        return True
    group = group_of(fleet, old.data)
    if group.policy.duplicates != NEVER or group_of(fleet, data).policy.duplicates != NEVER:
        return False
    return now is None or may_run_until(fleet, data["replaces"], old.data, now) > now.steady
