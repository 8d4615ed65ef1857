"""Carries out the plan on the keeper; one failure never holds up another task."""

import dataclasses
import logging
import os
import shutil
import signal
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentd import ports, told
from agentd.artifacts import removing
from agentd.cgroups.groups import GroupError, effective, limit
from agentd.core.actions import Action, Forget, Kill, Limit, Refuse, Start, Stop
from agentd.core.runs import MAIN, POST_STOP, Run
from agentd.driver import Driver, KeeperError, KeeperGone
from agentd.launch import Launcher
from agentd.sentences import CannotStart, FilesMissing
from store.clock import Clock
from store.faults import fault
from store.model.policies import Limits
from store.model.spec import AllocSpec, TaskSpec

log = logging.getLogger("agent")

RETRY_AFTER = 1.0
"""Seconds until an order that the keeper could not carry out (a full disk) is tried again."""
OF_OLD_KEEPERS = frozenset(
    {
        "process", "user", "ulimits", "depends_on", "logs", "duration", "health", "ports", "peers", "literal",
        "artifacts",
    }
)  # fmt: skip
"""What asks no more of a keeper than one of the last release can do."""
LOGS_KEPT = 7 * 86400.0
Json = dict[str, Any]


class Executor:
    """Actions to orders."""

    def __init__(self, driver: Driver, launcher: Launcher, clock: Clock) -> None:
        self._driver = driver
        self._launcher = launcher
        self._clock = clock
        self._held: dict[str, tuple[float, str]] = {}
        self._effective: dict[str, Json] = {}
        self._begun: list[tuple[Start | Stop, int]] = []
        self.limited: dict[str, Limits] = {}
        """The limits that runs were given, by run id, as far as this life of the brain knows."""

    def perform(self, actions: Sequence[Action]) -> float | None:
        """Do all of them; when to try again what failed, if anything did.

        Raises:
            KeeperGone: there is no keeper to do anything.
        """
        self._begun = []
        again = [self._try(action, self._perform, action) for action in actions]
        # The keeper forks one while we prepare the next.
        again += [self._try(action, self._finish, action, number) for action, number in self._begun]
        return min((retry for retry in again if retry is not None), default=None)

    def _try(self, action: Action, do: Any, *args: Any) -> float | None:
        try:
            found = do(*args)
        except KeeperGone:
            raise
        except (KeeperError, OSError) as error:
            return self._hold(action, str(error))
        except Exception as error:
            log.error("%s", action, exc_info=error)
            return self._hold(action, f"unexpected: {error!r}")
        return float(found) if found is not None else None

    def trouble(self, run: str) -> str:
        """Why a start is being held back, or nothing."""
        return self._held.get(run, (0.0, ""))[1]

    def _hold(self, action: Action, error: str) -> float:
        retry = self._clock.now() + RETRY_AFTER
        if isinstance(action, Start):
            if action.run not in self._held:
                log.error("%s not started: %s; trying again", action.run, error)
            self._held[action.run] = (retry, f"not started yet: {error}")
        else:
            log.error("%s: %s", action, error)
        return retry

    def _perform(self, action: Action) -> float | None:
        match action:
            case Start():
                return self._start(action)
            case Stop():
                log.info("stop %s with %s: %s", action.run, action.signal, action.reason)
                fault("brain.signal.before")
                number = self._driver.begin_stop(action.run, signal.Signals[action.signal], action.why)
                self._begun.append((action, number))
            case Limit():
                self._limit(action)
            case Refuse():
                log.error("%s is not started: %s", action.start.run, action.reason)
                self._refuse(action.start, action.reason)
            case Kill():
                log.warning("kill %s: %s", action.run, action.reason)
                self._driver.kill(action.run, action.why)
            case Forget():
                fault("brain.forget.before")
                self._driver.forget(action.runs)
                fault("brain.forget.after")
                for run_id in action.runs:
                    self.limited.pop(run_id, None)
                    self._effective.pop(run_id, None)
        return None

    def _start(self, action: Start) -> float | None:
        retry, _ = self._held.get(action.run, (0.0, ""))
        if self._clock.now() < retry:
            return retry
        log.info("start %s: %s", action.run, action.reason)
        alloc, task = action.alloc, action.task
        beyond = task.features - OF_OLD_KEEPERS or action.deadline is not None
        if self._driver.protocol < 2 and beyond:
            raise KeeperError("the keeper is of an older release, and is replaced once its tasks have ended")
        held = self._held_port(action)
        if held is not None:
            log.warning("%s is not started: %s", action.run, held)
            self._refuse(dataclasses.replace(action, role=MAIN), held)
            return None
        try:
            order = self._launcher.order(alloc, task, action.run, action.role)
        except CannotStart as error:
            if isinstance(error, FilesMissing) and action.role != POST_STOP:
                self._launcher.stock.missing(alloc, task)
                return self._hold(action, str(error))
            log.error("%s cannot be started: %s", action.run, error)
            self._refuse(action, str(error))
            return None
        order |= {"run": _record(action), "deadline": action.deadline}
        fault("brain.spawn.before")
        self._begun.append((action, self._driver.begin_spawn(order)))
        return None

    def _refuse(self, action: Start, why: str) -> None:
        self._driver.refuse(_record(action), why)
        self._held.pop(action.run, None)

    def _held_port(self, action: Start) -> str | None:
        """Which port of the task somebody else has, and who; a container's engine finds out by itself."""
        if action.role == POST_STOP or action.task.container is not None:
            return None
        return ports.held(told.ports_of(action.alloc, action.task).values())

    def _finish(self, action: Start | Stop, number: int) -> None:
        self._driver.finish(number)
        if isinstance(action, Stop):
            fault("brain.signal.after")
            return
        fault("brain.spawn.after")
        self.limited[action.run] = action.task.limits
        self._held.pop(action.run, None)

    def _limit(self, action: Limit) -> None:
        """Write new limits to the groups that a run lives in."""
        run = action.run
        if action.limits or run.id in self.limited:
            log.info("limit %s to %s: %s", run.id, action.limits, action.reason)
        groups, dirs = self._launcher.groups, list(self.groups_of(run))
        try:
            if groups is not None and run.cgroups:
                dirs = groups.extend(run.cgroups, action.limits)
                if len(dirs) > len(run.cgroups):
                    self._driver.regroup(run.id, dirs)
            limit(dirs, action.limits)
            self._effective[run.id] = self._enforced(run, dirs, action.limits)
        except (GroupError, OSError) as error:
            log.error("%s: %s", run.id, error)
            self._effective[run.id] = {**effective(dirs), "by": self._by(run), "error": str(error)}
        self.limited[run.id] = action.limits

    def limits_of(self, run: Run, task: TaskSpec) -> Json | None:
        """The limits of a living run as they are, by what they are held, and what is not; None without."""
        if not self.limited.get(run.id, task.limits):
            return None
        if run.id not in self._effective:
            dirs = self.groups_of(run)
            if not dirs and task.container is not None:  # its engine has not made them yet, or hides them
                return {"by": self._by(run)}
            self._effective[run.id] = self._enforced(run, dirs, task.limits)
        return self._effective[run.id]

    def _enforced(self, run: Run, dirs: Sequence[str], limits: Limits) -> Json:
        """The limits that a run is held to; what no group holds is sampled, or not enforced."""
        if not dirs:
            return _sampled(limits)
        unheld = _sampled(self._launcher.unheld(limits)) if run.cgroups else {}
        return {**unheld, **effective(dirs), "by": self._by(run)}

    def groups_of(self, run: Run) -> Sequence[str]:
        """The control groups by which a run is limited and counted."""
        desk = self._launcher.desk
        return run.cgroups or (desk.groups(run) if desk is not None else ())

    def _by(self, run: Run) -> str:
        """Who holds a run to its limits."""
        groups, desk = self._launcher.groups, self._launcher.desk
        if run.cgroups:
            return groups.places.kind if groups is not None else "cgroups"
        return desk.engine.name if desk is not None else "sampling"

    def without_groups(
        self, runs: Iterable[Run], specs: Mapping[tuple[str, str], tuple[AllocSpec, TaskSpec]]
    ) -> dict[str, tuple[Run, Limits]]:
        """Living runs with limits that no kernel enforces."""
        found = {}
        for run in runs:
            pair = specs.get((run.alloc, run.task))
            if pair is None or not run.live or run.role != MAIN or pair[1].container is not None:
                continue
            unheld = self._launcher.unheld(pair[1].limits) if run.cgroups else pair[1].limits
            if unheld.memory is not None or unheld.pids is not None:
                found[run.id] = run, unheld
        return found

    def sweep(self, keep: Iterable[str], runs: Iterable[Run]) -> None:
        """Remove what ended allocations left: directories and groups now, logs after a week."""
        kept = set(keep)
        _remove_all_but(self._launcher.allocs, kept)
        oldest = self._clock.wall() - LOGS_KEPT
        for path in self._launcher.logs.iterdir():
            if path.name not in kept and path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)
        if self._launcher.groups is not None:
            self._launcher.groups.sweep({group for run in runs for group in run.cgroups})
        desk = self._launcher.desk
        if desk is not None:
            wanted = {desk.name(run.alloc, run.task) for run in runs if run.live}
            desk.sweep(wanted)


def _remove_all_but(directory: Path, kept: Collection[str]) -> None:
    """Remove what tasks have made, however deep; one that cannot be removed is for the next time."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir(fd):  # noqa: PTH208 - a descriptor
            if name in kept:
                continue
            try:
                removing.remove(fd, name)
            except OSError as error:
                log.warning("%s is not removed: %s", directory / name, error)
    finally:
        os.close(fd)


def _record(action: Start) -> Json:
    """A run as the keeper is told of it."""
    task = action.task.name
    return {
        "id": action.run,
        "alloc": action.alloc.id,
        "task": task if action.role == MAIN else f"{task}:{action.role}",
        "generation": action.alloc.generation,
        "attempt": action.attempt,
        "role": action.role,
    }


def _sampled(limits: Limits) -> Json:
    """What is held without control groups, and what is not."""
    found: Json = {"memory": limits.memory, "pids": limits.pids}
    found = {key: value for key, value in found.items() if value is not None}
    more: Json = {"sampled": sorted(found)} if found else {}
    if limits.cpus is not None:
        more["not_enforced"] = ["cpus"]
    return {**found, **more, "by": "sampling"}
