"""Does the index of devices say what their records do? Looked at, and put right, in batches, beside writers.

One transaction writes both, so what differs was done by hands, or by a server that lost one key and not the
other. Records are gone through for lines that lack, then lines for those that no record has; the latter only
if there are not as many as there should be. What seems wrong is read again, with its record, at one moment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from manager_api.inventory.devices import lines_of
from store.batches import batches
from store.codec import Json
from store.errors import Conflict
from store.keys import DEVICES
from store.kv.api import Compare, Line
from store.kv.store import Store

BATCH = 500
"""Records that are in memory at once, or lines."""
AT_ONCE = 200
"""Lines that one transaction puts right: each may ask for a compare of its own, and 512 is the bound."""
FIRST, LAST = "", "\U0010ffff"
"""Before and after every line."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A line that lacks, or is too many, as its device's record is at a revision."""

    text: str
    device: str
    rev: int
    lacks: bool


@dataclass(slots=True)
class Found:
    """How many of something, and one of them."""

    count: int = 0
    example: str | None = None

    def note(self, example: str) -> None:
        """One more."""
        self.count += 1
        self.example = example if self.example is None else self.example


@dataclass(slots=True)
class Agreement:
    """What was found, or put right."""

    records: int = 0
    unreadable: Found = field(default_factory=Found)
    """Records that cannot be read: nothing is to lead to them."""
    lacking: Found = field(default_factory=Found)
    """Lines that should be in the index."""
    extra: Found = field(default_factory=Found)
    """Lines that should not."""

    @property
    def agrees(self) -> bool:
        """Whether there is nothing to put right."""
        return not (self.unreadable.count or self.lacking.count or self.extra.count)

    def note(self, wrong: Sequence[Wrong]) -> None:
        """So many more lines."""
        for each in wrong:
            (self.lacking if each.lacks else self.extra).note(each.text)

    def as_json(self) -> Json:
        """For answers."""
        names = ("unreadable", "lacking", "extra")
        found = {name: getattr(self, name) for name in names}
        return {
            "records": self.records,
            **{name: {"count": each.count, "example": each.example} for name, each in found.items()},
        }


def look(store: Store) -> Agreement:
    """Compare the index with the records; nothing is changed.

    Raises:
        StoreError: the store did not let us.
    """
    found = Agreement()
    for wrong in _walk(store, found, still=True):
        found.note(wrong)
    return found


def mend(store: Store, found: Agreement | None = None) -> Agreement:
    """The same, and put the index right; what the answer counts are the lines that were put and taken away.

    Begun anew, it goes on counting in what was `found` until then.
    Each transaction holds only if the records are what they were when it was judged: no edit is lost.

    Raises:
        StoreError: the store did not let us; what was put right until then stays so.
    """
    found = found or Agreement()
    found.records, found.unreadable = 0, Found()
    for wrong in _walk(store, found, still=False):
        for batch in batches(wrong, AT_ONCE):
            found.note(_put_right(store, batch))
    return found


def _walk(store: Store, found: Agreement, *, still: bool) -> Iterator[list[Wrong]]:
    """What is wrong, batch by batch; counts records on its way. `still`: what was given stays wrong."""
    lines = 0
    for batch in store.scan(DEVICES, BATCH):
        said = {device: _lines(device, raw) for device, raw in batch}
        found.records += len(said)
        for device in (device for device, its_lines in said.items() if not its_lines):
            found.unreadable.note(device)
        lines += sum(map(len, said.values()))
        yield _lacking(store, [line for its_lines in said.values() for line in sorted(its_lines)])
    lines -= found.lacking.count if still else 0
    if found.records != store.size(DEVICES) or lines != store.count_lines(DEVICES, [(FIRST, LAST)])[0]:
        yield from _extra(store)


def _lacking(store: Store, lines: list[str]) -> list[Wrong]:
    """Those of the lines of some records that are not there."""
    _, there = store.together(DEVICES, (), lines)
    return _judged(store, [line for line, is_there in zip(lines, there, strict=True) if not is_there])


def _extra(store: Store) -> Iterator[list[Wrong]]:
    """The lines that are there, and no record's, batch by batch."""
    after = FIRST
    while batch := store.lines(DEVICES, after, LAST, BATCH):
        ids = [_device(line) for line in batch]
        pairs = zip(batch, ids, store.values_of(DEVICES, ids), strict=True)
        said = ((line, _lines(device, raw) if raw is not None else ()) for line, device, raw in pairs)
        yield _judged(store, [line for line, its_lines in said if line not in its_lines])
        after = batch[-1]


def _judged(store: Store, lines: Sequence[str]) -> list[Wrong]:
    """Those of some lines that are wrong: they and their records as they are at one moment."""
    if not lines:
        return []
    ids = list(dict.fromkeys(map(_device, lines)))
    records, there = store.together(DEVICES, ids, lines)
    found = zip(ids, records, strict=True)
    said = {device: _lines(device, each.value) if each else set[str]() for device, each in found}
    revs = {device: each.rev if each else 0 for device, each in zip(ids, records, strict=True)}
    return [
        Wrong(line, _device(line), revs[_device(line)], lacks=not is_there)
        for line, is_there in zip(lines, there, strict=True)
        if is_there != (line in said[_device(line)])
    ]


def _put_right(store: Store, wrong: list[Wrong]) -> list[Wrong]:
    """Put and take away some lines; those that were still wrong."""
    while wrong:
        revs = {each.device: each.rev for each in wrong}
        compares = [Compare(DEVICES, device, rev) for device, rev in revs.items()]
        try:
            store.txn(compares, [], lines=[Line(DEVICES, each.text, there=each.lacks) for each in wrong])
        except Conflict:
            wrong = _judged(store, [each.text for each in wrong])  # somebody else was quicker: look again
        else:
            return wrong
    return []


def _lines(device: str, raw: bytes) -> set[str]:
    """The lines that are to lead to a record: none, where it says that it is another's."""
    lines = lines_of(raw)
    return lines if all(_device(line) == device for line in lines) else set()


def _device(line: str) -> str:
    return line.rpartition(":")[2]
