"""How a task is supervised, with every default filled in. Durations in seconds, sizes in bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from store.model import command, quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a task that ended runs again."""

    condition: str = "on-failure"
    delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 60.0
    max_attempts: int = 5
    window: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPolicy:
    """How a task is asked to end, and how long it gets before SIGKILL."""

    signal: str = "SIGTERM"
    timeout: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a task may use at most; None is no limit."""

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None

    def __bool__(self) -> bool:
        return (self.memory, self.cpus, self.pids) != (None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPolicy:
    """How much of a task's output is kept: live file and `max_files` older ones, for each stream."""

    max_size: int = 10 * 1024**2
    max_files: int = 5
    max_age: float = 7 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One probe and what its results mean.

    `kind` is `http` (`target` a URL, `status` the lowest and highest code that is well, `body` a
    text that the answer must hold), `tcp` (`target` is `host:port`) or `exec` (`argv`; 0 is well).
    """

    kind: str
    target: str = ""
    argv: tuple[str, ...] = ()
    status: tuple[int, int] = (200, 399)
    body: str | None = None
    interval: float = 30.0
    timeout: float = 10.0
    retries: int = 3
    start_period: float = 0.0
    on_failure: str = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What a container has beside its command. `mounts` are `/host:/inside[:ro]`."""

    image: str
    mounts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    network: str | None = None


def restart(raw: Mapping[str, Any]) -> RestartPolicy:
    """A stored `restart`."""
    default = RestartPolicy()
    return RestartPolicy(
        condition=raw.get("condition", default.condition),
        delay=_seconds(raw, "delay", default.delay),
        factor=float(raw.get("factor", default.factor)),
        max_delay=_seconds(raw, "max_delay", default.max_delay),
        max_attempts=int(raw.get("max_attempts", default.max_attempts)),
        window=_seconds(raw, "window", default.window),
    )


def stop(raw: Mapping[str, Any]) -> StopPolicy:
    """A stored `stop`."""
    default = StopPolicy()
    return StopPolicy(
        signal=raw.get("signal", default.signal), timeout=_seconds(raw, "timeout", default.timeout)
    )


def limits(raw: Mapping[str, Any]) -> Limits:
    """Stored `resources.limits`."""
    return Limits(
        memory=quantity.size(raw["memory"]) if "memory" in raw else None,
        cpus=quantity.cpus(raw["cpus"]) if "cpus" in raw else None,
        pids=int(raw["pids"]) if "pids" in raw else None,
    )


def logs(raw: Mapping[str, Any]) -> LogPolicy:
    """Stored `logs`."""
    default = LogPolicy()
    return LogPolicy(
        max_size=quantity.size(raw["max_size"]) if "max_size" in raw else default.max_size,
        max_files=int(raw.get("max_files", default.max_files)),
        max_age=_seconds(raw, "max_age", default.max_age),
    )


def health(raw: Mapping[str, Any] | None) -> HealthCheck | None:
    """A stored `healthcheck`: one of `http`, `tcp`, `exec`."""
    if raw is None:
        return None
    (kind,) = raw.keys() & {"http", "tcp", "exec"}
    default = HealthCheck(kind=kind)
    low, _, high = str(raw.get("status", "200-399")).partition("-")
    return HealthCheck(
        kind=kind,
        target=raw[kind] if kind != "exec" else "",
        argv=tuple(command.argv(raw[kind])) if kind == "exec" else (),
        status=(int(low), int(high or low)),
        body=raw.get("body"),
        interval=_seconds(raw, "interval", default.interval),
        timeout=_seconds(raw, "timeout", default.timeout),
        retries=int(raw.get("retries", default.retries)),
        start_period=_seconds(raw, "start_period", default.start_period),
        on_failure=raw.get("on_failure", default.on_failure),
    )


def container(config: Mapping[str, Any]) -> Container | None:
    """What a stored `config` with `driver: container` says of it."""
    if config.get("driver") != "container":
        return None
    return Container(
        image=config["image"],
        mounts=tuple(config.get("mounts", ())),
        ports=tuple(str(each) for each in config.get("ports", ())),
        network=config.get("network"),
    )


def _seconds(raw: Mapping[str, Any], key: str, default: float) -> float:
    return quantity.duration(raw[key]) if key in raw else default
