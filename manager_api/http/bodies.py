"""Request bodies: bounded, JSON, and of the shape their schema says."""

from typing import Any

import falcon
import orjson
from marshmallow import Schema, ValidationError

from manager_api.http.errors import invalid

MOST_BYTES = 4 * 1024 * 1024
MOST_DISCARDED = 64 * 1024 * 1024
MOST_ERRORS = 5


def read(req: falcon.Request, schema: Schema, *, optional: bool = False) -> Any:
    """The validated body; `optional`: none at all is as good as `{}`.

    Raises:
        ApiError: 400 with a sentence that names the field.
    """
    try:
        return schema.load(_json(req, b"{}" if optional else b""))
    except ValidationError as error:
        raise invalid(sentence(error.messages)) from None


def _json(req: falcon.Request, default: bytes) -> dict[str, Any]:
    length = req.content_length
    chunked = length is None and req.env.get("wsgi.input_terminated")
    stream = req.stream if chunked else req.bounded_stream
    if length is not None and length > MOST_BYTES:
        _discard(stream)
        raise invalid(f"body: {length} bytes, at most {MOST_BYTES} are taken")
    raw = stream.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        _discard(stream)
        raise invalid(f"body: more than {MOST_BYTES} bytes")
    raw = raw or default
    if not raw:
        raise invalid("body: empty, a JSON object is expected")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise invalid(f"body: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise invalid("body: not a JSON object")
    return value


def _discard(stream: Any) -> None:
    """Read on for a while: a client that is still sending would never see the answer."""
    left = MOST_DISCARDED
    while left > 0 and (got := stream.read(min(left, 1 << 16))):
        left -= len(got)


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
