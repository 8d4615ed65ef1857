"""What one node's desired hash should hold, and what may go from it."""

from manager_api.core import claims
from manager_api.core.actions import Action, Collect, Project
from manager_api.core.fleet import Fleet, Json
from manager_api.core.merge import remembered
from manager_api.core.moment import Moment
from manager_api.core.peering import Peers
from manager_api.core.quiet import QUIET, must_wait
from manager_api.core.release import Release, raw_group, raw_tasks
from manager_api.core.summary import obeyed
from store.errors import BadRecord
from store.keys import ALLOCATIONS
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment
from store.model.placing import KEEP

ALLOW = "allow"

OURS = frozenset(
    {
        "node",
        "uid",
        "part",
        "memory",
        "cpus",
        "limits",
        "restarted",
        "why",
        "stopped",
        "replaces",
        "canary",
        "done",
        QUIET,
        "published",
    }
)
"""What an allocation holds for managers only. All else is for the agent, known to this release or not."""


def plan_node(fleet: Fleet, node: str, peers: Peers | None = None, now: Moment | None = None) -> list[Action]:
    """The actions that bring one node's desired hash up to its allocations; `peers` are the round's.

    Without a time nothing is begun that has to wait for what ends elsewhere.
    """
    peers = peers or Peers(fleet)
    record, state = fleet.nodes[node].data, fleet.states[node]
    raised = remembered(fleet, node)
    if raised:
        return raised  # once that is written, the node is planned again
    anew = state.desired_epoch != fleet.epoch or state.desired_uid != record["uid"] or _beyond(fleet, node)
    puts, actions = claims.stops(fleet, node, lambda alloc_id: _over(fleet, node, alloc_id))
    gone = [alloc_id for alloc_id in state.desired if _over(fleet, node, alloc_id)]
    fleet.memory.held.discard(node)
    for alloc_id in fleet.plannable(fleet.on_node.get(node, ())):
        stored = fleet.allocations[alloc_id]
        if stored.data["uid"] != record["uid"]:
            continue
        known = state.desired.get(alloc_id)
        if alloc_id in gone and not anew:
            actions.append(
                Collect(alloc_id, ((ALLOCATIONS, alloc_id, stored.rev),), "the node reported it ended")
            )
        elif anew or known is None or _differs(known, stored.data, peers):
            try:
                if known is None and _waits(fleet, node, alloc_id, now):
                    fleet.memory.held.add(node)
                    continue
                puts[alloc_id] = entry(fleet, stored.data, peers)
            except (BadRecord, KeyError, StopIteration):
                continue  # unreadable is not empty: what lies there stays as it is
    drops = [*_unwanted(fleet, node, puts), *([] if anew else gone)]
    if puts or anew or drops:
        why = "anew" if anew else ", ".join([*(f"put {a}" for a in puts), *(f"drop {a}" for a in drops)])
        actions.append(Project(node, record["uid"], puts, tuple(drops), why))
    return actions


def _waits(fleet: Fleet, node: str, alloc_id: str, now: Moment | None) -> bool:
    """Whether it has not begun here, and must not yet."""
    data = fleet.allocations[alloc_id].data
    fresh = data["wanted"] == "running" and alloc_id not in fleet.states[node].actual
    return fresh and must_wait(fleet, data, now)


def _unwanted(fleet: Fleet, node: str, puts: dict[str, Json]) -> list[str]:
    """Orders to run what the store has lost the allocations of: without them it shows as unclaimed."""
    return [
        alloc_id
        for alloc_id, known in fleet.states[node].desired.items()
        if known["wanted"] == "running"
        and alloc_id not in puts
        and alloc_id not in fleet.allocations
        and (ALLOCATIONS, alloc_id) not in fleet.unreadable
    ]


def _beyond(fleet: Fleet, node: str) -> bool:
    """Whether the node has obeyed what its desired hash is behind of: somebody has meddled with it.

    What the store never said counts for nothing here: a liar could have us write without end.
    """
    beat = fleet.states[node].beat
    mine = beat.get("uid") == fleet.nodes[node].data["uid"] and beat.get("epoch") == fleet.epoch
    return mine and fleet.states[node].desired_rev < int(beat.get("rev") or 0) <= fleet.seen


def _differs(known: Json, wanted: Json, peers: Peers) -> bool:
    if any(known.get(key, 0) != wanted.get(key, 0) for key in ("generation", "wanted", "adjusted", "change")):
        return True
    return wanted["wanted"] == "running" and (known.get("peers") or {}) != peers.of(wanted)


def entry(fleet: Fleet, allocation: Json, peers: Peers) -> Json:
    """The desired entry of an allocation, but for its `rev`, which the store puts in."""
    found = {key: value for key, value in allocation.items() if key not in OURS}
    found["tasks"] = raw_tasks(fleet, allocation)
    raw = raw_group(fleet, allocation["template"], Release.of(allocation), allocation["group"])
    if raw.get("on_disconnect", KEEP) != KEEP:
        found["on_disconnect"] = raw["on_disconnect"]
    if raw.get("duplicates", ALLOW) != ALLOW:
        found["duplicates"] = raw["duplicates"]
    told = peers.of(allocation)
    return found | ({"peers": told} if told else {})


def _over(fleet: Fleet, node: str, alloc_id: str) -> bool:
    """Whether a tombstone has done its work.

    The same machine must have said that it ended, having obeyed this very entry, in this epoch,
    and the deployment's status must already hold what it said.
    """
    return obeyed(fleet, node, alloc_id) and _recorded(fleet, alloc_id)


def _recorded(fleet: Fleet, alloc_id: str) -> bool:
    stored = fleet.allocations.get(alloc_id)
    if (ALLOCATIONS, alloc_id) in fleet.unreadable:
        return False
    if stored is None:
        return True
    if "stopped" in stored.data:
        return True  # its deployment does without it
    kept = fleet.status.get(stored.data["deployment"])
    return kept is None or Deployment(kept.data["status"]) in DEPLOYMENT_ENDED
