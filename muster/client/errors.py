"""What can go wrong between a client and a manager."""

from collections.abc import Mapping
from typing import Any

_ID = "x-request-id"


class MusterError(Exception):
    """Whatever a client raises of its own accord."""


class Unreachable(MusterError):
    """No manager answers there, or it broke off in the middle of its answer.

    Attributes:
        sent: whether the request may have reached it, and may have been carried out.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class Refused(MusterError):
    """The manager answered, but not with a success. There is a subclass for what is often told apart.

    Attributes:
        status: the HTTP status.
        error: what kind of refusal it is, in the manager's words; the same for all of a kind.
        detail: what it was this time; empty if there is nothing to add.
        body: the whole answer.
        retry_after: seconds after which it may be otherwise, if the manager says so.
        request_id: by which the manager's log names this request, if it answered one.
    """

    def __init__(
        self,
        status: int,
        body: dict[str, Any],
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(body.get("detail") or body.get("error") or f"HTTP status {status}")
        self.status = status
        self.body = body
        self.error = str(body.get("error") or "")
        self.detail = str(body.get("detail") or "")
        self.retry_after = retry_after
        self.request_id = request_id
        if request_id:
            self.add_note(f"request id {request_id}")


class Invalid(Refused):
    """400 or 422: the request is not understood; `detail` names the field."""


class NotAllowed(Refused):
    """401 or 403."""


class NotFound(Refused):
    """404: there is no such record."""


class Conflict(Refused):
    """409: it does not go together with how things are."""


class PreconditionFailed(Refused):
    """412: the record is not any more what `if_match` was given of; read it again."""


class Unavailable(Refused):
    """429, 502, 503 or 504: not now; `retry_after` may say when."""


_KINDS: Mapping[int, type[Refused]] = {
    400: Invalid,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    422: Invalid,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def refusal(status: int, body: Any, headers: Mapping[str, str]) -> Refused:
    """The error for an answer that is no success; `headers` by their names in lower case."""
    after = headers.get("retry-after", "")
    return _KINDS.get(status, Refused)(
        status,
        body if isinstance(body, dict) else {},
        float(after) if after.isascii() and after.isdigit() else None,
        headers.get(_ID),
    )
