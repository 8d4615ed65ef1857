"""Rotation of one log under its writer: copy the head, then give it back; no line is lost.

With holes: copy [base, cut) to a segment, write the sidecar, punch. A crash between any two of these
leaves the same bytes at the same offsets (`files.look`). Where the file system knows no holes: copy all,
write down that we truncate, copy the rest and truncate, write down the new origin. What is written in the
microseconds between the last read and the truncation is lost there, and not even counted.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from agentd.logs import files, holes
from agentd.logs.copy import Shrunk, copy, take_rest
from agentd.logs.files import Mark
from agentd.logs.read import Reader
from store.model.policies import LogPolicy

log = logging.getLogger("agent")

LOOK_BACK = 1024 * 1024
"""A line longer than this may be cut in two segments; readers join them."""
_WINDOW = 64 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class Turn:
    """What one look at a log did."""

    rotated: bool = False
    lost: int = 0
    why: str = ""


class Rotator:
    """Rotates one log. What matters is on disk: every step may be the last one.

    `room` frees some disk and says whether it did; `step` is told each step's name, for tests.
    """

    def __init__(
        self,
        live: Path,
        *,
        punching: bool,
        room: Callable[[], bool] = lambda: False,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._live = live
        self._punching = punching
        self._room = room
        self._step = step
        self._clean = False
        self._known = 0
        self.mark = Mark()

    def turn(self, policy: LogPolicy, *, now: float, aged: bool = False) -> Turn:
        """Rotate if it is time to, and drop what is too old or too much; `now` is wall time.

        Raises:
            OSError: something unforeseen; nothing is lost by it, and the next turn tries again.
        """
        done = Turn()

        def work(fd: int) -> None:
            self._drop_flood(fd, policy, done)
            self._rotate(fd, policy, done, aged=aged)

        self._with_file(work)
        self._drop(policy, now)
        return done

    def shorten(self, keep: int, why: str) -> Turn:
        """Give back all but about the newest `keep` bytes of the live part.

        Raises:
            OSError: as `turn`.
        """
        done = Turn()

        def work(fd: int) -> None:
            cut = self._newline_before(fd, self._end(fd) - keep)
            if cut > self.mark.base:
                self._lose(fd, cut, done, why)

        self._with_file(work)
        return done

    def _with_file(self, work: Callable[[int], None]) -> None:
        try:
            fd = os.open(self._live, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            self._settle(fd)
            work(fd)
            self._known = os.fstat(fd).st_size
        except Shrunk:
            files.remove_parts(self._live)
            log.info("%s was truncated while it was rotated; it is looked at again", self._live)
        finally:
            os.close(fd)

    # -- what a crash, or the task itself, left

    def _settle(self, fd: int) -> None:
        physical = os.fstat(fd).st_size
        saved = files.recall(self._live)
        self.mark = files.look(self._live).mark
        if self.mark.cut is not None:
            self._finish_cut(fd, self.mark.cut, physical)
        before = max(self._known, self.mark.base - self.mark.origin)
        if physical < before:  # truncated, by us before a crash or by its task: offsets never go back
            end = self.mark.origin + before
            self.mark = replace(self.mark, base=end, origin=end)
        if self.mark != saved:
            self._save()
        if not self._clean:
            files.remove_parts(self._live)
            if self._punching:
                holes.punch(fd, 0, self.mark.base - self.mark.origin)
            self._clean = True

    def _finish_cut(self, fd: int, cut: int, physical: int) -> None:
        """Find out whether the truncation to `cut` happened, by what lies before it now."""
        end = cut - self.mark.origin
        copied = Reader(self._live).segment_tail(cut, min(_WINDOW, end)) or b""
        if physical >= end and os.pread(fd, len(copied), end - len(copied)) == copied:
            self.mark = replace(self.mark, cut=None)
            return
        rest = files.part_path(self._live)
        with contextlib.suppress(FileNotFoundError):
            rest.rename(files.segment_path(self._live, cut, cut + rest.stat().st_size))
        begin = max([cut, *(segment.end for segment in files.segments_of(self._live))])
        self.mark = replace(self.mark, base=begin, origin=begin, cut=None)
        self._known = 0

    def _save(self) -> None:
        """A full disk does not stop us: what the sidecar would say, holes and segments say, too."""
        try:
            files.remember(self._live, self.mark)
        except OSError as error:
            if error.errno not in _FULL:
                raise

    # -- the work

    def _end(self, fd: int) -> int:
        return self.mark.origin + os.fstat(fd).st_size

    def _drop_flood(self, fd: int, policy: LogPolicy, done: Turn) -> None:
        """A writer that is faster than we look: keep as much as would be kept of a slow one."""
        end = self._end(fd)
        if end - self.mark.base > policy.max_size * (policy.max_files + 1):
            kept = policy.max_size * policy.max_files or policy.max_size // 2
            cut = self._newline_before(fd, end - kept)
            if policy.max_files:
                self._lose(fd, cut, done, "it is written faster than it can be rotated")
            else:  # as was asked for: nothing but the live part
                self._give_back(fd, cut, cut, done)
                done.rotated = True

    def _rotate(self, fd: int, policy: LogPolicy, done: Turn, *, aged: bool) -> None:
        end = self._end(fd)
        aged = aged and end > self.mark.base
        if end - self.mark.base <= policy.max_size and not aged and (self._punching or not done.rotated):
            return
        while end - self.mark.base > policy.max_size:
            self._cut(fd, self._newline_before(fd, self.mark.base + policy.max_size), policy, done)
        if not self._punching:
            self._cut(fd, None, policy, done)
        elif aged:
            self._cut(fd, self._newline_before(fd, end), policy, done)

    def _cut(self, fd: int, cut: int | None, policy: LogPolicy, done: Turn) -> None:
        """Move [base, cut) to a segment; None: all there is, and truncate."""
        copied: int | None = None
        while policy.max_files:
            try:
                copied = self._copy(fd, cut)
                break
            except OSError as error:
                files.part_path(self._live).unlink(missing_ok=True)
                if error.errno not in _FULL:
                    raise
                if not self._room():
                    break
        done.rotated = True
        if copied is None and policy.max_files:
            self._lose(fd, cut, done, "the disk is full")
            return
        self._give_back(fd, cut, copied if copied is not None else self._end(fd), done)

    def _give_back(self, fd: int, cut: int | None, end: int, done: Turn) -> None:
        start = self.mark.base
        if cut is None:
            self._truncate(fd, end, done)
            return
        self.mark = replace(self.mark, base=cut)
        self._save()
        self._step("saved")
        if self._punching:
            holes.punch(fd, start - self.mark.origin, cut - self.mark.origin)
            self._step("punched")

    def _truncate(self, fd: int, end: int, done: Turn) -> None:
        self.mark = replace(self.mark, base=end, cut=end)
        self._save()
        self._step("announced")
        rest = files.part_path(self._live)
        last, lost = take_rest(fd, end - self.mark.origin, rest)
        last += self.mark.origin
        self._known = 0
        self._step("truncated")
        if last > end and not lost:
            rest.rename(files.segment_path(self._live, end, last))
        else:
            rest.unlink(missing_ok=True)
        lost = last - end if lost else 0
        self._step("named the rest")
        self.mark = Mark(last, last, self.mark.lost + lost, None)
        if lost:
            done.lost, done.why = done.lost + lost, "the disk is full"
        self._save()
        self._step("renewed")

    def _lose(self, fd: int, cut: int | None, done: Turn, why: str) -> None:
        """Give back [base, cut) without a copy."""
        end = self._end(fd) if cut is None else cut
        lost = end - self.mark.base
        self.mark = replace(self.mark, lost=self.mark.lost + lost)
        done.rotated, done.lost, done.why = True, done.lost + lost, why
        self._give_back(fd, cut, end, done)

    def _copy(self, fd: int, cut: int | None) -> int:
        """Copy [base, cut) to its segment; where it ends."""
        part = files.part_path(self._live)
        origin = self.mark.origin
        end = origin + copy(fd, self.mark.base - origin, None if cut is None else cut - origin, part)
        self._step("copied")
        part.rename(files.segment_path(self._live, self.mark.base, end))
        self._step("named")
        return end

    def _newline_before(self, fd: int, limit: int) -> int:
        """The end of the last line that ends at or before `limit`; `limit` when there is none near."""
        lowest = max(self.mark.base, limit - LOOK_BACK)
        high = limit
        while high > lowest:
            low = max(lowest, high - _WINDOW)
            at = os.pread(fd, high - low, low - self.mark.origin).rfind(b"\n")
            if at >= 0:
                return low + at + 1
            high = low
        return limit

    def _drop(self, policy: LogPolicy, now: float) -> None:
        """Remove segments that are too many, or whose newest line is too old."""
        segments = files.segments_of(self._live)
        surplus = len(segments) - policy.max_files
        for number, segment in enumerate(segments):
            with contextlib.suppress(FileNotFoundError):
                if number < surplus or now - segment.path.stat().st_mtime > policy.max_age:
                    segment.path.unlink()
                    files.packed_path(segment.path).unlink(missing_ok=True)
