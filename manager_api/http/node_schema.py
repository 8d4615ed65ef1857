"""What clients may say of nodes."""

from typing import Any

from marshmallow import ValidationError, fields

from manager_api.http.fields import Name, Parsed, Read, StrictSchema
from store.model import noderecord, quantity


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


class Groups(Read[dict[str, bool]]):
    """Groups by name: whether the node is in it."""

    def _read(self, value: Any) -> dict[str, bool]:
        if not isinstance(value, dict):
            raise ValidationError('not an object such as {"edge": true, "lab": false}')
        if len(value) > noderecord.MOST_GROUPS:
            raise ValidationError(f"{len(value)} groups, at most {noderecord.MOST_GROUPS}")
        for name, member in value.items():
            noderecord.name(name)
            if not isinstance(member, bool):
                raise ValidationError(f"{name}: neither true nor false")
        return value


class CordonSchema(StrictSchema):
    """`{"reason"?: …}`."""

    reason = Name()


class DrainSchema(StrictSchema):
    """`{"deadline"?: "10m", "dry_run"?: …, "confirm"?: …}`."""

    deadline = Parsed(quantity.duration, allow_none=True)
    dry_run = fields.Boolean(truthy={True}, falsy={False})
    confirm = fields.Boolean(truthy={True}, falsy={False})


class LabelsSchema(StrictSchema):
    """`{"labels": {"zone": "a", "old": null}}`."""

    labels = Labels(removable=True, required=True)


class GroupsSchema(StrictSchema):
    """`{"groups": {"edge": true, "lab": false}}`."""

    groups = Groups(required=True)
