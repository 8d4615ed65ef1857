"""How the inventory answers: contract 5's envelope, its errors, and lists of any length in bounded memory."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import falcon
import orjson

from manager_api.http.frame import pages
from manager_api.http.frame.errors import ApiError, handle_api_error, invalid
from manager_api.http.frame.preconditions import changed
from manager_api.http.services import Services
from manager_api.inventory.devices import IDS, SMALLEST_ID
from manager_api.inventory.errors import InventoryError, NoNode, Stale, TooMany, Unknown
from manager_api.inventory.search import Place
from store.codec import Json
from store.kv.store import Store

TAKEN = "Taken, or in use"
_CONFLICTS = {TooMany: "Too many groups", NoNode: "The device is no node"}
Row = tuple[Place, bytes]
"""Where something stands in its order, and how it is answered: JSON."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a list is read from."""

    batches: Callable[[Place | None], Iterator[list[Row]]]
    """All rows beyond a place, in batches."""
    total: Callable[[], int]


def answered(error: InventoryError) -> ApiError:
    """What the inventory refuses, as the API says it: 404, 409, 412."""
    if isinstance(error, Stale):
        return changed(str(error))
    if isinstance(error, Unknown):
        return ApiError(404, f"{error.what.capitalize()} not found", str(error))
    return ApiError(409, _CONFLICTS.get(type(error), TAKEN), str(error))


def handle_inventory_error(
    req: falcon.Request, resp: falcon.Response, error: InventoryError, params: dict[str, Any]
) -> None:
    """Falcon's handler of what the inventory refuses."""
    handle_api_error(req, resp, answered(error), params)


def done(resp: falcon.Response, message: str, **more: Any) -> None:
    """Contract 5's answer to a call that did something."""
    resp.data = orjson.dumps({"status": 200, "message": message, **more})


def counted(count: int, noun: str) -> str:
    """`1 device`, `2 devices`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def wanted_id(req: falcon.Request) -> str | None:
    """The id that a call with an Idempotency-Key makes, so that its repetition finds what it made."""
    said = getattr(req.context, "idempotency_id", None)
    return None if said is None else str(SMALLEST_ID + uuid.UUID(str(said)).int % IDS)


def picked(raw: bytes, names: list[str] | None) -> bytes:
    """A row with only some of its keys."""
    if names is None:
        return raw
    record = orjson.loads(raw)
    return orjson.dumps({name: record[name] for name in names if name in record})


def order(asked: Mapping[str, Any], default: str) -> tuple[str, bool]:
    """By which word rows are sorted, and whether downwards.

    Raises:
        ApiError: 400 for a cursor of another order.
    """
    word = str(asked.get("sort", default))
    cursor: pages.Position | None = asked.get("cursor")
    if cursor is not None and (cursor[0] != word or not isinstance(cursor[1], str)):
        raise invalid(f"cursor: it is of the order {cursor[0][:80]!r}, not {word!r}")
    return word.removeprefix("-"), word.startswith("-")


def send(
    services: Services,
    resp: falcon.Response,
    asked: Mapping[str, Any],
    source: Callable[[Store], Source],
    *,
    default: str,
    noun: str | None,
) -> None:
    """Answer a list: a page of it, or, without `limit`, all, a thousand rows at a time.

    `noun`: what its rows are, for the message of contract 5's envelope; None: it has none.
    """
    word, cursor = asked.get("sort", default), asked.get("cursor")
    after: Place | None = None if cursor is None else (cursor[1], cursor[2])
    if "limit" in asked:
        data, total, last = services.call(lambda store: _page(source(store), asked["limit"], after))
        more = None if last is None else pages.cursor_of((word, *last))
        resp.data = b"".join((_HEAD, b",".join(data), _tail(total, more, noun, len(data))))
        return

    def begin(store: Store) -> tuple[list[list[Row]], Iterator[list[Row]], int | None]:
        found = source(store)
        batches = found.batches(after)
        first = [batch for _ in range(2) if (batch := next(batches, None)) is not None]
        return first, batches, None if after is None else found.total()

    first, rest, count = services.call(begin)
    if len(first) < 2:
        data = [raw for batch in first for _, raw in batch]
        resp.data = b"".join((_HEAD, b",".join(data), _tail(count, None, noun, len(data))))
    else:
        resp.stream = _stream(chain(first, rest), count, noun)
        resp.content_type = falcon.MEDIA_JSON


_HEAD = b'{"data":['


def _tail(total: int | None, more: str | None, noun: str | None, shown: int) -> bytes:
    """What follows the rows; `total` None: all of them were shown."""
    count = shown if total is None else total
    said: Json = {} if noun is None else {"status": 200, "message": counted(count, noun)}
    return b"]," + orjson.dumps({**said, "total": count, "next": more})[1:]


def _stream(batches: Iterator[list[Row]], total: int | None, noun: str | None) -> Iterator[bytes]:
    """The answer in pieces. A store that fails in between breaks the connection: half a list is none."""
    shown, between = 0, _HEAD
    for batch in batches:
        shown += len(batch)
        yield between + b",".join(raw for _, raw in batch)
        between = b","
    yield _tail(total, None, noun, shown)


def _page(source: Source, limit: int, after: Place | None) -> tuple[list[bytes], int, Place | None]:
    """Rows, how many match in all, and where the page ended; None: that was the end of the list."""
    rows: list[Row] = []
    for batch in source.batches(after):
        rows += batch
        if len(rows) > limit:
            break
    last = rows[limit - 1][0] if len(rows) > limit else None
    return [raw for _, raw in rows[:limit]], source.total(), last
