"""What the node says of itself: `actual` entries, changes only, and the heartbeat."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from agentd.core.runs import TaskView
from store.clock import Clock
from store.codec import dumps
from store.model.spec import AllocSpec

Json = dict[str, Any]
PROGRESS_EVERY = 2.0
"""Seconds between two changes of a row that tell of nothing but progress."""


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
    view: TaskView,
    reason: str,
    limits: Json | None = None,
    ports: Mapping[str, int] | None = None,
    fetch: Json | None = None,
) -> Json:
    """One task of an entry; `limits` are those that the kernel has, read back; `fetch` is `Progress`'."""
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
    if fetch is not None:
        row["fetch"] = fetch
    return row


class Progress:
    """How far the files of tasks are, as their rows say it: not every byte is news to the store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[tuple[Any, ...], float, Json]] = {}

    def of(self, alloc: AllocSpec, view: TaskView) -> Json | None:
        """Bytes done, of how many, and how many a second; None: nothing is being fetched.

        What was said stays for `PROGRESS_EVERY` seconds, unless the row has other news, too.
        """
        key, files = (alloc.id, view.spec.name), view.files
        if files is None:
            self._said.pop(key, None)
            return None
        rest, now = (alloc.generation, view.state, view.reason), self._clock.now()
        known = self._said.get(key)
        if known is not None and known[0] == rest and now < known[1] + PROGRESS_EVERY:
            return known[2]
        rate = round(files.rate) if files.rate is not None else None
        found: Json = {"done": files.done, "total": files.total, "rate": rate}
        self._said[key] = rest, now, found
        return found

    def keep(self, allocs: Container[str]) -> None:
        """Forget those of other allocations."""
        self._said = {key: said for key, said in self._said.items() if key[0] in allocs}


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
