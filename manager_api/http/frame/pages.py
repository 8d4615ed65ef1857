"""Lists that are in memory anyway: sorted, cut into pages that survive what comes and goes meanwhile."""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from marshmallow import Schema, ValidationError

from manager_api.http.frame.answers import listed
from manager_api.http.frame.errors import invalid
from manager_api.http.frame.fields import Read, StrictSchema
from store.codec import Json

MOST_ROWS = 1000
MOST_FIELDS = 50
MOST_CURSOR = 3000
"""Characters: a query string has to fit into a request line."""
_SCALARS = (type(None), bool, int, float, str)

Position = tuple[str, Any, str]
"""Where a page ended: the order's word (`name`, `-name`), the last row's sort value, and its id."""


class Limit(Read[int]):
    """How many rows a page has at most: a query string's digits, or a number of a body."""

    def _read(self, value: Any) -> int:
        digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10
        number = int(value) if digits or (isinstance(value, int) and not isinstance(value, bool)) else 0
        if not 1 <= number <= MOST_ROWS:
            raise ValidationError(f"not a whole number from 1 to {MOST_ROWS}")
        return number

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "integer", "minimum": 1, "maximum": MOST_ROWS}


class Cursor(Read[Position]):
    """What an earlier answer gave as `next`."""

    def _read(self, value: Any) -> Position:
        return position_of(once(value))

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string", "maxLength": MOST_CURSOR}


class Sort(Read[str]):
    """By what rows are sorted, `-` before it for the other way round; without words, the list says which."""

    def __init__(self, *words: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._words = [sign + word for word in words for sign in ("", "-")]

    def _read(self, value: Any) -> str:
        found = once(value)
        if self._words and found not in self._words:
            raise ValidationError(f"not one of {', '.join(self._words)}")
        return found

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string"} | ({"enum": self._words} if self._words else {})


class Names(Read[list[str]]):
    """Names with commas between."""

    def _read(self, value: Any) -> list[str]:
        found = [name.strip() for name in once(value).split(",")]
        if not all(found):
            raise ValidationError("not names with commas between")
        if len(found) > MOST_FIELDS:
            raise ValidationError(f"{len(found)} names, at most {MOST_FIELDS}")
        return found

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string", "pattern": "^[^,]+(,[^,]+)*$"}


def once(value: Any) -> str:
    """A parameter's text.

    Raises:
        ValidationError: it is none, or was given several times.
    """
    if isinstance(value, list):
        raise ValidationError("given more than once")
    if not isinstance(value, str):
        raise ValidationError("not a text")
    return value


class PageSchema(StrictSchema):
    """The query words of every list. Filters, and `WaitSchema` of those that are held, come beside."""

    limit = Limit(metadata={"description": "Rows of a page; without it, all."})
    cursor = Cursor(metadata={"description": "`next` of the page before."})
    fields = Names(  # type: ignore[assignment]  # marshmallow keeps it apart
        metadata={"description": "Only these keys of each row, with commas between."}
    )
    sort = Sort(metadata={"description": "By what the rows are sorted; `-` before it: the other way round."})


def answer(row: Schema, name: str) -> Schema:
    """The shape of a list's answer, called `name`, for `operation.Answer`."""
    return listed(row, name)


def page(
    rows: Iterable[Json],
    asked: Mapping[str, Any],
    *,
    sorts: Mapping[str, Callable[[Json], Any]],
    default: str,
    key: Callable[[Json], str] = lambda row: row["id"],
) -> Json:
    """The answer to what `PageSchema` read: `data`, `total` (all rows), `next` (None: no more).

    `sorts` gives each order's scalar by its name, `default` is one of them (`-` before it: descending), `key`
    a row's unique id. A page begins behind the position of the last row of the one before it: what comes and
    goes meanwhile neither repeats nor hides others.

    Raises:
        ApiError: 400 for an order that there is not, or a cursor of another one.
    """
    word = asked.get("sort", default)
    down, value = word.startswith("-"), sorts.get(word.removeprefix("-"))
    if value is None:
        raise invalid(f"sort: {word[:80]!r} is not one of {', '.join(sorts)}")
    ordered = sorted(((_rank(value(row)), key(row), row) for row in rows), key=_place, reverse=down)
    begin = _begin(ordered, asked.get("cursor"), word, down=down)
    shown = ordered[begin : begin + asked.get("limit", len(ordered))]
    more = begin + len(shown) < len(ordered)
    data = [row for _, _, row in shown]
    if "fields" in asked:
        data = [{name: row[name] for name in asked["fields"] if name in row} for row in data]
    last = cursor_of((word, value(shown[-1][2]), shown[-1][1])) if more else None
    return {"data": data, "total": len(ordered), "next": last}


def _begin(ordered: list[Any], cursor: Position | None, word: str, *, down: bool) -> int:
    """The index of the first row behind a cursor."""
    if cursor is None:
        return 0
    if cursor[0] != word:
        raise invalid(f"cursor: it is of the order {cursor[0][:80]!r}, not {word!r}")
    place = (_rank(cursor[1]), cursor[2])
    if not down:
        return bisect_right(ordered, place, key=_place)
    # Descending, `bisect` would need keys that grow: count from the other end.
    at, end = 0, len(ordered)
    while at < end:
        middle = (at + end) // 2
        if _place(ordered[middle]) < place:
            end = middle
        else:
            at = middle + 1
    return at


def _place(entry: tuple[Any, ...]) -> tuple[Any, str]:
    return entry[0], entry[1]


def _rank(value: Any) -> tuple[int, Any]:
    """Sortable whatever the types: nothing, then numbers, then texts."""
    if value is None:
        return 0, 0
    return (2, value) if isinstance(value, str) else (1, value)


def cursor_of(position: Position) -> str:
    """A position as text, for `next`."""
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode()


def position_of(text: str) -> Position:
    """The position that `cursor_of` wrote.

    Raises:
        ValidationError: it is none.
    """
    try:
        if len(text) > MOST_CURSOR:
            raise ValueError
        word, value, last = orjson.loads(base64.urlsafe_b64decode(text.encode("ascii")))
        if not (isinstance(word, str) and isinstance(value, _SCALARS) and isinstance(last, str)):
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        raise ValidationError("not a cursor that was given as `next`") from None
    return word, value, last
