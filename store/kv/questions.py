"""Questions that only the leader can answer, from memory: the API's side, the leader's, the words of both.

A question is one entry of a stream, JSON in `q`: `id`, `kind`, `body`, `within` (seconds for which its
asker waits), and `request`, the id of the API's request. The answer is the one element of a list of its
own, which expires. Neither is a record: what is lost is asked again.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from store import logs
from store.codec import Json, dumps, loads
from store.errors import BadRecord
from store.keys import Keys
from store.kv.connection import Client, translated

MOST_QUESTIONS = 1000
MOST_BODY = 256 * 1024
"""Bytes of one question."""
MOST_WITHIN = 30.0
LIVES_MS = 60_000
WAIT_AT_ONCE = 1.0
"""Seconds of one wait for an answer: a connection that hangs is noticed after some seconds more."""
READ_AT_ONCE = 100
_ID = re.compile(r"[0-9a-f]{32}")
_FIRST = "0-0"


@dataclass(frozen=True, slots=True)
class Question:
    """One question, as the leader heard it."""

    id: str
    kind: str
    body: Mapping[str, Any]
    left: float
    """Seconds for which its asker still waited when it was heard."""
    request: str = ""
    """The id of the request that it is asked for."""


class Questions:
    """The API's side. Threads may share it: each waits on a connection of its own from the pool."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def ask(self, kind: str, body: Mapping[str, Any], within: float) -> Json | None:
        """The leader's answer; None if none came `within` so many seconds.

        Raises:
            ValueError: the question is too long.
            BadRecord: the answer is none.
            Unavailable: the store does not answer.
        """
        deadline = monotonic() + within
        question = uuid.uuid4().hex
        asked = {"id": question, "kind": kind, "body": body, "within": within}
        raw = dumps(asked | ({"request": request} if (request := logs.request.get()) else {}))
        if len(raw) > MOST_BODY:
            raise ValueError(f"the question has {len(raw)} bytes, at most {MOST_BODY}")
        key = self._keys.questions
        with translated():
            pipe = self._client.pipeline(transaction=False)
            pipe.xadd(key, {"q": raw}, maxlen=MOST_QUESTIONS, approximate=False)
            pipe.pexpire(key, LIVES_MS)
            pipe.execute()
        while (left := deadline - monotonic()) > 0:
            with translated():
                found = self._client.blpop([self._keys.answer(question)], timeout=min(left, WAIT_AT_ONCE))
            if found is not None:
                return loads(found[1], "answer")
        return None


class Asked:
    """The leader's side of hearing: for one thread. Older questions are heard too, while somebody waits."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._cursor = _FIRST

    def wait(self, wait_ms: int) -> list[Question]:
        """The next questions that somebody still waits for; none if none come within `wait_ms`.

        Raises:
            Unavailable: wait again later.
        """
        key = self._keys.questions
        with translated():
            pipe = self._client.pipeline(transaction=False)
            pipe.xread({key: self._cursor}, count=READ_AT_ONCE, block=wait_ms or None)
            pipe.time()
            pipe.xrevrange(key, count=1)
            found, (seconds, micros), last = pipe.execute()
        entries = found[0][1] if found else []
        if entries:
            self._cursor = entries[-1][0].decode()
        elif not last or _place(last[0][0]) < _place(self._cursor.encode()):
            self._cursor = _FIRST  # it expired, or another server has not come so far: numbers begin anew
        now = seconds + micros / 1e6
        questions = (_question(fields, now - _place(entry)[0] / 1000) for entry, fields in entries)
        return [each for each in questions if each is not None]


def answer(client: Client, keys: Keys, question: str, said: Mapping[str, Any]) -> None:
    """Answer a question.

    Raises:
        Unavailable: the store does not answer.
        StoreError: the place of the answer is taken by something else.
    """
    key = keys.answer(question)
    with translated():
        pipe = client.pipeline(transaction=False)
        pipe.rpush(key, dumps(said))
        pipe.pexpire(key, LIVES_MS)
        pipe.execute()


def _place(entry: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry.partition(b"-")
    return int(milliseconds), int(number)


def _question(fields: Mapping[bytes, bytes], age: float) -> Question | None:
    """A question as it lies in the stream; None for nonsense, and for what nobody waits for any more."""
    try:
        said = loads(fields.get(b"q", b""), "question")
    except BadRecord:
        return None
    name, kind, body, within = (said.get(key) for key in ("id", "kind", "body", "within"))
    if not isinstance(name, str) or not _ID.fullmatch(name) or not isinstance(kind, str):
        return None
    if not isinstance(body, dict) or isinstance(within, bool) or not isinstance(within, int | float):
        return None
    left = min(within, MOST_WITHIN) - age
    request = said["request"] if logs.is_request(said.get("request")) else ""
    return Question(name, kind, body, left, request) if left > 0 else None
