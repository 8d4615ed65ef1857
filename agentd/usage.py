"""What each task uses, by kept descriptors: nothing is scanned."""

import os
import resource
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agentd.core.runs import Run

MOST = 200
"""Tasks whose figures a heartbeat carries: the busiest."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Source:
    """One small file, read again and again: by a descriptor, if there are enough of them."""

    def __init__(self, path: str, *, keep: bool) -> None:
        self._path = path
        self._fd = _open(path) if keep else None

    @property
    def kept(self) -> int:
        """How many descriptors it holds."""
        return int(self._fd is not None)

    def read(self) -> str:
        """What it says now; nothing when it is not there."""
        fd = _open(self._path) if self._fd is None else self._fd
        if fd is None:
            return ""
        try:
            return os.pread(fd, 4096, 0).decode(errors="replace")
        except OSError:
            return ""
        finally:
            if self._fd is None:
                os.close(fd)

    def close(self) -> None:
        """Let go."""
        if self._fd is not None:
            os.close(self._fd)


class Meter:
    """The sources of one run: its main process, and its groups where they count more than that."""

    def __init__(self, pid: int, groups: Sequence[str], *, keep: bool) -> None:
        self._stat = Source(f"/proc/{pid}/stat", keep=keep)
        self._more: dict[str, Source] = {}
        for directory in groups:
            for name in ("cpu.stat", "memory.stat", "pids.current"):
                if os.path.exists(f"{directory}/{name}"):
                    self._more[f"{directory}/{name}"] = Source(f"{directory}/{name}", keep=keep)
        self._last: tuple[float, float] | None = None

    @property
    def kept(self) -> int:
        """How many descriptors it holds."""
        return self._stat.kept + sum(source.kept for source in self._more.values())

    def read(self, now: float) -> dict[str, Any] | None:
        """`{"cpu": percent of one, "rss": bytes, "threads": n}`, perhaps `throttled` seconds; None: gone."""
        fields = self._stat.read().rpartition(")")[2].split()
        if not fields:
            return None
        said: dict[str, int] = {}
        for path, source in self._more.items():
            text = source.read()
            said |= {"threads": int(text)} if path.endswith("pids.current") and text else _table(text)
        seconds = said["usage_usec"] / 1e6 if "usage_usec" in said else _seconds(fields)
        rss = said.get("anon", said.get("total_rss", int(fields[21]) * _PAGE))
        then, before = self._last or (now, seconds)
        self._last = now, seconds
        share = 100 * (seconds - before) / (now - then) if now > then else 0.0
        threads = said.get("threads", int(fields[17]))
        found: dict[str, Any] = {"cpu": round(max(share, 0.0), 1), "rss": rss, "threads": threads}
        throttled = said.get("throttled_usec", 0) / 1e6 + said.get("throttled_time", 0) / 1e9
        return {**found, "throttled": round(throttled, 3)} if throttled else found

    def close(self) -> None:
        """Let go of all."""
        for source in (self._stat, *self._more.values()):
            source.close()


def _seconds(fields: Sequence[str]) -> float:
    """Processor time of a process by /proc's word, its waited-for children not included."""
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Usage:
    """Figures of all running tasks."""

    def __init__(self, groups_of: Callable[[Run], Sequence[str]]) -> None:
        self._groups_of = groups_of
        self._meters: dict[str, Meter] = {}
        self._kept = 0
        self._most_kept = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2

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
            keep = self._kept < self._most_kept
            meter = self._meters[run.id] = Meter(run.pid, self._groups_of(run), keep=keep)
            self._kept += meter.kept
        return meter

    def _drop(self, run_id: str) -> None:
        meter = self._meters.pop(run_id)
        self._kept -= meter.kept
        meter.close()


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _table(text: str) -> dict[str, int]:
    """`name number` lines."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
