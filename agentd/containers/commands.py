"""Command lines for podman and docker. Pure, but for the file of the environment."""

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentd.containers import shim
from agentd.containers.engine import Engine
from store.model.spec import TaskSpec
from store.process import write_whole

LONGEST = 60_000
"""Bytes of a line that every client's reader of env files takes (theirs end at 65,536)."""
_MAIN = (
    "import sys; sys.path.append(sys.argv.pop(1)); from agentd.containers.shim import main; "
    "sys.exit(main(sys.argv[1:]))"
)
"""Imported, not run as a file: compiling it each time would cost 0.8 MB for as long as it lives."""
_VARIABLE = re.compile(r"[^\s=#][^\s=]*")


class Refused(Exception):
    """A container cannot be had as it is written; the message says why."""


def container_name(owner: str, alloc: str, task: str) -> str:
    """The same for every run of a task, so that what a run left is in the way of the next one.

    `owner` is the node's uid: two agents may share a machine.
    """
    told = re.sub(r"[^A-Za-z0-9_.]+", "-", f"{alloc}-{task}")[:60]
    digest = hashlib.sha256(f"{owner}\0{alloc}\0{task}".encode()).hexdigest()[:12]
    return f"muster-{told}-{digest}"


def labels(owner: str, alloc: str, run: str) -> dict[str, str]:
    """What is said of a container to those who list them."""
    return {"muster.node": owner, "muster.alloc": alloc, "muster.run": run}


def write_env(home: Path, env: Mapping[str, str]) -> None:
    """Write the container's environment where only the agent and its engine read it.

    A file, because a command line is everybody's to see, and because the client itself would obey
    a task's LD_PRELOAD or DOCKER_HOST if it had them in its own environment.

    Raises:
        Refused: a variable that no such file can say.
    """
    lines = []
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise Refused(f"{name!r} is no name for a container's environment variable")
        line = f"{name}={value}\n".encode()
        if line.count(b"\n") > 1 or b"\r" in line or b"\0" in line:
            raise Refused(f"environment variable {name} has a line break, which containers cannot be given")
        if len(line) > LONGEST:
            raise Refused(f"environment variable {name} is over {LONGEST} bytes: give it as a mounted file")
        lines.append(line)
    write_whole(home / "env", b"".join(lines))


def run_argv(engine: Engine, name: str, task: TaskSpec, labelled: Mapping[str, str], home: Path) -> list[str]:
    """The main process of a container: one pid, whose exit code is the container's.

    `home` is a directory that only the agent may enter (0700), with the environment written to it. The
    process leaves word there of how it went (`outcome.read`). `task` has its `${…}` filled in.

    Raises:
        Refused: this engine cannot do what the task asks.
    """
    if task.container is None:
        raise Refused(f"task {task.name} is no container")
    options = [
        f"--name={name}",
        *(f"--label={key}={value}" for key, value in labelled.items()),
        f"--env-file={home / 'env'}",
        "--pull=missing",
        "--security-opt=no-new-privileges",
        f"--stop-signal={task.stop.signal}",
        *_limits(engine, task),
        *_place(engine, task),
    ]
    if engine.detached:
        how = ["--detach", "--rm", "--log-driver=passthrough"]
        how += [f"--conmon-pidfile={home / shim.CONMON}", f"--pidfile={home / shim.INIT}"]
    else:
        how = ["--log-driver=none"]  # what the client copies to the task's files is kept there only
    main = [sys.executable, "-I", "-S", "-c", _MAIN, str(Path(shim.__file__).resolve().parents[2]), str(home)]
    run = [engine.path, "run", *how, *options, task.container.image, *task.argv]
    return [*main, *remove_argv(engine, name), "--", *run]


def remove_argv(engine: Engine, name: str) -> list[str]:
    """End and remove whatever has that name; `is_gone` judges the answer."""
    if engine.name == "podman":
        now = ["--time=0"] if engine.detached else []  # podman 3 kills at once, and knows no --time
        return [engine.path, "rm", "--force", "--ignore", "--volumes", *now, name]
    return [engine.path, "rm", "--force", "--volumes", name]


def is_gone(code: int, stderr: str) -> bool:
    """Whether nothing is left, by what `remove_argv` ended with and said."""
    return code == 0 or "no such container" in stderr.lower()


def exec_argv(engine: Engine, name: str, argv: Sequence[str], user: str | None = None) -> list[str]:
    """Run `argv` inside, for probes and hooks. Costs a client's start each time (0.16 s)."""
    return [engine.path, "exec", *([f"--user={user}"] if user else []), name, *argv]


def list_argv(engine: Engine, owner: str) -> list[str]:
    """The names, a line each, of all containers that this agent made and that are still there."""
    return [engine.path, "ps", "--all", f"--filter=label=muster.node={owner}", "--format={{.Names}}"]


def _limits(engine: Engine, task: TaskSpec) -> list[str]:
    limits = task.limits
    for word, controller in (("memory", "memory"), ("cpus", "cpu"), ("pids", "pids")):
        asked = getattr(limits, word) is not None
        if asked and engine.controllers is not None and controller not in engine.controllers:
            raise Refused(
                f"{engine.name} cannot limit {word} on this node: no cgroup controller {controller}"
            )
    # A memory limit is one of memory: without the second flag as much again may be swapped out.
    memory = [f"--memory={limits.memory}", f"--memory-swap={limits.memory}"] if limits.memory else []
    cpus = [f"--cpus={limits.cpus:g}"] if limits.cpus else []
    pids = [f"--pids-limit={limits.pids}"] if limits.pids else []
    if not pids and engine.name == "podman" and "pids" in (engine.controllers or ()):
        pids = ["--pids-limit=-1"]  # no limit is none, as for any task: podman's own is 2,048
    ulimits = {**engine.ulimits, **task.ulimits}
    return memory + cpus + pids + [f"--ulimit={key}={soft}:{hard}" for key, (soft, hard) in ulimits.items()]


def _place(engine: Engine, task: TaskSpec) -> list[str]:
    """What a container sees of its node, and its node of it."""
    container = task.container
    assert container is not None
    if container.ports and container.network in ("none", "host"):
        raise Refused(f"network {container.network} publishes no ports: take one of the two away")
    found = [_mount(mount) for mount in container.mounts]
    found += [f"--publish={port}" for port in container.ports]
    if container.network is not None:
        found.append(f"--network={container.network}")
    if task.user is not None:
        found.append(f"--user={task.user}")
    if task.cwd is not None:
        found.append(f"--workdir={task.cwd}")
    if engine.name == "podman":
        # Otherwise a proxy of the agent's own would be in every container.
        found += ["--http-proxy=false", f"--umask={task.umask:04o}"]
    elif "umask" in task.features:
        raise Refused(f"{engine.name} cannot set a container's umask; podman can")
    if engine.runtime is not None:
        found.append(f"--runtime={engine.runtime}")
    return found


def _mount(mount: str) -> str:
    """`/host:/inside[:ro]`. Not `--volume`, which would make a missing /host up as a directory."""
    source, target, *mode = mount.split(":")
    parts = ["type=bind", f"source={source}", f"target={target}", *(["readonly"] if mode == ["ro"] else [])]
    return "--mount=" + ",".join(_csv(part) for part in parts)


def _csv(part: str) -> str:
    quoted = part.replace('"', '""')
    return f'"{quoted}"' if any(sign in part for sign in ',"\n') else part
