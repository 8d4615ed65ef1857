"""How deployments look to people: the controller's status joined with what the nodes say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manager_api.core.changes import revives
from manager_api.http.deployments import briefs
from store.codec import Json, loads
from store.errors import BadRecord
from store.kv.projection import Projection
from store.model.beat import actual as actual_entry
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment, Task
from store.model.placed import MOST_BRIEFS
from store.model.status import DETAILS

Figures = Mapping[tuple[str, ...], Json]
Pairs = Mapping[str, tuple[bytes, bytes | None]]
"""Deployment id to (its record, its status record if there is one)."""


def state(record: Json, status: Json | None) -> Deployment:
    """The state of a deployment; an order to stop shows before the controller has seen it."""
    known = Deployment(status["status"]) if status else Deployment.PENDING
    if record["wanted"] == "stopped" and known not in DEPLOYMENT_ENDED:
        return Deployment.STOPPING
    again = restarting(record, status) or (status is not None and revives(record, status))
    return Deployment.PENDING if again else known


def restarting(record: Json, status: Json | None) -> bool:
    """Whether a restart was asked for that the controller has not seen to yet."""
    if status is None or record["wanted"] != "running":
        return False
    return int(status.get("restarted", 0)) < int(record.get("restart", 0))


ROWS_OF_ONE = 1000
"""Rows of a large deployment that are shown where it is asked for by itself."""
_EXTRAS = ("group", "index", "version", "canary")


def deployments(projection: Projection, pairs: Pairs, *, rows: int = 0) -> list[Json]:
    """The deployments as answered by the API: two round trips, however many they are.

    Of a deployment of more than 400 allocations there are no rows, only `tasks_left_out`; which counts
    one for each allocation whose record was not read. With `rows`, there are so many rows of each at
    most, and their allocations are read for what the status does not say: two round trips more.
    """
    parsed = {key: (loads(raw), loads(status) if status else None) for key, (raw, status) in pairs.items()}
    living = {
        key: status
        for key, (record, status) in parsed.items()
        if status and ("tasks" not in status or restarting(record, status))
    }
    if rows:
        shown = briefs.detailed(projection.store, living, rows)
    else:
        shown = {key: briefs.named(status) for key, status in living.items()}
    wanted = [(each["node"], each["id"]) for some in shown.values() for each in some.briefs]
    nodes = sorted({node for node, _ in wanted})
    beats = dict(zip(nodes, projection.beats(nodes), strict=True))
    known = Known(
        dict(zip(wanted, projection.actual_entries(wanted), strict=True)),
        {node: _figures(raw) for node, raw in beats.items()},
    )
    return [
        _view(key, record, status, known, shown.get(key), rows) for key, (record, status) in parsed.items()
    ]


@dataclass(frozen=True, slots=True)
class Known:
    """What nodes say: `actual` by node and allocation, figures by node."""

    actual: Mapping[tuple[str, str], bytes | None]
    figures: Mapping[str, Figures | None]


def _view(
    key: str, record: Json, status: Json | None, known: Known, shown: briefs.Shown | None, most: int
) -> Json:
    view: Json = {
        "id": key,
        "status": state(record, status),
        "template": record["template"],
        "version": record["version"],
        "created": record["created"],
        "tasks": [],
    }
    if status is None:
        view["reason"] = "no controller has decided yet"
        return view
    view["reason"] = status.get("reason", "")
    if "nodes" in status:
        view["nodes"] = status["nodes"]
    if "groups" in status:
        view["groups"] = status["groups"]
    if shown is None:
        # It has ended: what the nodes last said is kept here.
        there, left_out = status["tasks"], int(status.get("tasks_left_out", 0))
        if not most and briefs.size(status) > MOST_BRIEFS:
            there, left_out = [], left_out + len(there)
    else:
        again = restarting(record, status)
        there, left_out = _rows(shown.briefs, known, restarts=again), shown.left_out
    if most and len(there) > most:
        there, left_out = there[:most], left_out + len(there) - most
    view["tasks"] = there
    if left_out:
        view["tasks_left_out"] = left_out
    return view


def _rows(shown: Sequence[Json], known: Known, *, restarts: bool) -> list[Json]:
    rows: list[Json] = []
    for allocation in shown:
        said = _said(known.actual.get((allocation["node"], allocation["id"])))
        if restarts or said.get("generation", 0) < allocation.get("generation", 1):
            said = {"note": said.get("note")}  # the rest tells of what is being replaced
        rows += task_rows(allocation, said, known.figures.get(allocation["node"]))
    return rows


def _said(entry: bytes | None) -> Json:
    """What a node says of an allocation; nonsense harms nobody but itself."""
    try:
        return actual_entry(loads(entry, "actual")) if entry else {}
    except BadRecord as error:
        return {"note": f"what its node says cannot be read: {error}"}


def _figures(raw: bytes | None) -> Figures | None:
    """What a node's tasks use, by allocation and task; None: it is offline."""
    if raw is None:
        return None
    try:
        tasks = loads(raw, "heartbeat").get("tasks") or {}
        return {tuple(run.split("/")[:2]): used for run, used in tasks.items() if isinstance(used, dict)}
    except (BadRecord, AttributeError):
        return {}


def task_rows(allocation: Mapping[str, Any], actual: Json, used: Figures | None) -> list[Json]:
    """One row for every task that an allocation should have, in the template's order.

    `note` in what the node says is why it does not do as it is told: unreadable, say.
    """
    said = {task["name"]: task for task in actual.get("tasks", ())}
    node, unsaid = allocation["node"], {"reason": actual.get("note")}
    rows = [
        _task_row(name, node, said.get(name, unsaid), offline=used is None) for name in allocation["tasks"]
    ]
    extras = {key: allocation[key] for key in _EXTRAS if key in allocation}
    ports = allocation.get("ports") or {}
    for row in rows:
        row |= {"allocation": allocation["id"], **extras}
        if row["name"] in ports:
            row["ports"] = ports[row["name"]]
        figures = (used or {}).get((allocation["id"], row["name"]))
        if figures is not None and row["pid"] is not None:
            row["usage"] = figures
    return rows


def _task_row(name: str, node: str, said: Json, *, offline: bool) -> Json:
    reason = said.get("reason") or ""
    if offline:
        reason = f"node {node} is offline; this is what it last said" + (f": {reason}" if reason else "")
    return {
        "name": name,
        "node": node,
        "state": said.get("state", Task.PENDING),
        "pid": said.get("pid"),
        "exit_code": said.get("exit_code"),
        "restarts": said.get("restarts", 0),
        "reason": reason,
        "started": said.get("started"),
        **{key: said[key] for key in DETAILS if key in said},
    }
