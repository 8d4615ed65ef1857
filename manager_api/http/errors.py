"""Every error answer is `{"error": …}`; `detail` may say more."""

import logging
from typing import Any

import falcon
import orjson

from store.errors import EpochChanged, StoreEmpty, StoreError, Unavailable, WrongRelease

log = logging.getLogger("api")

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
    _req: falcon.Request, resp: falcon.Response, error: ApiError, _params: dict[str, Any]
) -> None:
    """Falcon's handler of our own errors."""
    if error.retry_after is not None:
        resp.set_header("Retry-After", str(error.retry_after))
    _answer(resp, error.status, error.body)


def handle_store_error(
    _req: falcon.Request, resp: falcon.Response, error: StoreError, _params: dict[str, Any]
) -> None:
    """The store failed us: 503 when it may come back, 500 when it is our fault."""
    if isinstance(error, Unavailable | StoreEmpty | EpochChanged | WrongRelease):
        resp.set_header("Retry-After", "1")
        _answer(resp, 503, {"error": "The store is not available", "detail": str(error)})
        return
    log.error("store: %s", error, exc_info=error)
    _answer(resp, 500, {"error": "Internal error", "detail": str(error)})


def handle_unexpected(
    _req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, Any]
) -> None:
    """The manager's own fault: logged with its stack, answered without it."""
    log.error("unexpected", exc_info=error)
    _answer(resp, 500, {"error": "Internal error", "detail": "the manager's log says more"})


def serialize(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    """Falcon's own errors (404, 405, …) in our form."""
    body: dict[str, Any] = {"error": error.title or "Error"}
    body["detail"] = error.description or f"{req.method} {req.path} is no call of this API"
    resp.data = orjson.dumps(body)
    resp.content_type = falcon.MEDIA_JSON


def _answer(resp: falcon.Response, status: int, body: dict[str, Any]) -> None:
    resp.status = status
    resp.data = orjson.dumps(body)
    resp.content_type = falcon.MEDIA_JSON
