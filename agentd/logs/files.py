"""What belongs to one log, by name. Offsets are logical: the first byte ever written is 0, for good.

    web.out                                     the live file, which its task writes
    web.out.000000000000-000010485760[.gz]      a segment: the bytes from the one offset to the other
    web.out.meta                                the sidecar: where the live part begins
    web.out.times                               when the log had which length; see `times`

Byte `n` of the live part lies at `n - origin` of the live file. The origin is 0 until something
truncates the file, so the live file's own size grows for ever, with a hole for what was rotated
away. ext4 ends files at 16 TiB: a task that has written so much without a restart gets EFBIG.
"""

import contextlib
import glob
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from agentd.logs import holes
from store.process import write_whole

STREAMS = ("out", "err")
_SEGMENT = re.compile(r"(.+\.(?:out|err))\.(\d{12,})-(\d{12,})(\.gz)?")


def stem(task: str, position: int) -> str:
    """A name for a task's files; task names may be anything, in any language."""
    plain = task.replace("-", "").replace("_", "").replace(".", "")
    if plain.isascii() and plain.isalnum() and len(task) <= 64:
        return task
    return f"~{position}"  # no plain name begins so


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes that were rotated away: `start` up to and without `end`."""

    path: Path
    start: int
    end: int
    packed: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """The sidecar. `cut` is set while the live file is being truncated, to where it was copied."""

    base: int = 0
    origin: int = 0
    lost: int = 0
    cut: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A log as it lay on disk at one moment; segments by offset, then the live part from `mark.base`."""

    segments: tuple[Segment, ...]
    mark: Mark

    @property
    def oldest(self) -> int:
        """The first byte that is still kept."""
        return self.segments[0].start if self.segments else self.mark.base


def look(live: Path) -> Layout:
    """How a log lies now, whatever step of a rotation was the last before a crash.

    A segment that is there was copied whole, and what is a hole in the live file is not in it any more.
    """
    segments = segments_of(live)
    mark = recall(live)
    base = max([mark.base, *(segment.end for segment in segments)])
    with contextlib.suppress(OSError):
        fd = os.open(live, os.O_RDONLY | os.O_CLOEXEC)
        try:
            base = mark.origin + holes.first_data(fd, base - mark.origin)
        finally:
            os.close(fd)
    return Layout(segments, replace(mark, base=base))


def segments_of(live: Path) -> tuple[Segment, ...]:
    """The segments of one log, oldest first."""
    found: dict[tuple[int, int], Segment] = {}
    prefix = f"{live.name}."
    try:
        names = [name for name in os.listdir(live.parent) if name.startswith(prefix)]  # noqa: PTH208 - often
    except (FileNotFoundError, NotADirectoryError):
        return ()
    for name in sorted(names):  # the unpacked form comes first, and is as good
        match = _SEGMENT.fullmatch(name)
        if match and match[1] == live.name:
            start, end = int(match[2]), int(match[3])
            found.setdefault((start, end), Segment(live.with_name(name), start, end, bool(match[4])))
    return tuple(found[key] for key in sorted(found))


def is_segment(name: str) -> bool:
    """Whether a file of this name is one."""
    return _SEGMENT.fullmatch(name) is not None


def segment_path(live: Path, start: int, end: int) -> Path:
    """Where a segment goes."""
    return live.with_name(f"{live.name}.{start:012d}-{end:012d}")


def packed_path(segment: Path) -> Path:
    """Where its compressed form goes."""
    return segment.with_name(f"{segment.name}.gz")


def part_path(final: Path) -> Path:
    """A name for what is not whole yet."""
    return final.with_name(f"{final.name}.part")


def remove_parts(live: Path) -> None:
    """Remove what a crash left half written."""
    for path in live.parent.glob(f"{glob.escape(live.name)}.*part"):
        path.unlink(missing_ok=True)


def _sidecar(live: Path) -> Path:
    return live.with_name(f"{live.name}.meta")


def was_rotated(live: Path) -> bool:
    """Whether there is a sidecar: only what was rotated, or lost something, has one."""
    return _sidecar(live).exists()


def recall(live: Path) -> Mark:
    """The sidecar, or its defaults."""
    try:
        raw = json.loads(_sidecar(live).read_bytes())
        return Mark(int(raw["base"]), int(raw["origin"]), int(raw["lost"]), raw["cut"])
    except (OSError, ValueError, KeyError, TypeError):
        return Mark()


def remember(live: Path, mark: Mark) -> None:
    """Write the sidecar.

    Raises:
        OSError: it cannot be written.
    """
    record = {"base": mark.base, "origin": mark.origin, "lost": mark.lost, "cut": mark.cut}
    write_whole(_sidecar(live), json.dumps(record).encode(), 0o640)
