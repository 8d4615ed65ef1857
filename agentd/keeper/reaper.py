"""How runs end, whoever is their parent: we, the guard (its keeper was killed), or nobody of ours."""

import os
from typing import Any

from agentd.keeper import cgroup, child, proc, tree
from agentd.keeper.journal import Entry
from agentd.keeper.probes import Probes
from agentd.keeper.table import LIVE, Run, Table, boot_clock

UNSEEN = "keeper and guard were both killed before it ended: exit code unknown"
REMOVED_AT_ONCE = 20
NOT_BEGUN = "its keeper was killed before it began"
REBOOTED = "the machine was rebooted"


class Reaper:
    """Finds out what became of the runs of a table."""

    def __init__(self, table: Table, guard_pid: int, probes: Probes) -> None:
        self._table = table
        self._probes = probes
        self._guard = guard_pid
        self.guarded: set[str] = set()
        """Runs that are the guard's children: it tells us how they end."""
        self.orphaned: set[str] = set()
        """Runs that are nobody's of ours: we can see that they end, not how."""
        self._remains: dict[str, list[str]] = {}
        """Control groups of ended runs, removed once there is nothing more urgent."""
        self.ending = False
        """Runs that end now are being stopped, whoever signalled first: the machine goes down."""

    def restore(self) -> None:
        """Tell whose child every living run is. What is gone may yet be told by the guard: see `settle`."""
        for run in self._table.live():
            if run["boot"] != self._table.boot:
                self._table.note("ended", run, code=None, lost=REBOOTED)
                continue
            found = proc.stat(run["pid"]) if run["pid"] else None
            if run["state"] == "draining" or found is None or found.start != run["start"]:
                continue
            if found.parent == os.getpid():
                self._table.by_pid[run["pid"]] = run["id"]
            elif found.parent == self._guard:
                self.guarded.add(run["id"])
            elif not found.dead:
                self.orphaned.add(run["id"])

    def settle(self) -> None:
        """The guard has told all it knows: what is neither alive nor told of ended unseen."""
        known = {*self._table.by_pid.values(), *self.guarded, *self.orphaned}
        for run in self._table.live():
            if run["id"] not in known and run["state"] != "draining":
                self._main_ended(run, None, ours=False)

    def reap(self) -> list[Entry]:
        """Collect children that ended."""
        table = self._table
        entries: list[Entry] = []
        orphans = False
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                info = None
            if info is None:
                break
            run = table.runs.get(table.by_pid.pop(info.si_pid, ""))
            if run is None:
                _, status = os.waitpid(info.si_pid, 0)
                orphans = not self._probes.ended(info.si_pid, _code(status)) or orphans
                continue
            # While the zombie still keeps its number from being reused.
            if run["stop_at"] is None and not self.ending:
                tree.signal_group(run, 9)
            _, status = os.waitpid(info.si_pid, 0)
            entries += self._main_ended(run, status, ours=True)
        return entries + self._dry_up() if orphans else entries

    def told(self, pid: int, start: int, status: int) -> list[Entry]:
        """The guard says how a process ended that was a run's."""
        for run in self._table.live():  # also those that were gone before we looked
            if (run["pid"], run["start"]) == (pid, start) and run["state"] != "draining":
                self.guarded.discard(run["id"])
                if run["state"] == "starting" and _code(status) == child.NEVER_BEGAN:
                    return [self._end(run, None, NOT_BEGUN)]
                return self._main_ended(run, status, ours=False)
        return []

    def _main_ended(self, run: Run, status: int | None, *, ours: bool) -> list[Entry]:
        """A run's main process is gone; status None: nobody saw how."""
        table, entries = self._table, list[Entry]()
        for fd in [fd for fd, run_id in table.verdicts.items() if run_id == run["id"]]:
            entries += table.verdict(fd)  # exec's verdict comes before the exit it explains
        if run["state"] not in LIVE:
            return entries
        if self.ending and run["stop_at"] is None:
            entries.append(table.note("stopping", run, stop_at=boot_clock(), why=None))
        code = None if status is None else _code(status)
        number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else 0
        lost = UNSEEN if status is None else None
        left = tree.members(run, among=self._strangers() if ours else None)
        if not left:
            return [*entries, self._end(run, code, lost, signal=number)]
        if run["stop_at"] is None:  # nobody asked: what it leaves behind goes at once
            told = tree.tell([pid for pid in left if pid not in self._probes.running])
            tree.kill(run, left)
        else:
            told = run.get("left", [])
        return [*entries, table.note("draining", run, code=code, lost=lost, left=told, signal=number)]

    def _strangers(self) -> list[int]:
        """Our children that are no run's main process: orphans of runs that were our children."""
        return [pid for pid in proc.children() if pid not in self._table.by_pid]

    def _end(self, run: Run, code: int | None, lost: str | None, **more: Any) -> Entry:
        groups = run.get("cgroups", [])
        oom = cgroup.oom_kills(groups) if groups else 0
        if groups:
            self._remains[run["id"]] = groups
        return self._table.note("ended", run, code=code, lost=lost, oom=oom, **more)

    def poll(self) -> list[Entry]:
        """Look at what no signal tells of: runs that are nobody's, trees that drain, removed groups."""
        table = self._table
        entries: list[Entry] = []
        for run in [table.runs[run_id] for run_id in (*self.orphaned, *self.guarded)]:
            if run["state"] not in LIVE:
                self.orphaned.discard(run["id"])
                self.guarded.discard(run["id"])
            elif tree.is_alive(run):
                if run["state"] == "starting" and proc.has_execed(run["pid"]):
                    entries.append(table.note("execed", run))
            elif run["id"] in self.orphaned:
                self.orphaned.discard(run["id"])
                entries += self._main_ended(run, None, ours=False)
        for run_id, groups in list(self._remains.items())[:REMOVED_AT_ONCE]:
            if cgroup.remove(groups):
                del self._remains[run_id]
        return entries + self._dry_up()

    def remove_all(self) -> None:
        """Remove the groups of all ended runs: nobody will come back to them."""
        for groups in self._remains.values():
            cgroup.remove(groups)
        self._remains.clear()

    def _dry_up(self) -> list[Entry]:
        """End the runs whose last process is gone."""
        entries = []
        for run in [self._table.runs[run_id] for run_id in self._table.draining]:
            left = tree.members(run)
            if not left:
                entries.append(self._end(run, run["code"], run["lost"]))
            elif run["stop_at"] is None:
                tree.kill(run, left)
        return entries

    def polls(self) -> bool:
        """Whether `poll` has anything to look at."""
        if self.orphaned or self._remains or self._table.draining:
            return True
        return any(self._table.runs[run_id]["state"] == "starting" for run_id in self.guarded)


def _code(status: int) -> int:
    """A wait status as a shell tells it: 128 and the signal for the killed."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
