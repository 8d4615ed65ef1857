"""A call and its answer, as data: whatever carries them over the wire, and whether it blocks or not."""

import json
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict
from urllib.parse import quote, urlencode

from muster.client.errors import Unreachable, refusal

ANSWER_WITHIN = 30.0
STREAM_WITHIN = 600.0
"""Seconds that a manager may work on a whole store before it says a word."""
JSON = "application/json"
SAFE_AGAIN = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that come to the same when they are carried out twice."""

Content = bytes | Iterable[bytes] | AsyncIterable[bytes]
"""What is sent as it is read; for a client that blocks, no `AsyncIterable`."""


class Options(TypedDict, total=False):
    """What every call takes by name beside its own parameters.

    timeout: seconds without a byte from the manager after which the call is given up.
    if_match: the `etag` of the record as it was seen; another one is `PreconditionFailed`.
    idempotency_key: for a POST: a second one with the same key gets the first one's answer. One is made for
        each call that has none.
    replicated: whether the write is to reach a replica of the store before it is answered.
    request_id: by which the manager's log names the request; one is made for each call that has none.
    headers: whatever else is to be sent.
    """

    timeout: float
    if_match: str
    idempotency_key: str
    replicated: bool
    request_id: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Call:
    """One request; `path` begins with a slash and has its query already."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes | None = None
    content: Content | None = None
    """Instead of `data`, of any size; such a call is sent once."""
    timeout: float = ANSWER_WITHIN

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again although it may have been carried out."""
        return self.content is None and (self.method in SAFE_AGAIN or "Idempotency-Key" in self.headers)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: all of it; `headers` by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class About:
    """What an answer says beside its body; None: nothing of the kind."""

    status: int
    etag: str | None
    """Given back as `if_match`, it guards against overwriting what somebody else wrote meanwhile."""
    revision: str | None
    """Given back as `after`, the next read waits for what is newer."""
    request_id: str | None
    version: str | None
    """Of the manager."""
    replayed: bool
    """Whether this is the answer to an earlier request with the same idempotency key."""


class Told(dict[str, Any]):
    """A JSON object that remembers the answer that it came in."""

    __slots__ = ("answer",)
    answer: Answer


def about(value: Any) -> About:
    """What came with the answer that a client gave.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, Told):
        raise TypeError("this is no answer of a client")
    said = value.answer.headers
    return About(
        value.answer.status,
        said.get("etag"),
        said.get("muster-revision"),
        said.get("x-request-id"),
        said.get("muster-version"),
        said.get("idempotent-replayed") == "true",
    )


def path(pattern: str, *values: str, keep: str = "") -> str:
    """A path with its `{}` filled in; characters of `keep` stay as they are."""
    return pattern.format(*(quote(str(value), safe=keep) for value in values))


def with_query(where: str, asked: Mapping[str, Any]) -> str:
    """A path with parameters; those that are None are left out, those that are lists said several times."""
    found = [
        (name, _word(each))
        for name, value in asked.items()
        for each in (value if isinstance(value, list | tuple) else [value])
        if each is not None
    ]
    if not found:
        return where
    return f"{where}{'&' if '?' in where else '?'}{urlencode(found)}"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def encoded(body: Any) -> bytes | None:
    """A body as JSON."""
    return None if body is None else json.dumps(body, ensure_ascii=False).encode()


def decoded(answer: Answer, url: str) -> Any:
    """What an answer says.

    Raises:
        Refused: it is no success. Unreachable: it is no JSON, as from something else than a manager.
    """
    try:
        found = json.loads(answer.data) if answer.data else None
    except ValueError as error:
        if 200 <= answer.status < 300:
            raise Unreachable(f"no manager answers at {url}: {error}") from error
        found = None
    if not 200 <= answer.status < 300:
        raise refusal(answer.status, found, answer.headers)
    if isinstance(found, dict):
        found = Told(found)
        found.answer = answer
    return found
