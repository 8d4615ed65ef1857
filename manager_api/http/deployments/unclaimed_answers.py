"""What is answered about unclaimed work."""

from marshmallow import fields, validate

from manager_api.http.deployments.deployment_answers import A_DEPLOYMENT
from manager_api.http.frame.answer_fields import anything, text, whole
from manager_api.http.frame.answers import AnswerSchema, listed

A_CLAIM = {"id": A_DEPLOYMENT, "allocations": [f"web-1/{A_DEPLOYMENT}.1"]}
AN_ALLOCATION = {
    "allocation": f"{A_DEPLOYMENT}.1", "node": "web-1", "uid": "6b1f", "deployment": A_DEPLOYMENT,
    "template": "etl", "version": 1, "claimed": None,
    "tasks": [{"name": "clean", "state": "running", "pid": 4711}], "order": None,
}  # fmt: skip


class UnclaimedTaskSchema(AnswerSchema):
    """A task of it, as its node says."""

    name = text("Its name.", allow_none=True)
    state = text("State of the task.", allow_none=True)
    pid = whole("Its process, while there is one.", allow_none=True)


class UnclaimedRowSchema(AnswerSchema):
    """An allocation that runs on a node and that no record wants."""

    allocation = text("Its id.")
    node = text("Id of the node that it runs on.")
    uid = text("The uid of that node.", allow_none=True)
    deployment = text("Id of the deployment that it was of.")
    template = text("Name of its template.", allow_none=True)
    version = whole("Version of the template.", allow_none=True)
    claimed = text(
        "What somebody has said already shall become of it.",
        allow_none=True,
        validate=validate.OneOf(["adopt", "stop"]),
    )
    tasks = fields.List(
        fields.Nested(UnclaimedTaskSchema), required=True, metadata={"description": "What runs there."}
    )
    order = anything("What the node was told; null: it has forgotten.", allow_none=True)


class ClaimedSchema(AnswerSchema):
    """What was claimed."""

    id = text("Id of the deployment.")
    allocations = fields.List(
        fields.String(), required=True, metadata={"description": "`<node>/<allocation>`."}
    )


UNCLAIMED = listed(UnclaimedRowSchema, "Unclaimed")
