"""Calls to a manager's API."""

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO, Any

ANSWER_WITHIN = 30.0
STREAM_WITHIN = 600.0
"""Seconds that a manager may work on a whole store before it says a word."""


class Unreachable(Exception):
    """No manager answers there."""


class Refused(Exception):
    """The manager answered, but not with a success."""

    def __init__(self, status: int, body: dict[str, Any], retry_after: float | None = None) -> None:
        super().__init__(body.get("detail") or body.get("error") or f"HTTP status {status}")
        self.status = status
        self.body = body
        self.retry_after = retry_after
        """Seconds after which it may be otherwise, if the manager says so."""


class Client:
    """One manager.

    `replicated`: what is written is to reach a replica of the store; `unconfirmed` says afterwards
    whether any of it was answered without that.
    """

    def __init__(self, url: str, *, replicated: bool = False) -> None:
        self.url = url.rstrip("/")
        self.unconfirmed = False
        self._replicated = replicated

    def get(self, path: str) -> Any:
        """The answer of a GET.

        Raises:
            Unreachable, Refused: as named.
        """
        return self._call("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        """The answer of a POST.

        Raises:
            Unreachable, Refused: as named.
        """
        return self._call("POST", path, body)

    def delete(self, path: str) -> Any:
        """The answer of a DELETE.

        Raises:
            Unreachable, Refused: as named.
        """
        return self._call("DELETE", path, None)

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of an answer as they come; the last one lacks its end when it was cut off.

        Raises:
            Unreachable, Refused: as named, also in the middle.
        """
        try:
            with urllib.request.urlopen(self.url + path, timeout=ANSWER_WITHIN) as answer:  # noqa: S310
                yield from answer
        except urllib.error.HTTPError as error:
            raise refused(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"no manager answers at {self.url}: {reason}") from error

    @contextlib.contextmanager
    def stream(self, path: str, body: IO[bytes] | None = None, size: int = 0) -> Iterator[Any]:
        """The answer of a POST as it comes, with `headers` and `read`; `body` is sent as it is read.

        Raises:
            Unreachable, Refused: as named, also in the middle.
        """
        head = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        try:
            request = urllib.request.Request(  # noqa: S310 - the URL is its user's own
                self.url + path, data=body or b"", method="POST", headers=head
            )
            with urllib.request.urlopen(request, timeout=STREAM_WITHIN) as answer:  # noqa: S310
                yield answer
        except urllib.error.HTTPError as error:
            raise refused(error) from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"the manager at {self.url} does not answer, or broke off: {reason}") from error

    def _call(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        asking = self._replicated and method != "GET"
        if asking:
            headers["Muster-Durability"] = "replicated"
        try:
            request = urllib.request.Request(  # noqa: S310 - the URL is its user's own
                self.url + path, data=data, method=method, headers=headers
            )
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN) as answer:  # noqa: S310
                if asking and answer.headers.get("Muster-Replicated") != "yes":
                    self.unconfirmed = True
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise refused(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"no manager answers at {self.url}: {reason}") from error


def refused(error: urllib.error.HTTPError) -> Refused:
    """What an answer that is no success says."""
    after = error.headers.get("Retry-After", "") if error.headers else ""
    return Refused(error.code, _body(error), float(after) if after.isascii() and after.isdigit() else None)


def _body(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        body = json.load(error)
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return body if isinstance(body, dict) else {}
