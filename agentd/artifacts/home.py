"""Directories that tasks' files are placed in, by what lies in them: `alloc/<alloc>/<task>@<12 hex>`."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from store.model.artifacts import check_sha256

Json = dict[str, Any]
STAGING = ".~staging-"
"""How the name of a directory begins that is being filled; no task's does (`launch.file_name`)."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a directory is opened that may be another's: it, and not what a link in its place leads to."""
DIGITS = 12
MOST_PATH = 4096
MOST_NAME = 255
"""Bytes: what Linux takes."""
MOST_DEPTH = 100
"""Directories in directories, of an item and of an archive's entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file, or one archive to unpack, in a home."""

    object: str
    """Its SHA-256."""
    to: str
    """Relative to the home; of an archive: its directory, empty for the home itself."""
    extract: bool = False
    mode: int | None = None
    """Of a file; None: 0644."""
    uid: int | None = None
    gid: int | None = None
    """None: those of the home."""

    def word(self) -> Json:
        """As an order has it."""
        return asdict(self)


def item(word: Json) -> Item:
    """An item of an order.

    Raises:
        KeyError, TypeError, ValueError: it cannot be read, or lies outside of the home.
    """
    found = Item(**word)
    check_sha256(found.object)
    parts_of(found)
    return found


def parts_of(it: Item) -> tuple[bytes, ...]:
    """Where an item lies below its home, part by part.

    Raises:
        ValueError: outside of it, or nowhere.
    """
    raw = it.to.encode("utf-8", "surrogateescape")
    parts = tuple(part for part in raw.split(b"/") if part not in (b"", b"."))
    if raw.startswith(b"/") or b".." in parts or b"\0" in raw:
        raise ValueError(f"{it.to!r} is not a path inside the task's directory")
    if len(raw) > MOST_PATH or len(parts) > MOST_DEPTH or any(len(part) > MOST_NAME for part in parts):
        raise ValueError(f"{it.to[:60]!r}… is too long for a path, or too deep")
    if not parts and not it.extract:
        raise ValueError("a file needs a name")
    return parts


def digest(items: Iterable[Item], uid: int | None = None, gid: int | None = None) -> str:
    """What a home is named after: the same for the same files of the same owner, in any order."""
    words = sorted(json.dumps(each.word(), sort_keys=True) for each in items)
    whole = json.dumps([words, uid, gid])
    return hashlib.sha256(whole.encode()).hexdigest()[:DIGITS]


def name(file_name: str, items: Iterable[Item], uid: int | None = None, gid: int | None = None) -> str:
    """The home's name; `file_name` is the task's, as that of its logs."""
    return f"{file_name}@{digest(items, uid, gid)}"


def removable(names: Iterable[str], file_name: str, stay: Collection[str]) -> list[str]:
    """Which homes of a task may go: all but these."""
    ours = re.compile(rf"{re.escape(file_name)}@[0-9a-f]{{{DIGITS}}}")
    return sorted(each for each in names if ours.fullmatch(each) and each not in stay)


def clash(items: Sequence[Item]) -> str | None:
    """A sentence about two items that cannot lie in one home, if it shows before they are unpacked."""
    files: set[tuple[bytes, ...]] = set()
    for each in items:
        if not each.extract:
            parts = parts_of(each)
            if parts in files:
                return f"two artifacts are placed at {each.to!r}"
            files.add(parts)
    for each in items:
        parts = parts_of(each)
        below = parts if each.extract else parts[:-1]
        for depth in range(1, len(below) + 1):
            if below[:depth] in files:
                path = b"/".join(below[:depth]).decode("utf-8", "replace")
                return f"{path!r} is one artifact's file and another's directory"
    return None
