"""Asking the leader: what only who plans can say, within seconds."""

import threading
from collections.abc import Mapping
from typing import Any

from manager_api.http.frame.errors import ApiError, invalid
from manager_api.http.services import Services
from store.codec import Json
from store.errors import BadRecord
from store.kv.questions import Questions

WITHIN = 5.0
"""Seconds that a call waits for the leader's answer."""
MOST_AT_ONCE = 24
"""Calls of one worker process that wait for answers: each has a thread of 64 for so long."""
_places = threading.BoundedSemaphore(MOST_AT_ONCE)


def ask(services: Services, kind: str, body: Mapping[str, Any], within: float = WITHIN) -> Json:
    """The leader's answer to one question.

    Raises:
        ApiError: what the leader refuses; 503 if nobody leads, or no answer comes `within` so many seconds.
    """
    if not _places.acquire(blocking=False):
        raise _later("Too many questions", f"{MOST_AT_ONCE} calls wait for the controller already")
    try:
        said = services.call(lambda store: Questions(store.client, store.keys).ask(kind, body, within))
    except ValueError as error:
        raise invalid(f"body: {error}") from None
    except BadRecord as error:
        raise _later("The controller's answer is not understood", str(error)) from None
    finally:
        _places.release()
    if said is None:
        raise _later(
            "No controller answers",
            f"nobody answered within {within:g} s: no controller leads just now, or it is busy; "
            "`muster doctor` says which",
        )
    refused = said.get("error")
    if isinstance(refused, dict):
        status = refused.get("status")
        text, detail = str(refused.get("error")), refused.get("detail")
        failed = ApiError(status if isinstance(status, int) else 500, text, str(detail) if detail else None)
        failed.retry_after = 1 if failed.status == 503 else None
        raise failed
    answer = said.get("answer")
    if not isinstance(answer, dict):
        raise _later("The controller's answer is not understood", "it holds neither an answer nor an error")
    return answer


def _later(error: str, detail: str) -> ApiError:
    found = ApiError(503, error, detail)
    found.retry_after = 1
    return found
