"""The runs the keeper knows, and the journal that lets the next keeper know them too."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from agentd.keeper import child, proc
from agentd.keeper.events import apply
from agentd.keeper.faults import fault
from agentd.keeper.journal import Entry, Journal

Run = dict[str, Any]
LIVE = ("starting", "running", "draining")


def boot_clock() -> float:
    """Seconds since boot: the same clock in every process of this boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Table:
    """All runs. Every change is journalled before it is told."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.boot = proc.boot_id()
        self.runs: dict[str, Run] = {}
        self.by_pid: dict[int, str] = {}
        self.verdicts: dict[int, str] = {}
        """Descriptors on which a child will say how its exec went."""
        self.watch: Callable[[int], object] = lambda _: None
        self.unwatch: Callable[[int], object] = lambda _: None
        self.ending = False
        """Runs that end now are being stopped, whoever signalled first: the machine goes down."""
        self.adopted: set[str] = set()
        """Runs whose parent was another keeper: we can see that they end, not how."""

    @property
    def seq(self) -> int:
        """The number of the last entry."""
        return self._journal.seq

    def restore(self) -> None:
        """Take over what the journal says. Processes that are still there are adopted."""
        for entry in self._journal.replay():
            apply(self.runs, entry)
        for run in [run for run in self.runs.values() if run["state"] in LIVE]:
            if run["boot"] != self.boot:
                self._note("ended", run, code=None, lost="the machine was rebooted")
            elif self._is_alive(run):
                self.adopted.add(run["id"])
            else:
                _kill_leftovers(run)
                code = run["code"] if run["state"] == "draining" else None
                lost = None if code is not None else "it ended while no keeper was there: exit code unknown"
                self._note("ended", run, code=code, lost=lost)
        self._compact()

    def sync(self) -> None:
        """Put the journal on disk; without its history, when that is most of it."""
        self._journal.sync()
        self._compact()

    def _compact(self) -> None:
        if self._journal.outgrown():
            kept = [{"seq": self.seq, "kind": "run", "run": run} for run in self.runs.values()]
            self._journal.rewrite(kept)

    @property
    def dirty(self) -> bool:
        """Whether the journal has entries that are not on disk."""
        return self._journal.dirty

    def spawn(self, order: dict[str, Any]) -> list[Entry]:
        """Start a run. One that is known already is left as it is: asking twice is harmless.

        Raises:
            OSError: it could not be forked or journalled just now; nothing runs.
        """
        known = order["run"]
        if known["id"] in self.runs:
            return []
        stop = {"stop_signal": order["stop_signal"], "grace": order["grace"]}
        fault("keeper.spawn.before")
        born = child.fork(order)
        start = proc.start_time(born.pid)
        run = {
            **known,
            "state": "starting",
            "pid": born.pid,
            "start": start,
            "boot": self.boot,
            "code": None,
            "error": None,
            "lost": None,
            "started": boot_clock(),
            "started_wall": time.time(),
            "ended": None,
            "ended_wall": None,
            "stop_at": None,
            **stop,
        }
        try:
            entries = [self._record("run", must=True, run=run)]
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
        return [] if run["id"] in self.runs else [self._refused(run, error)]

    def _refused(self, run: dict[str, Any], error: str) -> Entry:
        now, wall = boot_clock(), time.time()
        return self._record(
            "run",
            run={
                **run, "state": "failed", "pid": None, "start": None, "boot": self.boot, "code": None,
                "error": error, "lost": None, "started": now, "started_wall": wall, "ended": now,
                "ended_wall": wall, "stop_at": None, "stop_signal": 15, "grace": 0,
            },
        )  # fmt: skip

    def verdict(self, fd: int) -> list[Entry]:
        """A child said how its exec went, or its descriptor closed because it went well."""
        said = os.read(fd, 64).decode()
        self.unwatch(fd)
        os.close(fd)
        run = self.runs.get(self.verdicts.pop(fd))
        if run is None or run["state"] != "starting":
            return []
        if not said:
            if run["stop_at"] is not None:  # asked to stop before there was a group to signal
                _signal_group(run["pid"], run["stop_signal"])
            return [self._note("execed", run)]
        step, number = said.split()
        return [self._note("failed", run, error=f"{step}:{number}")]

    def reap(self) -> list[Entry]:
        """Collect children that ended. What an unstopped one leaves of its session goes at once."""
        entries: list[Entry] = []
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                info = None
            if info is None:
                return entries
            run = self.runs.get(self.by_pid.pop(info.si_pid, ""))
            if run is not None and self.ending and run["stop_at"] is None:
                entries.append(self._note("stopping", run, stop_at=boot_clock()))
            if run is not None and run["stop_at"] is None:
                # While the zombie still keeps its number from being reused.
                _signal_group(info.si_pid, signal.SIGKILL)
            _, status = os.waitpid(info.si_pid, 0)
            self._kill_orphans()
            if run is not None and run["state"] in LIVE:
                code = os.waitstatus_to_exitcode(status)
                entries += self._left(run, 128 - code if code < 0 else code)

    def _kill_orphans(self) -> None:
        """End what came to us when its parent ended, if the session it is in is that of no living run.

        An orphan that made a session of its own cannot be told whose it was: it stays. A session
        that drains has its own deadline.
        """
        strangers = [pid for pid in proc.children() if pid not in self.by_pid]
        if not strangers:
            return
        spared = {
            run["pid"] for run in self.live() if run["pid"] in self.by_pid or run["stop_at"] is not None
        }
        spared |= {self.runs[run_id]["pid"] for run_id in self.adopted}
        ours = {run["pid"] for run in self.runs.values() if run["boot"] == self.boot and run["pid"]}
        over = ours - spared
        for pid in strangers:
            if proc.session_of(pid) in over:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def _left(self, run: Run, code: int) -> list[Entry]:
        for fd in [fd for fd, run_id in self.verdicts.items() if run_id == run["id"]]:
            entries = self.verdict(fd)  # exec's verdict comes before the exit it explains
            if run["state"] == "failed":
                return entries
            return [*entries, *self._left(run, code)]
        if run["stop_at"] is not None and proc.session_members(run["pid"]):
            return [self._note("draining", run, code=code)]
        return [self._note("ended", run, code=code, lost=None)]

    def poll(self) -> list[Entry]:
        """Look at runs whose end no signal tells: adopted ones, and sessions that drain."""
        entries = []
        for run in [self.runs[run_id] for run_id in self.adopted]:
            if self._is_alive(run):
                if run["state"] == "starting" and proc.has_execed(run["pid"]):
                    entries.append(self._note("execed", run))
                continue
            self.adopted.discard(run["id"])
            if run["stop_at"] is not None and proc.session_members(run["pid"]):
                entries.append(self._note("draining", run, code=None))
                continue
            _kill_leftovers(run)
            lost = "its keeper was killed before it ended: exit code unknown"
            entries.append(self._note("ended", run, code=None, lost=lost))
        draining = [run for run in self.runs.values() if run["state"] == "draining"]
        dry = [run for run in draining if not proc.session_members(run["pid"])]
        return entries + [self._note("ended", run, code=run["code"], lost=None) for run in dry]

    def polls(self) -> bool:
        """Whether `poll` has anything to look at."""
        return bool(self.adopted) or any(run["state"] == "draining" for run in self.runs.values())

    def stop(self, run_id: str, number: int) -> list[Entry]:
        """Send the stop signal to a run's group, and note when that was first done."""
        run = self.runs.get(run_id)
        if run is None or run["state"] not in LIVE:
            return []
        entries = [self._note("stopping", run, stop_at=boot_clock())] if run["stop_at"] is None else []
        if self._is_alive(run):
            _signal_group(run["pid"], number)
        return entries

    def kill(self, run_id: str) -> list[Entry]:
        """SIGKILL to a run's whole group and session."""
        run = self.runs.get(run_id)
        if run is None or run["state"] not in LIVE:
            return []
        entries = [self._note("stopping", run, stop_at=boot_clock())] if run["stop_at"] is None else []
        if self._is_alive(run):
            _signal_group(run["pid"], signal.SIGKILL)
        _kill_session(run["pid"])
        return entries

    def forget(self, run_ids: list[str]) -> list[Entry]:
        """Drop ended runs; living ones stay."""
        known = [self.runs[run_id] for run_id in run_ids if run_id in self.runs]
        gone = [run["id"] for run in known if run["state"] not in LIVE]
        return [self._record("forgot", ids=gone)] if gone else []

    def live(self) -> list[Run]:
        """Runs that have not ended."""
        return [run for run in self.runs.values() if run["state"] in LIVE]

    def _is_alive(self, run: Run) -> bool:
        return run["start"] is not None and proc.start_time(run["pid"]) == run["start"]

    def _note(self, kind: str, run: Run, **fields: Any) -> Entry:
        if kind in ("ended", "failed"):
            fields |= {"ended": boot_clock(), "ended_wall": time.time()}
        return self._record(kind, id=run["id"], **fields)

    def _record(self, kind: str, *, must: bool = False, **fields: Any) -> Entry:
        entry = self._journal.append(kind, must=must, **fields)
        apply(self.runs, entry)
        return entry


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _kill_session(session: int) -> None:
    for pid in proc.session_members(session):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _kill_leftovers(run: Run) -> None:
    """What a run left behind that ended unseen; unless its number names another process by now."""
    if proc.start_time(run["pid"]) is None:
        _kill_session(run["pid"])
