"""Devices as the API shows them: their records as they lie in the store, but for what only holds now."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from manager_api.http.inventory.inventory_answers import Row, Source, order, picked
from manager_api.inventory import presence
from manager_api.inventory.memberships import living
from manager_api.inventory.search import Place, Search, Wanted
from store.codec import Json, dumps
from store.keys import GROUPS
from store.kv.store import Store

_VERSION = b',"v":1}'
"""How the canonical JSON of a record ends: a note to the store's readers, none to people."""
_NODE, _GROUPS = b'"node":', b'"groups":'
"""Keys; within a text they would have their quotes escaped."""


def shown(store: Store, record: Json) -> Json:
    """One device: a node's status is its heartbeat's word, and groups that are gone are passed over."""
    return _now([record], presence.statuses(store, _nodes([record])), living(store))[0]


def source(store: Store, asked: Mapping[str, Any], exact: Mapping[str, str]) -> Source:
    """The devices that are asked for, as rows; `exact` as in `search.Wanted`."""
    word, down = order(asked, "id")
    found = Search(store, Wanted(dict(exact), asked.get("model", ""), word, down))
    names: list[str] | None = asked.get("fields")
    if "group" in exact and store.get(GROUPS, exact["group"]) is None:
        return Source(lambda _: iter(()), lambda: 0)  # what it left behind counts for nothing

    def batches(after: Place | None) -> Iterator[list[Row]]:
        for batch in found.found(after):
            raws = rows(store, [each.raw for each in batch])
            yield [(each.place, picked(raw, names)) for each, raw in zip(batch, raws, strict=True)]

    return Source(batches, found.total)


def rows(store: Store, raws: list[bytes]) -> list[bytes]:
    """Records as they are answered: only those with something that holds now are read at all."""
    told = [n for n, raw in enumerate(raws) if _NODE in raw or _GROUPS in raw]
    if told:
        records = [orjson.loads(raws[n]) for n in told]
        known = presence.statuses(store, _nodes(records))
        there = living(store) if any("groups" in record for record in records) else set()
        raws = list(raws)
        for n, record in zip(told, _now(records, known, there), strict=True):
            raws[n] = dumps(record)
    return [raw[: -len(_VERSION)] + b"}" if raw.endswith(_VERSION) else raw for raw in raws]


def _nodes(records: list[Json]) -> list[str]:
    return [record["node"] for record in records if record.get("node")]


def _now(records: list[Json], status: Mapping[str, str], there: set[str]) -> list[Json]:
    found = []
    for record in records:
        now = {key: value for key, value in record.items() if key not in ("v", "groups")}
        if groups := [group for group in record.get("groups", ()) if group in there]:
            now["groups"] = groups
        if record.get("node"):
            now["status"] = status[record["node"]]
        found.append(now)
    return found
