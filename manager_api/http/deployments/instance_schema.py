"""What clients may write about deployments: new ones, and what is asked of those that live."""

import re
from typing import Any, ClassVar

from marshmallow import ValidationError, fields

from manager_api.http.frame.fields import Bool, Int, Name, Parsed, Read, StrictSchema, shaped
from manager_api.http.frame.readers import DURATION
from manager_api.http.templates.group_schema import MOST_COUNT
from manager_api.http.templates.resource_schema import NewLimitsSchema
from store.model import quantity

LEAST_TTL = 1.0
MOST_VERSION = 10**9
MOST_NAMED = 200
_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")


class InstanceName(Read[str]):
    """The name of a deployment."""

    def _read(self, value: Any) -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise ValidationError("not a name: 1 to 63 of A-Z a-z 0-9 . _ - are taken")
        return value

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string", "pattern": f"^{_NAME.pattern}$"}


class Parameters(Read[dict[str, str | bool | None]]):
    """Values for a template's parameters; numbers become text, as in Compose.

    `null_allowed`: a null takes the parameter back to its default.
    """

    def __init__(self, *, null_allowed: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._null_allowed = null_allowed

    def _read(self, value: Any) -> dict[str, str | bool | None]:
        if not isinstance(value, dict):
            raise ValidationError("not an object of names and values")
        if len(value) > MOST_NAMED:
            raise ValidationError(f"{len(value)} of them, at most {MOST_NAMED}")
        problems: dict[str, list[str]] = {}
        found: dict[str, str | bool | None] = {}
        for name, each in value.items():
            try:
                found[name] = None if each is None and self._null_allowed else _value(each)
            except ValidationError as error:
                problems[name] = [str(error.messages[0])]
        if problems:
            raise ValidationError(problems)
        return found

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        kinds = ["string", "number", "boolean", *(["null"] if self._null_allowed else [])]
        each = {"type": kinds}
        return {"type": "object", "additionalProperties": each, "maxProperties": MOST_NAMED}


def _value(value: Any) -> str | bool:
    """A value as `store.model.parameters` takes it, who knows what each is to be."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise ValidationError("not a text, a number, true or false")
    return value


class Counts(Read[dict[str, int]]):
    """Task groups and how many instances of each there are to be."""

    def _read(self, value: Any) -> dict[str, int]:
        if not isinstance(value, dict) or not value:
            raise ValidationError('not an object of groups and numbers, such as {"web": 5}')
        if len(value) > MOST_NAMED:
            raise ValidationError(f"{len(value)} groups, at most {MOST_NAMED}")
        reader = Int(0, MOST_COUNT)
        problems: dict[str, list[str]] = {}
        found: dict[str, int] = {}
        for name, each in value.items():
            try:
                found[name] = int(reader.deserialize(each) or 0)
            except ValidationError as error:
                problems[name] = [str(error.messages[0])]
        if problems:
            raise ValidationError(problems)
        return found

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {
            "type": "object",
            "additionalProperties": Int(0, MOST_COUNT).json_schema(),
            "minProperties": 1,
            "maxProperties": MOST_NAMED,
        }


@shaped(**DURATION)
def _ttl(value: Any) -> None:
    if quantity.duration(value) < LEAST_TTL:
        raise ValueError("shorter than 1s")


class CreateSchema(StrictSchema):
    """A new deployment."""

    about: ClassVar[dict[str, str]] = {
        "template": "Which template.",
        "version": "Which version of it; the newest by default.",
        "name": "Unique among living deployments: again with the same name is the same deployment.",
        "parameters": "Values for what the template leaves open.",
        "ttl": "After this time it is stopped.",
        "wait": "Wait for the decision, 2 s at most; true by default.",
        "scale": "Other counts of groups than the template's.",
    }

    template = Name(required=True)
    version = Int(1, MOST_VERSION)
    name = InstanceName()
    parameters = Parameters()
    ttl = Parsed(_ttl)
    wait = Bool()
    scale = Counts()


class ConfirmSchema(StrictSchema):
    """`{}`, or `{"confirm": true}`."""

    about: ClassVar[dict[str, str]] = {
        "confirm": "Do it although it touches much at once.",
    }

    confirm = Bool()


class ScaleSchema(ConfirmSchema):
    """Other numbers of instances."""

    about: ClassVar[dict[str, str]] = {
        "groups": "Counts of allocations by task group; groups that are not named stay as they are.",
    }

    groups = Counts(required=True)


class NewReleaseSchema(ConfirmSchema):
    """Another version, other parameters."""

    about: ClassVar[dict[str, str]] = {
        "version": "Which version; the newest by default.",
        "parameters": "Other values; null goes back to the template's default.",
    }

    version = Int(1, MOST_VERSION)
    parameters = Parameters(null_allowed=True)


class RollbackSchema(ConfirmSchema):
    """Back to a version, or to the last good one."""

    about: ClassVar[dict[str, str]] = {
        "version": "Which version; by default the last one that was good.",
    }

    version = Int(1, MOST_VERSION)


class LimitSchema(StrictSchema):
    """Other limits for a task that runs."""

    about: ClassVar[dict[str, str]] = {
        "task": "The task's name.",
        "limits": "What it may use at most from now on.",
    }

    task = Name(required=True)
    limits = fields.Nested(NewLimitsSchema, required=True)
