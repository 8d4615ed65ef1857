"""Bytes of logs as lines with cursors, in text or JSON: pure."""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from store.codec import Json

LONGEST = 64 * 1024
"""A longer line is told in pieces, which JSON marks as `partial`."""
_CURSOR = re.compile(r"(\d{1,9})\.(\d{1,9})\.(out|err)\.(\d{1,18})")
STREAMS = {"out": "stdout", "err": "stderr"}


@dataclass(frozen=True, slots=True)
class Source:
    """One log: a stream of a task of an allocation."""

    task: str
    position: int
    """Of the task within its allocation."""
    node: str
    alloc: str
    stream: str
    generation: int = 0
    """Whose last word is meant; that of a generation before it is not."""

    def cursor(self, offset: int) -> str:
        """`<number of the allocation>.<position of the task>.<stream>.<offset>`."""
        return f"{self.alloc.rpartition('.')[2]}.{self.position}.{self.stream}.{offset}"

    @property
    def key(self) -> str:
        """The cursor without its offset."""
        return self.cursor(0)[:-2]

    def __str__(self) -> str:
        return f"{self.task}@{self.node} {STREAMS[self.stream]}"


def cursors(text: str) -> dict[str, int]:
    """Offsets by `Source.key`.

    Raises:
        ValueError: it is no list of cursors.
    """
    found: dict[str, int] = {}
    for each in text.split(","):
        match = _CURSOR.fullmatch(each.strip())
        if match is None:
            raise ValueError(f"{each!r} is not a cursor that an answer of ours carried")
        found[".".join(match.groups()[:3])] = int(match[4])
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end; `after` is the offset behind it. `partial`: it has no end (yet)."""

    after: int
    data: bytes
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """So many bytes before `after` are no longer kept."""

    after: int
    size: int


class Lines:
    """Cuts one source's bytes into lines. Nothing is told twice, and no gap is passed over."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        """What has been told, up to here; None before the first word."""
        self._begun = bytearray()

    @property
    def next(self) -> int | None:
        """The offset of the next byte to be fed."""
        return None if self.at is None else self.at + len(self._begun)

    def feed(self, start: int, data: bytes) -> Iterator[Line | Lost]:
        """Bytes from an offset on; those that were fed before are left out."""
        if self.at is None:
            self.at = start
        expected = self.at + len(self._begun)
        if start > expected:
            yield from self.flush()
            self.at = start
            yield Lost(start, start - expected)
        elif start < expected:
            data = data[expected - start :]
        self._begun += data
        at = 0
        while (end := self._begun.find(b"\n", at)) >= 0:
            line = bytes(self._begun[at:end])
            self.at += end + 1 - at
            at = end + 1
            yield Line(self.at, line)
        del self._begun[:at]
        if len(self._begun) >= LONGEST:
            yield from self.flush()

    def flush(self) -> Iterator[Line]:
        """What has no end yet."""
        if self._begun:
            assert self.at is not None
            data = bytes(self._begun)
            self._begun.clear()
            self.at += len(data)
            yield Line(self.at, data, partial=True)


class Text:
    """Lines as they were written, behind `task@node | ` when there are several tasks to tell apart."""

    media_type = "text/plain; charset=utf-8"
    nothing = b""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._several = len({(source.alloc, source.position) for source in sources}) > 1
        self._open: Source | None = None
        self.eager = len(sources) == 1

    def line(self, source: Source, line: Line) -> bytes:
        """One line. What has no end (yet) is told without one, unless another log speaks next."""
        goes_on = self._open == source
        before = b"" if goes_on else self._ended()
        if self._several and not goes_on:
            before += f"{source.task}@{source.node} | ".encode()
        self._open = source if line.partial else None
        return before + line.data + (b"" if line.partial else b"\n")

    def _ended(self) -> bytes:
        """What ends a line that has been left open."""
        was, self._open = self._open, None
        return b"\n" if was is not None else b""

    def begin(self, source: Source, offset: int) -> bytes:  # noqa: ARG002 - the other form's
        """Nothing: only programs care."""
        return b""

    def lost(self, source: Source, lost: Lost) -> bytes:
        """A line that says so."""
        return self._ended() + f"-- {lost.size} bytes of {source} are no longer kept --\n".encode()

    def note(self, message: str) -> bytes:
        """A line that says so."""
        return self._ended() + f"-- {message} --\n".encode()

    def error(self, message: str, cursor: str) -> bytes:
        """A line that says so, and where to go on."""
        return self._ended() + f"-- {message}; to go on: cursor={cursor} --\n".encode()

    def end(self) -> bytes:
        """Nothing: the answer ends."""
        return b""


class JsonLines:
    """A JSON object a line; an empty line while nothing is written."""

    media_type = "application/x-ndjson"
    nothing = b"\n"
    eager = False

    def __init__(self, _: Sequence[Source]) -> None:
        """As the other form."""

    def _row(self, source: Source, offset: int, **more: object) -> bytes:
        row: Json = {"task": source.task, "node": source.node, "alloc": source.alloc}
        row |= {"stream": STREAMS[source.stream], "cursor": source.cursor(offset), **more}
        return orjson.dumps(row) + b"\n"

    def line(self, source: Source, line: Line) -> bytes:
        """`text`, or `base64` for what is no UTF-8."""
        more: Json = {"partial": True} if line.partial else {}
        try:
            return self._row(source, line.after, text=line.data.decode(), **more)
        except UnicodeDecodeError:
            return self._row(source, line.after, base64=base64.b64encode(line.data).decode(), **more)

    def begin(self, source: Source, offset: int) -> bytes:
        """Where a source is read from: a client that is cut off can go on from there."""
        return self._row(source, offset, event="begin")

    def lost(self, source: Source, lost: Lost) -> bytes:
        """So many bytes are gone."""
        return self._row(source, lost.after, event="lost", bytes=lost.size)

    def note(self, message: str) -> bytes:
        """Something that is not in the logs."""
        return orjson.dumps({"event": "note", "message": message}) + b"\n"

    def error(self, message: str, cursor: str) -> bytes:
        """It ends here, but not because all is read."""
        return orjson.dumps({"event": "error", "message": message, "cursor": cursor}) + b"\n"

    def end(self) -> bytes:
        """All is read."""
        return orjson.dumps({"event": "end"}) + b"\n"


FORMS: dict[str, type[Text | JsonLines]] = {"text": Text, "json": JsonLines}
