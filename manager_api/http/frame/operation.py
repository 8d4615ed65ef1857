"""What the API says of one of its calls: one place for validation, errors and documentation.

`describe` puts an `Operation` on a responder. The same schemas that it names read the request
(`bodies.body`, `bodies.query`), so that what is documented is what is asked for; `create_app` refuses
responders without one, and `openapi` writes them all down.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from marshmallow import Schema, fields

F = TypeVar("F", bound=Callable[..., Any])
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """One success: what it means, its shape, and an example that has that shape."""

    text: str
    schema: Schema | None = None
    """None: no JSON."""
    example: Any = None
    media: str = JSON
    others: tuple[str, ...] = ()
    """Other media types that it may come in, as texts or bytes."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names of headers that are worth to be told of, each with a sentence."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: a method of a path."""

    id: str
    """Unique, `snake_case`, verb first: names the method of generated clients."""
    summary: str
    tag: str
    answers: Mapping[int, Answer]
    errors: tuple[int, ...] = ()
    """Statuses beyond 400, 500 and 503, which every call may answer."""
    body: Schema | None = None
    body_optional: bool = False
    body_example: Any = None
    body_media: str = JSON
    query: Schema | None = None
    query_in_body: bool = False
    """Whether the query may come as the JSON body of a GET, too."""
    description: str = ""

    def columns(self) -> frozenset[str] | None:
        """What rows of the list that it answers may have; None: it answers no list."""
        answer = self.answers.get(200)
        rows = answer.schema.fields.get("data") if answer is not None and answer.schema is not None else None
        if not isinstance(rows, fields.List) or not isinstance(rows.inner, fields.Nested):
            return None
        return frozenset(rows.inner.schema.fields)


def describe(
    summary: str,
    *,
    id: str,  # noqa: A002 - OpenAPI's word
    tag: str,
    answers: Mapping[int, Answer],
    **more: Any,
) -> Callable[[F], F]:
    """Decorator of a responder: see `Operation` for what there is to say."""

    def on(responder: F) -> F:
        known = Operation(id=id, summary=summary, tag=tag, answers=answers, **more)
        responder.operation = known  # type: ignore[attr-defined]
        return responder

    return on


def of(resource: object, method: str) -> Operation | None:
    """What is said of a resource's responder, if there is one and it says something."""
    return getattr(getattr(resource, f"on_{method.lower()}", None), "operation", None)
