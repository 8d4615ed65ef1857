"""Tar archives (v7, ustar, GNU, pax) read from front to back, and no more believed than is needed.

Not `tarfile`: that of some Pythons we run on loops for ever on some headers, reads others into memory whole,
and takes what it does not know for a file. What is not plainly a file, a directory or a link is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from agentd.artifacts.entries import Entry, Type, hostile, moment
from agentd.artifacts.stream import PIECE, Stream

BLOCK = 512
MOST_HEADER = 1024**2
"""Bytes of one extended header: names, times, attributes."""
MOST_PADDING = 64 * 1024**2
"""Bytes of zeros after the end: what writers of tapes fill up to."""
_ZEROS = bytes(BLOCK)
_PADDING = bytes(PIECE)
_TYPES = {
    b"0": Type.FILE, b"\0": Type.FILE, b"7": Type.FILE,
    b"1": Type.HARDLINK, b"2": Type.SYMLINK, b"5": Type.DIRECTORY,
}  # fmt: skip
_REFUSED = {
    b"3": "is a character device", b"4": "is a block device", b"6": "is a FIFO",
    b"S": "is a sparse file: pack it without --sparse", b"M": "is the rest of a file from another volume",
    b"D": "is from an incremental backup", b"N": "is of a kind no longer used",
}  # fmt: skip


@dataclass(slots=True)
class _Extended:
    """What the headers before an entry say of it."""

    name: bytes | None = None
    target: bytes | None = None
    pax: dict[bytes, bytes] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)


class Tar:
    """The entries of an archive, once. The data of each are to be read before the next is asked for."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = 0
        self._padding = 0
        self._common: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        """Raises `TransferError`: HOSTILE, at whatever is not plain."""
        extended = _Extended()
        while (block := self._header()) is not None:
            kind, size = block[156:157], _number(block[124:136], block)
            if kind in b"LKxXg":
                self._extend(kind, size, extended)
            elif kind == b"V":  # a label
                self._open(size)
                self._skip()
            else:
                yield self._entry(block, kind, size, extended)
                self._skip()
                extended = _Extended()
        if extended.seen:
            raise hostile(None, "the archive ends after a header that says what comes next")

    def _header(self) -> bytes | None:
        """The next header; None at the end mark, after which only zeros may come."""
        block = self._stream.exactly(BLOCK)
        if block == _ZEROS:
            self._end()
            return None
        sums = block[:148] + b" " * 8 + block[156:]
        said = _octal(block[148:156])
        if said not in (sum(sums), sum(each - 256 if each > 127 else each for each in sums)):
            raise hostile(None, "a header of the archive is damaged, or it is no tar archive")
        return block

    def _end(self) -> None:
        padding = 0
        while piece := self._stream.some(PIECE):
            padding += len(piece)
            if piece != _PADDING[: len(piece)] or padding > MOST_PADDING:
                raise hostile(None, "something follows the end of the archive")

    def _extend(self, kind: bytes, size: int, extended: _Extended) -> None:
        if size > MOST_HEADER:
            raise hostile(None, f"the archive has a header of {size} bytes")
        if kind in extended.seen:
            raise hostile(None, "the archive has two headers of one kind for one entry")
        self._open(size)
        text = b"".join(self._data())
        self._skip()
        if kind == b"g":
            self._common |= _records(text)
            forbidden = {b"path", b"linkpath", b"size"} & self._common.keys()
            if forbidden:
                raise hostile(None, f"the archive gives all entries one {min(forbidden).decode()}")
            return
        extended.seen.add(kind)
        if kind == b"L":
            extended.name = text.partition(b"\0")[0]
        elif kind == b"K":
            extended.target = text.partition(b"\0")[0]
        else:
            extended.pax = _records(text)

    def _entry(self, block: bytes, kind: bytes, size: int, extended: _Extended) -> Entry:
        pax = {**self._common, **extended.pax}
        name, target = _names(block, extended, pax)
        if kind in _REFUSED:
            raise hostile(name, _REFUSED[kind])
        if kind not in _TYPES:
            raise hostile(name, f"is of an unknown kind ({kind!r})")
        if any(each.startswith((b"GNU.sparse.", b"SCHILY.realsize")) for each in pax):
            raise hostile(name, _REFUSED[b"S"])
        found = _TYPES[kind]
        if found is Type.FILE and name.endswith(b"/"):  # as they were before there was a kind for it
            found = Type.DIRECTORY
        if b"size" in pax:
            if not re.fullmatch(rb"[0-9]{1,19}", pax[b"size"]):
                raise hostile(name, "has a size that is no number")
            size = int(pax[b"size"])
        if found is not Type.FILE and size:
            raise hostile(name, f"is a {found.value} and has {size} bytes of contents")
        self._open(size)
        return Entry(
            name=name,
            type=found,
            size=size,
            mode=_number(block[100:108], block) & 0o7777,
            mtime=_mtime(block, pax, name),
            target=target,
            data=self._data(),
        )

    def _open(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    def _data(self) -> Iterator[bytes]:
        while self._left:
            piece = self._stream.some(min(self._left, PIECE))
            if not piece:
                raise hostile(None, "the archive is cut short")
            self._left -= len(piece)
            yield piece

    def _skip(self) -> None:
        for _ in self._data():
            pass
        self._stream.exactly(self._padding)
        self._padding = 0


def _names(block: bytes, extended: _Extended, pax: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    name = block[:100].partition(b"\0")[0]
    target = block[157:257].partition(b"\0")[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    for said, key in ((extended.name, b"path"), (extended.target, b"linkpath")):
        if said is not None and key in pax:
            raise hostile(said, "has two names that need not agree")
    name = extended.name if extended.name is not None else pax.get(b"path", name)
    target = extended.target if extended.target is not None else pax.get(b"linkpath", target)
    return name, target


def _mtime(block: bytes, pax: dict[bytes, bytes], name: bytes) -> float:
    if b"mtime" not in pax:
        return moment(_number(block[136:148], block, signed=True))
    if not re.fullmatch(rb"-?[0-9]{1,20}(\.[0-9]*)?", pax[b"mtime"]):
        raise hostile(name, "has a time that is no number")
    return moment(float(pax[b"mtime"]))


def _number(raw: bytes, block: bytes, *, signed: bool = False) -> int:
    """A number of a header: octal digits, or GNU's bytes."""
    if raw[0] in (0x80, 0xFF):
        found = int.from_bytes(raw, "big", signed=True) if raw[0] == 0xFF else int.from_bytes(raw[1:], "big")
        if found >= 0 or signed:
            return found
    octal = _octal(raw)
    if octal is None:
        raise hostile(block[:100].partition(b"\0")[0], "has a header with a number that is none")
    return octal


def _octal(raw: bytes) -> int | None:
    digits = raw.partition(b"\0")[0].strip(b" ")
    return int(digits or b"0", 8) if re.fullmatch(rb"[0-7]*", digits) else None


def _records(text: bytes) -> dict[bytes, bytes]:
    """The records of a pax header: `<length> <key>=<value>` and a line feed, each."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        head = re.compile(rb"([1-9][0-9]{0,7}) ([^=\n]+)=").match(text, at)
        end = at + int(head[1]) if head else 0
        if head is None or end <= head.end() or end > len(text) or text[end - 1 : end] != b"\n":
            raise hostile(None, "a pax header of the archive is damaged")
        value = text[head.end() : end - 1]
        if value:
            found[head[2]] = value
        at = end
    return found
