"""Nodes as the API shows them: their records, what their heartbeats say, what the leader says of them."""

import orjson

from manager_api.core.bar import bar_of
from manager_api.core.membership import Groups
from manager_api.http.frame.errors import ApiError
from manager_api.inventory.targets import all_groups
from store.codec import Json, loads
from store.errors import BadRecord
from store.keys import NODES, NODES_STATUS
from store.kv.projection import Projection
from store.kv.store import Store
from store.model import noderecord
from store.model.beat import heartbeat

OFFLINE_RESOURCES = "cpu_usage_percent:0,memory_usage_percent:0"
NO_NODE = "Node not found"
_MORE = ("load", "disk_total", "disk_used", "memory_total", "memory_used")
_SHOWN = (
    "uid", "addresses", "features", "joined", "own_labels", "cordoned", "removing", "device", "facts",
)  # fmt: skip


def listing(store: Store) -> list[Json]:
    """Every node, by id. Online is who has a heartbeat; who has none may be `unknown` for a reason."""
    records = sorted(store.values(NODES).items())
    groups = all_groups(store)
    beats, doubt = Projection(store).judged([node for node, _ in records])
    said, rows = store.values(NODES_STATUS), list[Json]()
    for (node, raw), beat in zip(records, beats, strict=True):
        record = orjson.loads(raw)
        rows.append(_row(node, record, beat, doubt, groups))
        if said:
            _told(rows[-1], record, said.get(node))
    return rows


def one(store: Store, node: str) -> Json:
    """One node, with all that is known of it.

    Raises:
        ApiError: 404.
    """
    found, status = store.get_many([(NODES, node), (NODES_STATUS, node)])
    if found is None:
        raise unknown(node)
    record = loads(found.value, f"node {node}")
    nodes = Projection(store)
    [beat], doubt = nodes.judged([node])
    row = _row(node, record, beat, doubt, all_groups(store))
    row |= {key: record[key] for key in _SHOWN if key in record}
    if "drain" in record:
        row["drain"] = dict(record["drain"])
    _told(row, record, status.value if status else None)
    row["beat"] = read_beat(beat)
    row["allocations"] = _orders(nodes, node)
    return row


def unknown(node: str) -> ApiError:
    """404: there is no such node."""
    return ApiError(404, NO_NODE, f"there is no node with id {node[:200]!r}")


def _orders(nodes: Projection, node: str) -> list[Json]:
    """What the node is told to run or to stop, briefly."""
    found = []
    for alloc_id, raw in sorted(nodes.desired([node])[node].entries.items()):
        try:
            entry = loads(raw)
        except BadRecord:
            entry = {}
        keys = ("deployment", "template", "group", "index", "wanted", "generation")
        found.append({"id": alloc_id, **{key: entry.get(key) for key in keys}})
    return found


def _row(node: str, record: Json, raw: bytes | None, doubt: str | None, groups: Groups) -> Json:
    row: Json = {
        "id": node,
        "ip": record["ip"],
        "hostname": record["hostname"],
        "version": record["version"],
        "status": 1,
        "resources": OFFLINE_RESOURCES,
        "frozen": None,
        "labels": noderecord.effective(record),
        "groups": groups.names_of(node, record),
        "scheduling": noderecord.scheduling(record),
    }
    beat = read_beat(raw)
    if raw is not None and beat is None:
        row["frozen"] = "its heartbeat cannot be read"
    if raw is None and doubt:
        row["unknown"] = doubt
    if beat is None or beat["uid"] != record["uid"]:
        return row
    cpu, memory = beat["cpu_percent"], beat["memory_percent"]
    row["status"] = 0
    row["resources"] = f"cpu_usage_percent:{round(cpu)},memory_usage_percent:{round(memory)}"
    row["cpu_percent"], row["memory_percent"], row["disk_percent"] = cpu, memory, beat["disk_percent"]
    row["frozen"], row["last_seen"], row["applied_rev"] = beat["frozen"], beat["time"], beat["rev"]
    row["running"] = beat["running"]
    unclaimed = beat.get("unclaimed")
    row["unclaimed"] = len(unclaimed) if isinstance(unclaimed, list) else 0
    row |= {key: beat[key] for key in _MORE if key in beat}
    return row


def _told(row: Json, record: Json, raw: bytes | None) -> None:
    """What the leader says of a node: that it is barred, how far its drain has come."""
    if raw is None:
        return
    if (bar := bar_of(raw)) is not None:
        row["frozen"] = f"barred from the store: {bar.reason}"
    waits = _word(raw, "removal").get("reason")
    if waits and row["scheduling"] == "removing":
        row["removal"] = str(waits)
    progress = _progress(raw, record.get("drain") or {})
    if progress is not None and row["scheduling"] in ("draining", "removing"):
        row["drain"] = {**row.get("drain", {}), **progress}


def _progress(raw: bytes | None, drain: Json) -> Json | None:
    """The leader's word on a drain; None if there is none that can be read, or it is about an earlier one."""
    said = _word(raw, "drain")
    if said.get("since", drain.get("since")) != drain.get("since"):
        return None
    return {key: said[key] for key in ("state", "left", "of", "reason") if key in said} or None


def _word(raw: bytes | None, key: str) -> Json:
    """One of the leader's words on a node; empty if there is none that can be read."""
    try:
        said = loads(raw).get(key) if raw is not None else None
    except BadRecord:
        return {}
    return said if isinstance(said, dict) else {}


def read_beat(raw: bytes | None) -> Json | None:
    """A heartbeat; None if there is none that can be read."""
    if raw is None:
        return None
    try:
        return heartbeat(loads(raw))
    except BadRecord:
        return None
