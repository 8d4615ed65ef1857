"""What a reader of logs asks for: the parameters of its call, checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from manager_api.http.errors import invalid
from manager_api.http.log_lines import FORMS, STREAMS, JsonLines, Text, cursors
from manager_api.http.times import since

MOST_TAIL = 100_000
PARAMETERS = ("task", "node", "tail", "since", "follow", "stream", "cursor", "format")


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


def query(params: Mapping[str, Any]) -> Query:
    """The parameters of a call.

    Raises:
        ApiError: 400 with the sentence that says which and why.
    """
    readers: dict[str, tuple[Callable[[str], Any], str | None]] = {
        "tail": (_tail, "100"),
        "since": (since, None),
        "follow": (_boolean, "false"),
        "stream": (_streams, "both"),
        "cursor": (cursors, None),
        "format": (_form, "text"),
    }
    for name, value in params.items():
        if name not in PARAMETERS:
            raise invalid(f"{name}: unknown; there are {', '.join(PARAMETERS)}")
        if not isinstance(value, str):
            raise invalid(f"{name}: given more than once")
    found: dict[str, Any] = {}
    for name, (read, default) in readers.items():
        text = params.get(name, default)
        try:
            found[name] = None if text is None else read(text)
        except (ValueError, OverflowError) as error:
            raise invalid(f"{name}: {error}") from None
    where = {"tail": found["tail"], **(found["since"] or {})}
    if found["since"] and "tail" not in params:
        where["tail"] = None
    return Query(
        params.get("task"), params.get("node"), where, found["follow"], found["stream"],
        found["cursor"] or {}, found["format"],
    )  # fmt: skip


def _tail(text: str) -> int | None:
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) > MOST_TAIL:
        raise ValueError(f"{text!r} is neither a number of lines up to {MOST_TAIL} nor all")
    return int(text)


def _boolean(text: str) -> bool:
    if text.lower() in ("", "true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _streams(text: str) -> tuple[str, ...]:
    wanted = tuple(short for short, name in STREAMS.items() if text in (name, "both"))
    if not wanted:
        raise ValueError(f"{text!r} is none of stdout, stderr, both")
    return wanted


def _form(text: str) -> type[Text | JsonLines]:
    if text not in FORMS:
        raise ValueError(f"{text!r} is neither text nor json")
    return FORMS[text]
