"""Carries out the plan on the keeper; one failure never holds up another task."""

import grp
import logging
import os
import pwd
import resource
import shutil
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from agentd import sentences
from agentd.core.plan import Action, Forget, Kill, Start, Stop
from agentd.core.runs import Run
from agentd.driver import Driver, KeeperError, KeeperGone
from agentd.identity import Identity
from agentd.logs import files
from store.clock import Clock
from store.faults import fault
from store.model.command import fill
from store.model.spec import AllocSpec, TaskSpec

log = logging.getLogger("agent")

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RETRY_AFTER = 1.0
"""Seconds until an order that the keeper could not carry out (a full disk) is tried again."""
MOST_ID = 2**32 - 2
"""The highest user or group; the next one means "leave it as it is" to the kernel: root, here."""
LOGS_KEPT = 7 * 86400.0


class CannotStart(Exception):
    """A task cannot be started as it is written; the message says why."""


class Executor:
    """Actions to orders."""

    def __init__(self, driver: Driver, directory: Path, identity: Identity, clock: Clock) -> None:
        self._driver = driver
        self._identity = identity
        self._clock = clock
        self.address = "127.0.0.1"
        self.allocs = directory / "alloc"
        self.logs = directory / "logs"
        self.allocs.mkdir(mode=0o711, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        self._held: dict[str, tuple[float, str]] = {}

    def perform(self, actions: Sequence[Action]) -> float | None:
        """Do all of them; when to try again what failed, if anything did.

        Raises:
            KeeperGone: there is no keeper to do anything.
        """
        again: float | None = None
        for action in actions:
            try:
                retry = self._perform(action)
            except KeeperGone:
                raise
            except (KeeperError, OSError) as error:
                retry = self._hold(action, str(error))
            except Exception as error:
                log.error("%s", action, exc_info=error)
                retry = self._hold(action, f"unexpected: {error!r}")
            if retry is not None:
                again = retry if again is None else min(again, retry)
        return again

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
                self._driver.stop(action.run, signal.Signals[action.signal])
                fault("brain.signal.after")
            case Kill():
                log.warning("kill %s: %s", action.run, action.reason)
                self._driver.kill(action.run)
            case Forget():
                fault("brain.forget.before")
                self._driver.forget(action.runs)
                fault("brain.forget.after")
        return None

    def _start(self, action: Start) -> float | None:
        retry, _ = self._held.get(action.run, (0.0, ""))
        if self._clock.now() < retry:
            return retry
        log.info("start %s: %s", action.run, action.reason)
        run = {
            "id": action.run,
            "alloc": action.alloc.id,
            "task": action.task.name,
            "generation": action.alloc.generation,
            "attempt": action.attempt,
        }
        try:
            order = {"run": run, **self._order(action.alloc, action.task)}
        except CannotStart as error:
            log.error("%s cannot be started: %s", action.run, error)
            self._driver.refuse(run, str(error))
        else:
            fault("brain.spawn.before")
            self._driver.spawn(order)
            fault("brain.spawn.after")
        self._held.pop(action.run, None)
        return None

    def _order(self, alloc: AllocSpec, task: TaskSpec) -> dict[str, Any]:
        values = self._values(alloc)
        user = _user(task.user)
        home = self._directory(alloc, task, user)
        env = self._environment(alloc, task, user, values)
        argv = [fill(word, values) for word in task.argv]
        path = sentences.find(argv[0], env["PATH"])
        if path is None:
            hint = "; a pin is followed by an absolute path, HOST:/path" if ":" in argv[0] else ""
            raise CannotStart(f"{argv[0]} is not in PATH ({env['PATH']}) on this node{hint}")
        logs = self.logs / alloc.id
        logs.mkdir(mode=0o700, exist_ok=True)
        name = _file_name(alloc, task)
        return {
            "path": path,
            "argv": argv,
            "env": env,
            "cwd": fill(task.cwd, values) if task.cwd else str(home),
            "uid": user.pw_uid if user else None,
            "gid": _group(task.user, user) if user else None,
            "rlimits": _rlimits(task),
            "stdout": str(logs / f"{name}.out"),
            "stderr": str(logs / f"{name}.err"),
            "stop_signal": int(signal.Signals[task.stop.signal]),
            "grace": task.stop.timeout,
        }

    def _values(self, alloc: AllocSpec) -> dict[str, str]:
        """What `${…}` is filled in with."""
        return {
            "node.id": self._identity.node,
            "node.hostname": os.uname().nodename,
            "node.ip": self.address,
            "alloc.id": alloc.id,
            "alloc.index": str(alloc.index),
            "alloc.dir": str(self.allocs / alloc.id),
        }

    def _environment(
        self, alloc: AllocSpec, task: TaskSpec, user: pwd.struct_passwd | None, values: dict[str, str]
    ) -> dict[str, str]:
        who = user or pwd.struct_passwd(("root", "x", 0, 0, "", str(Path.home()), "/bin/sh"))
        return {
            "PATH": DEFAULT_PATH,
            "LANG": "C.UTF-8",
            "HOME": who.pw_dir,
            **{name: fill(value, values) for name, value in task.env.items()},
            "MUSTER_NODE": self._identity.node,
            "MUSTER_DEPLOYMENT": alloc.deployment,
            "MUSTER_ALLOC_ID": alloc.id,
            "MUSTER_ALLOC_INDEX": str(alloc.index),
            "MUSTER_ALLOC_DIR": values["alloc.dir"],
            "MUSTER_TASK": task.name,
        }

    def _directory(self, alloc: AllocSpec, task: TaskSpec, user: pwd.struct_passwd | None) -> Path:
        """The task's own directory, inside the one that the tasks of its allocation share."""
        shared = self.allocs / alloc.id
        own = shared / _file_name(alloc, task)
        shared.mkdir(exist_ok=True)
        if user is not None:
            shared.chmod(0o1777)
        try:
            own.mkdir()
        except FileExistsError:
            # A task may have put a link in the place of its directory: never follow one as root.
            if own.is_symlink() or not own.is_dir():
                raise CannotStart(f"{own} is not a directory any more") from None
            return own
        if user is not None:
            os.chown(own, user.pw_uid, user.pw_gid, follow_symlinks=False)
        return own

    def explain(self, run: Run, alloc: AllocSpec, task: TaskSpec) -> str:
        """A failed run's error as a sentence."""
        values = self._values(alloc)
        program = fill(task.argv[0], values)
        search = task.env.get("PATH", DEFAULT_PATH)
        path = sentences.find(program, search) or program
        if (run.error or "").startswith("ulimits:"):
            return _too_high(task) or sentences.explain(run.error or "", path, "")
        home = self.allocs / alloc.id / _file_name(alloc, task)
        return sentences.explain(run.error or "", path, fill(task.cwd, values) if task.cwd else str(home))

    def log_paths(self, alloc: AllocSpec, task: TaskSpec) -> tuple[Path, ...]:
        """The files that a task writes its output to."""
        name = _file_name(alloc, task)
        return tuple(self.logs / alloc.id / f"{name}.{stream}" for stream in files.STREAMS)

    def sweep(self, keep: Iterable[str]) -> None:
        """Remove what ended allocations left: directories now, logs after a week."""
        kept = set(keep)
        for path in self.allocs.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
        oldest = self._clock.wall() - LOGS_KEPT
        for path in self.logs.iterdir():
            if path.name not in kept and path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)


def _file_name(alloc: AllocSpec, task: TaskSpec) -> str:
    return files.stem(task.name, [each.name for each in alloc.tasks].index(task.name))


def _user(wanted: str | None) -> pwd.struct_passwd | None:
    """The user to become; None to stay who we are."""
    if wanted is None:
        return None
    name = wanted.partition(":")[0]
    if name.isdigit() and int(name) > MOST_ID:
        raise CannotStart(f"user {name}: numbers go up to {MOST_ID}")
    try:
        found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        if not name.isdigit():
            raise CannotStart(f"user {name} does not exist on this node") from None
        found = pwd.struct_passwd((name, "x", int(name), int(name), "", "/", "/bin/sh"))
    if found.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise CannotStart(f"cannot run as {wanted}: this agent does not run as root")
    return found


def _group(wanted: str | None, user: pwd.struct_passwd) -> int:
    name = (wanted or "").partition(":")[2]
    if not name:
        return user.pw_gid
    if name.isdigit():
        if int(name) > MOST_ID:
            raise CannotStart(f"group {name}: numbers go up to {MOST_ID}")
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise CannotStart(f"group {name} does not exist on this node") from None


def _too_high(task: TaskSpec) -> str | None:
    """Which ulimit this agent's own hard limits do not allow."""
    for name, (_, hard) in task.ulimits.items():
        highest = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        if highest != resource.RLIM_INFINITY and (hard == -1 or hard > highest):
            return f"ulimit {name}: {hard} is above this agent's hard limit {highest}"
    return None


def _rlimits(task: TaskSpec) -> list[tuple[int, int, int]]:
    found = []
    for name, (soft, hard) in task.ulimits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise CannotStart(f"ulimit {name} does not exist on this node")
        highest = resource.getrlimit(number)[1]
        beyond = highest != resource.RLIM_INFINITY and (hard == -1 or hard > highest)
        if beyond and os.geteuid() != 0:
            raise CannotStart(f"ulimit {name}: {hard} is above this node's hard limit {highest}")
        found.append((number, soft, hard))
    return found
