"""One file from its source into the cache: all of it, as it was at one time, or an error."""

import errno
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from agentd.artifacts.cache import Cache
from agentd.artifacts.parts import Part, Parts
from agentd.artifacts.rate import Rate
from agentd.artifacts.space import full, usable
from transfer.errors import Kind, TransferError
from transfer.reader import Reader, Stat
from transfer.urls import Source

MOST_TRIES = 3
"""Of a source that changes while it is read."""
PROGRESS_EVERY = 0.5
"""Seconds."""
SMALLEST_STEP, STEP = 1024**2, 64 * 1024**2
"""Bytes of a file of unknown size for which room is made at a time: an eighth of it, between these."""
AHEAD, AHEAD_FOR = 16 * 1024**2, 5.0
"""Bytes of room that are asked for beside those needed, and seconds for which they count."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file that is wanted. `key` names its part; `known`: digest and stamp of what it was the last time."""

    source: Source
    key: str
    sha256: str | None = None
    known: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """It lies in the cache. `read`: bytes that came from the source for it."""

    sha256: str
    size: int
    stamp: str
    read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """It was read and is what was wanted; the cache has it not yet. Its part stays locked until then."""

    part: Part
    stat: Stat
    source: Source
    got: Got


class Downloader:
    """Reads one file at a time. `keep`: objects that are not to make room for new ones."""

    def __init__(
        self,
        cache: Cache,
        parts: Parts,
        rate: Rate,
        *,
        keep: Collection[str] = (),
        progress: Callable[[int, int | None], None] = lambda _done, _total: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._parts = parts
        self._rate = rate
        self._keep = keep
        self._progress = progress
        self._clock = clock
        self._room, self._room_until = 0, 0.0
        self._told = 0.0
        self._read = 0

    def get(self, reader: Reader, wanted: Wanted) -> Got:
        """Into the cache with it, if it is not there.

        Raises:
            TransferError: as its kinds say. What was read of it stays for the next time if that can help.
        """
        found = self.read(reader, wanted)
        if isinstance(found, Whole):
            kept = self.keep([found])[0]
            if isinstance(kept, TransferError):
                raise kept
            return kept
        return found

    def read(self, reader: Reader, wanted: Wanted) -> Got | Whole:
        """The first half of `get`: what is not in the cache is read, and left to `keep`.

        Raises:
            TransferError: as for `get`.
        """
        self._told, self._read = -PROGRESS_EVERY, 0
        if wanted.sha256 is not None and self._cache.has(wanted.sha256):
            return self._there(wanted.sha256, "")
        path = wanted.source.path
        stat = reader.stat(path)
        if (known := self._known(wanted, stat)) is not None:
            return self._there(known, stat.stamp)
        tries = 1
        while True:
            try:
                return self._whole(reader, wanted, stat)
            except TransferError as error:
                if error.kind is not Kind.CHANGED or tries == MOST_TRIES:
                    raise
            tries += 1
            stat = reader.stat(path)

    def keep(self, wholes: Sequence[Whole]) -> list[Got | TransferError]:
        """The second half, for many at once and from any thread: into the cache, also after a power cut."""
        found: list[Got | TransferError] = []
        errors = self._cache.adopt_all([(each.part.path, each.got.sha256) for each in wholes])
        for each, error in zip(wholes, errors, strict=True):
            if error is not None:
                each.part.discard()
                found.append(self._disk(each.source, each.stat, each.part, error))
            else:
                found.append(each.got)
            each.part.close()
        return found

    def _there(self, sha256: str, stamp: str) -> Got:
        self._cache.touch(sha256)  # nobody has said yet that it is needed
        size = self._cache.path(sha256).stat().st_size
        return Got(sha256=sha256, size=size, stamp=stamp, read=0)

    def _known(self, wanted: Wanted, stat: Stat) -> str | None:
        """The object that the source still is, as far as its stamp tells."""
        if wanted.known is None or not stat.stamp:
            return None
        sha256, stamp = wanted.known
        same = stamp == stat.stamp and wanted.sha256 in (None, sha256)
        return sha256 if same and self._cache.has(sha256) else None

    def _whole(self, reader: Reader, wanted: Wanted, stat: Stat) -> Whole:
        shown = str(wanted.source)
        part: Part | None = None
        try:
            part = self._parts.open(wanted.key, shown, stat, pinned=wanted.sha256 is not None)
            self._fill(reader, wanted, stat, part)
            found = part.digest.hexdigest()
            _check(wanted, part, found)
            got = Got(sha256=found, size=part.size, stamp=stat.stamp, read=self._read)
            return Whole(part=part, stat=stat, source=wanted.source, got=got)
        except BaseException as error:
            if part is not None:
                if isinstance(error, TransferError) and error.kind is Kind.UNREACHABLE:
                    self._tell_end(part, wanted, stat)
                _give_up(part, error)
            if isinstance(error, OSError):
                raise self._disk(wanted.source, stat, part, error) from None
            raise

    def _fill(self, reader: Reader, wanted: Wanted, stat: Stat, part: Part) -> None:
        """Read what is missing of a part."""
        room = self._make_room(stat, part)
        self._tell(part.size, stat.size)
        if part.size != stat.size or stat.size == 0:
            for piece in reader.read(wanted.source.path, part.size, stat):
                self._read += len(piece)
                if stat.size is not None and part.size + len(piece) > stat.size:
                    raise TransferError(Kind.CHANGED, f"{wanted.source} grew while it was read")
                if part.size + len(piece) > room:
                    room = self._make_room(stat, part)
                part.write(piece)
                self._tell(part.size, stat.size)
                self._rate.take(len(piece))
        if stat.size is not None and part.size < stat.size:
            missing = f"{stat.size - part.size} of {stat.size} bytes are missing"
            raise TransferError(Kind.UNREACHABLE, f"{wanted.source} ended too early: {missing}")

    def _make_room(self, stat: Stat, part: Part) -> int:
        """Have room for what is still to come; up to which size of the part there is."""
        size = stat.size
        if size is None:
            size = part.size + min(max(part.size // 8, SMALLEST_STEP), STEP)
        self._need(size - part.size)
        return size

    def _need(self, count: int) -> None:
        """Have room for so many bytes. The cache is asked for more at once: it looks at every object."""
        if count > self._room or self._clock() > self._room_until:
            try:
                self._cache.room_for(count + AHEAD, self._keep)
                self._room = count + AHEAD
            except TransferError:
                self._cache.room_for(count, self._keep)
                self._room = count
            self._room_until = self._clock() + AHEAD_FOR
        self._room -= count

    def _tell(self, done: int, total: int | None) -> None:
        now = self._clock()
        if now - self._told >= PROGRESS_EVERY:
            self._told = now
            self._progress(done, total)

    def _tell_end(self, part: Part, wanted: Wanted, stat: Stat) -> None:
        """How far it came: a connection that brought what will be gone on with is tried again soon."""
        if self._read and part.is_of(stat, pinned=wanted.sha256 is not None):
            self._progress(part.size, stat.size)

    def _disk(self, source: Source, stat: Stat, part: Part | None, error: OSError) -> TransferError:
        """Why a file cannot be written here."""
        if error.errno not in _FULL:
            return TransferError(Kind.FAULT, f"{source} cannot be written here: {error.strerror}")
        done = part.size if part else 0
        missing = SMALLEST_STEP if stat.size is None else stat.size - done
        return full(str(self._cache.parts), missing, usable(self._cache.parts))


def _give_up(part: Part, error: BaseException) -> None:
    """Leave a part to the next try, if it can be of use to that."""
    try:
        useless = isinstance(error, TransferError) and error.kind in (Kind.CHANGED, Kind.MISMATCH, Kind.FULL)
        if useless or isinstance(error, OSError):
            part.discard()
    finally:
        part.close()


def _check(wanted: Wanted, part: Part, found: str) -> None:
    if wanted.sha256 in (None, found):
        return
    if part.resumed:  # what was there may be to blame: once from zero, then we know
        raise TransferError(Kind.CHANGED, f"{wanted.source} is not what a part of it was read from")
    raise TransferError(
        Kind.MISMATCH, f"{wanted.source} has the SHA-256 {found}, and the template says {wanted.sha256}"
    )
