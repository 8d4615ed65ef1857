"""What clients may write about deployments: new ones, and what is asked of those that live."""

import re
from typing import Any

from marshmallow import ValidationError

from manager_api.http.fields import Int, Name, Parsed, Read, StrictSchema
from manager_api.http.group_schema import MOST_COUNT
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


class Flag(Read[bool]):
    """true or false, and no other word for them."""

    def _read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("not true or false")
        return value


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


def _ttl(value: Any) -> None:
    if quantity.duration(value) < LEAST_TTL:
        raise ValueError("shorter than 1s")


class CreateSchema(StrictSchema):
    """A new deployment."""

    template = Name(required=True)
    version = Int(1, MOST_VERSION)
    name = InstanceName()
    parameters = Parameters()
    ttl = Parsed(_ttl)
    wait = Flag()
    scale = Counts()


class ConfirmSchema(StrictSchema):
    """`{}`, or `{"confirm": true}`."""

    confirm = Flag()


class ScaleSchema(ConfirmSchema):
    """Other numbers of instances."""

    groups = Counts(required=True)


class UpdateSchema(ConfirmSchema):
    """Another version, other parameters."""

    version = Int(1, MOST_VERSION)
    parameters = Parameters(null_allowed=True)


class RollbackSchema(ConfirmSchema):
    """Back to a version, or to the last good one."""

    version = Int(1, MOST_VERSION)
