"""Which version and parameters a deployment is to run next: update, rollback. Pure.

The record says in `before` what it was until the last update; a rollback takes that away, so that
the same rollback asked for twice goes back once.
"""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
Release = tuple[int, dict[str, str]]
"""Version and parameters."""


def release_of(said: Json) -> Release:
    """What a record, or a release in a status, names."""
    return int(said["version"]), dict(said.get("parameters", {}))


def failed(record: Json, status: Json | None) -> bool:
    """Whether the record's own change was tried and came to nothing: asked for again, it is tried again."""
    if (status or {}).get("status") == "FAILED":
        return True
    rollout = (status or {}).get("rollout") or {}
    ended_badly = rollout.get("state") in ("failed", "reverted")
    return bool(ended_badly and int(rollout.get("change", 0)) == int(record.get("change", 0)))


def carried(
    declared: Json, record: Json, asked: Mapping[str, str | bool | None], wanted: Json
) -> dict[str, str | bool]:
    """The parameters to check for another version: those the record has, overlaid by what is asked for.

    `declared` is what the record's version says of parameters, `wanted` what the new one does. A value
    that is the old default was never chosen and follows the default; null in `asked` does the same; one
    that the new version does not know any more is left behind, unless it was asked for by name.
    """
    kept = {
        name: value
        for name, value in record.get("parameters", {}).items()
        if name in wanted and value != _default(declared.get(name))
    }
    merged = {**kept, **asked}
    return {name: value for name, value in merged.items() if value is not None}


def _default(about: Any) -> str | None:
    """What a parameter is when nothing is said of it; None: it must be said, or is not declared."""
    if not isinstance(about, Mapping) or about.get("required"):
        return None
    return str(about.get("default", ""))


def raised(record: Json, release: Release) -> Json:
    """The record after an update to another release."""
    version, parameters = release_of(record)
    return {**_moved(record, release), "before": _said((version, parameters))}


def returned(record: Json, release: Release) -> Json:
    """The record after a rollback to a release: it has run before, so it needs no canaries, and no pause."""
    new = {key: value for key, value in _moved(record, release).items() if key not in ("before", "paused")}
    return {**new, "promote": new["change"]}


def _moved(record: Json, release: Release) -> Json:
    version, parameters = release
    new = {**record, "version": version, "parameters": parameters}
    if not parameters:
        del new["parameters"]
    return {**new, "change": int(record.get("change", 0)) + 1}


def _said(release: Release) -> Json:
    version, parameters = release
    return {"version": version, **({"parameters": parameters} if parameters else {})}


def rolled_back(record: Json) -> bool:
    """Whether the last change of a record was a rollback."""
    return int(record.get("change", 0)) > 0 and "before" not in record


def known(record: Json, status: Json | None) -> list[Release]:
    """The other releases that a record and its status remember, the best to go back to first."""
    stable = (status or {}).get("stable")
    said = [release_of(each) for each in (stable, record.get("before")) if each]
    return [each for each in said if each != release_of(record)]
