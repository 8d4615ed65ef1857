"""The brake: when too much of the fleet vanishes at once, nothing is rescheduled.

More likely than so many deaths is that a network, a switch or we ourselves are at fault: placing the work
of half a fleet on the other half would take that down, too. It stays engaged until enough nodes are back,
or somebody releases it.
"""

from manager_api.core.actions import Action, SetControl
from manager_api.core.fleet import Fleet, Json
from manager_api.core.memory import Brake
from manager_api.core.moment import Moment
from manager_api.core.release import group_of
from store.errors import BadRecord

WINDOW = 300.0
"""Seconds within which nodes count as vanished together."""
SHARE = 0.2
"""Of the fleet; more must vanish for the brake to engage."""
FEW = 2
"""Nodes that may vanish from any fleet, however small."""
LOOKED_EVERY = 1.0
"""Seconds, at least, between looks through the fleet while no node comes or goes: work does."""
NAME = "brake"


def engaged(fleet: Fleet, now: Moment) -> str | None:
    """Why nothing may be rescheduled now, or None."""
    brake = fleet.brake
    stale = brake.looked is None or now.steady - brake.looked >= LOOKED_EVERY
    if stale or brake.turned or _asked(fleet) > brake.released:
        brake.looked, brake.turned = now.steady, False
        _look(fleet, brake, now)
    return brake.reason


def plan_brake(fleet: Fleet, now: Moment) -> list[Action]:
    """What is to be said of the brake: once whenever it changes.

    It is judged when nodes turn, not when something is due to be moved: that may be long after they vanished.
    """
    brake = fleet.brake
    if brake.turned or brake.since is not None or brake.forgiven or _asked(fleet) > brake.released:
        engaged(fleet, now)
    record = fleet.brake.as_record()
    said = fleet.controls_status.get(NAME)
    known = said.data if said is not None else fleet.brake.written
    quiet = known is None and record["engaged"] is None and not record["released"]
    if quiet or known == record:
        return []
    fleet.brake.written = record
    reason = brake.reason or "the brake is released: enough of the fleet is there"
    return [SetControl(NAME, record, reason, quiet=_says_the_same(known, record))]


def _says_the_same(known: Json | None, record: Json) -> bool:
    """Whether there is nothing in it for people."""
    return known is not None and all(known.get(key) == record[key] for key in ("engaged", "released"))


def resume(fleet: Fleet) -> None:
    """A new leader goes on where the last one was."""
    said = fleet.controls_status.get(NAME)
    if said is None:
        return
    fleet.brake.released = int(said.data.get("released", 0))
    fleet.brake.forgiven = {str(node) for node in said.data.get("forgiven", ())}
    fleet.brake.left = {str(node) for node in said.data.get("moved", ())}
    found = said.data.get("engaged")
    if found:
        fleet.brake.since = float(found["since"])


def _asked(fleet: Fleet) -> int:
    stored = fleet.controls.get(NAME)
    return int(stored.data.get("release", 0)) if stored is not None else 0


def _look(fleet: Fleet, brake: Brake, now: Moment) -> None:
    away = {node for node in fleet.nodes if not fleet.states[node].online}
    holding = {node for node in away if _holds_work(fleet, node)}
    # Those that vanish together are not all missed at the same time: of the first, work may have moved.
    brake.moved = {
        node for node in (away & brake.left) - holding if brake.since is not None or _within(fleet, node, now)
    }
    brake.left = absent = holding | brake.moved
    brake.forgiven &= absent
    if _asked(fleet) > brake.released:
        brake.released, brake.since, brake.forgiven = _asked(fleet), None, set(absent)
    held = brake.since is not None  # then who is not seen yet is not back, either
    lost = sorted(node for node in absent - brake.forgiven if held or _within(fleet, node, now))
    brake.lost, brake.of = tuple(lost), len(fleet.nodes)
    if len(lost) <= max(FEW, SHARE * len(fleet.nodes)):
        brake.since = None
    elif brake.since is None:
        brake.since = now.wall


def _within(fleet: Fleet, node: str, now: Moment) -> bool:
    since = fleet.states[node].away_since
    return since is not None and now.steady - since <= WINDOW


def _holds_work(fleet: Fleet, node: str) -> bool:
    """Whether something on it would be placed elsewhere."""
    for alloc_id in fleet.on_node.get(node, ()):
        data = fleet.allocations[alloc_id].data
        if data["wanted"] != "running" or data.get("done"):
            continue
        try:
            if group_of(fleet, data).policy.reschedule_after is not None:
                return True
        except (BadRecord, KeyError, TypeError, ValueError):
            continue
    return False
