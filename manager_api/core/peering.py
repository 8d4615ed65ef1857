"""What tasks that depend on other groups of their deployment are told of them."""

from collections.abc import Iterable

from manager_api.core.fleet import Fleet, Json
from manager_api.core.release import group_of, groups, target
from manager_api.core.slots import known_slots
from manager_api.core.summary import is_past
from store.errors import BadRecord
from store.model import peers
from store.model.lifecycle import Task
from store.model.peers import Peer
from store.model.spec import GroupSpec


def of_group(group: GroupSpec, others: Iterable[GroupSpec]) -> list[Peer]:
    """The other groups that the tasks of one depend on."""
    if not any(task.depends_on for task in group.tasks):
        return []
    own = {task.name for task in group.tasks}
    names = {each.name: [task.name for task in each.tasks] for each in others}
    found = {
        key: peer
        for task in group.tasks
        for key, value in task.depends_on.items()
        if key not in own and (peer := peers.resolve(key, value, names)) is not None
    }
    return [found[key] for key in sorted(found)]


def note(fleet: Fleet, deployment: str, known: Iterable[GroupSpec]) -> None:
    """Remember whether groups of a deployment depend on each other."""
    every = list(known)
    if any(of_group(group, every) for group in every):
        fleet.peered.add(deployment)
    else:
        fleet.peered.discard(deployment)


class Peers:
    """For one round: each group that others depend on is looked at once."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._known: dict[tuple[str, str, str], Json] = {}

    def of(self, allocation: Json) -> Json:
        """The `peers` of an allocation's desired entry; empty where its tasks depend on no other group."""
        fleet, deployment = self._fleet, allocation["deployment"]
        if deployment not in fleet.deployments:
            return {}
        try:
            group = group_of(fleet, allocation)
            if not any(task.depends_on for task in group.tasks):
                return {}
            release = target(fleet, deployment)
            found = of_group(group, groups(fleet, allocation["template"], release))
        except (BadRecord, KeyError, TypeError, ValueError):
            return {}
        if found:
            fleet.peered.add(deployment)
        return {peer.key: self._state(deployment, peer) for peer in found}

    def unmet(self, deployment: str, group: GroupSpec, others: Iterable[GroupSpec]) -> dict[str, str]:
        """What tasks of a group would have to wait for, and why. Adds nothing to the fleet."""
        known = {peer.key: self._state(deployment, peer) for peer in of_group(group, others)}
        return {key: str(said["reason"]) for key, said in known.items() if not said["met"]}

    def _state(self, deployment: str, peer: Peer) -> Json:
        key = deployment, peer.key, f"{peer.quorum} {peer.condition}"
        if key not in self._known:
            self._known[key] = self._look(deployment, peer)
        return self._known[key]

    def _look(self, deployment: str, peer: Peer) -> Json:
        fleet = self._fleet
        there = [
            (int(data["index"]), each, data)
            for each in fleet.of_deployment.get(deployment, ())
            if (data := fleet.allocations[each].data)["group"] == peer.group and data["wanted"] == "running"
        ]
        good = [(index, each, data) for index, each, data in sorted(there) if self._is_so(each, data, peer)]
        wanted = sum(
            1 for key in known_slots(fleet, deployment, target(fleet, deployment)) if key[0] == peer.group
        )
        needed = peer.quorum if peer.quorum is not None else max(wanted, 1)
        record: Json = {"met": len(good) >= needed}
        if not record["met"]:
            record["reason"] = f"{len(good)} of {needed} of {peer.key} are {peer.condition}"
        return {**record, "addresses": self._addresses([data for _, _, data in good], peer)}

    def _is_so(self, alloc_id: str, data: Json, peer: Peer) -> bool:
        state = self._fleet.states.get(data["node"])
        said = state.actual.get(alloc_id) if state is not None else None
        if data.get("done") == "completed" and peer.condition != "healthy":
            return True
        if said is None or said.get("uid", data["uid"]) != data["uid"] or is_past(data, said):
            return False
        checked = {task.name for task in group_of(self._fleet, data).tasks if task.health is not None}
        rows = [row for row in said.get("tasks", ()) if peer.task in (None, row["name"])]
        return bool(rows) and all(_holds(row, peer.condition, checked=row["name"] in checked) for row in rows)

    def _addresses(self, there: list[Json], peer: Peer) -> dict[str, str]:
        """By port name, and under the empty name the hosts alone."""
        found: dict[str, list[str]] = {"": []}
        for data in there:
            node = self._fleet.nodes.get(data["node"])
            if node is None:
                continue
            host = str(node.data["ip"])
            found[""].append(host)
            shown = f"[{host}]" if ":" in host else host
            for task, given in sorted((data.get("ports") or {}).items()):
                if peer.task in (None, task):
                    for name, number in sorted(given.items()):
                        found.setdefault(name, []).append(f"{shown}:{number}")
        return {name: ",".join(hosts) for name, hosts in found.items()}


def _holds(row: Json, condition: str, *, checked: bool) -> bool:
    state = str(row.get("state"))
    if condition == "healthy":
        return state == Task.RUNNING and (row.get("health") == "healthy" if checked else True)
    return state == Task.COMPLETED or (condition == "started" and state == Task.RUNNING)
