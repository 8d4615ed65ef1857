"""What a template says of one task: validated here, stored in canonical form."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, pre_load, validates_schema

from manager_api.http.frame import fields as own
from manager_api.http.frame import readers as f
from manager_api.http.frame.fields import Command, Int, Name, Number, OneOf, Parsed, Read, StrictSchema
from manager_api.http.templates.artifact_schema import FilesSchema
from manager_api.http.templates.config_schema import ConfigSchema
from manager_api.http.templates.health_schema import HealthcheckSchema
from manager_api.http.templates.resource_schema import ResourcesSchema, Ulimits
from store.model import peers, spec


class LogsSchema(StrictSchema):
    """How much of a task's output is kept."""

    about: ClassVar[dict[str, str]] = {
        "max_size": "At which size the output is rotated.",
        "max_files": "How many rotated files are kept.",
        "max_age": "How long.",
    }

    max_size = Parsed(f.log_size)
    max_files = Int(0, 1000)
    max_age = Parsed(f.positive_duration)


class HooksSchema(StrictSchema):
    """Commands around each run of a task."""

    about: ClassVar[dict[str, str]] = {
        "pre_start": "Runs before each start, and must succeed.",
        "post_stop": "Runs after each end.",
    }

    pre_start = Command()
    post_stop = Command()


class RestartSchema(StrictSchema):
    """When a task that ended runs again; or Compose's word for it."""

    about: ClassVar[dict[str, str]] = {
        "condition": "`on-failure` is the default.",
        "delay": "Before the first restart.",
        "factor": "By which each delay is longer than the one before.",
        "max_delay": "The longest delay.",
        "max_attempts": "Restarts within `window`; then the task is `failed`, until someone says restart.",
        "window": "How long a task must run for its restarts to be forgotten.",
    }
    alternatives: ClassVar[tuple[dict[str, Any], ...]] = (
        {"type": "string", "pattern": r"^(no|always|unless-stopped|on-failure)(:\d+)?$"},
        {"const": False},
    )

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

    about: ClassVar[dict[str, str]] = {
        "signal": "Asks the task to end.",
        "timeout": "After this time it is killed.",
    }

    signal = Parsed(f.signal_name)
    timeout = Parsed(f.duration)


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

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        condition = {"type": "string", "pattern": r"^(\d+ )?(started|healthy|completed)$"}
        compose = {
            "type": "object",
            "properties": {"condition": {"type": "string", "enum": list(_COMPOSE)}},
            "required": ["condition"],
        }
        named = {"type": "object", "additionalProperties": {"anyOf": [condition, compose]}}
        return {"anyOf": [{"type": "array", "items": {"type": "string"}}, named]}


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

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_PORT_NAME.pattern}$"},
            "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 65535},
        }


class TaskSchema(FilesSchema):
    """One task."""

    about: ClassVar[dict[str, str]] = {
        "name": "Unique in the template.",
        "config": "What runs.",
        "resources": "What it needs, and may use at most.",
        "ulimits": "Compose's ulimits: a number, or soft and hard; -1 is unlimited.",
        "restart": "When it runs again after its end; or Compose's word for it.",
        "stop": "How it is asked to end.",
        "depends_on": (
            "What must be started, healthy or completed first: a list of sentences such as "
            "`2 of db healthy`, or conditions by name."
        ),
        "healthcheck": "How it is found out whether it is well.",
        "logs": "How much of its output is kept.",
        "duration": "How long it may run.",
        "hooks": "Commands around each run.",
        "ports": "Ports by name; 0: one is given out. `${port.NAME}` is filled in.",
    }
    also: ClassVar[dict[str, Any]] = {
        "deploy": {
            "type": "object",
            "properties": {"resources": ResourcesSchema},
            "required": ["resources"],
            "additionalProperties": False,
            "description": "Compose's place of `resources`.",
        },
        "user": {"type": ["string", "null"], "description": "Compose's place of `config.user`."},
    }

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
