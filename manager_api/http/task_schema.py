"""What a template says of one task: validated here, stored in canonical form."""

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, pre_load, validates_schema

from manager_api.http import fields as own
from manager_api.http import readers as f
from manager_api.http.artifact_schema import FilesSchema
from manager_api.http.fields import Command, Env, Int, Name, Number, OneOf, Parsed, Read, StrictSchema, Text
from manager_api.http.health_schema import HealthcheckSchema
from store.model import command, peers, quantity, spec

ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
    "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip


def split_pin(value: Any) -> tuple[str | None, Any]:
    """The pin at the start of a command, and the command without it."""
    if isinstance(value, str):
        return command.split_pin(value)
    if value and isinstance(value[0], str):
        pin, first = command.split_pin(value[0])
        return pin, [first, *value[1:]]
    return None, value


class PinnedCommand(Command):
    """A command that may begin with a pin."""

    def bare(self, value: Any) -> Any:
        """What is to be run."""
        return split_pin(value)[1]


class ConfigSchema(StrictSchema):
    """What a task runs. A container may leave the command to its image."""

    command = PinnedCommand()
    args = fields.List(Text())
    env = Env()
    cwd = Parsed(f.absolute_path, allow_none=True)
    user = Parsed(f.user, allow_none=True)
    umask = Parsed(f.umask)
    driver = OneOf(*spec.DRIVERS)
    image = Parsed(f.image)
    mounts = fields.List(Parsed(f.mount))
    ports = fields.List(Parsed(f.published_port))
    network = Parsed(f.network)
    node = Name(allow_none=True)

    @validates_schema
    def check_driver(self, data: dict[str, Any], **_: Any) -> None:
        """A process needs a command, a container an image; a container's words go with containers."""
        if data.get("driver") == "container":
            if "image" not in data:
                raise ValidationError("a container needs one", "image")
            return
        if "command" not in data:
            raise ValidationError("Missing data for required field.", "command")
        for name in ("image", "mounts", "ports", "network"):
            if name in data:
                raise ValidationError("goes with driver: container", name)

    @post_load
    def take_pin(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """`HOST:/path` becomes the pin and the path."""
        pin, bare = split_pin(data.get("command", ""))
        if pin is not None:
            if data.get("node") not in (None, pin):
                raise ValidationError(f"command says {pin}, node says {data['node']}", "node")
            data["command"], data["node"] = bare, pin
        return {key: value for key, value in data.items() if value is not None}


class AmountSchema(StrictSchema):
    """An amount of a node's resources."""

    memory = Parsed(f.size)
    cpus = Parsed(f.cpus)


class LimitsSchema(StrictSchema):
    """What a task may use at most."""

    memory = Parsed(f.memory_limit)
    cpus = Parsed(f.cpu_limit)
    pids = Int(1, 4_194_304)


class NewLimitsSchema(LimitsSchema):
    """Other limits for what runs; null takes one away."""

    memory = Parsed(f.memory_limit, allow_none=True)
    cpus = Parsed(f.cpu_limit, allow_none=True)
    pids = Int(1, 4_194_304, allow_none=True)


class ResourcesSchema(StrictSchema):
    """Reservations count in placement; limits are enforced on the node."""

    reservations = fields.Nested(AmountSchema)
    limits = fields.Nested(LimitsSchema)

    @validates_schema
    def check_sizes(self, data: dict[str, Any], **_: Any) -> None:
        """What is reserved but may never be used helps nobody."""
        reserved, limits = data.get("reservations", {}), data.get("limits", {})
        for name, read in (("memory", quantity.size), ("cpus", quantity.cpus)):
            if name in reserved and name in limits and read(reserved[name]) > read(limits[name]):
                raise ValidationError({"reservations": {name: ["more than its limit"]}})


class LogsSchema(StrictSchema):
    """How much of a task's output is kept."""

    max_size = Parsed(f.log_size)
    max_files = Int(0, 1000)
    max_age = Parsed(f.positive_duration)


class HooksSchema(StrictSchema):
    """Commands around each run of a task."""

    pre_start = Command()
    post_stop = Command()


class RestartSchema(StrictSchema):
    """When a task that ended runs again; or Compose's word for it."""

    condition = OneOf(*spec.CONDITIONS)
    delay = Parsed(f.duration)
    factor = Number(1, 100)
    max_delay = Parsed(f.duration)
    max_attempts = Int(0, 1_000_000)
    window = Parsed(f.duration)

    @pre_load
    def take_compose_words(self, data: Any, **_: Any) -> Any:
        """`always`, `on-failure:3`; and YAML's `no`, which arrives as false."""
        if isinstance(data, str) or data is False:
            word, _sep, attempts = str(data or "no").partition(":")
            data = {"condition": {"unless-stopped": "always"}.get(word, word)}
            if attempts:
                data["max_attempts"] = int(attempts) if attempts.isdigit() else attempts
        elif isinstance(data, Mapping) and data.get("condition") is False:
            data = {**data, "condition": "no"}
        return data


class StopSchema(StrictSchema):
    """How a task is asked to end."""

    signal = Parsed(f.signal_name)
    timeout = Parsed(f.duration)


class Ulimits(Read[dict[str, Any]]):
    """Compose's ulimits: a number, or soft and hard; -1 is unlimited."""

    def _read(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("not an object of limits")
        for name, limit in value.items():
            if name not in ULIMITS:
                raise ValidationError({name: [f"not one of {', '.join(ULIMITS)}"]})
            if not all(_is_limit(each) for each in _both(limit)):
                raise ValidationError({name: ["not a whole number, nor soft and hard of it"]})
        return value


def _both(limit: Any) -> list[Any]:
    if isinstance(limit, dict) and set(limit) == {"soft", "hard"}:
        return list(limit.values())
    return [limit]


def _is_limit(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value < 2**63


class DependsOn(Read[dict[str, str]]):
    """Tasks, or tasks and groups elsewhere, with conditions; or a list of sentences, `2 of db healthy`."""

    def _read(self, value: Any) -> dict[str, str]:
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            pairs = [peers.sentence(own.text(each)) for each in value]
        elif isinstance(value, dict):
            pairs = [(name, self._condition(name, said)) for name, said in value.items()]
        else:
            raise ValidationError("neither a list of task names nor an object of conditions")
        found: dict[str, str] = {}
        for name, condition in pairs:
            if name in found:
                raise ValidationError(f"{name!r} is named twice")
            found[name] = condition
        return found

    def _condition(self, name: str, said: Any) -> str:
        compose = isinstance(said, dict) and {"condition"} <= set(said) <= _COMPOSE_KEYS
        try:
            return peers.condition(_COMPOSE.get(str(said["condition"])) if compose else said)
        except ValueError as error:
            raise ValidationError({name: [str(error)]}) from None


_COMPOSE_KEYS = {"condition", "required", "restart"}
_COMPOSE = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}
_PORT_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")


class Ports(Read[dict[str, int]]):
    """Ports by name: a number, or 0 for one that is given out."""

    def _read(self, value: Any) -> dict[str, int]:
        if not isinstance(value, dict):
            raise ValidationError("not an object of names and numbers")
        variables: dict[str, str] = {}
        for name, number in value.items():
            if not _PORT_NAME.fullmatch(name):
                raise ValidationError({name: ["not a name of 1 to 63 of A-Z a-z 0-9 _ -"]})
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 65535:
                raise ValidationError({name: ["not a port from 1 to 65535, nor 0 for one that is given out"]})
            other = variables.setdefault(spec.port_variable(name), name)
            if other != name:
                raise ValidationError({name: [f"{other!r} would be {spec.port_variable(name)} as well"]})
        numbers = [number for number in value.values() if number]
        if len(set(numbers)) < len(numbers):
            raise ValidationError("one number stands under two names")
        return value


class TaskSchema(FilesSchema):
    """One task."""

    not_yet = frozenset({"secrets"})
    name = Name(required=True)
    config = fields.Nested(ConfigSchema, required=True)
    resources = fields.Nested(ResourcesSchema)
    ulimits = Ulimits()
    restart = fields.Nested(RestartSchema)
    stop = fields.Nested(StopSchema)
    depends_on = DependsOn()
    healthcheck = fields.Nested(HealthcheckSchema)
    logs = fields.Nested(LogsSchema)
    duration = Parsed(f.positive_duration, allow_none=True)
    hooks = fields.Nested(HooksSchema)
    ports = Ports()

    @validates_schema
    def check_container(self, data: dict[str, Any], **_: Any) -> None:
        """A hook runs before there is a container, and after."""
        if data["config"].get("driver") == "container" and data.get("hooks"):
            raise ValidationError("are for driver: process; a container's image has its own", "hooks")

    @pre_load
    def take_compose_forms(self, data: Any, **_: Any) -> Any:
        """Compose's `deploy.resources` and task-level `user` go where we keep them."""
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        deploy = data.pop("deploy", None)
        if deploy is not None:
            if not isinstance(deploy, Mapping) or set(deploy) != {"resources"} or "resources" in data:
                raise ValidationError({"deploy": ["only `resources` is taken here, and only once"]})
            data["resources"] = deploy["resources"]
        if data.get("user") is not None and isinstance(data.get("config"), Mapping):
            data["config"] = {"user": data.pop("user"), **data["config"]}
        return data
