"""What each task uses: one read of /proc per process, and no more of them than a heartbeat holds."""

import os
from collections.abc import Iterable
from typing import Any

from agentd.core.runs import Run

MOST = 200
"""Tasks whose figures a heartbeat carries."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """Processor share between two looks, and memory, of the main process of each run."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def sample(self, runs: Iterable[Run], now: float) -> dict[str, Any]:
        """`{run id: {"cpu": percent of one cpu, "rss": bytes}}`."""
        found: dict[str, Any] = {}
        seen: dict[str, tuple[float, int]] = {}
        for run in runs:
            if len(found) >= MOST:
                break
            if run.state != "running" or run.pid is None:
                continue
            stat = _stat(run.pid)
            if stat is None:
                continue
            ticks = int(stat[11]) + int(stat[12])
            then, before = self._last.get(run.id, (now, ticks))
            share = 100 * (ticks - before) / _TICKS / (now - then) if now > then else 0.0
            seen[run.id] = (now, ticks)
            found[run.id] = {"cpu": round(share, 1), "rss": int(stat[21]) * _PAGE}
        self._last = seen
        return found


def _stat(pid: int) -> list[str] | None:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.read(fd, 1024).decode(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    finally:
        os.close(fd)
