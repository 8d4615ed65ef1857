"""Fields of answers, each with its sentence."""

from typing import Any

from marshmallow import fields


def text(description: str, **more: Any) -> fields.String:
    """A text that is always there, unless `required` says otherwise."""
    return fields.String(**{"required": True, **more}, metadata={"description": description})


def whole(description: str, **more: Any) -> fields.Integer:
    """A whole number that is always there, unless `required` says otherwise."""
    return fields.Integer(**{"required": True, **more}, metadata={"description": description})


def number(description: str, **more: Any) -> fields.Float:
    """A number that is always there, unless `required` says otherwise."""
    return fields.Float(**{"required": True, **more}, metadata={"description": description})


def flag(description: str, **more: Any) -> fields.Boolean:
    """True or false; always there, unless `required` says otherwise."""
    return fields.Boolean(**{"required": True, **more}, metadata={"description": description})


def anything(description: str, **more: Any) -> fields.Dict:
    """An object whose keys are not said, for instance because they are names that users gave."""
    return fields.Dict(**{"required": True, **more}, metadata={"description": description})
