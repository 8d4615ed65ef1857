"""Requests read by their schemas: bodies, bounded and JSON, and query strings."""

from collections.abc import Iterable, Mapping
from typing import Any

import falcon
import orjson
from marshmallow import Schema, ValidationError

from manager_api.http.frame import uploads
from manager_api.http.frame.errors import invalid
from manager_api.http.frame.operation import Operation

MOST_BYTES = 4 * 1024 * 1024
MOST_ERRORS = 5
IN_URL = ("after", "wait")
"""Words of a query that are needed before a body is read."""


def body(req: falcon.Request) -> Any:
    """The body, as the call's operation says that it is.

    Raises:
        ApiError: 400 with a sentence that names the field.
    """
    called: Operation = req.context.operation
    assert called.body is not None
    return read(req, called.body, optional=called.body_optional)


def query(req: falcon.Request) -> Any:
    """The query string, as the call's operation says that it is; or the same as a body, where that is so.

    A parameter that is given several times is a list.

    Raises:
        ApiError: 400 with a sentence that names the parameter.
    """
    called: Operation = req.context.operation
    assert called.query is not None
    given: Mapping[str, Any] = req.params
    if called.query_in_body:
        said = _json(req, b"{}")
        if misplaced := sorted(set(IN_URL) & said.keys()):
            raise invalid(f"{misplaced[0]}: only in the query string, not in a body")
        given = {**said, **given}
    found = checked(called.query, given)
    if isinstance(found, dict) and "fields" in found:
        _check_columns(found["fields"], called)
    return found


def _check_columns(names: Iterable[str], called: Operation) -> None:
    there = called.columns()
    if there is not None and (unknown := [name for name in names if name not in there]):
        raise invalid(f"fields: {unknown[0][:80]!r} is not one of {', '.join(sorted(there))}")


def checked(schema: Schema, given: Mapping[str, Any]) -> Any:
    """What a schema makes of something.

    Raises:
        ApiError: 400 with a sentence that names the field.
    """
    try:
        return schema.load(given)
    except ValidationError as error:
        raise invalid(sentence(error.messages)) from None


def read(req: falcon.Request, schema: Schema, *, optional: bool = False) -> Any:
    """The validated body; `optional`: none at all is as good as `{}`.

    Raises:
        ApiError: 400 with a sentence that names the field.
    """
    return checked(schema, _json(req, b"{}" if optional else b""))


def raw(req: falcon.Request) -> bytes:
    """The body as it came; empty if there is none. Several may ask for it.

    Raises:
        ApiError: 400: too long, or in an encoding that is not taken.
    """
    known: bytes | None = getattr(req.context, "raw", None)
    if known is None:
        known = req.context.raw = _received(req)
    return known


def _received(req: falcon.Request) -> bytes:
    encoding = req.env.get("HTTP_CONTENT_ENCODING", "identity")
    if encoding.lower() != "identity":
        raise invalid(f"Content-Encoding: {encoding[:80]!r} is not taken, send the body as it is")
    length = req.content_length
    if length is not None and length > MOST_BYTES:
        uploads.discard(req)
        raise invalid(f"body: {length} bytes, at most {MOST_BYTES} are taken")
    if not length and not uploads.is_chunked(req):
        return b""
    try:
        with uploads.patience(req):
            found: bytes = uploads.source(req).read(MOST_BYTES + 1)
    except OSError:
        raise invalid("body: it broke off") from None
    if len(found) > MOST_BYTES:
        uploads.discard(req)
        raise invalid(f"body: more than {MOST_BYTES} bytes")
    return found


def _json(req: falcon.Request, default: bytes) -> dict[str, Any]:
    text = raw(req) or default
    if not text:
        raise invalid("body: empty, a JSON object is expected")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid(f"body: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise invalid("body: not a JSON object")
    return value


def sentence(messages: Any) -> str:
    """Marshmallow's nested messages as one line: `task_groups.0.tasks.1.name: …; …`."""
    found = list(_flatten(messages, ()))
    shown = "; ".join(found[:MOST_ERRORS])
    more = len(found) - MOST_ERRORS
    return f"{shown}; and {more} more" if more > 0 else shown


def _flatten(messages: Any, path: tuple[str, ...]) -> Any:
    if isinstance(messages, dict):
        for key, value in messages.items():
            step = () if key in ("_schema", "value") else (str(key),)
            yield from _flatten(value, path + step)
    elif isinstance(messages, list):
        for value in messages:
            yield from _flatten(value, path)
    else:
        text = str(messages).rstrip(".")
        yield f"{'.'.join(path) or 'body'}: {text}"
