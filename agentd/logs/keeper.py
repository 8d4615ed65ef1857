"""The thread that keeps logs within their bounds: one stat per file every 2 s while nothing grows."""

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentd.logs import files, holes, space
from agentd.logs.rotate import Rotator, Turn
from agentd.logs.times import Times
from store.clock import Clock
from store.model.policies import LogPolicy

log = logging.getLogger("agent")

EVERY = 2.0
HURRY = 0.2
"""Seconds until the next look while something was just rotated: its writer may be fast."""
DROP_EVERY = 3600.0
QUOTA_EVERY = 60.0
PACK_SHARE = 0.25
"""Share of the time that may go into compressing."""
SAY_EVERY = 60.0
STRAY_FOR = 3600.0
"""Seconds without a word after which a log that nobody named counts as ended."""
LEAST = 64 * 1024
"""Bytes of a log that even the quota leaves."""


@dataclass(slots=True)
class _Tended:
    """One log and what was last seen of it."""

    policy: LogPolicy
    rotator: Rotator
    times: Times
    size: int = -1
    since: float | None = None
    """Wall time at which the oldest line of the live part was there; None while that is empty."""
    next_turn: float = 0.0
    oldest: int = 0
    lost: int = 0
    said: float | None = None
    trouble: str = ""


class LogKeeper:
    """Rotates, packs and drops. `quota` bounds all logs of this node together, in bytes."""

    def __init__(self, directory: Path, clock: Clock, quota: int, *, punching: bool | None = None) -> None:
        self._directory = directory
        self._clock = clock
        self._quota = quota
        self._punching = holes.supported(directory) if punching is None else punching
        if not self._punching:
            log.warning("%s: no holes in files there; rotation may lose some lines", directory)
        self._wanted: Mapping[Path, LogPolicy] | None = None
        self._strays: dict[Path, LogPolicy] = {}
        self._tended: dict[Path, _Tended] = {}
        self._to_pack: dict[Path, None] = {}
        self._next_quota = 0.0
        self._condition = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def watch(self, wanted: Mapping[Path, LogPolicy]) -> None:
        """The logs to keep, all of them; what is named no more is looked at once again and let go."""
        self._wanted = dict(wanted)

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End soon. Whatever is under way may be cut off at any point."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def _run(self) -> None:
        while not self._stopping:
            try:
                pause = self.tick()
            except Exception as error:
                log.error("logs", exc_info=error)
                pause = EVERY
            with self._condition:
                if not self._stopping:
                    self._condition.wait(pause)

    def tick(self) -> float:
        """One look at everything; seconds until the next."""
        if self._wanted is None:
            return EVERY  # nobody has said yet whose they are
        wanted, hurry = {**self._strays, **self._wanted}, False
        for path, policy in wanted.items():
            hurry |= self._look(path, policy)
        for path in self._tended.keys() - wanted.keys():
            self._look(path, self._tended[path].policy)
            self._tended.pop(path, None)
        if hurry:
            self._next_quota = min(self._next_quota, self._clock.now() + EVERY)
        self._keep_quota(self._wanted)
        pause = HURRY if hurry else EVERY
        self._pack(pause * PACK_SHARE)
        return pause

    def _look(self, path: Path, policy: LogPolicy) -> bool:
        """Whether it was rotated."""
        known = self._tended.get(path)
        try:
            size = path.stat().st_size
            if known is None:
                known = self._tended[path] = self._begin(path, policy)
            known.policy = policy
            return self._tend(path, known, size)
        except FileNotFoundError:
            self._tended.pop(path, None)
        except OSError as error:
            if error.errno in holes.UNABLE and self._punching:
                log.warning("%s: no holes there after all; rotation may lose some lines", path)
                self._punching = False
                self._tended.clear()
            elif known is not None and known.trouble != str(error):
                known.trouble = str(error)
                log.error("%s is not rotated: %s", path, error)
        return False

    def _begin(self, path: Path, policy: LogPolicy) -> _Tended:
        rotator = Rotator(path, punching=self._punching, room=self._make_room)
        return _Tended(policy, rotator, Times(path))

    def _tend(self, path: Path, known: _Tended, size: int) -> bool:
        now, mark = self._clock.wall(), known.rotator.mark
        first, shrunk, grew = known.size < 0, size < known.size, size > known.size
        known.size = size
        live = size + mark.origin - mark.base
        if first and live <= known.policy.max_size and not files.was_rotated(path):
            first, known.next_turn = False, math.inf
            known.since = known.times.written(0) or path.stat().st_mtime if live else None
        if grew and live > 0 and known.since is None:
            known.since = now
        share = known.policy.max_age / (known.policy.max_files + 1)
        aged = known.since is not None and now - known.since > share
        due = first or shrunk or aged or live > known.policy.max_size or self._clock.now() >= known.next_turn
        turn = Turn()
        if due:
            turn = self._turn(path, known, now, aged=aged and not first)
        end = known.size + known.rotator.mark.origin
        known.times.note(now, end, known.oldest)
        return turn.rotated

    def _turn(self, path: Path, known: _Tended, now: float, *, aged: bool) -> Turn:
        turn = known.rotator.turn(known.policy, now=now, aged=aged)
        known.next_turn = self._clock.now() + DROP_EVERY
        known.trouble = ""
        mark, status = known.rotator.mark, path.stat()
        known.size = status.st_size
        empty = known.size + mark.origin <= mark.base
        known.since = None if empty else known.times.written(mark.base) or status.st_mtime
        known.oldest = files.look(path).oldest
        self._to_pack[path] = None
        known.lost += turn.lost
        if known.lost and (known.said is None or self._clock.now() - known.said >= SAY_EVERY):
            log.warning("%s: %d bytes are lost: %s", path, known.lost, turn.why)
            known.lost, known.said = 0, self._clock.now()
        return turn

    def _make_room(self) -> bool:
        return space.free((entry for entry in space.survey(self._directory) if entry.is_segment), 1) > 0

    def _pack(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._to_pack and time.monotonic() < until:
            live = next(iter(self._to_pack))
            del self._to_pack[live]
            plain = [segment for segment in files.segments_of(live) if not segment.packed]
            try:
                if plain:
                    space.pack(plain[0])
                    self._to_pack[live] = None  # at the end of the queue
            except OSError as error:
                log.debug("%s is not packed: %s", live, error)

    def _keep_quota(self, wanted: Mapping[Path, LogPolicy]) -> None:
        if self._clock.now() < self._next_quota:
            return
        self._next_quota = self._clock.now() + QUOTA_EVERY
        entries, wall = space.survey(self._directory), self._clock.wall()
        unnamed = [each for each in entries if each.is_live and each.path not in wanted]
        # Somebody writes them, whoever that is: a task whose orders were lost, say.
        self._strays = {each.path: LogPolicy() for each in unnamed if wall - each.written < STRAY_FOR}
        excess = sum(entry.size for entry in entries) - self._quota
        if excess <= 0:
            return
        ended = {each.path for each in unnamed} - self._strays.keys()
        over = [each for each in entries if each.is_segment or each.path in ended]
        freed = space.free(over, excess)
        log.warning("logs take %d bytes more than --log-quota: %d of the oldest removed", excess, freed)
        if freed < excess:
            self._shorten(excess - freed)

    def _shorten(self, excess: int) -> None:
        """Only live parts are left: the longest are made short, unrotated."""
        by_size = sorted(self._tended.items(), key=lambda item: -self._live(item[1]))
        for path, known in by_size:
            live = self._live(known)
            if excess <= 0 or live <= LEAST:
                return
            keep = max(LEAST, live - excess)
            excess -= known.rotator.shorten(keep, "--log-quota").lost
            log.warning("%s is cut to about its newest %d bytes: --log-quota", path, keep)

    @staticmethod
    def _live(known: _Tended) -> int:
        return known.size + known.rotator.mark.origin - known.rotator.mark.base
