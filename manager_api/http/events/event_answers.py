"""What is answered about events."""

from marshmallow import fields

from manager_api.http.frame.answer_fields import anything, number, text
from manager_api.http.frame.answers import AnswerSchema

AN_EVENT = {
    "id": "1767225600000-0", "time": 1767225600.0, "kind": "node.offline", "subject": {"node": "web-1"},
    "reason": "its heartbeat has expired", "actor": "controller", "epoch": "1-9f3c",
}  # fmt: skip


class EventSchema(AnswerSchema):
    """Something that happened."""

    id = text("Its id: where a reader goes on.")
    time = number("When, by the clock of who tells it; seconds since 1970.")
    kind = text("What, from the general to the special: `node.offline`.")
    subject = anything("Whom it is about: `deployment`, `allocation`, `node`, `template`.")
    reason = text("Why, in words.")
    actor = text("Who tells it.")
    epoch = text("The history of the store that it belongs to.")
    data = anything("A few more facts.", required=False)


class EventsSchema(AnswerSchema):
    """A page of events."""

    data = fields.List(
        fields.Nested(EventSchema), required=True, metadata={"description": "The events, in their order."}
    )
    next = text("`cursor` of the next page; null: that was all.", allow_none=True)
