"""From a task to the keeper's order: what is executed, as whom, where, with what around it."""

import dataclasses
import os
import pwd
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentd import fallback, sentences, stock, told
from agentd.cgroups.groups import GroupError, Groups
from agentd.containers.desk import Desk
from agentd.core.runs import MAIN, POST_STOP, Run
from agentd.identity import Identity
from agentd.logs import files
from agentd.policy import Forbidden, Policy
from agentd.privileges import group_of, rlimits, too_high, user_of
from agentd.sentences import CannotStart, FilesMissing
from store.model.command import fill
from store.model.policies import HealthCheck, Limits
from store.model.spec import AllocSpec, TaskSpec

PROBE = "probe"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Launcher:
    """Makes orders. `address` is what `${node.ip}` becomes, `stock` knows of the files of tasks."""

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        policy: Policy,
        groups: Groups | None,
        desk: Desk | None = None,
    ) -> None:
        self._identity = identity
        self._policy = policy
        self.groups = groups
        self.desk = desk
        self.address = "127.0.0.1"
        self.stock: stock.Stock = stock.Empty()
        self.allocs = directory / "alloc"
        self.logs = directory / "logs"
        self.allocs.mkdir(mode=0o711, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)

    def order(self, alloc: AllocSpec, task: TaskSpec, run: str, role: str) -> dict[str, Any]:
        """The order for a run of a task or of a hook of it.

        Raises:
            CannotStart: it cannot be run as it is written, on this node.
            FilesMissing: it can be once its files are fetched.
        """
        if task.container is not None:
            order = self._container(alloc, task, run)
        else:
            argv = {MAIN: task.argv, "pre_start": task.pre_start, "post_stop": task.post_stop}[role]
            order = self._order(alloc, task, argv, run, role)
            order["cgroups"] = self._groups(alloc, task, run)
            order["rlimits"] += fallback.rlimits(self.unheld(task.limits), order["uid"])
        logs = self.logs / alloc.id
        logs.mkdir(mode=0o700, exist_ok=True)
        for stream, path in zip(("stdout", "stderr"), self.log_paths(alloc, task), strict=True):
            order[stream] = str(path)
        order["stop_signal"], order["grace"] = int(signal.Signals[task.stop.signal]), task.stop.timeout
        return order

    def filled(self, alloc: AllocSpec, task: TaskSpec, check: HealthCheck) -> HealthCheck:
        """A health check with its `${…}` filled in; an exec probe's are filled in when it is run."""
        if "${" not in check.target + (check.body or ""):
            return check
        values = self._values(alloc, task)
        body = fill(check.body, values) if check.body is not None else None
        return dataclasses.replace(check, target=fill(check.target, values), body=body)

    def log_paths(self, alloc: AllocSpec, task: TaskSpec) -> tuple[Path, ...]:
        """The files that a task writes its output to."""
        name = file_name(alloc, task)
        return tuple(self.logs / alloc.id / f"{name}.{stream}" for stream in files.STREAMS)

    def probe(self, alloc: AllocSpec, task: TaskSpec, run: Run, argv: Sequence[str]) -> dict[str, Any]:
        """The order for an exec probe of a living run: in its groups, with its rights.

        Raises:
            CannotStart: it cannot be run.
        """
        if task.container is not None and self.desk is not None:
            values = self._values(alloc, task)
            order = self.desk.probe(alloc, task, [fill(word, values) for word in argv])
        else:
            order = self._order(alloc, task, argv, run.id, PROBE)
        return {**order, "stdout": os.devnull, "stderr": os.devnull, "cgroups": list(run.cgroups)}

    def _order(
        self, alloc: AllocSpec, task: TaskSpec, words: Sequence[str], run: str, role: str
    ) -> dict[str, Any]:
        values = self._values(alloc, task)
        user = user_of(task.user)
        home = self._directory(alloc, task, user, role)
        env = self._environment(alloc, task, user, values)
        argv = [fill(word, values) for word in words]
        path = self._program(alloc, task, argv[0], env["PATH"], main=role == MAIN)
        if path is None:
            hint = "; a pin is followed by an absolute path, HOST:/path" if ":" in argv[0] else ""
            raise CannotStart(f"{argv[0]} is not in PATH ({env['PATH']}) on this node{hint}")
        cwd = fill(task.cwd, values) if task.cwd else str(home)
        path = os.path.join(cwd, path)  # noqa: PTH118 - as the kernel would take it, and no further
        uid, gid = (user.pw_uid, group_of(task.user, user)) if user else (None, None)
        try:
            self._policy.check_user(os.geteuid() if uid is None else uid, gid)
            self._policy.check_command(path, task.env)
        except Forbidden as error:
            raise CannotStart(str(error)) from None
        return {
            "path": path,
            "argv": argv,
            "env": {**env, "MUSTER_RUN": run},
            "cwd": cwd,
            "uid": uid,
            "gid": gid,
            "umask": task.umask,
            "rlimits": rlimits(task),
        }

    def _program(self, alloc: AllocSpec, task: TaskSpec, word: str, search: str, *, main: bool) -> str | None:
        """What is executed for the first word of a command; `main`: of the task itself, not of a hook."""
        if not task.has_files:
            return stock.find(word, search)
        fetched = self.stock.command(alloc, task) if main else None
        return fetched or stock.find(word, search, self.directory(alloc, task))

    def _container(self, alloc: AllocSpec, task: TaskSpec, run: str) -> dict[str, Any]:
        if self.desk is None:
            raise CannotStart("this node has no container engine that answers: neither podman nor docker")
        values = self._values(alloc, task)
        self._directory(alloc, task, None, MAIN)
        if task.user is not None:
            (self.allocs / alloc.id).chmod(0o1777)
        own = {name: fill(value, values) for name, value in task.env.items()}
        return self.desk.order(
            alloc, task, run, {**own, **self._told(alloc, task, values), "MUSTER_RUN": run}, values
        )

    def _groups(self, alloc: AllocSpec, task: TaskSpec, run: str) -> list[str]:
        if self.groups is None:
            return []
        name = f"{alloc.id}~{file_name(alloc, task)}~{run.rpartition('/')[2].replace(':', '-')}"
        try:
            return self.groups.make(name, task.limits)
        except GroupError as error:
            raise CannotStart(str(error)) from None

    def unheld(self, limits: Limits) -> Limits:
        """The part of a task's limits that no control group of this agent holds."""
        return self.groups.unheld(limits) if self.groups is not None else limits

    @property
    def policy(self) -> Policy:
        """What this node forbids."""
        return self._policy

    def values(self, alloc: AllocSpec, task: TaskSpec) -> dict[str, str]:
        """What `${…}` is filled in with, for whoever else needs it."""
        return self._values(alloc, task)

    def _values(self, alloc: AllocSpec, task: TaskSpec) -> dict[str, str]:
        """What `${…}` is filled in with."""
        return {
            "node.id": self._identity.node,
            "node.hostname": os.uname().nodename,
            "node.ip": self.address,
            "alloc.id": alloc.id,
            "alloc.index": str(alloc.index),
            "alloc.dir": str(self.allocs / alloc.id),
            "task.dir": str(self.directory(alloc, task)),
            **told.variables(alloc, task),
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
            **self._told(alloc, task, values),
        }

    def _told(self, alloc: AllocSpec, task: TaskSpec, values: dict[str, str]) -> dict[str, str]:
        """What every task is told of itself."""
        return {
            "MUSTER_NODE": self._identity.node,
            "MUSTER_DEPLOYMENT": alloc.deployment,
            "MUSTER_ALLOC_ID": alloc.id,
            "MUSTER_ALLOC_INDEX": str(alloc.index),
            "MUSTER_ALLOC_DIR": values["alloc.dir"],
            "MUSTER_TASK": task.name,
            "MUSTER_TASK_DIR": values["task.dir"],
            **told.environment(alloc, task),
        }

    def directory(self, alloc: AllocSpec, task: TaskSpec) -> Path:
        """The task's own directory: where its files lie ready, if it has any."""
        home = self.stock.home(alloc, task) if task.has_files else None
        return home or self.allocs / alloc.id / file_name(alloc, task)

    def _directory(self, alloc: AllocSpec, task: TaskSpec, user: pwd.struct_passwd | None, role: str) -> Path:
        """The same, made ready for its user, inside the directory that the tasks of its allocation share."""
        shared = self.allocs / alloc.id
        shared.mkdir(exist_ok=True)
        if user is not None:
            shared.chmod(0o1777)
        own = self.directory(alloc, task)
        if self._fetched(alloc, task, role):
            if own.is_symlink() or not own.is_dir():
                raise FilesMissing(f"{own} is not there any more")
        else:
            try:
                own.mkdir()
            except FileExistsError:
                # A task may have put a link in the place of its directory: never follow one as root.
                if own.is_symlink() or not own.is_dir():
                    raise CannotStart(f"{own} is not a directory any more") from None
        if user is not None and own.lstat().st_uid != user.pw_uid:
            fd = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                os.fchown(fd, user.pw_uid, user.pw_gid)
            finally:
                os.close(fd)
        return own

    def _fetched(self, alloc: AllocSpec, task: TaskSpec, role: str) -> bool:
        """Whether a task's directory came with files; what is only fetched if need be may have none.

        What cleans up is run without them: its task may be of a generation that had none.

        Raises:
            FilesMissing: it should have, and did not.
        """
        if not task.has_files:
            return False
        if self.stock.home(alloc, task) is not None:
            return True
        program = fill(task.argv[0], self.values(alloc, task)) if task.fetch else ""
        lacked = program.startswith("/") and not os.path.lexists(program)
        if role != POST_STOP and (task.artifacts or lacked):
            raise FilesMissing("its files are not there any more")
        return False

    def explain(self, run: Run, alloc: AllocSpec, task: TaskSpec) -> str:
        """A failed run's error as a sentence."""
        if task.container is not None:
            return run.error or ""
        words = {"pre_start": task.pre_start, "post_stop": task.post_stop}.get(run.role, task.argv)
        values = self._values(alloc, task)
        program = fill(words[0], values)
        search = task.env.get("PATH", DEFAULT_PATH)
        path = self._program(alloc, task, program, search, main=run.role == MAIN) or program
        if (run.error or "").startswith("ulimits:"):
            return too_high(task) or sentences.explain(run.error or "", path, "")
        cwd = fill(task.cwd, values) if task.cwd else values["task.dir"]
        said = sentences.explain(run.error or "", path, cwd)
        home = self.stock.home(alloc, task)
        if home is not None and Path(path).is_relative_to(home):
            said = said.replace(f"({sentences.CHMOD})", f"({sentences.FETCHED})")
        return said if run.role == MAIN else f"{run.role} hook: {said}"


def file_name(alloc: AllocSpec, task: TaskSpec) -> str:
    """A name for a task's files; task names may be anything, in any language."""
    plain = task.name.replace("-", "").replace("_", "").replace(".", "")
    if plain.isascii() and plain.isalnum() and len(task.name) <= 64:
        return task.name
    return f"~{[each.name for each in alloc.tasks].index(task.name)}"  # no plain name begins so
