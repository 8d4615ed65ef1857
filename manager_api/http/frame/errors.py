"""Every error answer is `{"error": …}`, `detail` may say more; or a problem (RFC 9457), where asked for."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import falcon
import orjson

from store.errors import EpochChanged, StoreEmpty, StoreError, Unavailable, WrongRelease

log = logging.getLogger("api")

PROBLEM = "application/problem+json"
CONTRACT_5 = "contract5"
"""`envelope` of resources whose errors have `status` and `message`, too."""

INVALID = "Invalid request format"
NO_TEMPLATE = "Business template not found"
NO_VERSION = "There is no such version of the template"
NO_DEPLOYMENT = "Business instance not found"


class ApiError(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, error: str, detail: str | None = None, **extra: Any) -> None:
        super().__init__(error)
        self.status = status
        self.retry_after: int | None = None
        """Seconds until it is worth another try."""
        self.body: dict[str, Any] = {"error": error, **extra}
        if detail:
            self.body["detail"] = detail


def invalid(detail: str) -> ApiError:
    """400: the request cannot be understood; `detail` names the field."""
    return ApiError(400, INVALID, detail)


def handle_api_error(
    req: falcon.Request, resp: falcon.Response, error: ApiError, _params: dict[str, Any]
) -> None:
    """Falcon's handler of our own errors."""
    if error.retry_after is not None:
        resp.set_header("Retry-After", str(error.retry_after))
    _answer(req, resp, error.status, error.body)


def handle_store_error(
    req: falcon.Request, resp: falcon.Response, error: StoreError, _params: dict[str, Any]
) -> None:
    """The store failed us: 503 when it may come back, 500 when it is our fault."""
    if isinstance(error, Unavailable | StoreEmpty | EpochChanged | WrongRelease):
        resp.set_header("Retry-After", "1")
        _answer(req, resp, 503, {"error": "The store is not available", "detail": str(error)})
        return
    log.error("store: %s", error, exc_info=error)
    _answer(req, resp, 500, {"error": "Internal error", "detail": str(error)})


def handle_unexpected(
    req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, Any]
) -> None:
    """The manager's own fault: logged with its stack, answered without it."""
    log.error("unexpected", exc_info=error)
    _answer(req, resp, 500, {"error": "Internal error", "detail": "the manager's log says more"})


def serialize(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    """Falcon's own errors (404, 405, …) in our form."""
    detail = error.description or f"{req.method} {req.path} is no call of this API"
    _answer(req, resp, error.status_code, {"error": error.title or "Error", "detail": detail})


def _answer(req: falcon.Request, resp: falcon.Response, status: int, body: Mapping[str, Any]) -> None:
    resp.status = status
    if wants_problem(req.env.get("HTTP_ACCEPT", "")):
        resp.data = orjson.dumps(problem(status, body, getattr(req.context, "request_id", "")))
        resp.content_type = PROBLEM
        return
    if getattr(getattr(req.context, "resource", None), "envelope", None) == CONTRACT_5:
        body = {"status": status, "message": body.get("detail", body["error"]), **body}
    resp.data = orjson.dumps(body)
    resp.content_type = falcon.MEDIA_JSON


def wants_problem(accept: str) -> bool:
    """Whether `Accept` names problems, and does not want plain JSON more; wildcards name none."""
    if PROBLEM not in (accept := accept.lower()):
        return False
    try:
        weight = falcon.mediatypes.quality(PROBLEM, accept)
        plain = falcon.mediatypes.quality(falcon.MEDIA_JSON, accept) if falcon.MEDIA_JSON in accept else 0.0
    except ValueError:
        return False
    return weight > 0 and weight >= plain


def problem(status: int, body: Mapping[str, Any], request: str) -> dict[str, Any]:
    """An error in the words of RFC 9457; what else its body says stays beside them."""
    error = str(body["error"])
    kind = "-".join(re.findall(r"[a-z0-9]+", error.lower()))
    return {
        **body,
        "type": f"urn:muster:error:{kind}",
        "title": error,
        "status": status,
        "instance": f"urn:muster:request:{request}",
    }
