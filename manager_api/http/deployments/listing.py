"""`GET /v1/deployments`: filtered, newest first, in pages that survive what comes and goes meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import falcon
import orjson

from manager_api.http.deployments import instance_view, views
from manager_api.http.deployments.deployment_answers import A_VIEW, DEPLOYMENTS
from manager_api.http.frame import bodies, pages
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.pages import PageSchema, Sort
from manager_api.http.frame.query_schema import QuerySchema, Switch, Word
from manager_api.http.services import Services
from manager_api.http.waiting import news
from store.codec import Json, loads
from store.keys import DEPLOYMENTS as RECORDS
from store.keys import STATUS, is_node_id
from store.kv.projection import Projection
from store.kv.store import Store
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment

MOST_ROWS = 1000
_BY_STATUS = ("status", "over", "node")
"""Filters that need what the controller says."""
_SORTS = {"created": lambda row: row["created"], "name": lambda row: row["name"]}


def _status(text: str) -> frozenset[str]:
    words = frozenset(text.upper().split(","))
    if not words <= set(Deployment):
        raise ValueError(f"not one or several of {', '.join(Deployment)}")
    return words


class DeploymentsQuerySchema(QuerySchema, PageSchema, news.WaitSchema):
    """Which deployments are listed."""

    sort = Sort(*_SORTS, metadata={"description": "Without it `-created`: the newest first."})
    status = Word(
        _status,
        f"Only those in this state, or one of several with commas between: {', '.join(Deployment)}.",
        {"pattern": "^[A-Za-z]+(,[A-Za-z]+)*$"},
    )
    template = Word(str, "Only those of this template.")
    name = Word(str, "Only the one of this name, and those that had it.")
    node = Word(str, "Only those that have something on this node, or had when they ended.")
    id = Word(str, "Only those whose id begins so.")
    over = Switch("Only those that have ended (true), or have not (false).")


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for, checked; None: whatever it is."""

    status: frozenset[str] | None = None
    template: str | None = None
    name: str | None = None
    node: str | None = None
    id: str | None = None
    over: bool | None = None

    def needs_status(self) -> bool:
        """Whether the controller's records say which deployments match."""
        return any(getattr(self, each) is not None for each in _BY_STATUS)

    def takes(self, deployment: str, record: Json) -> bool:
        """Whether a deployment's own record matches."""
        return (
            (self.id is None or deployment.startswith(self.id))
            and self.template in (None, record["template"])
            and self.name in (None, record.get("name"))
        )

    def takes_status(self, record: Json, status: Json | None) -> bool:
        """Whether what became of it matches, but for where it is."""
        found = views.state(record, status)
        return (self.status is None or found in self.status) and self.over in (
            None,
            found in DEPLOYMENT_ENDED,
        )


def _on(status: Json | None, node: str) -> bool:
    """Whether a status says that something of a deployment is on a node, or was when it ended."""
    said = status or {}
    return any(each["node"] == node for key in ("allocations", "tasks") for each in said.get(key, ()))


def _ordered(store: Store, node: str) -> set[str]:
    """The deployments of which a node has orders: the status of a large one does not say where it is."""
    if not is_node_id(node):
        return set()
    return {each.rpartition(".")[0] for each in Projection(store).desired([node])[node].entries}


def page(store: Store, wanted: Mapping[str, Any]) -> Json:
    """The answer: `data`, `total` (all that match, on whatever page), `next` (None: that was all).

    Raises:
        ApiError: 400 for a cursor of another order.
    """
    asked = Query(**{key: each for key, each in wanted.items() if key in Query.__slots__})
    records = {key: loads(raw) for key, raw in store.values(RECORDS).items()}
    matching = [key for key, record in records.items() if asked.takes(key, record)]
    if asked.needs_status():
        raw = store.values(STATUS)
        known = {key: loads(raw[key]) if key in raw else None for key in matching}
        matching = [key for key in matching if asked.takes_status(records[key], known[key])]
        if asked.node is not None:
            there = _ordered(store, asked.node)
            matching = [key for key in matching if key in there or _on(known[key], asked.node)]
    found = pages.page(
        ({"id": key, "created": float(records[key]["created"]), "name": records[key].get("name")}
         for key in matching),
        {key: each for key, each in wanted.items() if key != "fields"},
        sorts=_SORTS, default="-created",
    )  # fmt: skip
    # Only what is shown is built.
    rows = _rows(store, [row["id"] for row in found["data"]])
    if "fields" in wanted:
        rows = [{name: row[name] for name in wanted["fields"] if name in row} for row in rows]
    return {**found, "data": rows}


def _rows(store: Store, keys: list[str]) -> list[Json]:
    """The rows of a page, whole: each record with the status of the same revision."""
    if len(keys) > MOST_ROWS:
        whole = store.snapshot([RECORDS, STATUS]).collections
        records, known = ([whole[name].get(key) for key in keys] for name in (RECORDS, STATUS))
    else:
        found = store.get_many([(name, key) for name in (RECORDS, STATUS) for key in keys])
        records, known = found[: len(keys)], found[len(keys) :]
    pairs = {
        key: (record.value, status.value if status else None)
        for key, record, status in zip(keys, records, known, strict=True)
        if record is not None  # else it went between the two reads
    }
    return instance_view.rows(Projection(store), pairs)


class Listing:
    """`GET /v1/deployments`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "List deployments",
        id="list_deployments",
        tag="deployments",
        description="With their tasks, newest first. Of a deployment of more than 400 allocations no tasks "
        "are listed, only how many there are.",
        query=DeploymentsQuerySchema(),
        answers={200: Answer("The deployments.", DEPLOYMENTS, {"data": [A_VIEW], "total": 1, "next": None})},
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the deployments with their tasks, newest first."""
        news.hold(self._services, req, news.OF_DEPLOYMENTS)
        asked = bodies.query(req)
        resp.data = orjson.dumps(self._services.call(lambda store: page(store, asked)))
