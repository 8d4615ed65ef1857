"""What both clients know: where the manager is, who asks, and how a call is put together."""

import os
from collections.abc import Mapping
from typing import Any

from muster.client import exchange
from muster.client.exchange import ANSWER_WITHIN, JSON, STREAM_WITHIN, Answer, Call, Content, Options
from muster.client.flows import Rules
from muster.client.retrying import Retries

DEFAULT_URL = "http://localhost:8080"
USUAL = Retries()
_NO_OPTIONS: Options = {}


class Base:
    """Puts calls together; the wire carries them."""

    def __init__(
        self, url: str | None, token: str | None, timeout: float, retries: Retries, *, replicated: bool
    ) -> None:
        self.url = (url or os.environ.get("MUSTER_URL") or DEFAULT_URL).rstrip("/")
        self.unconfirmed = False
        """Whether anything written with `replicated` was answered without a replica's word."""
        self._token = token
        self._timeout = timeout
        self._replicated = replicated
        self._rules = Rules(self.url, retries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        options: Options = _NO_OPTIONS,
        *,
        content: Content | None = None,
        size: int | None = None,
        accept: str = JSON,
    ) -> Call:
        streamed = content is not None
        headers = {"Accept": accept, "X-Request-Id": options.get("request_id") or os.urandom(16).hex()}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if streamed:
            headers["Content-Type"] = "application/octet-stream"
        elif body is not None:
            headers["Content-Type"] = JSON
        if size is not None:
            headers["Content-Length"] = str(size)
        if method == "POST" and not streamed:
            headers["Idempotency-Key"] = options.get("idempotency_key") or os.urandom(16).hex()
        if "if_match" in options:
            headers["If-Match"] = options["if_match"]
        if method not in ("GET", "HEAD") and options.get("replicated", self._replicated):
            headers["Muster-Durability"] = "replicated"
        headers |= options.get("headers", {})
        usual = STREAM_WITHIN if streamed else self._timeout
        return Call(method, path, headers, exchange.encoded(body), content, options.get("timeout") or usual)

    def _note(self, call: Call, headers: Mapping[str, str], status: int) -> None:
        """Remember if something was not confirmed that was to be."""
        if "Muster-Durability" in call.headers and status < 300 and headers.get("muster-replicated") != "yes":
            self.unconfirmed = True

    def _heard(self, call: Call, answer: Answer) -> Answer:
        self._note(call, answer.headers, answer.status)
        return answer


__all__ = ["ANSWER_WITHIN", "DEFAULT_URL", "STREAM_WITHIN", "USUAL", "Base"]
