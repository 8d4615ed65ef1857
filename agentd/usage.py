"""What each task uses, by kept descriptors: no file is opened twice, nothing is scanned."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agentd.core.runs import Run

MOST = 200
"""Tasks whose figures a heartbeat carries: the busiest."""
MOST_OPEN = 4000
"""Descriptors kept open; beyond that only the main process is looked at."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Meter:
    """The descriptors of one run: its main process, and its groups where they count more than that."""

    def __init__(self, pid: int, groups: Sequence[str], *, wide: bool) -> None:
        self._pid = pid
        self._stat = _open(f"/proc/{pid}/stat")
        self._cpu = self._memory = self._pids = self._throttle = None
        for directory in groups if wide else ():
            stat = _open(f"{directory}/cpu.stat")
            if stat is not None and "usage_usec" in _table(_read(stat)):
                self._cpu = stat
            else:  # v1 tells use and want of processor time apart
                self._throttle = stat
            self._memory = self._memory or _open(f"{directory}/memory.stat")
            self._pids = self._pids or _open(f"{directory}/pids.current")
        self._last: tuple[float, float] | None = None

    def read(self, now: float) -> dict[str, Any] | None:
        """`{"cpu": percent of one, "rss": bytes, "threads": n}`, perhaps `throttled` seconds; None: gone."""
        fields = (_read(self._stat) or "").rpartition(")")[2].split()
        if not fields:
            return None
        seconds = (int(fields[11]) + int(fields[12])) / _TICKS
        rss, threads = int(fields[21]) * _PAGE, int(fields[17])
        cpu = _table(_read(self._cpu))
        memory = _table(_read(self._memory))
        seconds = cpu["usage_usec"] / 1e6 if "usage_usec" in cpu else seconds
        rss = memory.get("anon", memory.get("total_rss", rss))
        threads = int(_read(self._pids) or threads)
        then, before = self._last or (now, seconds)
        self._last = now, seconds
        share = 100 * (seconds - before) / (now - then) if now > then else 0.0
        found: dict[str, Any] = {"cpu": round(max(share, 0.0), 1), "rss": rss, "threads": threads}
        want = _table(_read(self._throttle))
        throttled = cpu.get("throttled_usec", 0) / 1e6 + want.get("throttled_time", 0) / 1e9
        return {**found, "throttled": round(throttled, 3)} if throttled else found

    def descriptors(self) -> list[int]:
        """Those that are open."""
        fds = (self._stat, self._cpu, self._memory, self._pids, self._throttle)
        return [fd for fd in fds if fd is not None]

    def close(self) -> None:
        """Let go of them."""
        for fd in self.descriptors():
            os.close(fd)


class Usage:
    """Figures of all running tasks."""

    def __init__(self, groups_of: Callable[[Run], Sequence[str]]) -> None:
        self._groups_of = groups_of
        self._meters: dict[str, Meter] = {}
        self._open = 0

    def sample(self, runs: Iterable[Run], now: float) -> dict[str, Any]:
        """`{run id: figures}` of the busiest runs; `restarts` among them."""
        running = {run.id: run for run in runs if run.state == "running" and run.pid and run.role == "main"}
        for run_id in self._meters.keys() - running.keys():
            self._drop(run_id)
        found: dict[str, dict[str, Any]] = {}
        for run_id, run in running.items():
            figures = self._meter(run).read(now)
            if figures is None:
                self._drop(run_id)
            else:
                found[run_id] = {**figures, "restarts": run.attempt}
        if len(found) <= MOST:
            return found
        busiest = sorted(found, key=lambda run_id: (found[run_id]["cpu"], found[run_id]["rss"]), reverse=True)
        return {run_id: found[run_id] for run_id in sorted(busiest[:MOST])}

    def _meter(self, run: Run) -> Meter:
        meter = self._meters.get(run.id)
        if meter is None:
            assert run.pid is not None
            meter = self._meters[run.id] = Meter(run.pid, self._groups_of(run), wide=self._open < MOST_OPEN)
            self._open += len(meter.descriptors())
        return meter

    def _drop(self, run_id: str) -> None:
        meter = self._meters.pop(run_id)
        self._open -= len(meter.descriptors())
        meter.close()


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _read(fd: int | None) -> str | None:
    if fd is None:
        return None
    try:
        return os.pread(fd, 4096, 0).decode(errors="replace")
    except OSError:
        return None


def _table(text: str | None) -> dict[str, int]:
    """`name number` lines."""
    pairs = (line.split() for line in (text or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
