"""What a task needs of its node, and what it may use of it at most."""

from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validates_schema

from manager_api.http.frame import readers as f
from manager_api.http.frame.fields import Int, Parsed, Read, StrictSchema
from store.model import quantity

ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
    "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip


class AmountSchema(StrictSchema):
    """An amount of a node's resources."""

    about: ClassVar[dict[str, str]] = {
        "memory": "Bytes, or a size such as `512M`; 1024-based.",
        "cpus": "Processors, such as 0.5.",
    }

    memory = Parsed(f.size)
    cpus = Parsed(f.cpus)


class LimitsSchema(StrictSchema):
    """What a task may use at most."""

    about: ClassVar[dict[str, str]] = {
        "memory": "Bytes, or a size such as `512M`; a task above it is killed, and said to have been.",
        "cpus": "Processors, such as 0.5.",
        "pids": "Processes and threads.",
    }

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

    about: ClassVar[dict[str, str]] = {
        "reservations": "What placement counts.",
        "limits": "What the node enforces.",
    }

    reservations = fields.Nested(AmountSchema)
    limits = fields.Nested(LimitsSchema)

    @validates_schema
    def check_sizes(self, data: dict[str, Any], **_: Any) -> None:
        """What is reserved but may never be used helps nobody."""
        reserved, limits = data.get("reservations", {}), data.get("limits", {})
        for name, read in (("memory", quantity.size), ("cpus", quantity.cpus)):
            if name in reserved and name in limits and read(reserved[name]) > read(limits[name]):
                raise ValidationError({"reservations": {name: ["more than its limit"]}})


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

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        number = {"type": "integer", "minimum": -1}
        both = {
            "type": "object",
            "properties": {"soft": number, "hard": number},
            "required": ["soft", "hard"],
            "additionalProperties": False,
        }
        each = {"anyOf": [number, both]}
        return {
            "type": "object",
            "properties": dict.fromkeys(ULIMITS, each),
            "additionalProperties": False,
        }


def _both(limit: Any) -> list[Any]:
    if isinstance(limit, dict) and set(limit) == {"soft", "hard"}:
        return list(limit.values())
    return [limit]


def _is_limit(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value < 2**63
