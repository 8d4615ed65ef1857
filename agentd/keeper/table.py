"""The runs the keeper knows, and the journal that lets the next keeper know them too."""

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

from agentd.keeper import cgroup, child, proc, tree
from agentd.keeper.events import apply
from agentd.keeper.faults import fault
from agentd.keeper.journal import Entry, Journal

Run = dict[str, Any]
LIVE = ("starting", "running", "draining")


def boot_clock() -> float:
    """Seconds since boot, those of sleep included: the same clock in every process of this boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Table:
    """All runs. Every change is journalled before it is told."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.boot = proc.boot_id()
        self.runs: dict[str, Run] = {}
        self.draining: set[str] = set()
        """Runs whose main process has ended, and of which something still lives."""
        self.deadlines: dict[str, float] = {}
        """Of living runs that have one, in seconds since boot."""
        self._unheard: set[str] = set()
        """Runs that were told to stop before they had a process group."""
        self.by_pid: dict[int, str] = {}
        """Living runs that are our children."""
        self.verdicts: dict[int, str] = {}
        """Descriptors on which a child will say how its exec went."""
        self.watch: Callable[[int], object] = lambda _: None
        self.unwatch: Callable[[int], object] = lambda _: None

    @property
    def seq(self) -> int:
        """The number of the last entry."""
        return self._journal.seq

    @property
    def dirty(self) -> bool:
        """Whether the journal has entries that are not on disk."""
        return self._journal.dirty

    def replay(self) -> None:
        """Take over what the journal says; what became of it since is `Reaper.restore`'s to find out."""
        for entry in self._journal.replay():
            self._apply(entry)

    def sync(self) -> None:
        """Put the journal on disk; without its history, when that is most of it."""
        self._journal.sync()
        if self._journal.outgrown():
            kept = [{"seq": self.seq, "kind": "run", "run": run} for run in self.runs.values()]
            self._journal.rewrite(kept)

    def close(self) -> None:
        """Put everything on disk and let go of the file."""
        self._journal.sync()
        self._journal.close()

    def spawn(self, order: dict[str, Any]) -> list[Entry]:
        """Start a run. One that is known already is left as it is: asking twice is harmless.

        Raises:
            OSError: it could not be forked or journalled just now; nothing runs.
        """
        known = order["run"]
        if known["id"] in self.runs:
            return []
        fault("keeper.spawn.before")
        born = child.fork(order)
        run = _record_of(known, boot=self.boot, state="starting") | {
            "pid": born.pid,
            "start": proc.start_time(born.pid),
            "stop_signal": order["stop_signal"],
            "grace": order["grace"],
            "cgroups": order.get("cgroups") or [],
            "deadline": order.get("deadline"),
        }
        try:
            entries = [self.record("run", must=True, run=run)]
        except OSError as error:
            os.close(born.go)  # it was not journalled, so it must not run
            os.close(born.verdict)
            os.waitpid(born.pid, 0)
            raise OSError(error.errno, f"journal: {error.strerror}") from error
        self.by_pid[born.pid] = run["id"]
        self.verdicts[born.verdict] = run["id"]
        self.watch(born.verdict)
        with contextlib.suppress(BrokenPipeError):  # somebody killed it already: reaped like any other
            os.write(born.go, b"g")
        os.close(born.go)
        fault("keeper.spawn.after")
        return entries

    def refuse(self, run: dict[str, Any], error: str) -> list[Entry]:
        """Record a run that cannot be started, so that every brain knows."""
        if run["id"] in self.runs:
            return []
        refused = _record_of(run, boot=self.boot, state="failed")
        refused |= {"error": error, "ended": refused["started"], "ended_wall": refused["started_wall"]}
        return [self.record("run", run=refused)]

    def verdict(self, fd: int) -> list[Entry]:
        """A child said how its exec went, or its descriptor closed because it went well."""
        said = os.read(fd, 64).decode()
        self.unwatch(fd)
        os.close(fd)
        run = self.runs.get(self.verdicts.pop(fd))
        if run is None or run["state"] != "starting":
            return []
        if not said:
            if run["id"] in self._unheard:  # asked to stop before there was a group to signal
                self._unheard.discard(run["id"])
                tree.signal_group(run, run["stop_signal"])
            return [self.note("execed", run)]
        step, number = said.split()
        cgroup.remove(run.get("cgroups", []))
        return [self.note("failed", run, error=f"{step}:{number}")]

    def stop(self, run_id: str, number: int, why: str | None = None) -> list[Entry]:
        """Send the stop signal to a run's group, and note when, and why, that was first done."""
        run = self.runs.get(run_id)
        if run is None or run["state"] not in LIVE:
            return []
        entries = self._stopping(run, why)
        if tree.is_alive(run) and not tree.signal_group(run, number) and run["state"] == "starting":
            self._unheard.add(run_id)
        return entries

    def kill(self, run_id: str, why: str | None = None) -> list[Entry]:
        """SIGKILL to every process of a run."""
        run = self.runs.get(run_id)
        if run is None or run["state"] not in LIVE:
            return []
        entries = self._stopping(run, why)
        living = tree.members(run)
        left = tree.strays(run, living)
        if left and not run.get("left"):
            entries.append(self.note("left", run, left=tree.tell(left)))
        tree.kill(run, living)
        return entries

    def _stopping(self, run: Run, why: str | None) -> list[Entry]:
        if run["stop_at"] is not None:
            return []
        return [self.note("stopping", run, stop_at=boot_clock(), why=why)]

    def expire(self, run_id: str, deadline: float | None) -> list[Entry]:
        """The dead man's switch: stop this run at `deadline` (seconds since boot) unless it is moved."""
        run = self.runs.get(run_id)
        if run is None or run["state"] not in LIVE or run.get("deadline") == deadline:
            return []
        return [self.note("deadline", run, deadline=deadline)]

    def regroup(self, run_id: str, groups: list[str]) -> list[Entry]:
        """Note the control groups that a living run is in by now."""
        run = self.runs.get(run_id)
        return [self.note("grouped", run, cgroups=groups)] if run and run["state"] in LIVE else []

    def forget(self, run_ids: list[str]) -> list[Entry]:
        """Drop ended runs; living ones stay."""
        known = [self.runs[run_id] for run_id in run_ids if run_id in self.runs]
        gone = [run["id"] for run in known if run["state"] not in LIVE]
        return [self.record("forgot", ids=gone)] if gone else []

    def live(self) -> list[Run]:
        """Runs that have not ended."""
        return [run for run in self.runs.values() if run["state"] in LIVE]

    def note(self, kind: str, run: Run, **fields: Any) -> Entry:
        """Journal what became of a run."""
        if kind in ("ended", "failed"):
            fields |= {"ended": boot_clock(), "ended_wall": time.time()}
        return self.record(kind, id=run["id"], **fields)

    def record(self, kind: str, *, must: bool = False, **fields: Any) -> Entry:
        """Journal, then apply."""
        entry = self._journal.append(kind, must=must, **fields)
        self._apply(entry)
        return entry

    def _apply(self, entry: Entry) -> None:
        for run_id in apply(self.runs, entry):
            run = self.runs.get(run_id)
            state = run["state"] if run else None
            (self.draining.add if state == "draining" else self.draining.discard)(run_id)
            if run is not None and state in LIVE and run.get("deadline") is not None:
                self.deadlines[run_id] = run["deadline"]
            else:
                self.deadlines.pop(run_id, None)


def _record_of(known: Run, *, boot: str, state: str) -> Run:
    """A run as journalled, with nothing known of its process yet."""
    return {
        **known, "state": state, "pid": None, "start": None, "boot": boot, "code": None, "error": None,
        "lost": None, "started": boot_clock(), "started_wall": time.time(), "ended": None,
        "ended_wall": None, "stop_at": None, "stop_signal": 15, "grace": 0, "cgroups": [], "why": None,
        "deadline": None, "oom": 0, "left": [],
    }  # fmt: skip
