"""What clients may say of nodes."""

from typing import Any, ClassVar

from marshmallow import ValidationError

from manager_api.core import enrolment
from manager_api.http.frame import readers
from manager_api.http.frame.fields import Bool, Name, Parsed, Read, StrictSchema
from store.model import noderecord

LABEL, LABEL_VALUE = r"^[A-Za-z0-9._/-]{1,63}$", r"^[A-Za-z0-9._/-]{0,63}$"
"""`noderecord.name` and `value`, for readers of JSON Schema."""


class Labels(Read[dict[str, str | None]]):
    """Labels by key; with `removable`, null takes one away."""

    def __init__(self, *, removable: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._removable = removable

    def _read(self, value: Any) -> dict[str, str | None]:
        if not isinstance(value, dict):
            raise ValidationError("not an object of keys and values")
        if len(value) > noderecord.MOST_LABELS:
            raise ValidationError(f"{len(value)} labels, at most {noderecord.MOST_LABELS}")
        for key, each in value.items():
            noderecord.name(key)
            if each is not None or not self._removable:
                noderecord.value(each)
        return value

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        kind = ["string", "null"] if self._removable else "string"
        return {
            "type": "object",
            "propertyNames": {"pattern": LABEL},
            "additionalProperties": {"type": kind, "pattern": LABEL_VALUE},
            "maxProperties": noderecord.MOST_LABELS,
        }


_NAME = Name()


class Groups(Read[dict[str, bool]]):
    """Groups by name: whether the node is in it."""

    def _read(self, value: Any) -> dict[str, bool]:
        if not isinstance(value, dict):
            raise ValidationError('not an object such as {"edge": true, "lab": false}')
        if len(value) > noderecord.MOST_GROUPS:
            raise ValidationError(f"{len(value)} groups, at most {noderecord.MOST_GROUPS}")
        for name, member in value.items():
            _NAME.deserialize(name)
            if not isinstance(member, bool):
                raise ValidationError(f"{name}: neither true nor false")
        return value

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {
            "type": "object",
            "propertyNames": _NAME.json_schema(),
            "additionalProperties": {"type": "boolean"},
            "maxProperties": noderecord.MOST_GROUPS,
        }


class Facts(Read[dict[str, Any]]):
    """What an agent says of its machine; what is no such thing is left out, and keeps nobody out."""

    def _read(self, value: Any) -> dict[str, Any]:
        return enrolment.clean(value)

    def json_schema(self) -> dict[str, Any]:
        """Its shape, for OpenAPI."""
        text, number = {"type": "string"}, {"type": "integer", "minimum": 0}
        disk = {"type": "object", "properties": {"name": text, "bytes": number}}
        nic = {"type": "object", "properties": {"type": text, "mac": text, "ipv4": text}}
        hardware = {"model": text, "sn": text, "machine": text, "cores": number, "memory": number}
        return {
            "type": "object",
            "description": "What is not of these kinds is left out.",
            "properties": {
                "hardware": {
                    "type": "object",
                    "properties": {**hardware, "disks": {"type": "array", "items": disk}},
                },
                "software": {"type": "object", "properties": {"version": text, "kernel": text}},
                "nic": {"type": "array", "items": nic},
            },
        }


class CordonSchema(StrictSchema):
    """`{"reason"?: …}`."""

    about: ClassVar[dict[str, str]] = {
        "reason": "For people; shown with the node.",
    }

    reason = Name()


class DrainSchema(StrictSchema):
    """`{"deadline"?: "10m", "dry_run"?: …, "confirm"?: …}`."""

    about: ClassVar[dict[str, str]] = {
        "deadline": "After this time what has not moved is stopped; null: it may take as long as it needs.",
        "dry_run": "Say what would become of what runs there; change nothing.",
        "confirm": "Do it although it touches much at once.",
    }

    deadline = Parsed(readers.duration, allow_none=True)
    dry_run = Bool()
    confirm = Bool()


class LabelsSchema(StrictSchema):
    """`{"labels": {"zone": "a", "old": null}}`."""

    about: ClassVar[dict[str, str]] = {
        "labels": "Labels by key; null takes one away.",
    }

    labels = Labels(removable=True, required=True)


class GroupsSchema(StrictSchema):
    """`{"groups": {"edge": true, "lab": false}}`."""

    about: ClassVar[dict[str, str]] = {
        "groups": "Groups by name: whether the node is in it.",
    }

    groups = Groups(required=True)
