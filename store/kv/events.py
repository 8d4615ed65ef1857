"""The stream of events: appended to by whoever decides, followed by recorders and watchers.

It holds about `MOST_KEPT` entries, so that it takes a bounded part of the server's memory; history is
kept outside, by every manager for itself. Nothing here is fenced or compared: events are hints.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from store.codec import Json, dumps, loads
from store.errors import BadRecord
from store.keys import Keys
from store.kv.connection import Client, translated
from store.model.event import BEGINNING, Id, as_text, event_id, understood

MOST_KEPT = 10_000
FIELD = b"e"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the stream."""

    id: Id
    event: Json


@dataclass(frozen=True, slots=True)
class Heard:
    """What a follower hears in one go."""

    entries: tuple[Entry, ...] = ()
    gap: str = ""
    """Why some before these may be missing."""


@dataclass(frozen=True, slots=True)
class Events:
    """The stream, for those who write and those who look something up."""

    client: Client
    keys: Keys = field(default_factory=Keys)

    def add(self, records: Iterable[Json]) -> None:
        """Append events, all in one go.

        Raises:
            StoreError: some of them, or all, may be lost.
        """
        with translated():
            pipe = self.client.pipeline(transaction=False)
            for record in records:
                pipe.xadd(self.keys.events, {FIELD: dumps(record)}, maxlen=MOST_KEPT, approximate=True)
            pipe.execute()

    def first(self) -> Id | None:
        """The oldest that is still there."""
        with translated():
            found = self.client.xrange(self.keys.events, count=1)
        return _id(found[0][0]) if found else None

    def last(self) -> Id | None:
        """The newest that is there."""
        with translated():
            found = self.client.xrevrange(self.keys.events, count=1)
        return _id(found[0][0]) if found else None

    def after(self, start: Id, upto: Id | None = None, most: int = 1000) -> list[Entry]:
        """The next ones after an id, the oldest first; none beyond `upto`."""
        end = "+" if upto is None else as_text(upto)
        with translated():
            found = self.client.xrange(self.keys.events, f"({as_text(start)}", end, count=most)
        return list(_entries(found))

    def before(self, end: Id | None, most: int = 1000) -> list[Entry]:
        """Those before an id, the newest first."""
        if end == BEGINNING:
            return []  # a server takes no end below all ids
        top = "+" if end is None else f"({as_text(end)}"
        with translated():
            found = self.client.xrevrange(self.keys.events, top, "-", count=most)
        return list(_entries(found))


class Follower:
    """A place in the stream, and one connection of its own (reads block). For one thread."""

    def __init__(self, client: Client, keys: Keys, after: Id = BEGINNING) -> None:
        self._client = client
        self._key = keys.events
        self.position = after

    def poll(self, wait_ms: int, most: int = 1024) -> Heard:
        """The next events; none when none came within `wait_ms`.

        The server skips silently what was trimmed, and blocks silently below an id from another
        history (restored, or emptied under a clock that went back): both are looked for here.

        Raises:
            Unavailable: poll again later; nothing is skipped.
        """
        with translated():
            pipe = self._client.pipeline(transaction=False)
            pipe.xread({self._key: as_text(self.position)}, count=most, block=wait_ms or None)
            pipe.xrange(self._key, count=1)
            pipe.xrevrange(self._key, count=1)
            answer, oldest, newest = pipe.execute()
        raw = answer[0][1] if answer else []
        before = self.position
        if not raw:
            if newest and _id(newest[0][0]) < before:
                self.position = BEGINNING
                return Heard(gap="the store's events begin anew: it was restored or emptied")
            return Heard()
        self.position = _id(raw[-1][0])
        first_read = _id(raw[0][0])
        cut = before != BEGINNING and bool(oldest) and _id(oldest[0][0]) == first_read
        gap = f"the store's events begin with {as_text(first_read)}: older ones were dropped" if cut else ""
        return Heard(tuple(_entries(raw)), gap)


def _id(raw: bytes) -> Id:
    ms, _, n = raw.partition(b"-")
    return int(ms), int(n)


def _entries(raw: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> Iterable[Entry]:
    """What can be read of it: nonsense in the stream is passed over."""
    for number, fields in raw:
        try:
            yield Entry(event_id(number.decode()), understood(loads(fields[FIELD], "event")))
        except (BadRecord, KeyError, TypeError, ValueError, AttributeError):
            continue
