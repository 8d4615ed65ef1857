"""Whether devices that are nodes are there, by their heartbeats, at the moment somebody asks."""

from collections.abc import Iterable, Mapping, Sequence

from store.codec import Json, loads
from store.errors import BadRecord
from store.keys import NODES
from store.kv.projection import Projection
from store.kv.store import Store

ONLINE, OFFLINE, UNKNOWN = "online", "offline", "unknown"


def statuses(store: Store, nodes: Sequence[str]) -> dict[str, str]:
    """The state of each node: `online`, `offline`, or `unknown` while heartbeats cannot be judged.

    A node that was removed, or whose id another machine uses, is offline.
    """
    if not nodes:
        return {}
    beats, doubt = Projection(store).judged(nodes)
    records = store.values_of(NODES, nodes)
    return {
        node: _status(record, beat, doubt) for node, record, beat in zip(nodes, records, beats, strict=True)
    }


def present(store: Store, records: Iterable[Json]) -> list[Json]:
    """Devices as they are to be shown: `status` of those that are nodes is what their heartbeats say."""
    found = list(records)
    known: Mapping[str, str] = statuses(store, [each["node"] for each in found if each.get("node")])
    return [{**each, "status": known[each["node"]]} if each.get("node") else each for each in found]


def _status(record: bytes | None, beat: bytes | None, doubt: str | None) -> str:
    if record is None:
        return OFFLINE
    if beat is None:
        return UNKNOWN if doubt else OFFLINE
    try:
        return ONLINE if loads(beat).get("uid") == loads(record).get("uid") else OFFLINE
    except BadRecord:
        return OFFLINE
