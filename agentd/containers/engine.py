"""Which container engine this node has and can use right now."""

import json
import logging
import resource
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger("agent")

ANSWER_WITHIN = 10.0
"""Seconds that an engine has to say what it is; podman's first time prepares its storage."""
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOST_FILES = 1024**2
CAP_SYS_RESOURCE = 24
Limit = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What of the machine decides how its engine is to be used.

    `hybrid`: cgroup v1 with v2 beside it. `ulimits`: soft and hard, those that this agent may not raise.
    """

    hybrid: bool = False
    runc: bool = False
    ulimits: Mapping[str, Limit] = field(default_factory=dict)

    @classmethod
    def here(cls) -> "Host":
        """This machine, seen from this process."""
        return cls(
            hybrid=Path("/sys/fs/cgroup/unified").is_dir(),
            runc=shutil.which("runc", path=SEARCH) is not None,
            ulimits={} if _may_raise_limits() else _hard_limits(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that answers.

    `runtime` is the OCI runtime to ask for, None the engine's own. `detached`: it gives the task's log
    files to the container itself, so that no client has to stay. `controllers` are the cgroup
    controllers that can limit; None when the engine does not say. `ulimits` are its default ones
    where it would ask for more than this machine gives.
    """

    name: str
    path: str
    version: str
    runtime: str | None = None
    detached: bool = False
    controllers: frozenset[str] | None = None
    ulimits: Mapping[str, Limit] = field(default_factory=dict)

    def facts(self) -> dict[str, str]:
        """For the node's facts."""
        found = {"engine": self.name, "version": self.version}
        return {**found, "runtime": self.runtime} if self.runtime else found


def detect(environ: Mapping[str, str]) -> Engine | None:
    """The first of podman and docker that answers; a client whose engine does not is none.

    podman comes first: its containers do not depend on a daemon. `environ` is `client_env`'s.
    Takes 0.2 s, and at most `ANSWER_WITHIN` for each.
    """
    for name in ("podman", "docker"):
        path = shutil.which(name, path=SEARCH)
        info = _ask(path, environ) if path else None
        if path is None or info is None:
            continue
        try:
            found = read_podman(info, path, Host.here()) if name == "podman" else read_docker(info, path)
        except (AttributeError, KeyError, TypeError) as error:
            log.warning("%s cannot be used: it says what this agent does not understand: %r", path, error)
            continue
        if found is not None:
            return found
    return None


def client_env(environ: Mapping[str, str]) -> dict[str, str]:
    """What an engine's client sees of the agent's own environment: where to look, and how to get out.

    Never the task's variables: the client runs as the agent, and LD_PRELOAD would be obeyed.
    """
    kept = ("HOME", "XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
    found = {
        name: value
        for name, value in environ.items()
        if name in kept or name.startswith(("DOCKER_", "CONTAINERS_")) or name.lower().endswith("_proxy")
    }
    return {"HOME": "/root", "LANG": "C.UTF-8", **found, "PATH": SEARCH}


def read_podman(info: Mapping[str, Any], path: str, host: Host) -> Engine | None:
    """`podman info` as an engine; None when no container would start."""
    about, plugins = info["host"], info.get("plugins") or {}
    version_1 = about.get("cgroupVersion") == "v1"
    runtime = None
    if about["ociRuntime"]["name"] == "crun" and version_1 and host.hybrid:
        if not host.runc:
            log.warning("podman cannot be used: crun refuses hybrid cgroups; install runc beside it")
            return None
        runtime = "runc"
    rootless = about.get("security", about).get("rootless", False)
    remote = about.get("serviceIsRemote", False)
    controllers = about.get("cgroupControllers")
    if rootless and version_1:
        controllers = []  # nothing to limit with, whatever the kernel has
    return Engine(
        name="podman",
        path=path,
        version=info["version"]["Version"],
        runtime=runtime,
        detached="passthrough" in (plugins.get("log") or ()) and not remote,
        controllers=None if controllers is None else frozenset(controllers),
        ulimits={} if remote else host.ulimits,
    )


def read_docker(info: Mapping[str, Any], path: str) -> Engine | None:
    """`docker info` as an engine; None when only the client answered."""
    if info.get("ServerErrors") or not info.get("ServerVersion"):
        return None
    words = {"memory": "MemoryLimit", "cpu": "CpuCfsQuota", "pids": "PidsLimit"}
    able = frozenset(name for name, word in words.items() if info.get(word, True))
    return Engine(name="docker", path=path, version=info["ServerVersion"], controllers=able)


def _ask(path: str, environ: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        done = subprocess.run(
            [path, "info", "--format", "{{json .}}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(environ),
            timeout=ANSWER_WITHIN,
            check=True,
        )
        found = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        log.info("%s cannot be used: %s", path, error.stderr.decode(errors="replace").strip()[-500:])
        return None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        log.info("%s cannot be used: %s", path, error)
        return None
    return found if isinstance(found, dict) else None


def _may_raise_limits() -> bool:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    held = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(held, 16) >> CAP_SYS_RESOURCE & 1)


def _hard_limits() -> dict[str, Limit]:
    """The most that podman may ask for here: its defaults of 2**20 would be refused.

    It lowers its own hard limit of processes to the highest pid before it starts anything.
    """
    found = {}
    most = {"nofile": MOST_FILES, "nproc": _highest_pid()}
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(number)[1]
        found[name] = (most[name] if hard == resource.RLIM_INFINITY else min(hard, most[name]),) * 2
    return found


def _highest_pid() -> int:
    try:
        return int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 2**15
