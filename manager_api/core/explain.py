"""Why a deployment is as it is: where each allocation is and why, what is missing, what it waits for.

Read only: whatever is looked at here, the fleet stays as it is.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from manager_api.core import regrouping, whereabouts
from manager_api.core.effort import NOT_LOOKED_AT, Effort
from manager_api.core.fleet import Fleet, Json
from manager_api.core.moment import Moment
from manager_api.core.peering import Peers
from manager_api.core.placement import Chosen, Placer, Refused, Taken
from manager_api.core.release import Release, groups, target
from manager_api.core.slots import Key, Slot, key_of, request, slots
from store.errors import BadRecord
from store.keys import ALLOCATIONS
from store.model.lifecycle import DEPLOYMENT_ENDED
from store.model.spec import GroupSpec

MOST_LISTED = 2000
"""Allocations that are named; the others are counted."""
MOST_NODES = 1000
"""Nodes whose reasons are named; those of the others are counted."""
MOST_TRIED = 200
"""Missing slots of a group for which a node is looked for."""


def explain(fleet: Fleet, deployment: str, now: Moment) -> Json:
    """All that can be said of a deployment; see `docs/guide.md` for its parts.

    Raises:
        KeyError: there is no such deployment.
    """
    record = fleet.deployments[deployment].data
    status = fleet.status.get(deployment)
    said: Json = status.data if status is not None else {}
    found: Json = {
        "id": deployment,
        "template": record["template"],
        "wanted": record["wanted"],
        "status": str(said.get("status", "PENDING")),
        "reason": said.get("reason") or "",
        "release": None,
        "rollout": said.get("rollout"),
        "waits": list(_waits(fleet, deployment, now)),
        "groups": [],
        "stopping": _stopping(fleet, deployment),
    }
    try:
        release = target(fleet, deployment)
        wanted = slots(fleet, deployment, release, record.get("scale") or {})
    except (BadRecord, IndexError, KeyError, TypeError, ValueError) as error:
        found["waits"].append(f"its template cannot be read: {error!r}")
        return found
    found["release"] = release.as_record()
    found["groups"] = _Groups(fleet, deployment, now, release, wanted).all()
    if record["wanted"] == "running" and not fleet.is_over(deployment):
        found["waits"] += regrouping.missing(fleet, groups(fleet, record["template"], release))
        found["waits"] += _unmet(fleet, deployment, release, found["groups"])
    return found


def _unmet(fleet: Fleet, deployment: str, release: Release, rows: Sequence[Json]) -> Iterator[str]:
    """Other groups for which tasks wait, whether or not they have a node that says so."""
    every, peers = groups(fleet, fleet.deployments[deployment].data["template"], release), Peers(fleet)
    incomplete = {row["name"] for row in rows if row["up"] < row["wanted"]}
    for group in every:
        if group.name in incomplete:
            for key, reason in peers.unmet(deployment, group, every).items():
                yield f"tasks of group {group.name} wait for {key}: {reason}"


class _Groups:
    """The groups of one deployment, while they are explained."""

    def __init__(
        self, fleet: Fleet, deployment: str, now: Moment, release: Release, wanted: Sequence[Slot]
    ) -> None:
        self._fleet, self._deployment, self._now = fleet, deployment, now
        self._release = release
        self._placer, self._effort = Placer(fleet, Taken()), Effort(fleet)
        self._specs = {slot.group.name: slot.group for slot in wanted}
        self._slots: dict[str, dict[Key, Slot]] = {}
        for slot in wanted:
            self._slots.setdefault(slot.group.name, {})[slot.key] = slot
        self._live: dict[str, list[str]] = {name: [] for name in self._slots}
        for alloc_id in whereabouts.ordered(fleet.of_deployment.get(deployment, ())):
            data = fleet.allocations[alloc_id].data
            if data["wanted"] == "running":
                self._live.setdefault(data["group"], []).append(alloc_id)
        self._left = MOST_LISTED

    def all(self) -> list[Json]:
        """Each group: those of the release, then those of which something is left over."""
        return [self._group(name) for name in self._live]

    def _group(self, name: str) -> Json:
        wanted, live = self._slots.get(name, {}), self._live[name]
        spec = self._specs.get(name)
        filled = {key_of(self._fleet.allocations[each].data, spec) for each in live}
        rows = [self._row(each, wanted) for each in live[: self._left]]
        self._left -= len(rows)
        blind = sum(
            key[0] == ALLOCATIONS and key[1].startswith(f"{self._deployment}.")
            for key in self._fleet.unreadable
        )
        found = {
            "name": name,
            "wanted": len(wanted),
            "placed": len(live),
            "up": sum(whereabouts.is_up(self._fleet, each) for each in live),
            "allocations": rows,
            "left_out": len(live) - len(rows),
            "missing": list(self._missing([slot for key, slot in wanted.items() if key not in filled])),
        }
        return {**found, "unreadable": blind} if blind else found

    def _row(self, alloc_id: str, wanted: Mapping[Key, Slot]) -> Json:
        fleet, data = self._fleet, self._fleet.allocations[alloc_id].data
        row: Json = {
            "id": alloc_id,
            "index": data["index"],
            "node": data["node"],
            "version": data["version"],
            "change": data.get("change", 0),
            "why": data.get("why") or "placed by an earlier release, which did not note why",
            **whereabouts.state(fleet, alloc_id, self._now),
        }
        row |= {key: data[key] for key in ("canary", "replaces", "ports") if key in data}
        slot = wanted.get(key_of(data, self._specs.get(data["group"])))
        if row["state"] in ("away", "lost") and not data.get("done"):
            row["moves"] = self._moves(data, slot)
        elif whereabouts.is_leaving(fleet, data["node"]):
            row["moves"] = self._elsewhere(slot)
        return row

    def _moves(self, data: Json, slot: Slot | None) -> str:
        """What becomes of an allocation whose node is away."""
        if slot is None:
            return "nothing: it is not wanted any more"
        after, seen = slot.group.policy.reschedule_after, self._fleet.states.get(data["node"])
        since = seen.away_since if seen is not None else None
        if slot.pinned or slot.group.everywhere:
            return "nothing: it belongs to its node, and waits for it"
        if after is None:
            return "nothing: its group is never rescheduled, and it waits for its node"
        left = after - (self._now.steady - since) if since is not None else 0.0
        if left > 0:
            return f"in {left:.0f} s it is placed elsewhere, unless its node is back"
        return self._fleet.brake.reason or self._elsewhere(slot)

    def _elsewhere(self, slot: Slot | None) -> str:
        if slot is None:
            return "nothing: it is not wanted any more"
        if slot.pinned or slot.group.everywhere:
            return "nothing: it belongs to its node"
        found = self._place(slot)  # its own node is away or closed, or else another machine by now
        if isinstance(found, Refused):
            return f"it cannot: {found.reason}"
        return f"it can go to node {found.node}: {found.why}"

    def _place(self, slot: Slot) -> Chosen | Refused:
        if self._effort.enough:
            return Refused(NOT_LOOKED_AT, {})
        asked = request(self._fleet, self._deployment, slot, self._release)
        found = self._placer.place(asked)
        self._effort.note(asked, found)
        return found

    def _missing(self, lacking: Sequence[Slot]) -> Iterator[Json]:
        """Missing slots; those that are refused alike together, since their nodes say the same."""
        alike: dict[tuple[int, str], tuple[list[Slot], Refused]] = {}
        for slot in lacking[:MOST_TRIED]:
            found = self._place(slot)
            if isinstance(found, Chosen):
                text = f"node {found.node} can take it ({found.why})"
                yield {"count": 1, "indexes": [slot.index], "part": slot.number, "reason": text, "nodes": []}
                continue
            alike.setdefault((slot.number, found.reason), ([], found))[0].append(slot)
        for (number, reason), (group, refused) in alike.items():
            indexes = [each.index for each in group]
            yield {
                "count": len(group),
                "indexes": indexes,
                "part": number,
                "reason": reason,
                **said_by(refused.nodes),
            }
        if len(lacking) > MOST_TRIED:
            more = len(lacking) - MOST_TRIED
            yield {
                "count": more,
                "indexes": [],
                "part": None,
                "reason": "not looked at: so many are missing",
                "nodes": [],
            }


def said_by(nodes: Mapping[str, str]) -> Json:
    """What nodes say: some of them by name, all of them counted by what they say."""
    named = [{"node": node, "reason": nodes[node]} for node in sorted(nodes)[:MOST_NODES]]
    counted = Counter(nodes.values())
    return {
        "nodes": named,
        "reasons": dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_NODES]),
    }


def _waits(fleet: Fleet, deployment: str, now: Moment) -> Iterator[str]:
    """What keeps a deployment from moving, or will end it."""
    record, status = fleet.deployments[deployment].data, fleet.status.get(deployment)
    if fleet.closed(deployment) or fleet.obscured(deployment):
        yield "some of its records cannot be read: what they are about is left alone"
    if deployment in fleet.memory.trouble:
        yield fleet.memory.trouble[deployment]
    if status is None:
        yield from _undecided(fleet, record)
    else:
        yield from _decided(record, status.data)
    if status is None or status.data.get("status") not in DEPLOYMENT_ENDED:
        if fleet.brake.reason is not None:
            yield fleet.brake.reason
        ttl = record.get("ttl")
        if ttl is not None:
            left = record["created"] + ttl - now.wall
            yield (
                f"its time to live ends in {left:.0f} s" if left > 0 else "its time to live is over: it ends"
            )
    due = fleet.due.get(deployment)
    if due is not None and due > now.steady:
        yield f"it is looked at again in {due - now.steady:.0f} s, or when something moves"


def _undecided(fleet: Fleet, record: Json) -> Iterator[str]:
    unsettled = sorted(
        node for node in fleet.nodes if node in fleet.states and not fleet.states[node].settled
    )
    if fleet.catching_up:
        yield "the controller has just begun to lead, and listens to what the nodes run first"
    if unsettled:
        yield f"it is not known yet whether {len(unsettled)} nodes are online, such as {unsettled[0]}"
    if record.get("wait"):
        yield "it waits for room: it is placed as soon as nodes can take all of it"


def _decided(record: Json, status: Json) -> Iterator[str]:
    rollout = status.get("rollout") or {}
    if record["wanted"] == "stopped":
        yield "it was stopped by people"
    elif status.get("expired"):
        yield "its time to live is over"
    elif status.get("status") in DEPLOYMENT_ENDED:
        yield f"it ended ({status['status']}): nothing of it is placed any more"
    elif record.get("paused"):
        yield "its update is paused: `muster resume` goes on"
    elif rollout.get("state") == "promotion":
        yield "its canaries are well: `muster promote` goes on, `muster rollback` goes back"
    elif rollout.get("state") in ("running", "failed", "reverted"):
        yield f"its update is {rollout['state']}" + (
            f": {rollout['reason']}" if rollout.get("reason") else ""
        )


def _stopping(fleet: Fleet, deployment: str) -> list[Json]:
    """What was told to stop, and is still there."""
    ids: Iterable[str] = whereabouts.ordered(fleet.of_deployment.get(deployment, ()))
    found: list[Json] = []
    for alloc_id in ids:
        data = fleet.allocations[alloc_id].data
        if data["wanted"] != "stopped" or len(found) == MOST_LISTED:
            continue
        why = data.get("stopped") or "it was stopped"
        found.append(
            {"id": alloc_id, "node": data["node"], "why": why, "waits": whereabouts.ending(fleet, alloc_id)}
        )
    return found


def spec_of(groups: Iterable[GroupSpec], name: str) -> GroupSpec | None:
    """The group of a name."""
    return next((group for group in groups if group.name == name), None)
