"""Reading a log by offset, through segments and live file, while both are rotated under the reader."""

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from agentd.logs import files
from agentd.logs.files import Segment

_WINDOW = 64 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes and where they begin: later than asked for when what was asked for is gone."""

    start: int
    data: bytes

    @property
    def end(self) -> int:
        """Where the next piece begins."""
        return self.start + len(self.data)


class Reader:
    """Reads one log. Keeps a compressed segment open between reads that follow each other."""

    def __init__(self, live: Path) -> None:
        self.live = live
        self._open: tuple[Path, gzip.GzipFile] | None = None

    def extent(self) -> tuple[int, int]:
        """The oldest byte that is kept, and the end."""
        layout = files.look(self.live)
        return layout.oldest, max(layout.mark.base, layout.mark.origin + self._physical())

    def is_cut(self) -> bool:
        """Whether a truncation is under way, or was when somebody crashed: some of the end cannot be seen."""
        return files.recall(self.live).cut is not None

    def _physical(self) -> int:
        try:
            return self.live.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, offset: int, most: int) -> Piece:
        """Up to `most` bytes from `offset` on; none when there are none yet.

        Raises:
            OSError: the disk fails.
        """
        gap = -1
        while True:
            layout = files.look(self.live)
            segment = next((each for each in layout.segments if each.end > offset), None)
            start = max(offset, segment.start if segment is not None else layout.mark.base)
            if start > offset and start != gap:
                gap = start  # listing a directory may miss what changes its name meanwhile, but not twice
                continue
            if segment is not None:
                try:
                    data = self._of_segment(segment, start, min(most, segment.end - start))
                except FileNotFoundError:
                    continue  # it was dropped or packed meanwhile
                return Piece(start if data else segment.end, data)
            data = b"" if layout.mark.cut is not None else self._of_live(start - layout.mark.origin, most)
            after = files.look(self.live).mark
            if after.base <= start and (after.origin, after.cut) == (layout.mark.origin, layout.mark.cut):
                return Piece(start, data)

    def _of_live(self, offset: int, most: int) -> bytes:
        try:
            fd = os.open(self.live, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(fd, most, offset)
        finally:
            os.close(fd)

    def _of_segment(self, segment: Segment, start: int, most: int) -> bytes:
        """Nothing, where there should be something, is a segment that a power cut damaged."""
        if not segment.packed:
            with segment.path.open("rb", buffering=0) as file:
                return os.pread(file.fileno(), most, start - segment.start)
        try:
            if self._open is None or self._open[0] != segment.path:
                self.close()
                self._open = segment.path, gzip.GzipFile(segment.path)
            self._open[1].seek(start - segment.start)
            return self._open[1].read(most)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            self.close()
            return b""

    def close(self) -> None:
        """Let go of what is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def segment_tail(self, end: int, size: int) -> bytes | None:
        """The last bytes of the segment that ends at `end`; None when there is none."""
        for segment in files.segments_of(self.live):
            if segment.end == end:
                return self._of_segment(segment, max(segment.start, end - size), size)
        return None

    def line_at(self, offset: int) -> int:
        """The first beginning of a line at or after `offset`."""
        if offset <= self.extent()[0]:
            return offset
        at = offset - 1
        while True:
            piece = self.read(at, _WINDOW)
            if not piece.data:
                return max(offset, piece.start)
            found = piece.data.find(b"\n")
            if found >= 0:
                return piece.start + found + 1
            at = piece.end

    def tail(self, lines: int, end: int) -> int:
        """Where the last so many lines before `end` begin; a last line without an end counts."""
        if lines <= 0:
            return end
        layout = files.look(self.live)
        wanted = lines
        last = self.read(max(layout.oldest, end - 1), 1) if end > layout.oldest else Piece(end, b"")
        if last.data[:1] == b"\n":
            wanted += 1
        regions = [(layout.mark.base, end, False)]
        regions += [(each.start, min(end, each.end), each.packed) for each in reversed(layout.segments)]
        for start, stop, packed in regions:
            found = self._packed_lines(start, stop) if packed else None
            at, count = self._count_back(start, stop, wanted, found)
            if at is not None:
                return at
            wanted -= count
        return layout.oldest

    def _packed_lines(self, start: int, stop: int) -> int:
        count, at = 0, start
        while at < stop:
            piece = self.read(at, min(_WINDOW, stop - at))
            if piece.start >= stop or not piece.data:
                break
            count += piece.data.count(b"\n")
            at = piece.end
        return count

    def _count_back(
        self, start: int, stop: int, wanted: int, packed_lines: int | None
    ) -> tuple[int | None, int]:
        """(after the newline that is `wanted`-th from the end, newlines seen) of one region."""
        if packed_lines is None:
            return self._backward(start, stop, wanted)
        if packed_lines < wanted:
            return None, packed_lines
        return self._forward(start, stop, packed_lines - wanted), packed_lines

    def _backward(self, start: int, stop: int, wanted: int) -> tuple[int | None, int]:
        seen, high = 0, stop
        while high > start:
            low = max(start, high - _WINDOW)
            piece = self.read(low, high - low)
            if piece.start != low:
                return high, seen  # the head was dropped while we counted
            count = piece.data.count(b"\n")
            if seen + count >= wanted:
                return low + _nth_from_end(piece.data, wanted - seen) + 1, seen
            seen, high = seen + count, low
        return None, seen

    def _forward(self, start: int, stop: int, skip: int) -> int:
        """The end of line number `skip` (from 0) of a region."""
        at = start
        while at < stop:
            piece = self.read(at, min(_WINDOW, stop - at))
            if not piece.data:
                break
            count = piece.data.count(b"\n")
            if count > skip:
                return piece.start + _nth(piece.data, skip) + 1
            skip, at = skip - count, piece.end
        return stop


def _nth_from_end(data: bytes, number: int) -> int:
    at = len(data)
    for _ in range(number):
        at = data.rfind(b"\n", 0, at)
    return at


def _nth(data: bytes, number: int) -> int:
    at = -1
    for _ in range(number + 1):
        at = data.find(b"\n", at + 1)
    return at
