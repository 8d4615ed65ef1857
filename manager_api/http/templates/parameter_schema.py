"""What a template leaves open: declarations of parameters, stored in canonical form."""

import re
from typing import Any, ClassVar

from marshmallow import ValidationError

from manager_api.http.frame.fields import Bool, OneOf, Read, StrictSchema
from store.model import parameters

MOST_PARAMETERS = 100
MOST_CHOICES = 100
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")


class Value(Read[str]):
    """A text; numbers and truths become one."""

    def _read(self, value: Any) -> str:
        return parameters.as_text(value, "bool")

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": ["string", "number", "boolean"]}


class Choices(Read[list[str]]):
    """The values to choose from."""

    def _read(self, value: Any) -> list[str]:
        if not isinstance(value, list) or not 1 <= len(value) <= MOST_CHOICES:
            raise ValidationError(f"not a list of 1 to {MOST_CHOICES} values")
        return [parameters.as_text(each, "bool") for each in value]

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        each = {"type": ["string", "number", "boolean"]}
        return {"type": "array", "items": each, "minItems": 1, "maxItems": MOST_CHOICES}


class Bound(Read[float]):
    """A number; JSON has none that is infinite."""

    def _read(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("not a number")
        float(value)  # a number that no comparison could take is refused here
        return value

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "number"}


class Plain(Read[str]):
    """A text in which nothing is ever filled in."""

    def _read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("not a text")
        return value

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string"}


class ParameterSchema(StrictSchema):
    """One parameter."""

    about: ClassVar[dict[str, str]] = {
        "required": "Whether each deployment must say it.",
        "default": "What it is when a deployment does not say it.",
        "pattern": "A regular expression that the whole value must match.",
        "enum": "The values to choose from.",
        "description": "For people.",
        "type": "What it must read as.",
        "min": "Of a number: the least.",
        "max": "Of a number: the most.",
    }

    required = Bool()
    default = Value()
    pattern = Plain()
    enum = Choices()
    description = Plain()
    type = OneOf(*parameters.TYPES)
    min = Bound()
    max = Bound()


class Parameters(Read[dict[str, Any]]):
    """Parameters by name; null declares one that may be left out."""

    def _read(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("not an object of names and declarations")
        if len(value) > MOST_PARAMETERS:
            raise ValidationError(f"{len(value)} parameters, at most {MOST_PARAMETERS}")
        problems: dict[str, Any] = {}
        found: dict[str, Any] = {}
        for name, raw in value.items():
            try:
                found[name] = self._declaration(name, raw)
            except ValidationError as error:
                problems[name] = error.messages
        if problems:
            raise ValidationError(problems)
        return found

    def _declaration(self, name: str, raw: Any) -> Any:
        if not _NAME.fullmatch(name):
            raise ValidationError("not a name of 1 to 63 of A-Z a-z 0-9 _ -")
        if raw is not None and not isinstance(raw, dict):
            raise ValidationError('not an object such as {"required": true}')
        rule = _SCHEMA.load(raw or {})
        problem = parameters.declaration_problem(rule)
        if problem:
            raise ValidationError(problem)
        return rule

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_NAME.pattern}$"},
            "maxProperties": MOST_PARAMETERS,
            "additionalProperties": {"anyOf": [_SCHEMA, {"type": "null"}]},
        }


_SCHEMA = ParameterSchema()
