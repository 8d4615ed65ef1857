"""Events that were: from the manager's own history, and from the stream what is not there yet.

A manager without a directory, or whose history cannot be read just now, has the stream alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import time

from manager_api.chronicle import Reader, gap_event
from store.codec import Json
from store.kv.events import Entry, Events
from store.model.event import BEGINNING, Id, Wanted, as_text

AT_ONCE = 200
STREAM_AT_ONCE = 1000
UNKNOWN = "event {} is not known here: some after it may be missing"


@dataclass(slots=True)
class Place:
    """How far one watcher has been told of the past."""

    row: int | None
    """The row of the history; None: beyond it, in the stream."""
    id: Id
    """The id in the stream."""


class Past:
    """The past of one manager; any thread."""

    def __init__(self, path: Path | None, events: Callable[[], Events]) -> None:
        self._reader = Reader(path) if path is not None else None
        self._events = events

    def page(
        self, wanted: Wanted, cursor: Id | None, most: int, *, newest_first: bool
    ) -> tuple[list[Json], bool]:
        """Some events, and whether others follow.

        Raises:
            StoreError: there is no history, and no store.
        """
        if self._reader is not None:
            try:
                return self._reader.page(wanted, cursor, most, newest_first=newest_first)
            except OSError:
                pass  # the recorder says what is wrong with it
        return self._stream_page(wanted, cursor, most, newest_first=newest_first)

    def _stream_page(
        self, wanted: Wanted, cursor: Id | None, most: int, *, newest_first: bool
    ) -> tuple[list[Json], bool]:
        events, found = self._events(), list[Json]()
        while len(found) <= most:
            if newest_first:
                entries = events.before(cursor, STREAM_AT_ONCE)
            else:
                entries = events.after(cursor or BEGINNING, most=STREAM_AT_ONCE)
            found += [told(each) for each in entries if wanted.takes(each.event)]
            if len(entries) < STREAM_AT_ONCE:
                break
            cursor = entries[-1].id
        return found[:most], len(found) > most

    def locate(self, after: Id) -> tuple[Place, str]:
        """Where a watcher goes on who knows all up to an id; and why some may be missing.

        Raises:
            StoreError: it has to be looked for in the stream.
        """
        row = None
        if self._reader is not None:
            try:
                row, known = self._reader.locate(after)
            except OSError:
                known = False
            if known or (after == BEGINNING and row is not None):
                return Place(row, after), ""
        if after == BEGINNING:
            return Place(None, after), ""
        if self._is_in_stream(after):
            return Place(None, after), ""
        return Place(row, after), UNKNOWN.format(as_text(after))

    def _is_in_stream(self, number: Id) -> bool:
        found = self._events().before((number[0], number[1] + 1), 1)
        return bool(found) and found[0].id == number

    def read(self, place: Place, wanted: Wanted, upto: Id | None) -> tuple[list[Json], bool]:
        """The next events for a watcher; whether that was all up to an id (None: it is not known yet).

        Raises:
            StoreError: later again.
        """
        if place.row is not None and self._reader is not None:
            try:
                page = self._reader.after(place.row, wanted, AT_ONCE)
            except OSError:
                place.row = None
                return [gap_event("the history cannot be read: some may be missing", time())], False
            if page.more:
                place.row = page.position
            else:
                place.row = None
                place.id = page.last if page.last != BEGINNING else place.id
            return page.events, False
        if upto is None:
            return [], False
        entries = self._events().after(place.id, upto, AT_ONCE)
        if entries:
            place.id = entries[-1].id
        return [told(each) for each in entries if wanted.takes(each.event)], len(entries) < AT_ONCE


def told(entry: Entry) -> Json:
    """An event of the stream as readers get it."""
    return {"id": as_text(entry.id), **entry.event}
