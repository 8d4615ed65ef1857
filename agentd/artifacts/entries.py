"""Entries of archives, whatever the format, and what their names may be. Names and targets are bytes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from agentd.artifacts.home import MOST_DEPTH, MOST_NAME, MOST_PATH
from transfer.errors import Kind, TransferError

LATEST = 2**33
"""Of a modification time, in seconds since 1970: the year 2242, which every file system takes."""
Parts = tuple[bytes, ...]


class Type(Enum):
    """What an entry becomes."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    HARDLINK = "hard link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry. `target` of a link, as it is written; `data` of a file, `size` bytes in pieces."""

    name: bytes
    type: Type
    size: int = 0
    mode: int = 0o644
    mtime: float = 0
    target: bytes = b""
    data: Iterator[bytes] = field(default=iter(()), repr=False)


def shown(name: bytes) -> str:
    """An entry's name in a sentence: in one line, not for ever."""
    text = repr(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 120 else f"{text[:80]}…{text[-20:]}"


def hostile(name: bytes | None, reason: str) -> TransferError:
    """Why an archive is not unpacked, and because of which entry."""
    return TransferError(
        Kind.HOSTILE,
        f"not unpacked: {reason}" if name is None else f"not unpacked: entry {shown(name)} {reason}",
    )


def parts_of(name: bytes) -> Parts:
    """An entry's name, part by part; none for the directory that is unpacked in itself.

    Raises:
        TransferError: HOSTILE, it is no name inside of it.
    """
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    reason = None
    if not name:
        reason = "has no name"
    elif b"\0" in name:
        reason = "has a zero byte in its name"
    elif name.startswith(b"/"):
        reason = "has an absolute path"
    elif b".." in parts:
        reason = "has '..' in its path"
    elif len(name) > MOST_PATH:
        reason = f"has a path of more than {MOST_PATH} bytes"
    elif any(len(part) > MOST_NAME for part in parts):
        reason = f"has a name of more than {MOST_NAME} bytes"
    elif len(parts) > MOST_DEPTH:
        reason = f"lies more than {MOST_DEPTH} directories deep"
    if reason is not None:
        raise hostile(name, reason)
    return parts


def check_windows(name: bytes) -> None:
    """Refuse what is a path elsewhere: a zip's names are not only ours.

    Raises:
        TransferError: HOSTILE.
    """
    if b"\\" in name:
        raise hostile(name, "has a backslash in its path")
    if re.match(rb"[A-Za-z]:", name):
        raise hostile(name, "begins with a drive letter")


def moment(seconds: float) -> float:
    """A modification time that can be set."""
    return min(max(seconds, 0.0), float(LATEST)) if seconds == seconds else 0.0  # noqa: PLR0124 - not a number
