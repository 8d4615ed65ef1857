"""Workspaces as clients write and read them."""

from typing import Any

from marshmallow import Schema, ValidationError, fields

from manager_api.core import workspaces
from manager_api.http.frame.fields import Bool, Read, StrictSchema
from manager_api.http.frame.pages import PageSchema, Sort, answer
from manager_api.http.frame.query_schema import QuerySchema, Switch
from manager_api.http.waiting.news import WaitSchema
from store.model.lifecycle import Deployment

_USER = r"^[^/\x00-\x1f\x7f]*[^/\s\x00-\x1f\x7f][^/\x00-\x1f\x7f]*$"
"""`workspaces.problem` as a pattern, but for the few reserved words."""


class UserId(Read[str]):
    """Whose a workspace is; a number is its digits."""

    def _read(self, value: Any) -> str:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        user = str(int(value)) if whole and not isinstance(value, bool) else value
        if not isinstance(user, str):
            raise ValidationError("not a text")
        problem = workspaces.problem(user)
        if problem is not None:
            raise ValidationError(problem)
        return user

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {
            "oneOf": [
                {"type": "string", "maxLength": workspaces.MOST_USER, "pattern": _USER},
                {"type": "integer"},
            ]
        }


class WorkspaceWishSchema(StrictSchema):
    """`{"user_id": "jane"}`."""

    user_id = UserId(required=True)


class CleanUpSchema(StrictSchema):
    """`{"images"?: true}`."""

    images = Bool(metadata={"description": "Remove images that nothing uses from every node, too."})


_ALL = "Those that were stopped or are over, too, as long as they are remembered."


class OldListSchema(QuerySchema, WaitSchema):
    """`?all=true`."""

    all = Switch(_ALL)


class WorkspacesQuerySchema(QuerySchema, PageSchema, WaitSchema):
    """What a listing of workspaces is asked for."""

    sort = Sort("created", "user_id")
    all = Switch(_ALL)


class WorkspaceQuerySchema(QuerySchema, WaitSchema):
    """One workspace, perhaps once it has changed."""


class WorkspaceSchema(Schema):
    """One workspace, as it is answered."""

    id = fields.String(required=True, metadata={"description": "The deployment that it is."})
    user_id = fields.String(required=True)
    name = fields.String(required=True, metadata={"description": "The deployment's name."})
    status = fields.String(required=True, metadata={"enum": [*Deployment]})
    url = fields.String(
        required=True, allow_none=True, metadata={"description": "null: not known yet, or not any more."}
    )
    node = fields.String(required=True, allow_none=True)
    port = fields.Integer(required=True, allow_none=True)
    created = fields.Float(required=True, metadata={"description": "Seconds since 1970."})
    ends = fields.Float(
        required=True, allow_none=True, metadata={"description": "When its ttl is over; null: never."}
    )
    reason = fields.String(required=True)
    template = fields.String(required=True)
    version = fields.Integer(required=True)


class BegunSchema(WorkspaceSchema):
    """A workspace that was asked for."""

    message = fields.String(required=True)
    made = fields.Boolean(required=True, metadata={"description": "false: it was there already."})


class OldListAnswerSchema(Schema):
    """`{"total", "containers"}`."""

    total = fields.Integer(required=True)
    containers = fields.List(fields.Nested(WorkspaceSchema), required=True)


class RemovedSchema(Schema):
    """A workspace that is to stop."""

    id = fields.String(required=True)
    user_id = fields.String(required=True)
    status = fields.String(required=True, metadata={"enum": [*Deployment]})


class CleanedUpSchema(Schema):
    """What goes."""

    removed = fields.List(
        fields.String(), required=True, metadata={"description": "Ended workspaces that are forgotten now."}
    )
    images = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The deployment that removes unused images; its logs say which."},
    )


class AboutSchema(Schema):
    """What answers here."""

    name = fields.String(required=True)
    version = fields.String(required=True)
    message = fields.String(required=True)
    workspaces = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The template of workspaces, if there is one."},
    )
    links = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


WorkspacesSchema = answer(WorkspaceSchema(), "Workspaces")
