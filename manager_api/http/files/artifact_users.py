"""Which templates name which artifacts, in their newest versions.

What a name with `${…}` comes to is not known before it is deployed: such names are nobody's here.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from store.codec import loads
from store.keys import TEMPLATES
from store.kv.store import Store
from store.model import command
from transfer.errors import TransferError
from transfer.urls import Source, is_relative, under

_ROOT = Source(scheme="file", path="/")

Bodies = Mapping[str, Mapping[str, Any]]
"""Templates by name."""


def newest(store: Store) -> Bodies:
    """The newest version of each template."""
    return {name: loads(raw)["body"] for name, raw in store.values(TEMPLATES).items()}


def clean(name: str) -> str:
    """A name as it lies on the server, whichever way it was written."""
    try:
        return under(_ROOT, name).path.removeprefix("/")
    except TransferError:
        return name


def by_name(bodies: Bodies) -> dict[str, set[str]]:
    """Templates by the artifacts that they name."""
    found: dict[str, set[str]] = {}
    for template, body in bodies.items():
        for name, _ in _named(body):
            found.setdefault(name, set()).add(template)
    return found


def pinned_otherwise(bodies: Bodies, artifact: str, sha256: str) -> list[str]:
    """The templates that want an artifact to be of another SHA-256."""
    return sorted(
        template
        for template, body in bodies.items()
        if any(name == artifact and pin not in (None, sha256) for name, pin in _named(body))
    )


def _named(body: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The names under the base that a template's tasks have, and their SHA-256."""
    for group in body.get("task_groups", ()):
        for task in group.get("tasks", ()):
            for each in task.get("artifacts", ()):
                if is_relative(each["source"]):
                    yield clean(each["source"]), each.get("sha256")
            if task.get("fetch"):
                yield PurePosixPath(command.argv(task["config"]["command"])[0]).name, None
