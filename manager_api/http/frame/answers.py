"""What shapes of answers have in common."""

from typing import Any, ClassVar

from marshmallow import INCLUDE, Schema, fields


class AnswerSchema(Schema):
    """An answer: later releases may say more in it, so readers must let unknown keys pass."""

    class Meta:
        """marshmallow's options."""

        unknown = INCLUDE

    about: ClassVar[dict[str, str]] = {}


class ErrorSchema(AnswerSchema):
    """Why a call was not done."""

    error = fields.Str(required=True)
    detail = fields.Str()
    nodes = fields.List(fields.Dict())
    confirm = fields.Bool()
    stops = fields.List(fields.Str())
    conflicts = fields.List(fields.Dict())
    kind = fields.Str()
    about: ClassVar[dict[str, str]] = {
        "error": "What is wrong, in a few fixed words.",
        "detail": "What exactly: the field, the record, the reason. For people; its words may change.",
        "nodes": "409 of a deployment: for each node the reason why it cannot take it.",
        "confirm": 'true: the call with `"confirm": true` would be done (an import: `?confirm=true`).',
        "stops": "409 of an import: what of the work here it would stop, a sentence each.",
        "conflicts": "409 of an import: which records are here and say something else.",
        "kind": "502: what kind of trouble the server of files has.",
    }


class ContractFiveErrorSchema(ErrorSchema):
    """Why a call of the device service was not done."""

    status = fields.Int(required=True)
    message = fields.Str(required=True)
    about: ClassVar[dict[str, str]] = {"status": "The HTTP status.", "message": "The same as `error`."}


class ProblemSchema(AnswerSchema):
    """The same as an RFC 9457 problem, for who asks for it by `Accept: application/problem+json`."""

    type = fields.Str()
    title = fields.Str(required=True)
    status = fields.Int(required=True)
    detail = fields.Str()
    instance = fields.Str()
    about: ClassVar[dict[str, str]] = {
        "type": "What kind of problem: `urn:muster:error:` and the words of `title`.",
        "title": "What `error` says.",
        "status": "The HTTP status.",
        "detail": "What exactly.",
        "instance": "This very request.",
    }


def listed(row: type[Schema] | Schema, name: str, **more: Any) -> Schema:
    """The shape of a page of rows: `data`, `total`, `next`; with `more` fields."""
    about = {
        "data": "The rows, in their order.",
        "total": "How many match, on whatever page.",
        "next": "The cursor of the next page; null: this is the last one.",
    }
    shape: type[Schema] = type(
        f"{name}Schema",
        (AnswerSchema,),
        {
            "data": fields.List(fields.Nested(row), required=True),
            "total": fields.Int(required=True),
            "next": fields.Str(required=True, allow_none=True),
            "about": about,
            "__doc__": "A list, or a page of one.",
            **more,
        },
    )
    return shape()
