"""Unclaimed work: it runs, but the store lost what wanted it. Kept until somebody adopts or stops it."""

from collections.abc import Sequence

from marshmallow import ValidationError

from manager_api.http.frame.errors import ApiError, invalid
from manager_api.http.templates import templates
from manager_api.http.templates.schemas import TemplateSchema
from store.codec import Json, dumps, loads
from store.errors import BadRecord, Conflict
from store.faults import fault
from store.keys import CLAIMS, DEPLOYMENTS, NODES, TEMPLATES, VERSIONS, version_field
from store.kv.api import Change, Compare
from store.kv.projection import Projection
from store.kv.store import Store
from store.model import beat, spec
from store.model.spec import default_group_name

NOTHING = "There is no such unclaimed work"
NOT_SO = "This work cannot be adopted"
SAYS = {"running": "adopt", "stopped": "stop"}

NUMBERS = ("rev", "generation", "index")

_TEMPLATE = TemplateSchema()


def listing(store: Store) -> list[Json]:
    """One row for each unclaimed allocation; `order` is what the node was told, null if it forgot."""
    nodes = sorted(store.values(NODES))
    projection = Projection(store)
    beats = zip(nodes, projection.beats(nodes), strict=True)
    named = {node: ids for node, raw in beats if (ids := _unclaimed(raw))}
    claims = {key: loads(raw) for key, raw in store.values(CLAIMS).items()} if named else {}
    said = zip(named, projection.actual(list(named)), strict=True)
    return [
        row
        for node, actual in said
        for row in _rows(node, named[node], {key: _entry(raw) for key, raw in (actual or {}).items()}, claims)
    ]


def _unclaimed(raw: bytes | None) -> list[str]:
    try:
        ids = loads(raw, "heartbeat").get("unclaimed") if raw is not None else None
    except BadRecord:
        return []
    return [each for each in ids if isinstance(each, str)] if isinstance(ids, list) else []


def _entry(raw: bytes) -> Json:
    try:
        return beat.actual(loads(raw, "actual entry"))
    except BadRecord:
        return {}


def _order(alloc_id: str, entry: Json) -> Json | None:
    """What a node was told, if that is what a node can have been told: what is claimed goes to the leader."""
    order: Json = entry.get("order", {})
    try:
        told = spec.allocation(alloc_id, order)
    except BadRecord:
        return None
    sound = (
        told.deployment == alloc_id.rpartition(".")[0]
        and isinstance(told.template, str)
        and isinstance(told.group, str)
        and all(type(order[key]) is int and 0 <= order[key] <= beat.MOST for key in NUMBERS)
    )
    return order if sound else None


def _rows(node: str, named: Sequence[str], actual: dict[str, Json], claims: dict[str, Json]) -> list[Json]:
    # What is told of without an order has been listed again since the heartbeat.
    named = [each for each in named if "order" in (entry := actual.get(each, {})) or not entry.get("wanted")]
    ids = {*named, *(alloc_id for alloc_id, entry in actual.items() if "order" in entry)}
    return [_row(node, alloc_id, actual.get(alloc_id, {}), claims) for alloc_id in sorted(ids)]


def _row(node: str, alloc_id: str, entry: Json, claims: dict[str, Json]) -> Json:
    order = _order(alloc_id, entry)
    claim = claims.get(f"{node}/{alloc_id}")
    return {
        "allocation": alloc_id,
        "node": node,
        "uid": entry.get("uid"),
        "deployment": (order or {}).get("deployment") or alloc_id.rpartition(".")[0],
        "template": (order or {}).get("template"),
        "version": (order or {}).get("version"),
        "claimed": SAYS.get(claim["wanted"]) if claim else None,
        "tasks": [
            {"name": task.get("name"), "state": task.get("state"), "pid": task.get("pid")}
            for task in entry.get("tasks", ())
        ],
        "order": order,
    }


def adopt(store: Store, deployment: str, now: float) -> list[Json]:
    """Make unclaimed work a deployment again, from what its nodes know; the rows.

    Its template version is taken from there, too, if the store has lost it.

    Raises:
        ApiError: 404; 409 when the deployment was stopped; 400 when what the nodes say is no template.
    """
    rows = _of(store, deployment)
    orders = [row["order"] for row in rows]
    name, number = _version(store, orders)
    known = store.get(DEPLOYMENTS, deployment)
    if known is not None and loads(known.value)["wanted"] == "stopped":
        raise ApiError(409, NOT_SO, "its deployment was stopped, and that is for ever: stop this work, too")
    if known is None:
        record: Json = {"v": 1, "template": name, "version": number, "wanted": "running", "created": now}
        try:
            store.put(DEPLOYMENTS, deployment, dumps({**record, "adopted": now}), rev=0)
        except Conflict:
            return adopt(store, deployment, now)
    for row in rows:
        _claim(store, row, "running", now, template=name, version=number)
    return rows


def stop(store: Store, deployment: str, now: float) -> list[Json]:
    """Have unclaimed work stopped; its deployment, if there is one, goes on. The rows.

    Raises:
        ApiError: 404.
    """
    rows = _of(store, deployment)
    for row in rows:
        _claim(store, row, "stopped", now)
    return rows


def _of(store: Store, deployment: str) -> list[Json]:
    rows = [row for row in listing(store) if row["deployment"] == deployment]
    if not rows:
        raise ApiError(404, NOTHING, f"nothing unclaimed belongs to deployment {deployment!r}")
    known = [row for row in rows if row["order"] is not None and row["uid"]]
    if not known:
        where = ", ".join(sorted({row["node"] for row in rows}))
        why = f"{where} has not told what its orders were: try again. If it has forgotten them"
        raise ApiError(
            409, NOT_SO, f"{why}, `agent stop --tasks` there ends it, and all else that runs there"
        )
    return known


def _claim(store: Store, row: Json, wanted: str, now: float, **more: object) -> None:
    record = {"v": 1, "node": row["node"], "uid": row["uid"], "alloc": row["allocation"], "wanted": wanted}
    fault("api.claim.before")
    store.put(
        CLAIMS,
        f"{row['node']}/{row['allocation']}",
        dumps({**record, "order": row["order"], "asked": now, **more}),
    )
    fault("api.claim.after")


def _version(store: Store, orders: list[Json]) -> tuple[str, int]:
    """A template version that has these orders' tasks: the one they name, or one made from them."""
    try:
        name, number = str(orders[0]["template"]), int(orders[0]["version"])
        body = _TEMPLATE.load(_body(name, orders))
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise invalid(f"what the nodes know of it is no template: {error}") from None
    while True:
        field = version_field(name, number)
        version, template = store.get_many([(VERSIONS, field), (TEMPLATES, name)])
        if version is not None:
            if all(_covers(loads(version.value)["body"], order) for order in orders):
                return name, number
            other = f"{name}-recovered"  # this number means something else by now
            return other, templates.save(store, {**body, "name": other})
        record = dumps({"v": 1, "version": number, "body": body})
        changes = [Change(VERSIONS, field, record)]
        if template is None or int(loads(template.value)["version"]) < number:
            changes.append(Change(TEMPLATES, name, record))
        compares = [Compare(VERSIONS, field, 0), Compare(TEMPLATES, name, template.rev if template else 0)]
        try:
            store.txn(compares, changes)
        except Conflict:
            continue
        return name, number


def _body(name: str, orders: list[Json]) -> Json:
    groups: dict[str, Json] = {}
    for order in orders:
        group = groups.setdefault(order["group"], {"name": order["group"], "count": 1, "tasks": {}})
        group["count"] = max(group["count"], int(order["index"]) + 1)
        group["tasks"].update({task["name"]: task for task in order["tasks"]})
    return {
        "name": name,
        "task_groups": [{**group, "tasks": list(group["tasks"].values())} for group in groups.values()],
    }


def _covers(body: Json, order: Json) -> bool:
    """Whether a template has the tasks of an order; limits may have been changed since."""
    named = [(group.get("name", default_group_name(n)), group) for n, group in enumerate(body["task_groups"])]
    groups = [group for name, group in named if name == order["group"]]
    known = {task["name"]: _unlimited(task) for group in groups for task in group["tasks"]}
    return all(known.get(task["name"]) == _unlimited(task) for task in order["tasks"])


def _unlimited(task: Json) -> Json:
    kept = {key: value for key, value in task.get("resources", {}).items() if key != "limits"}
    return {**{key: value for key, value in task.items() if key != "resources"}, "resources": kept}
