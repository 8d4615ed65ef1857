"""What people want of a node: that it takes no work, is emptied, is labelled, goes.

Everything is a change of its record, by compare and swap, and the same when it is said again. The leader
reads the record and acts.
"""

from collections.abc import Callable, Mapping
from typing import Any

from manager_api.core import confirm
from manager_api.http.frame.errors import ApiError, invalid
from manager_api.http.nodes.node_rows import read_beat, unknown
from manager_api.inventory.enrolment import regroup
from manager_api.inventory.errors import TooMany, Unknown
from manager_api.inventory.targets import all_groups
from store.codec import Json, dumps, read_record
from store.errors import Conflict
from store.faults import fault
from store.keys import NODES
from store.kv.projection import Projection
from store.kv.store import Store
from store.model import noderecord

BEING_REMOVED = "Node is being removed"
ONLINE = "Node is online"
NEEDS_CONFIRMATION = "Needs confirmation"
Change = Callable[[Json], Json]


def update(store: Store, node: str, change: Change) -> None:
    """Change a node's record; an equal record is not written.

    Raises:
        ApiError: 404, and what `change` raises.
    """
    while True:
        found = store.get(NODES, node)
        if found is None:
            raise unknown(node)
        record = read_record(found.value, f"node {node}")
        new = change(record)
        if new == record:
            return
        fault("api.node.before")
        try:
            store.put(NODES, node, dumps(new), rev=found.rev)
        except Conflict:
            continue
        fault("api.node.after")
        return


def cordoned(record: Json, now: float, reason: str | None) -> Json:
    """A node that takes no new work; `reason`, if given, takes the place of the one before."""
    said = record.get("cordoned") or {"since": now}
    return {**record, "cordoned": {**said, "reason": reason} if reason else said}


def uncordoned(record: Json) -> Json:
    """A node that takes work again; its drain is cancelled.

    Raises:
        ApiError: 409 while it is being removed.
    """
    _stays(record)
    return {key: value for key, value in record.items() if key not in ("cordoned", "drain")}


def draining(record: Json, now: float, deadline: float | None) -> Json:
    """A node that is emptied, at the latest `deadline` seconds after it was first asked to be.

    Raises:
        ApiError: 409 while it is being removed.
    """
    _stays(record)
    since = record.get("drain", {}).get("since", now)
    return {**cordoned(record, now, None), "drain": {"since": since, "deadline": deadline}}


def labelled(record: Json, given: Mapping[str, str | None]) -> Json:
    """A node with other labels. None removes one, also one that its agent claims.

    Raises:
        ApiError: 400 when there would be too many.
    """
    own = record.get("own_labels", {})
    said = {**record.get("labels", {}), **given}
    kept = {key: value for key, value in said.items() if value is not None or key in own}
    if len({**own, **kept}) > noderecord.MOST_LABELS:
        raise invalid(f"labels: {len({**own, **kept})} in all, at most {noderecord.MOST_LABELS}")
    return _with(record, "labels", kept)


def grouped(store: Store, node: str, given: Mapping[str, bool], now: float) -> None:
    """Put a node into groups, or take it out; a group that there is not is made.

    Raises:
        ApiError: 400 when there would be too many; 404; 409 for a group that has the node by its rule.
    """
    _refuse_ruled(store, node, sorted(name for name, member in given.items() if not member))
    try:
        regroup(store, node, given, now)
    except (TooMany, ValueError) as error:
        raise invalid(f"groups: {error}") from None
    except Unknown:
        raise unknown(node) from None


def _refuse_ruled(store: Store, node: str, leaves: list[str]) -> None:
    """Nobody is taken out of a group who would be in it all the same."""
    if not leaves:
        return
    known, record = all_groups(store), record_of(store, node)
    for name in leaves:
        group = known.named(name)
        if group is not None and group.by_rule(node, record):
            raise ApiError(
                409,
                "Node is in the group by its rule",
                f"node {node!r} meets the rule of group {name!r}: change the rule, or what it asks for",
            )


def _with(record: Json, key: str, value: Any) -> Json:
    """Records are sparse: nothing is not written down."""
    rest = {name: each for name, each in record.items() if name != key}
    return {**rest, key: value} if value else rest


def _stays(record: Json) -> None:
    if record.get("removing"):
        raise ApiError(409, BEING_REMOVED, "the node is being removed: that cannot be taken back")


def remove(store: Store, node: str, now: float, *, force: bool) -> None:
    """Ask for a node to go; the leader sees to what was there, then removes the last of it.

    Raises:
        ApiError: 404; 409 while its agent is alive, or may be, unless `force`.
    """

    def going(record: Json) -> Json:
        if record.get("removing"):
            return record
        if not force:
            _refuse_if_alive(store, node, record)
        return {**cordoned(record, now, None), "removing": now}

    update(store, node, going)


def _refuse_if_alive(store: Store, node: str, record: Json) -> None:
    [raw], doubt = Projection(store).judged([node])
    if raw is None and doubt is None:
        return
    beat = read_beat(raw)
    if raw is not None and beat is not None and beat["uid"] != record["uid"]:
        return
    said = "is online" if raw is not None else f"may be online: {doubt}"
    raise ApiError(
        409, ONLINE,
        f"node {node!r} {said}; stop its agent first (`agent stop --tasks` there ends its tasks, too), or "
        "force it: then its tasks are stopped, and an agent that still runs joins again as a new node",
    )  # fmt: skip


def needs_confirmation(plan: Json) -> str | None:
    """Why a drain needs to be confirmed, by the leader's word on what it touches; None: it does not."""
    rows = [row for row in plan.get("groups", []) if isinstance(row, dict)]
    found = []
    for row in rows:
        group, of, here = str(row["group"]), int(row["of"]), int(row["here"])
        problem = confirm.problem("this moves", {group: here}, {group: of})
        found += [f"{problem} of deployment {row['deployment']}"] if problem else []
    return "; ".join(found) or None


def record_of(store: Store, node: str) -> Json:
    """A node's record.

    Raises:
        ApiError: 404.
    """
    found = store.get(NODES, node)
    if found is None:
        raise unknown(node)
    return read_record(found.value, f"node {node}")
