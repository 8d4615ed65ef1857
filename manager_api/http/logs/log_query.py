"""What a reader of logs asks for: the parameters of its call, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import post_load

from manager_api.http.frame.query_schema import QuerySchema, Switch, Word
from manager_api.http.frame.times import since
from manager_api.http.logs.log_lines import FORMS, STREAMS, JsonLines, Text, cursors

USUAL_TAIL, MOST_TAIL = 100, 100_000


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for, checked."""

    task: str | None
    node: str | None
    where: Mapping[str, Any]
    """Where logs begin that have no cursor: `tail`, `ago`, `since`; see `store.kv.asks`."""
    follow: bool
    streams: tuple[str, ...]
    cursors: Mapping[str, int]
    form: type[Text | JsonLines]


def _tail(text: str) -> int | None:
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) > MOST_TAIL:
        raise ValueError(f"{text!r} is neither a number of lines up to {MOST_TAIL} nor all")
    return int(text)


def _streams(text: str) -> tuple[str, ...]:
    wanted = tuple(short for short, name in STREAMS.items() if text in (name, "both"))
    if not wanted:
        raise ValueError(f"{text!r} is none of stdout, stderr, both")
    return wanted


def _form(text: str) -> type[Text | JsonLines]:
    if text not in FORMS:
        raise ValueError(f"{text!r} is neither text nor json")
    return FORMS[text]


class LogsQuerySchema(QuerySchema):
    """Which logs, from where, in which form. Reads a `Query`."""

    task = Word(str, "Only this task.")
    node = Word(str, "Only this node.")
    tail = Word(_tail, "So many last lines of each log; `all`.", {"pattern": "^([0-9]{1,6}|all)$"})
    since = Word(
        since, "From so long ago (`10m`), or from a time (`2026-01-31T12:00:00Z`, or seconds since 1970)."
    )
    follow = Switch("Go on with what is written from now on.")
    stream = Word(_streams, "Which of a task's two logs.", {"enum": [*STREAMS.values(), "both"]})
    cursor = Word(cursors, "Where to go on: cursors of an earlier answer, with commas between.")
    format = Word(_form, "Lines as they are, or a JSON object for each.", {"enum": [*FORMS]})

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Query:
        """The question, whole."""
        where = {"tail": data.get("tail", USUAL_TAIL), **data.get("since", {})}
        if "since" in data and "tail" not in data:
            where["tail"] = None
        return Query(
            data.get("task"), data.get("node"), where, data.get("follow", False),
            data.get("stream") or tuple(STREAMS), data.get("cursor") or {}, data.get("format", Text),
        )  # fmt: skip
