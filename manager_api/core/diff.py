"""What is different between two definitions of a deployment, field by field. Pure."""

from collections.abc import Iterator
from typing import Any

from store.model.spec import default_group_name

Json = dict[str, Any]

MOST = 200
"""Fields that are named; nobody reads more."""
_ABSENT = object()


def diff(old: Json, new: Json) -> list[Json]:
    """The fields that differ, each with what it was and will be; null is absent.

    Both are `described` ones.
    """
    return [
        {"field": field, "old": _shown(before), "new": _shown(after)}
        for field, before, after in list(_differences(old, new, ""))[:MOST]
    ]


def described(record: Json, body: Json) -> Json:
    """A deployment's record with its template, as people see it: groups and tasks by their names."""
    groups = {}
    for position, group in enumerate(body.get("task_groups", ())):
        name = group.get("name", default_group_name(position))
        groups[name] = {
            **{key: value for key, value in group.items() if key not in ("name", "tasks")},
            "count": record.get("scale", {}).get(name, group.get("count", 1)),
            "tasks": {task["name"]: _task(task) for task in group.get("tasks", ())},
        }
    rest: Json = {key: body[key] for key in ("priority", "preempt") if key in body}
    named: Json = {key: record[key] for key in ("template", "version", "ttl") if key in record}
    return {**named, **rest, "parameters": record.get("parameters", {}), "groups": groups}


def _task(task: Json) -> Json:
    """A task without its name; its artifacts by what they are called, so that only what differs shows."""
    found = {key: value for key, value in task.items() if key != "name"}
    if "artifacts" in found:
        found["artifacts"] = {
            f"{each['source']} -> {each['to']}" if "to" in each else each["source"]: each
            for each in found["artifacts"]
        }
    return found


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(
                old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}" if path else key
            )
    elif old is _ABSENT or new is _ABSENT or old != new:
        yield path, old, new


def _shown(value: Any) -> Any:
    return None if value is _ABSENT else value
