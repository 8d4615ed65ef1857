"""Containers of this node: orders for the keeper, what became of them, what nobody wants any more."""

import dataclasses
import logging
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentd.cgroups import places
from agentd.containers import commands, outcome
from agentd.containers.engine import Engine
from agentd.core.runs import Run
from agentd.policy import Forbidden, Policy
from agentd.sentences import CannotStart
from store.model.command import fill
from store.model.spec import AllocSpec, TaskSpec

log = logging.getLogger("agent")

REMOVED_WITHIN = 60.0


class Desk:
    """Knows the engine. `directory` is the agent's, `owner` its uid."""

    def __init__(
        self, engine: Engine, environ: Mapping[str, str], directory: Path, owner: str, policy: Policy
    ) -> None:
        self.engine = engine
        self._environ = dict(environ)
        self._homes = directory / "containers"
        self._owner = owner
        self._policy = policy

    def order(
        self, alloc: AllocSpec, task: TaskSpec, run: str, env: Mapping[str, str], values: dict[str, str]
    ) -> dict[str, Any]:
        """What the keeper runs for a container; where its output goes is the launcher's to say.

        Raises:
            CannotStart: this engine or this node does not do what the task asks.
        """
        container = task.container
        if container is None:
            raise CannotStart("it is no container")
        mounts = tuple(fill(mount, values) for mount in container.mounts)
        ports = tuple(fill(port, values) for port in container.ports)
        container = dataclasses.replace(container, mounts=mounts, ports=ports)
        filled = dataclasses.replace(
            task,
            argv=tuple(fill(word, values) for word in task.argv),
            cwd=fill(task.cwd, values) if task.cwd else None,
            container=container,
        )
        name = self.name(alloc.id, task.name)
        home = self._homes / name
        try:
            self._policy.check_container(container, task.user)
            shared = values["alloc.dir"]
            if not any(mount.split(":")[1] == shared for mount in mounts):
                container = dataclasses.replace(container, mounts=(*mounts, f"{shared}:{shared}"))
                filled = dataclasses.replace(filled, container=container)
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            commands.write_env(home, env)
            labels = commands.labels(self._owner, alloc.id, run)
            argv = commands.run_argv(self.engine, name, filled, labels, home)
        except (Forbidden, commands.Refused) as error:
            raise CannotStart(str(error)) from None
        return self._client(argv)

    def probe(self, alloc: AllocSpec, task: TaskSpec, argv: Sequence[str]) -> dict[str, Any]:
        """An order that runs a command inside a container that is there."""
        return self._client(commands.exec_argv(self.engine, self.name(alloc.id, task.name), argv, task.user))

    def _client(self, argv: list[str]) -> dict[str, Any]:
        return {
            "path": argv[0], "argv": argv, "env": self._environ, "cwd": "/", "uid": None, "gid": None,
            "rlimits": [], "cgroups": [], "umask": 0o022,
        }  # fmt: skip

    def name(self, alloc: str, task: str) -> str:
        """The container of a task."""
        return commands.container_name(self._owner, alloc, task)

    def outcome(self, run: Run) -> outcome.Outcome | None:
        """What a run's main process has said of its container."""
        home = self._homes / self.name(run.alloc, run.task)
        return outcome.read(home, run.pid) if run.pid is not None else None

    def groups(self, run: Run) -> list[str]:
        """The control groups that its engine gave a living container."""
        said = self.outcome(run)
        return places.of(said.pid) if said is not None and said.pid is not None else []

    def sweep(self, wanted: Collection[str]) -> None:
        """Remove the containers of this agent that are not among the wanted ones."""
        try:
            listed = self._run(commands.list_argv(self.engine, self._owner)).stdout
            for name in set(listed.split()) - set(wanted):
                done = self._run(commands.remove_argv(self.engine, name))
                gone = commands.is_gone(done.returncode, done.stderr)
                what = "removed" if gone else f"not removed: {done.stderr.strip()[-200:]}"
                log.warning("container %s belongs to nothing any more: %s", name, what)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("containers could not be swept: %s", error)

    def _run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, env=self._environ, capture_output=True, text=True, timeout=REMOVED_WITHIN, check=False
        )
