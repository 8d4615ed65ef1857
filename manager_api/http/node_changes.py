"""What people want of a node: that it takes no work, is emptied, is labelled, goes.

Everything is a change of its record, by compare and swap, and the same when it is said again. The leader
reads the record and acts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import falcon
import orjson

from manager_api.core import confirm
from manager_api.http import bodies
from manager_api.http.audit import forgo
from manager_api.http.durability import writes
from manager_api.http.errors import ApiError, invalid
from manager_api.http.node_rows import one, read_beat, unknown
from manager_api.http.node_schema import CordonSchema, DrainSchema, GroupsSchema, LabelsSchema
from manager_api.http.questions import ask
from manager_api.http.schemas import EmptySchema
from manager_api.http.services import Services
from store.codec import Json, dumps, read_record
from store.errors import Conflict
from store.faults import fault
from store.keys import NODES
from store.kv.projection import Projection
from store.kv.store import Store
from store.model import noderecord, quantity

_CORDON, _DRAIN, _LABELS, _GROUPS = CordonSchema(), DrainSchema(), LabelsSchema(), GroupsSchema()
_NOTHING = EmptySchema()
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


def grouped(record: Json, given: Mapping[str, bool]) -> Json:
    """A node in other groups.

    Raises:
        ApiError: 400 when there would be too many.
    """
    known = {**dict.fromkeys(record.get("groups", []), True), **given}
    groups = sorted(name for name, member in known.items() if member)
    if len(groups) > noderecord.MOST_GROUPS:
        raise invalid(f"groups: {len(groups)} in all, at most {noderecord.MOST_GROUPS}")
    return _with(record, "groups", groups)


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


class _OfNode:
    def __init__(self, services: Services) -> None:
        self._services = services

    def _change(self, resp: falcon.Response, node: str, change: Change) -> None:
        self._services.call(lambda store: update(store, node, change))
        self._answer(resp, node)

    def _answer(self, resp: falcon.Response, node: str) -> None:
        resp.data = orjson.dumps(self._services.call(lambda store: one(store, node)))


class One(_OfNode):
    """`GET` and `DELETE /v1/nodes/{node}`."""

    writes = True

    def on_get(self, _req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Answer a node with all that is known of it."""
        self._answer(resp, node)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Ask for a node to go; `?force=1` although its agent is alive."""
        force = req.get_param_as_bool("force") or False
        now = self._services.clock.wall()
        self._services.call(lambda store: remove(store, node, now, force=force))
        resp.status = falcon.HTTP_202
        resp.data = orjson.dumps({"id": node, "scheduling": "removing"})


@writes
class Cordon(_OfNode):
    """`POST /v1/nodes/{node}/cordon`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Let a node take no new work; what runs there runs on."""
        reason = bodies.read(req, _CORDON, optional=True).get("reason")
        now = self._services.clock.wall()
        self._change(resp, node, lambda record: cordoned(record, now, reason))


@writes
class Uncordon(_OfNode):
    """`POST /v1/nodes/{node}/uncordon`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Let a node take work again, and cancel its drain."""
        bodies.read(req, _NOTHING, optional=True)
        self._change(resp, node, uncordoned)


@writes
class Drain(_OfNode):
    """`POST /v1/nodes/{node}/drain`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Have everything on a node run elsewhere; or, with `dry_run`, say what would become of it."""
        said = bodies.read(req, _DRAIN, optional=True)
        deadline = quantity.duration(said["deadline"]) if said.get("deadline") else None
        record = self._services.call(lambda store: _record(store, node))
        if said.get("dry_run"):
            forgo(req)
            resp.data = orjson.dumps(ask(self._services, "drain", {"node": node}))
            return
        now = self._services.clock.wall()
        if not said.get("confirm") and "drain" not in record:
            draining(record, now, deadline)  # what is refused anyway need not be confirmed
            plan = ask(self._services, "drain", {"node": node})
            why = needs_confirmation(plan)
            if why is not None:
                detail = f"{why}; say `confirm` (muster: --yes) if that is meant"
                raise ApiError(409, NEEDS_CONFIRMATION, detail, confirm=True)
        self._change(resp, node, lambda record: draining(record, now, deadline))


def _record(store: Store, node: str) -> Json:
    found = store.get(NODES, node)
    if found is None:
        raise unknown(node)
    return read_record(found.value, f"node {node}")


@writes
class Labels(_OfNode):
    """`POST /v1/nodes/{node}/labels`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Set labels; null takes one away."""
        given = bodies.read(req, _LABELS)["labels"]
        self._change(resp, node, lambda record: labelled(record, given))


@writes
class Groups(_OfNode):
    """`POST /v1/nodes/{node}/groups`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, node: str) -> None:
        """Put a node into groups, or take it out of them."""
        given = bodies.read(req, _GROUPS)["groups"]
        self._change(resp, node, lambda record: grouped(record, given))
