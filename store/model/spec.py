"""What a template or a desired entry says, with every default filled in.

Stored records stay as sparse as their users wrote them; the defaults live here, once.
"""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from store.errors import BadRecord
from store.model import command, quantity

CONDITIONS = ("no", "on-failure", "always")
DEPENDENCIES = ("started", "completed")
WANTED = ("running", "stopped")
SIGNALS = frozenset(name for name in signal.Signals.__members__ if name not in {"SIGKILL", "SIGSTOP"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a task that ended runs again. Delays and the window in seconds."""

    condition: str = "on-failure"
    delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 60.0
    max_attempts: int = 5
    window: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPolicy:
    """How a task is asked to end, and how many seconds it gets before SIGKILL."""

    signal: str = "SIGTERM"
    timeout: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One task, complete. Memory in bytes."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    user: str | None = None
    node: str | None = None
    reserved_memory: int = 0
    reserved_cpus: float = 0.0
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    stop: StopPolicy = field(default_factory=StopPolicy)
    depends_on: Mapping[str, str] = field(default_factory=dict)

    @property
    def features(self) -> frozenset[str]:
        """What an agent must claim to be sent this task."""
        needed = {"process"}
        if self.user is not None:
            needed.add("user")
        if self.ulimits:
            needed.add("ulimits")
        if self.depends_on:
            needed.add("depends_on")
        return frozenset(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """Tasks that belong together, `count` times."""

    name: str
    count: int
    tasks: tuple[TaskSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocSpec:
    """One desired entry, as an agent obeys it."""

    id: str
    rev: int
    generation: int
    wanted: str
    deployment: str
    template: str
    group: str
    index: int
    tasks: tuple[TaskSpec, ...]


def task(raw: Mapping[str, Any]) -> TaskSpec:
    """A task of a stored template.

    Raises:
        BadRecord: it is not one.
    """
    try:
        config = raw["config"]
        reserved = raw.get("resources", {}).get("reservations", {})
        return TaskSpec(
            name=raw["name"],
            argv=tuple(command.argv(config["command"], config.get("args", ()))),
            env=dict(config.get("env", {})),
            cwd=config.get("cwd"),
            user=config.get("user"),
            node=config.get("node"),
            reserved_memory=quantity.size(reserved.get("memory", 0)),
            reserved_cpus=quantity.cpus(reserved.get("cpus", 0)),
            ulimits={name: _ulimit(value) for name, value in raw.get("ulimits", {}).items()},
            restart=_restart(raw.get("restart", {})),
            stop=_stop(raw.get("stop", {})),
            depends_on=dict(raw.get("depends_on", {})),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        name = raw.get("name", "?") if isinstance(raw, Mapping) else "?"
        raise BadRecord(f"task {name!r} cannot be read: {error!r}") from error


def groups(template: Mapping[str, Any]) -> tuple[GroupSpec, ...]:
    """The task groups of a stored template.

    Raises:
        BadRecord: they cannot be read.
    """
    try:
        return tuple(
            GroupSpec(
                name=group.get("name", default_group_name(position)),
                count=int(group.get("count", 1)),
                tasks=tuple(task(each) for each in group["tasks"]),
            )
            for position, group in enumerate(template["task_groups"])
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRecord(f"template cannot be read: {error!r}") from error


def default_group_name(position: int) -> str:
    """The name of a group whose template gives none."""
    return f"group-{position}"


def allocation(alloc_id: str, raw: Mapping[str, Any]) -> AllocSpec:
    """A desired entry.

    Raises:
        BadRecord: it cannot be read, or asks for something this release does not know.
    """
    try:
        if raw["wanted"] not in WANTED:
            raise BadRecord(f"allocation {alloc_id}: unknown wish {raw['wanted']!r}")
        return AllocSpec(
            id=alloc_id,
            rev=int(raw["rev"]),
            generation=int(raw["generation"]),
            wanted=raw["wanted"],
            deployment=raw["deployment"],
            template=raw["template"],
            group=raw["group"],
            index=int(raw["index"]),
            tasks=tuple(task(each) for each in raw["tasks"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRecord(f"allocation {alloc_id} cannot be read: {error!r}") from error


def _restart(raw: Mapping[str, Any]) -> RestartPolicy:
    default = RestartPolicy()
    return RestartPolicy(
        condition=raw.get("condition", default.condition),
        delay=quantity.duration(raw["delay"]) if "delay" in raw else default.delay,
        factor=float(raw.get("factor", default.factor)),
        max_delay=quantity.duration(raw["max_delay"]) if "max_delay" in raw else default.max_delay,
        max_attempts=int(raw.get("max_attempts", default.max_attempts)),
        window=quantity.duration(raw["window"]) if "window" in raw else default.window,
    )


def _stop(raw: Mapping[str, Any]) -> StopPolicy:
    default = StopPolicy()
    return StopPolicy(
        signal=raw.get("signal", default.signal),
        timeout=quantity.duration(raw["timeout"]) if "timeout" in raw else default.timeout,
    )


def _ulimit(value: object) -> tuple[int, int]:
    if isinstance(value, Mapping):
        return int(value["soft"]), int(value["hard"])
    if not isinstance(value, int):
        raise TypeError("a ulimit is a number, or soft and hard")
    return value, value
