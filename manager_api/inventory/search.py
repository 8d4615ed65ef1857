"""Devices found by the index, in an order, in batches: memory is bounded, however many there are.

What the index can answer by itself is read from it as it is asked for. Another order than the index has of
what matches needs all their places at once, which are some hundred bytes each; records never are.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice

from manager_api.core import devices
from store.codec import Json, loads
from store.keys import DEVICES
from store.kv.store import Store

BATCH = 1000
"""Lines or records that are in memory at once."""
FEW = 10
"""Lines of the index that are read at once of each of many serial numbers."""
SORTS = ("id", "name", "sn", "model")
EXACT = ("node", "sn", "name", "group")
"""What the index finds whole, the most telling first; ids aside, which need none."""

Place = tuple[str, str]
"""Where a device stands in an order: the text that it is sorted by (empty for ids), its id."""


@dataclass(frozen=True, slots=True)
class Found:
    """A device, and where it stands."""

    place: Place
    raw: bytes
    """Its record, as it lies in the store."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which devices, in which order."""

    exact: Mapping[str, str] = field(default_factory=dict)
    """`id`, `node`, `sn`, `name`, `group`: what they must be."""
    model: str = ""
    """What the model holds somewhere; capitals matter."""
    sort: str = "id"
    backwards: bool = False

    def source(self) -> str | None:
        """By which exact word they are found; None: by their id, or the index of their order, or model."""
        if "id" in self.exact:
            return None
        return next((word for word in EXACT if word in self.exact), None)

    def takes(self, record: Json, source: str | None) -> bool:
        """Whether a record that `source` led to is one of them."""
        return self.model in record["hardware"]["model"] and all(
            word == source or _matches(record, word, value) for word, value in self.exact.items()
        )


def _matches(record: Json, word: str, value: str) -> bool:
    return value in record.get("groups", ()) if word == "group" else _value(record, word) == value


def _value(record: Json, word: str) -> str:
    found = record["hardware"].get(word) if word in ("sn", "model") else record.get(word)
    return str(found or "")


def serials(store: Store, sns: Iterable[str]) -> dict[str, list[str]]:
    """The devices of each serial number, if it is one of a few; else two of them. One round trip for most."""
    wanted = sorted(set(sns))
    prefixes = [f"sn:{sn}" for sn in wanted]
    found = store.lines_of(DEVICES, [(f"{each}:", devices.beyond(f"{each}:")) for each in prefixes], FEW)
    return {
        # Other serial numbers may begin with this one and a colon.
        sn: devices.ids(lines, prefix) if len(lines) < FEW else _two(store, sn)
        for sn, prefix, lines in zip(wanted, prefixes, found, strict=True)
    }


def _two(store: Store, sn: str) -> list[str]:
    found = chain.from_iterable(Search(store, Wanted(exact={"sn": sn})).found())
    return [each.place[1] for each in islice(found, 2)]


class Search:
    """One question to one store."""

    def __init__(self, store: Store, wanted: Wanted) -> None:
        self._store, self._wanted = store, wanted
        self._source = wanted.source()
        whole = self._source is None and (not wanted.model or wanted.sort == "model")
        self._ordered = "id" not in wanted.exact and (
            whole or (self._source is not None and wanted.sort == "id")
        )
        """Whether the index has them in the order that is asked for."""
        told = {self._source} if self._source else set()
        self._telling = not (wanted.exact.keys() - told) and not (wanted.model and self._source)
        """Whether the index alone says which they are."""

    def found(self, after: Place | None = None) -> Iterator[list[Found]]:
        """The devices beyond a place, in their order, in batches of up to a thousand."""
        for places in self._places(after):
            batch = self._records(places)
            if batch:
                yield batch

    def total(self) -> int:
        """How many there are."""
        if not self._telling:
            return sum(len(batch) for batch in self.found())
        if self._source in (None, "group", "node") and not self._wanted.model:
            prefix = self._prefix()
            return self._store.count_lines(DEVICES, [(prefix, devices.beyond(prefix))])[0]
        return sum(len(batch) for batch in self._by_index(None))

    def _prefix(self) -> str:
        if self._source is not None:
            return f"{self._source}:{self._wanted.exact[self._source]}:"
        return "id:" if self._ordered and self._wanted.sort == "id" else f"{self._word()}:"

    def _word(self) -> str:
        return "model" if self._wanted.model else self._wanted.sort

    def _places(self, after: Place | None) -> Iterator[list[Place]]:
        if "id" in self._wanted.exact:
            place = ("", self._wanted.exact["id"])
            yield [place] if after is None else []
        elif self._ordered:
            yield from self._by_index(after)
        else:
            yield from self._sorted(after)

    def _by_index(self, after: Place | None) -> Iterator[list[Place]]:
        """Places as the lines of the index have them."""
        prefix, down = self._prefix(), self._wanted.backwards and self._ordered
        low, high = prefix, devices.beyond(prefix)
        if after is not None:
            line = f"{prefix}{after[1]}" if self._wanted.sort == "id" else f"{prefix}{after[0]}:{after[1]}"
            low, high = (low, line) if down else (line, high)
        while batch := self._store.lines(DEVICES, low, high, BATCH, backwards=down):
            yield [place for place in map(self._read, batch) if place is not None]
            if len(batch) < BATCH:
                return
            low, high = (low, batch[-1]) if down else (batch[-1], high)

    def _read(self, line: str) -> Place | None:
        """The place that a line tells of; None: it is none of those."""
        before, _, device = line.rpartition(":")
        word, _, value = before.partition(":")
        if self._source is not None:
            return ("", device) if value == self._wanted.exact[self._source] else None
        if self._wanted.model and self._wanted.model not in value:
            return None
        return ("" if word == "id" or self._wanted.sort == "id" else value, device)

    def _sorted(self, after: Place | None) -> Iterator[list[Place]]:
        """Places in an order that the index does not have them in."""
        down, word = self._wanted.backwards, self._wanted.sort
        places = [place for batch in self._by_index(None) for place in self._placed(batch, word)]
        places.sort(reverse=down)
        if after is not None:
            places = [place for place in places if (place < after if down else place > after)]
        for at in range(0, len(places), BATCH):
            yield places[at : at + BATCH]

    def _placed(self, places: list[Place], word: str) -> list[Place]:
        if word == "id":
            return places
        return [(_value(loads(each.raw), word), each.place[1]) for each in self._records(places)]

    def _records(self, places: list[Place]) -> list[Found]:
        """The records at some places, without those that went meanwhile, or are none of the wanted."""
        raws = self._store.values_of(DEVICES, [device for _, device in places])
        return [
            Found(place, raw)
            for place, raw in zip(places, raws, strict=True)
            if raw is not None
            and (self._telling or self._wanted.takes(loads(raw, f"device {place[1]}"), self._source))
        ]
