"""What a reader of events asks for: the parameters of the call, checked."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from manager_api.http.errors import invalid
from manager_api.http.times import since
from store.model.event import MOST_KIND, Id, Wanted, event_id

MOST_ROWS, USUAL_ROWS = 1000, 100
PARAMETERS = (
    "deployment", "node", "kind", "since", "until", "limit", "cursor", "order", "follow", "after",
)  # fmt: skip
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


def query(params: Mapping[str, Any], now: float, *, accept: str = "", known: str | None = None) -> Query:
    """The parameters of a call at `now` (wall), with its headers `Accept` and `Last-Event-ID`.

    Raises:
        ApiError: 400 with the sentence that says which and why.
    """
    for name, value in params.items():
        if name not in PARAMETERS:
            raise invalid(f"{name}: unknown; there are {', '.join(PARAMETERS)}")
        if not isinstance(value, str):
            raise invalid(f"{name}: given more than once")

    def read(name: str, reader: Callable[[str], Any], default: str | None = None) -> Any:
        text = params.get(name, default)
        try:
            return None if text is None else reader(text)
        except (ValueError, OverflowError) as error:
            raise invalid(f"{name}: {error}") from None

    follow = read("follow", _boolean, "false") or "text/event-stream" in accept
    wanted = Wanted(
        deployment=read("deployment", _some),
        node=read("node", _some),
        kind=read("kind", _kind),
        since=read("since", lambda text: moment(text, now)),
        until=read("until", lambda text: moment(text, now)),
    )
    after = read("after", event_id)
    if known:
        try:
            after = event_id(known)
        except ValueError as error:
            raise invalid(f"Last-Event-ID: {error}") from None
    asked = Query(
        wanted,
        read("limit", _limit, str(USUAL_ROWS)),
        read("cursor", event_id),
        read("order", _order, "desc"),
        follow,
        after,
    )
    _check(asked, params)
    return asked


def _check(asked: Query, params: Mapping[str, Any]) -> None:
    if asked.follow:
        for name in ("cursor", "order", "limit", "until"):
            if name in params:
                raise invalid(f"{name}: is for pages, and this reader follows; after is where it goes on")
    elif "after" in params:
        raise invalid("after: is for readers that follow; pages have cursor")


def moment(text: str, now: float) -> float:
    """A time in seconds since 1970, by our own clock.

    Raises:
        ValueError: it is none.
    """
    said = since(text)
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


def _boolean(text: str) -> bool:
    if text.lower() in ("", "true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise ValueError(f"{text[:20]!r} is neither true nor false")
