"""What nodes say of themselves, checked: a node that talks nonsense must harm nobody but itself."""

from collections.abc import Mapping
from typing import Any

from store.errors import BadRecord

Json = dict[str, Any]

_NUMBERS = {
    "ttl": 15.0, "rev": 0, "memory_total": 0, "cpus": 0, "cpu_percent": 0.0, "memory_percent": 0.0,
    "disk_percent": 0.0, "time": 0.0, "running": 0,
}  # fmt: skip
_TEXTS = ("state", "reason", "health", "health_reason")
_FIGURES = ("pid", "exit_code", "restarts", "started", "ended", "oom_kills")
MOST_TEXT = 4000
"""Characters of a reason: one node's must not fill the status that it shares with others."""
MOST = 2**52
"""Numbers above it are nonsense, and would not survive Lua's doubles."""


def heartbeat(raw: Mapping[str, Any]) -> Json:
    """A heartbeat whose known numbers are numbers, with defaults for those it lacks.

    Raises:
        BadRecord: a known field has another type than it should.
    """
    found = {**_NUMBERS, "frozen": None, **raw}
    for name in _NUMBERS:  # inline: a list of 1,000 nodes reads 9,000 numbers
        value = found[name]
        if (type(value) is not int and type(value) is not float) or not 0 <= value <= MOST:
            raise BadRecord(f"heartbeat: {name} is not a number from 0 to 2^52")
    for name in ("uid", "instance"):
        if not isinstance(found.get(name), str):
            raise BadRecord(f"heartbeat: {name} is not a text")
    if not isinstance(found["frozen"], str | None):
        raise BadRecord("heartbeat: frozen is not a text")
    return found


def actual(raw: Mapping[str, Any]) -> Json:
    """An `actual` entry whose parts have the types that planning relies on.

    Raises:
        BadRecord: one of them has not.
    """
    for name in ("rev", "generation"):
        _number(name, raw.get(name, 0))
    if not isinstance(raw.get("note"), str | None):
        raise BadRecord("actual: note is not a text")
    tasks = raw.get("tasks", [])
    if not isinstance(tasks, list) or not all(
        isinstance(task, dict) and isinstance(task.get("name"), str) for task in tasks
    ):
        raise BadRecord("actual: tasks are not a list of named ones")
    generation = raw.get("generation", 0)
    rows = [_task(task) for task in tasks]
    return {**raw, "rev": int(raw.get("rev", 0)), "generation": generation, "tasks": rows}


def _task(task: Json) -> Json:
    """A task's row that fits a status beside those of other nodes."""
    found = task
    for name in _TEXTS:
        text = task.get(name)
        if not isinstance(text, str | None):
            raise BadRecord(f"actual: {name} of a task is not a text")
        if text is not None and len(text) > MOST_TEXT:
            found = {**found, name: f"{text[:MOST_TEXT]}…"}
    for name in _FIGURES:
        if not isinstance(task.get(name), int | float | None):
            raise BadRecord(f"actual: {name} of a task is not a number")
    limits = task.get("limits")
    if limits is not None and not (isinstance(limits, dict) and len(str(limits)) <= MOST_TEXT):
        raise BadRecord("actual: limits of a task are no short object")
    return found


def _number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
        raise BadRecord(f"{name} is not a number from 0 to 2^52")
