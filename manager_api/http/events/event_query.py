"""What a reader of events asks for: the parameters of the call, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manager_api.http.frame.errors import invalid
from manager_api.http.frame.query_schema import QuerySchema, Switch, Word
from manager_api.http.frame.times import since as moment
from store.model.event import MOST_KIND, Id, Wanted, event_id

MOST_ROWS, USUAL_ROWS = 1000, 100
_KIND = re.compile(rf"[a-z0-9_.-]{{1,{MOST_KIND}}}")


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for, checked."""

    wanted: Wanted
    limit: int
    cursor: Id | None
    newest_first: bool
    follow: bool
    after: Id | None
    """The last event that the reader knows."""


def query(data: Mapping[str, Any], now: float, *, accept: str = "", known: str | None = None) -> Query:
    """What `EventsQuerySchema` read, at `now` (wall), with the call's headers `Accept` and `Last-Event-ID`.

    Raises:
        ApiError: 400 with the sentence that says which and why.
    """
    wanted = Wanted(
        deployment=data.get("deployment"),
        node=data.get("node"),
        kind=data.get("kind"),
        since=_at(data.get("since"), now),
        until=_at(data.get("until"), now),
    )
    after = data.get("after")
    if known:
        try:
            after = event_id(known)
        except ValueError as error:
            raise invalid(f"Last-Event-ID: {error}") from None
    asked = Query(
        wanted,
        data.get("limit", USUAL_ROWS),
        data.get("cursor"),
        data.get("order", True),
        data.get("follow", False) or "text/event-stream" in accept,
        after,
    )
    _check(asked, data)
    return asked


def _check(asked: Query, given: Mapping[str, Any]) -> None:
    if asked.follow:
        for name in ("cursor", "order", "limit", "until"):
            if name in given:
                raise invalid(f"{name}: is for pages, and this reader follows; after is where it goes on")
    elif "after" in given:
        raise invalid("after: is for readers that follow; pages have cursor")


def _at(said: Mapping[str, float] | None, now: float) -> float | None:
    """A time in seconds since 1970, by our own clock."""
    if said is None:
        return None
    return now - said["ago"] if "ago" in said else said["since"]


def _some(text: str) -> str:
    if not text or len(text) > 200:
        raise ValueError("is empty" if not text else "is too long")
    return text


def _kind(text: str) -> str:
    if not _KIND.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no kind of event, such as deployment, node.offline or api")
    return text


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MOST_ROWS:
        raise ValueError(f"{text[:20]!r} is no number from 1 to {MOST_ROWS}")
    return int(text)


def _order(text: str) -> bool:
    if text not in ("asc", "desc"):
        raise ValueError(f"{text[:20]!r} is neither asc nor desc")
    return text == "desc"


_AN_ID = {"pattern": "^[0-9]{1,15}-[0-9]{1,19}$"}
_A_NAME = {"minLength": 1, "maxLength": 200}
_TIME = "so long ago (`10m`), a time (`2026-01-31T12:00:00Z`), or seconds since 1970"


class EventsQuerySchema(QuerySchema):
    """Which events; see `query`."""

    deployment = Word(_some, "Only those about this deployment.", _A_NAME)
    node = Word(_some, "Only those about this node.", _A_NAME)
    kind = Word(_kind, "Only those of this kind, or of kinds below it.", {"pattern": f"^{_KIND.pattern}$"})
    since = Word(moment, f"Only those since then: {_TIME}.")
    until = Word(moment, f"Only those before then: {_TIME}. For pages.")
    limit = Word(_limit, "Events of a page.", {"type": "integer", "minimum": 1, "maximum": MOST_ROWS})
    cursor = Word(event_id, "`next` of the page before.", _AN_ID)
    order = Word(_order, "The newest first, or the oldest. For pages.", {"enum": ["desc", "asc"]})
    follow = Switch("Tell of what happens from now on, too, as server-sent events.")
    after = Word(event_id, "The last event that is known. For those who follow.", _AN_ID)
