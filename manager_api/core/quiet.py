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


def quiet_after(group: GroupSpec) -> float:
    """Seconds after which a machine that was cut off has surely stopped a group's tasks by itself."""
    if group.policy.stop_after is None:
        return inf
    return group.policy.stop_after + max(task.stop.timeout for task in group.tasks)


def quiet(fleet: Fleet, data: Json, group: GroupSpec) -> float:
    """The same for one allocation: its machine obeys what it was told, not what is meant by now."""
    try:
        own = quiet_after(group_of(fleet, data))
    except (BadRecord, KeyError):
        own = quiet_after(group)
    kept = data.get("quiet", 0.0)
    return max(own, inf if kept == NEVER else float(kept))


def keep_quiet(fleet: Fleet, old: Json, new: Json, group: GroupSpec) -> Json:
    """Of an allocation that is written anew: how long it was to run on until now, if that is longer."""
    rest = {key: value for key, value in new.items() if key != "quiet"}
    before = quiet(fleet, old, group)
    if group.policy.duplicates != "never" or before <= quiet_after(group):
        return rest
    return {**rest, "quiet": NEVER if before == inf else before}


def may_run_until(fleet: Fleet, alloc_id: str, data: Json, group: GroupSpec, now: Moment) -> float:
    """Until when (steady seconds) an allocation that is stopped, or lost, may still run; 0: it does not."""
    node = data["node"]
    if node not in fleet.nodes:
        return inf  # the store lost its record: the agent joins again
    if is_lost(fleet, data):
        return _gone_since(fleet, alloc_id, now) + _by_now(fleet, alloc_id, data, group)
    if data["wanted"] == "stopped":
        if obeyed(fleet, node, alloc_id):
            return 0.0
        if not _finds_tombstone(fleet, node, alloc_id):
            return inf
    away = fleet.states[node].away_since
    return inf if away is None else away + _by_now(fleet, alloc_id, data, group)


def _by_now(fleet: Fleet, alloc_id: str, data: Json, group: GroupSpec) -> float:
    """The same, but what was before is over once its machine has said that it obeys what is now."""
    state = fleet.states[data["node"]]
    known, said = state.desired.get(alloc_id), state.actual.get(alloc_id)
    heard = False
    if known is not None and said is not None:
        same = all(known.get(key, 0) == data.get(key, 0) for key in ("generation", "change", "wanted"))
        mine = said.get("uid") == data["uid"] and said.get("epoch") == fleet.epoch
        heard = same and mine and int(said.get("rev", 0)) >= known["rev"]
    return quiet(fleet, {**data, "quiet": 0.0} if heard else data, group)


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
    return now is None or may_run_until(fleet, data["replaces"], old.data, group, now) > now.steady
