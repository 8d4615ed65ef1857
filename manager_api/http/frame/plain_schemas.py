"""Bodies that several calls take: a name, an id, nothing."""

from typing import ClassVar

from manager_api.http.frame.fields import Name, StrictSchema


class NameSchema(StrictSchema):
    """`{"name": …}`."""

    about: ClassVar[dict[str, str]] = {
        "name": "A template's name.",
    }

    name = Name(required=True)


class IdSchema(StrictSchema):
    """`{"id": …}`."""

    about: ClassVar[dict[str, str]] = {
        "id": "A deployment's id.",
    }

    id = Name(required=True)


class EmptySchema(StrictSchema):
    """`{}`."""
