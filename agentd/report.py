"""What the node says of itself: `actual` entries, changes only, and the heartbeat."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentd.core.runs import TaskView
from store.codec import dumps
from store.model.spec import AllocSpec

Json = dict[str, Any]


def entry(
    alloc: AllocSpec,
    tasks: Sequence[Json],
    *,
    epoch: str,
    uid: str,
    oddity: str | None,
    order: Mapping[str, Any] | None = None,
) -> Json:
    """The `actual` entry of one allocation; `rev` is that of the desired entry it obeys.

    `order` is that entry itself where nobody but this node knows it any more: unclaimed work.
    """
    record: Json = {
        "v": 1,
        "generation": alloc.generation,
        "wanted": alloc.wanted,
        "group": alloc.group,
        "index": alloc.index,
        "rev": alloc.rev,
        "epoch": epoch,
        "uid": uid,
        "tasks": list(tasks),
    }
    if oddity:
        record["note"] = oddity
    if order is not None:
        record["order"] = order
    return record


def unread(why: str, *, epoch: str, uid: str) -> Json:
    """The `actual` entry of an order that was never understood: it says so, and nothing of tasks."""
    record: Json = {"v": 1, "generation": 0, "wanted": None, "rev": 0, "epoch": epoch, "uid": uid}
    return {**record, "tasks": [], "note": why}


def task_row(
    view: TaskView, reason: str, limits: Json | None = None, ports: Mapping[str, int] | None = None
) -> Json:
    """One task of an entry; `limits` are those that the kernel has, read back."""
    last = view.last
    row: Json = {
        "name": view.spec.name,
        "state": view.state,
        "pid": last.pid if last and last.live else None,
        "exit_code": last.code if last else None,
        "restarts": last.attempt if last else 0,
        "reason": reason,
        "started": last.started_wall if last else None,
        "ended": last.ended_wall if last else None,
    }
    if view.spec.health is not None:
        row["health"] = view.health.state
        row["health_reason"] = view.health.reason
    if ports:
        row["ports"] = dict(ports)
    if limits is not None:
        row["limits"] = limits
    if last is not None and last.oom:
        row["oom_kills"] = last.oom
    return row


class Outbox:
    """The entries as last said, so that only changes are said."""

    def __init__(self) -> None:
        self._said: dict[str, bytes] = {}

    def changes(self, entries: Mapping[str, Json]) -> dict[str, bytes | None]:
        """What differs from what was last said; None for what is over."""
        found: dict[str, bytes | None] = {}
        for alloc_id, record in entries.items():
            raw = dumps(record)
            if self._said.get(alloc_id) != raw:
                found[alloc_id] = self._said[alloc_id] = raw
        for alloc_id in self._said.keys() - entries.keys():
            del self._said[alloc_id]
            found[alloc_id] = None
        return found
