"""What a template or a desired entry says, with every default filled in.

Stored records stay as sparse as their users wrote them; the defaults live here, once.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from store.errors import BadRecord
from store.model import artifacts, command, peers, placing, policies, quantity
from store.model.artifacts import FETCH_TIMEOUT, Artifact
from store.model.placing import ALL, Policy
from store.model.policies import Container, HealthCheck, Limits, LogPolicy, RestartPolicy, StopPolicy
from store.schema import check_record

CONDITIONS = ("no", "on-failure", "always")
DEPENDENCIES = peers.CONDITIONS
DRIVERS = ("process", "container")
WANTED = ("running", "stopped")
SIGNALS = frozenset(name for name in signal.Signals.__members__ if name not in {"SIGKILL", "SIGSTOP"})


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
    umask: int = 0o022
    limits: Limits = field(default_factory=Limits)
    health: HealthCheck | None = None
    logs: LogPolicy = field(default_factory=LogPolicy)
    duration: float | None = None
    pre_start: tuple[str, ...] = ()
    post_stop: tuple[str, ...] = ()
    container: Container | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    """By name; 0: the scheduler gives one out."""
    abroad: frozenset[str] = frozenset()
    """The keys of `depends_on` that mean other groups."""
    literal: bool = False
    """Whether a text of it says `${text.dollar}`, which older agents would leave as it is."""
    artifacts: tuple[Artifact, ...] = ()
    fetch: bool = False
    """Whether a bare absolute command that the node lacks is fetched from the base, by its name."""
    fetch_timeout: float = FETCH_TIMEOUT
    own_dir: bool = False
    """Whether a text of it says `${task.dir}`, which older agents would leave as it is."""
    disconnect: bool = False
    """Whether its node must stop it when it is cut off from the store for long."""

    @property
    def has_files(self) -> bool:
        """Whether files must be there before it can start."""
        return bool(self.artifacts) or self.fetch

    @property
    def features(self) -> frozenset[str]:
        """What an agent must claim to be sent this task."""
        asked = {
            "process": self.container is None,
            "container": self.container is not None,
            "user": self.user is not None,
            "ulimits": bool(self.ulimits),
            "depends_on": bool(self.depends_on),
            "umask": self.umask != 0o022,
            "limits": bool(self.limits),
            "health": self.health is not None,
            "logs": self.logs != LogPolicy(),
            "duration": self.duration is not None,
            "hooks": bool(self.pre_start or self.post_stop),
            "ports": bool(self.ports),
            "peers": bool(self.abroad),
            "literal": self.literal,
            "artifacts": self.has_files or self.own_dir,
            "disconnect": self.disconnect,
        }
        return frozenset(name for name, needed in asked.items() if needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """Tasks that belong together, `count` times."""

    name: str
    count: int
    """How many, unless `everywhere`."""
    tasks: tuple[TaskSpec, ...]
    everywhere: bool = False
    """One on each node that may take it, new nodes included: `count: "all"`."""
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerState:
    """What a task that depends on another group is told of it."""

    met: bool
    reason: str = ""
    """While it is not met: why."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """By port name, `host:port` joined by commas; under the empty name, the hosts alone."""


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
    ports: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """The numbers that its tasks' ports were given: task name, port name, number."""
    peers: Mapping[str, PeerState] = field(default_factory=dict)
    """By the key in `depends_on`."""
    stop_after: float | None = None
    """How long the node may be cut off from the store before it stops the tasks; None: it keeps them."""


def task(raw: Mapping[str, Any]) -> TaskSpec:
    """A task of a stored template.

    Raises:
        BadRecord: it is not one.
    """
    try:
        config = raw["config"]
        resources, hooks = raw.get("resources", {}), raw.get("hooks", {})
        reserved = resources.get("reservations", {})
        container = policies.container(config)
        return TaskSpec(
            name=raw["name"],
            argv=_argv(config, needed=container is None),
            env=dict(config.get("env", {})),
            cwd=config.get("cwd"),
            user=config.get("user"),
            node=config.get("node"),
            reserved_memory=quantity.size(reserved.get("memory", 0)),
            reserved_cpus=quantity.cpus(reserved.get("cpus", 0)),
            ulimits={name: _ulimit(value) for name, value in raw.get("ulimits", {}).items()},
            restart=policies.restart(raw.get("restart", {})),
            stop=policies.stop(raw.get("stop", {})),
            depends_on=dict(raw.get("depends_on", {})),
            umask=int(str(config.get("umask", "0022")), 8),
            limits=policies.limits(resources.get("limits", {})),
            health=policies.health(raw.get("healthcheck")),
            logs=policies.logs(raw.get("logs", {})),
            duration=quantity.duration(raw["duration"]) if raw.get("duration") else None,
            pre_start=_hook(hooks, "pre_start"),
            post_stop=_hook(hooks, "post_stop"),
            container=container,
            ports={name: int(number) for name, number in raw.get("ports", {}).items()},
            literal=command.DOLLAR in str(raw),
            artifacts=artifacts.artifacts(raw),
            fetch=bool(raw.get("fetch", False)),
            fetch_timeout=artifacts.fetch_timeout(raw),
            own_dir=command.TASK_DIR in str(raw),
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
        return tuple(_group(group, position) for position, group in enumerate(template["task_groups"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRecord(f"template cannot be read: {error!r}") from error


def _group(raw: Mapping[str, Any], position: int) -> GroupSpec:
    policy = placing.policy(raw)
    return GroupSpec(
        name=raw.get("name", default_group_name(position)),
        count=0 if raw.get("count") == ALL else int(raw.get("count", 1)),
        tasks=_tasks(raw["tasks"], disconnect=policy.stop_after is not None),
        everywhere=raw.get("count") == ALL,
        policy=policy,
    )


def _tasks(raw: Sequence[Mapping[str, Any]], *, disconnect: bool) -> tuple[TaskSpec, ...]:
    """The tasks of one group: what they depend on and is not among them lies in other groups."""
    found = tuple(task(each) for each in raw)
    names = {each.name for each in found}
    return tuple(
        replace(each, abroad=frozenset(each.depends_on) - names, disconnect=disconnect)
        if disconnect or not names.issuperset(each.depends_on)
        else each
        for each in found
    )


def default_group_name(position: int) -> str:
    """The name of a group whose template gives none."""
    return f"group-{position}"


def port_variable(name: str) -> str:
    """The environment variable that tells a task the number of a port."""
    return f"MUSTER_PORT_{name.upper().replace('-', '_')}"


def allocation(alloc_id: str, raw: Mapping[str, Any]) -> AllocSpec:
    """A desired entry.

    Raises:
        BadRecord: it cannot be read, or asks for something this release does not know.
    """
    try:
        check_record(raw, f"allocation {alloc_id}")
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
            ports={name: dict(given) for name, given in raw.get("ports", {}).items()},
            peers={key: _peer(said) for key, said in raw.get("peers", {}).items()},
            stop_after=placing.stop_after(raw.get("on_disconnect", placing.KEEP)),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRecord(f"allocation {alloc_id} cannot be read: {error!r}") from error


def _peer(raw: Mapping[str, Any]) -> PeerState:
    return PeerState(
        met=bool(raw["met"]), reason=str(raw.get("reason", "")), addresses=dict(raw.get("addresses", {}))
    )


def _argv(config: Mapping[str, Any], *, needed: bool) -> tuple[str, ...]:
    """A container may run what its image says."""
    if "command" not in config and not needed:
        return tuple(str(word) for word in config.get("args", ()))
    return tuple(command.argv(config["command"], config.get("args", ())))


def _hook(hooks: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(command.argv(hooks[name])) if hooks.get(name) else ()


def _ulimit(value: object) -> tuple[int, int]:
    if isinstance(value, Mapping):
        return int(value["soft"]), int(value["hard"])
    if not isinstance(value, int):
        raise TypeError("a ulimit is a number, or soft and hard")
    return value, value
