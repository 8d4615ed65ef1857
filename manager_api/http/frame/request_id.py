"""`X-Request-Id`: taken from the caller or given, answered, and named in every line of the log."""

import os

import falcon

from store import logs

HEADER = "X-Request-Id"


def take(req: falcon.Request) -> None:
    """Know the request by its caller's id; by one of ours if there is none that fits into a log line."""
    said = req.env.get("HTTP_X_REQUEST_ID", "")
    found: str = said if logs.is_request(said) else os.urandom(12).hex()
    req.context.request_id = found
    logs.request.set(found)


def of(req: falcon.Request) -> str:
    """The id of a request."""
    return str(getattr(req.context, "request_id", ""))
