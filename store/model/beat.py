"""What nodes say of themselves, checked: a node that talks nonsense must harm nobody but itself."""

from collections.abc import Mapping
from operator import is_, itemgetter
from typing import Any

from store.errors import BadRecord

Json = dict[str, Any]

DEFAULT_TTL = 15.0
"""Seconds that a heartbeat lives which does not say for how long: an agent's that beats every 5 s."""
_NUMBERS = {
    "ttl": DEFAULT_TTL, "rev": 0, "memory_total": 0, "cpus": 0, "cpu_percent": 0.0, "memory_percent": 0.0,
    "disk_percent": 0.0, "time": 0.0, "running": 0,
}  # fmt: skip
_TEXTS = ("state", "reason", "health", "health_reason")
_FIGURES = ("pid", "exit_code", "restarts", "started", "ended", "oom_kills")
_FETCH = ("done", "total", "rate")
MOST_TEXT = 4000
"""Characters of a reason: one node's must not fill the status that it shares with others."""
MOST = 2**52
"""Numbers above it are nonsense, and would not survive Lua's doubles."""


_numbers = itemgetter(*_NUMBERS)
_NUMBER = frozenset((int, float))


def _wrong(found: Mapping[str, Any]) -> str:
    """The first of the known numbers that is none."""
    return next(name for name in _NUMBERS if type(found[name]) not in _NUMBER or not 0 <= found[name] <= MOST)


def heartbeat(raw: Mapping[str, Any]) -> Json:
    """A heartbeat whose known numbers are numbers, with defaults for those it lacks.

    Raises:
        BadRecord: a known field has another type than it should.
    """
    found = {**_NUMBERS, "frozen": None, **raw}
    values = _numbers(found)  # all at once: a list of 1,000 nodes reads 9,000 numbers
    if not (_NUMBER.issuperset(map(type, values)) and min(values) >= 0 and max(values) <= MOST):
        raise BadRecord(f"heartbeat: {_wrong(found)} is not a number from 0 to 2^52")
    for name in ("uid", "instance"):
        if not isinstance(found.get(name), str):
            raise BadRecord(f"heartbeat: {name} is not a text")
    if not isinstance(found["frozen"], str | None):
        raise BadRecord("heartbeat: frozen is not a text")
    return found


def actual(raw: Json) -> Json:
    """An `actual` entry whose parts have the types that planning relies on: `raw` itself where it has.

    Raises:
        BadRecord: one of them has not.
    """
    rev, generation, tasks = raw.get("rev", 0), raw.get("generation", 0), raw.get("tasks", [])
    _number("rev", rev)
    _number("generation", generation)
    if not isinstance(raw.get("note"), str | None):
        raise BadRecord("actual: note is not a text")
    if type(tasks) is not list:
        raise BadRecord("actual: tasks are not a list of named ones")
    rows = [_task(task) for task in tasks]
    if type(rev) is int and "rev" in raw and "generation" in raw and all(map(is_, rows, tasks)):
        return raw
    return {**raw, "rev": int(rev), "generation": generation, "tasks": rows}


def _task(task: Any) -> Json:
    """A task's row that fits a status beside those of other nodes."""
    if type(task) is not dict or type(task.get("name")) is not str:
        raise BadRecord("actual: tasks are not a list of named ones")
    found: Json = task
    for name in _TEXTS:
        text = task.get(name)
        if text is None:
            continue
        if type(text) is not str:
            raise BadRecord(f"actual: {name} of a task is not a text")
        if len(text) > MOST_TEXT:
            found = {**found, name: f"{text[:MOST_TEXT]}…"}
    for name in _FIGURES:
        value = task.get(name)
        if value is not None and not isinstance(value, int | float):
            raise BadRecord(f"actual: {name} of a task is not a number")
    said = task.get("fetch")
    if said is not None and (fetch := _fetch(said)) != said:
        found = {**found, "fetch": fetch}
    limits = task.get("limits")
    if limits is not None and not (isinstance(limits, dict) and len(str(limits)) <= MOST_TEXT):
        raise BadRecord("actual: limits of a task are no short object")
    return found


def _fetch(said: Any) -> Json:
    """How far the files of a task are: three numbers, whatever else is said."""
    if type(said) is not dict:
        raise BadRecord("actual: fetch of a task is not an object")
    found: Json = {name: said.get(name) for name in _FETCH}
    for name, value in found.items():
        if value is not None or name == "done":
            _number(f"actual: fetch.{name} of a task", value)
    return found


def _number(name: str, value: Any) -> None:
    if (type(value) is not int and type(value) is not float) or not 0 <= value <= MOST:
        raise BadRecord(f"{name} is not a number from 0 to 2^52")
