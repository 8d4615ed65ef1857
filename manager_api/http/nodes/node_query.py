"""By which words nodes are listed, read and removed."""

from collections.abc import Callable
from typing import Any

from marshmallow import ValidationError, pre_load

from manager_api.http.frame.fields import Read
from manager_api.http.frame.pages import PageSchema, Sort
from manager_api.http.frame.query_schema import QuerySchema, Switch
from manager_api.http.waiting.news import WaitSchema
from store.codec import Json
from store.model import noderecord

STATES = ("online", "offline", "unknown", "frozen")
STATUSES = (*STATES, *noderecord.WORDS)
SEVERAL = ("label", "group", "status")
Test = Callable[[Json], bool]
"""Whether a row is meant."""


class Tests(Read[list[Test]]):
    """A word that may come several times, `?label=zone=a&label=disk`: what rows must pass for it."""

    def __init__(self, reader: Callable[[list[str]], list[Test]], about: str, **shape: Any) -> None:
        super().__init__(metadata={"description": about})
        self._reader, self._shape = reader, shape

    def _read(self, value: Any) -> list[Test]:
        found = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in found):
            raise ValidationError("not a text")
        return self._reader(found)

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "array", "items": {"type": "string", **self._shape}}


def _labels(texts: list[str]) -> list[Test]:
    return [_label(each) for each in texts]


def _label(text: str) -> Test:
    key, equals, wanted = text.partition("=")
    noderecord.name(key)
    noderecord.value(wanted)
    return lambda row: row["labels"].get(key) == wanted if equals else key in row["labels"]


def _groups(texts: list[str]) -> list[Test]:
    return [lambda row: set(texts) <= set(row["groups"])]


def _statuses(texts: list[str]) -> list[Test]:
    wrong = [text for text in texts if text not in STATUSES]
    if wrong:
        raise ValueError(f"{wrong[0][:80]!r} is not one of {', '.join(STATUSES)}")
    return [lambda row: row["scheduling"] in texts or _state(row) in texts]


def _state(row: Json) -> str:
    if row["status"]:
        return "unknown" if row.get("unknown") else "offline"
    return "frozen" if row["frozen"] else "online"


class NodesQuerySchema(QuerySchema, PageSchema, WaitSchema):
    """Which nodes are listed, and how."""

    label = Tests(_labels, "A label that they have: a key, or `key=value`. Several must all hold.")
    group = Tests(_groups, "A group that they are in, by name. Several must all hold.")
    status = Tests(_statuses, "Whether they are there, or take work; several: one of them.", enum=[*STATUSES])
    sort = Sort("id", "hostname", "ip", "version")

    @pre_load
    def check_words(self, data: Any, **more: Any) -> Any:
        """Filters may come several times."""
        super().check_words({key: value for key, value in data.items() if key not in SEVERAL}, **more)
        return data


class NodeQuerySchema(QuerySchema, WaitSchema):
    """One node, perhaps once it has changed."""


class RemovalQuerySchema(QuerySchema):
    """How a node is to go."""

    force = Switch("Although its agent is alive, or may be.")
