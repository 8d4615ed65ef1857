"""Where this agent may make control groups: cgroup v2, v1, or v1 with a unified tree beside it (hybrid)."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agentd.keeper import cgroup

CONTROLLERS = ("memory", "cpu", "pids")
"""What limits need."""
LEAF = "muster-agent"
"""On v2 a group with groups in it holds no processes: where the agent goes, if it must make room."""


@dataclass(frozen=True, slots=True)
class Places:
    """Directories in which a group for each run is made.

    `kill` is the one by which all processes of a run are told and killed. `limits` has the others
    by controller, on v1 only; on v2 `kill` limits, too, as far as `controllers` says.
    """

    kind: str
    kill: str
    limits: Mapping[str, str]
    controllers: frozenset[str]


def find(name: str, proc: Path = Path("/proc")) -> Places | None:
    """The places, made if need be; None where we may make none. `name` is this agent's own."""
    mounts, ours = _mounts(proc), _membership(proc)
    v1 = {key: place for key in (*CONTROLLERS, "freezer") if (place := _v1_place(mounts, ours, key, name))}
    unified = mounts.get("")
    if unified is None:
        return _v1(v1)
    if any(key in v1 for key in CONTROLLERS):
        below = _make(f"{unified}{ours.get('', '/').rstrip('/')}/{name}")
        if below is not None and os.path.exists(f"{below}/cgroup.kill"):
            return _v1({**v1, "freezer": below}, "hybrid")
        return _v1(v1)
    return _v2(unified, ours.get("", "/"), name)


def of(pid: int, proc: Path = Path("/proc")) -> list[str]:
    """The directories of the groups that a process is in, as far as they limit or count."""
    mounts, theirs = _mounts(proc), _membership(proc, str(pid))
    keys = [key for key in (*CONTROLLERS, "cpuacct", "") if key in mounts and key in theirs]
    return list(dict.fromkeys(f"{mounts[key]}{theirs[key].rstrip('/')}" for key in keys))


def _v1(found: dict[str, str], kind: str = "v1") -> Places | None:
    kill = found.pop("freezer", None)
    return Places(f"cgroup {kind}", kill, found, frozenset(found)) if kill else None


def _v1_place(mounts: Mapping[str, str], ours: Mapping[str, str], key: str, name: str) -> str | None:
    mount = mounts.get(key)
    return _make(f"{mount}{ours.get(key, '/').rstrip('/')}/{name}") if mount else None


def _v2(mount: str, own: str, name: str) -> Places | None:
    """At the top if we may: a service manager could never start us again in a group that has groups."""
    enabled = _enable(mount)
    place = _make(f"{mount}/{name}")
    if place is not None and enabled:
        return Places("cgroup v2", place, {}, _enable(place))
    own = own.removesuffix(f"/{LEAF}").rstrip("/")
    leaf = _make(f"{mount}{own}/{LEAF}")
    if leaf is None:
        return None
    cgroup.write(f"{leaf}/cgroup.procs", str(os.getpid()))
    _enable(f"{mount}{own}")
    place = _make(f"{mount}{own}/{name}")
    return Places("cgroup v2", place, {}, _enable(place)) if place else None


def _enable(directory: str) -> frozenset[str]:
    """Hand controllers on to the groups below; those that are."""
    for controller in CONTROLLERS:  # one by one: one that is missing must not take the others along
        cgroup.write(f"{directory}/cgroup.subtree_control", f"+{controller}")
    enabled = (cgroup.read(f"{directory}/cgroup.subtree_control") or "").split()
    return frozenset(enabled) & frozenset(CONTROLLERS)


def _make(directory: str) -> str | None:
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        return None
    return directory if os.access(f"{directory}/cgroup.procs", os.W_OK) else None


def _mounts(proc: Path) -> dict[str, str]:
    """Mount point by controller; the unified tree's is ""."""
    found: dict[str, str] = {}
    for line in _lines(proc / "self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        point = before.split(" ")[4]
        if kind == "cgroup2":
            found.setdefault("", point)
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option.rpartition(" ")[2], point)
    return found


def _membership(proc: Path, pid: str = "self") -> dict[str, str]:
    """A process's group by controller; in the unified tree ""."""
    found: dict[str, str] = {}
    for line in _lines(proc / pid / "cgroup"):
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return ()
