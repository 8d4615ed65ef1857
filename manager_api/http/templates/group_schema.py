"""What a template says of where a group's allocations go, how they change, and what a lost node means."""

from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validates_schema

from manager_api.http.frame import readers
from manager_api.http.frame.fields import Bool, Int, Name, OneOf, Parsed, Read, StrictSchema, is_open
from manager_api.http.templates.task_schema import TaskSchema
from store.model import placing, quantity

MOST_COUNT = 20_000
MOST_VALUES = 100


class Count(Int):
    """A number of allocations, or one on each node."""

    def __init__(self) -> None:
        super().__init__(1, MOST_COUNT)

    def _read(self, value: Any) -> Any:
        if value == placing.ALL:
            return value
        try:
            return super()._read(value)
        except ValidationError as error:
            raise ValidationError(f'{error.messages[0]}, nor "all"') from None

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"anyOf": [super().json_schema(), {"type": "string", "const": placing.ALL}]}


class Labels(Read[dict[str, Any]]):
    """What a node's labels must be: a text, or a list of those that will do."""

    def _read(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("not an object of labels and values")
        found: dict[str, Any] = {}
        for key, each in value.items():
            try:
                if not key.strip():
                    raise ValidationError("a label needs a name")
                found[key] = self._values(each) if isinstance(each, list) else _label(each)
            except ValidationError as error:
                raise ValidationError({key: error.messages}) from None
        return found

    def _values(self, value: list[Any]) -> list[str]:
        if not 1 <= len(value) <= MOST_VALUES:
            raise ValidationError(f"not 1 to {MOST_VALUES} values")
        return [_label(each) for each in value]

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        value = {"type": ["string", "number", "boolean"]}
        several = {"type": "array", "items": value, "minItems": 1, "maxItems": MOST_VALUES}
        return {"type": "object", "additionalProperties": {"anyOf": [value, several]}}


_NAME = Name()


def _label(value: Any) -> str:
    """YAML makes numbers and truths of what was meant as a text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        raise ValidationError("not a text")
    return str(value) if is_open(value) else str(_NAME.deserialize(value))


class PlacementSchema(StrictSchema):
    """Which nodes may take a group's allocations, and which of them is the best."""

    about: ClassVar[dict[str, str]] = {
        "node": "One node: its id, host name or address.",
        "group": "A group of devices, by name.",
        "labels": "What a node's labels must be: a value, or one of several.",
        "spread": "The label over whose values the allocations are spread evenly.",
        "strategy": "`spread`: the least loaded node that fits; `binpack`: the fullest.",
        "max_replicas_per_node": "How many allocations of the group one node takes.",
    }

    node = Name(allow_none=True)
    group = Name(allow_none=True)
    labels = Labels(allow_none=True)
    spread = Name(allow_none=True)
    strategy = OneOf(*placing.STRATEGIES)
    max_replicas_per_node = Int(1, MOST_COUNT, allow_none=True)

    @post_load
    def drop_nothing(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """A missing key says the same as null."""
        return {key: value for key, value in data.items() if value is not None}


class UpdatePolicySchema(StrictSchema):
    """How a group goes to another version."""

    about: ClassVar[dict[str, str]] = {
        "max_parallel": "How many allocations are replaced at once.",
        "min_healthy": "How long a new one must be up, and healthy, to count.",
        "healthy_deadline": "Until when it must; else the update has failed.",
        "canary": "How many new ones come first, beside the old.",
        "auto_promote": "Whether the rest follows healthy canaries by itself.",
        "auto_revert": "Whether a failed update goes back by itself.",
    }

    max_parallel = Int(1, MOST_COUNT)
    min_healthy = Parsed(readers.duration)
    healthy_deadline = Parsed(readers.positive_duration)
    canary = Int(0, MOST_COUNT)
    auto_promote = Bool()
    auto_revert = Bool()


class Reschedule(Read[Any]):
    """`never`, or after what time on an offline node an allocation is placed elsewhere."""

    def _read(self, value: Any) -> Any:
        return _word_or_duration(value, placing.NEVER, "after")

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return _word_or_shape(placing.NEVER, "after")


class OnDisconnect(Read[Any]):
    """`keep`, or after what time without the store a node stops the tasks."""

    def _read(self, value: Any) -> Any:
        return _word_or_duration(value, placing.KEEP, "stop_after")

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return _word_or_shape(placing.KEEP, "stop_after")


def _word_or_shape(word: str, key: str) -> dict[str, Any]:
    timed = {
        "type": "object",
        "properties": {key: dict(readers.duration.shape)},
        "required": [key],
        "additionalProperties": False,
    }
    return {"anyOf": [{"type": "string", "const": word}, timed]}


def _word_or_duration(value: Any, word: str, key: str) -> Any:
    if value == word:
        return value
    if not isinstance(value, dict) or set(value) != {key}:
        raise ValidationError(f'neither "{word}" nor {{"{key}": a duration}}')
    try:
        quantity.duration(value[key])
    except ValueError as error:
        raise ValidationError({key: [str(error)]}) from None
    return value


class TaskGroupSchema(StrictSchema):
    """Tasks that belong together."""

    about: ClassVar[dict[str, str]] = {
        "name": "Unique in the template; `main` and numbers by default.",
        "count": "How many allocations; `all`: one on each node that may take one.",
        "placement": "Where they may be.",
        "reschedule": "`never`, or after what time on an offline node an allocation is placed elsewhere.",
        "on_disconnect": "`keep`, or after what time without the store a node stops the tasks.",
        "duplicates": "`never`: no second copy runs, whatever happens; see the guide for what it asks for.",
        "update": "How the group goes to another version.",
        "tasks": "What runs together on one node.",
    }

    name = Name()
    count = Count()
    placement = fields.Nested(PlacementSchema)
    reschedule = Reschedule()
    on_disconnect = OnDisconnect()
    duplicates = OneOf(*placing.DUPLICATES)
    update = fields.Nested(UpdatePolicySchema)
    tasks = fields.List(fields.Nested(TaskSchema), required=True)

    @validates_schema
    def check_canaries(self, data: dict[str, Any], **_: Any) -> None:
        """Canaries stand beside the others: there must be others, and a number of them."""
        canary, count = data.get("update", {}).get("canary", 0), data.get("count", 1)
        if canary and count == placing.ALL:
            raise ValidationError({"update": {"canary": ['does not go with count "all"']}})
        if canary and canary > count:
            raise ValidationError({"update": {"canary": [f"{canary} is more than the count, {count}"]}})
