"""Snapshot files of Redis and Valkey, as far as they can be judged without a server."""

import re
from dataclasses import dataclass
from pathlib import Path

from store.errors import Unsupported

_MAGIC = re.compile(rb"REDIS(\d{4})|VALKEY(\d{3})")
_HEAD = 4096
_TAIL = 9
"""The end mark and eight bytes of checksum."""
_END, _AUX = 0xFF, 0xFA
_VALKEY_OWN = 80
"""From this version on, a file's form is Valkey's own; 12 to 79 are what Redis alone writes."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the beginning of a snapshot file says."""

    version: int
    """Of the file's form: 10 for Redis 7.0, 11 for 7.2, 80 for Valkey 9."""
    kind: str
    """`redis` or `valkey`: who wrote it."""
    writer: str
    """The writer's version."""
    made: float | None
    """Wall seconds."""

    def __str__(self) -> str:
        return f"{self.kind} {self.writer}, form {self.version}"


def head(path: Path) -> Head:
    """What a snapshot says of itself.

    Raises:
        Unsupported: it is none, or its end is missing.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        raw = file.read(_HEAD)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    if not raw:
        raise Unsupported("it is empty")
    match = _MAGIC.match(raw)
    if match is None:
        raise Unsupported("it does not begin as a snapshot of Redis or Valkey does")
    if size < len(match[0]) + _TAIL or tail[0] != _END:
        raise Unsupported("it is cut off: its end mark is missing, so it was copied in part only")
    notes = _notes(raw, match.end())
    kind = "valkey" if match[2] or "valkey-ver" in notes else "redis"
    made = notes.get("ctime", "")
    return Head(
        int(match[1] or match[2]),
        kind,
        notes.get(f"{kind}-ver", "of unknown version"),
        float(made) if made.isdigit() else None,
    )


def refusal(found: Head, kind: str, version: tuple[int, ...]) -> str | None:
    """Why a server cannot read such a file, as far as we know; None if it should."""
    newest = _newest(kind, version)
    foreign = kind == "valkey" and 11 < found.version < _VALKEY_OWN
    if foreign or (newest is not None and found.version > newest):
        name = f"{kind} {'.'.join(map(str, version))}"
        return f"it was written by {found}, and {name} reads forms up to {11 if foreign else newest} only"
    return None


def _newest(kind: str, version: tuple[int, ...]) -> int | None:
    """The newest form that a server reads; None for servers later than this was written."""
    if kind == "valkey":
        return 11 if version < (9, 0) else None
    known: dict[tuple[int, ...], int] = {(6, 2): 9, (7, 0): 10, (7, 2): 11, (7, 4): 12}
    return known.get(version[:2])


def _notes(raw: bytes, at: int) -> dict[str, str]:
    """The notes at the beginning of the file, as many as lie in `raw`."""
    found: dict[str, str] = {}
    try:
        while raw[at] == _AUX:
            key, at = _text(raw, at + 1)
            value, at = _text(raw, at)
            found[key] = value
    except (IndexError, ValueError):
        pass  # what follows is not needed
    return found


def _text(raw: bytes, at: int) -> tuple[str, int]:
    """A string of the format, and where the next one begins.

    Raises:
        ValueError: it is compressed.
    """
    first = raw[at]
    form, low = first >> 6, first & 63
    if form == 3:
        width = {0: 1, 1: 2, 2: 4}.get(low)
        if width is None:
            raise ValueError("compressed")
        number = raw[at + 1 : at + 1 + width]
        return str(int.from_bytes(number, "little", signed=True)), at + 1 + width
    if form == 2:
        start = at + (5 if low == 0 else 9)
        length = int.from_bytes(raw[at + 1 : start], "big")
    else:
        start = at + 1 + form
        length = low << 8 | raw[at + 1] if form else low
    return raw[start : start + length].decode(errors="replace"), start + length


def check_sum(path: Path) -> None:
    """Compare a file with the checksum at its end: about 10 MB/s, for where there is no server to load it.

    Raises:
        Unsupported: it is damaged.
    """
    table, crc, left = _table(), 0, path.stat().st_size - 8
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            for byte in piece:
                crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
            left -= len(piece)
        wanted = int.from_bytes(file.read(8), "little")
    if wanted not in (0, crc):  # 0: its writer was told to make none
        raise Unsupported("it is damaged: its checksum does not fit")


def _table() -> list[int]:
    """CRC-64/Redis, reflected."""
    found = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
        found.append(crc)
    return found
