"""`GET /v1/deployments`: filtered, newest first, in pages that survive what comes and goes meanwhile."""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import falcon
import orjson

from manager_api.http import instance_view, views
from manager_api.http.errors import invalid
from manager_api.http.services import Services
from store.codec import Json, loads
from store.keys import DEPLOYMENTS, STATUS, is_node_id
from store.kv.projection import Projection
from store.kv.store import Store
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment

MOST_ROWS = 1000
PARAMETERS = ("status", "template", "name", "node", "id", "over", "limit", "cursor")
_BY_STATUS = ("status", "over", "node")
"""Filters that need what the controller says."""

Position = tuple[float, str]
"""Where a deployment stands in the order: minus its time, and its id."""


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for, checked; None: whatever it is."""

    status: frozenset[str] | None = None
    template: str | None = None
    name: str | None = None
    node: str | None = None
    id: str | None = None
    over: bool | None = None
    limit: int | None = None
    cursor: Position | None = None

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


def query(params: Mapping[str, Any]) -> Query:
    """The parameters of a call.

    Raises:
        ApiError: 400 with the sentence that says which and why.
    """
    readers: dict[str, Callable[[str], Any]] = {
        "status": _status,
        "over": _boolean,
        "limit": _limit,
        "cursor": _position,
    }
    found: dict[str, Any] = {}
    for name, value in params.items():
        if name not in PARAMETERS:
            raise invalid(f"{name}: unknown; there are {', '.join(PARAMETERS)}")
        if not isinstance(value, str):
            raise invalid(f"{name}: given more than once")
        try:
            found[name] = readers.get(name, str)(value)
        except ValueError as error:
            raise invalid(f"{name}: {error}") from None
    return Query(**found)


def _status(text: str) -> frozenset[str]:
    words = frozenset(text.upper().split(","))
    if not words <= set(Deployment):
        raise ValueError(f"not one or several of {', '.join(Deployment)}")
    return words


def _boolean(text: str) -> bool:
    if text not in ("true", "false", "1", "0"):
        raise ValueError("not true or false")
    return text in ("true", "1")


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:10]) <= MOST_ROWS:
        raise ValueError(f"not a whole number from 1 to {MOST_ROWS}")
    return int(text)


def _position(text: str) -> Position:
    try:
        found = orjson.loads(base64.urlsafe_b64decode(text.encode("ascii")))
        if [type(each) for each in found] != [float, str]:
            raise ValueError
        return found[0], found[1]
    except (ValueError, TypeError, binascii.Error):
        raise ValueError("not a cursor that was given as `next`") from None


def _cursor(position: Position) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode()


def page(store: Store, asked: Query) -> Json:
    """The answer: `data`, `total` (all that match, on whatever page), `next` (None: that was all)."""
    records = {key: loads(raw) for key, raw in store.values(DEPLOYMENTS).items()}
    matching = [key for key, record in records.items() if asked.takes(key, record)]
    if asked.needs_status():
        raw = store.values(STATUS)
        known = {key: loads(raw[key]) if key in raw else None for key in matching}
        matching = [key for key in matching if asked.takes_status(records[key], known[key])]
        if asked.node is not None:
            there = _ordered(store, asked.node)
            matching = [key for key in matching if key in there or _on(known[key], asked.node)]
    order = sorted((-float(records[key]["created"]), key) for key in matching)
    rest = order if asked.cursor is None else [each for each in order if each > asked.cursor]
    shown = rest if asked.limit is None else rest[: asked.limit]
    more = len(shown) < len(rest)
    return {
        "data": _rows(store, [key for _, key in shown]),
        "total": len(order),
        "next": _cursor(shown[-1]) if more else None,
    }


def _rows(store: Store, keys: list[str]) -> list[Json]:
    """The rows of a page, whole: each record with the status of the same revision."""
    if len(keys) > MOST_ROWS:
        whole = store.snapshot([DEPLOYMENTS, STATUS]).collections
        records, known = ([whole[name].get(key) for key in keys] for name in (DEPLOYMENTS, STATUS))
    else:
        found = store.get_many([(name, key) for name in (DEPLOYMENTS, STATUS) for key in keys])
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

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the deployments with their tasks, newest first."""
        asked = query(req.params)
        resp.data = orjson.dumps(self._services.call(lambda store: page(store, asked)))
