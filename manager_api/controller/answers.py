"""Answers what the API asks the leader: one thread hears, the controller's own thread answers.

A fleet is one thread's to read. So questions wait until a round has time for them: a few at a time, and
never so long that the lease is in danger. Whatever is asked, it is no reason not to lead.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from manager_api.core.fleet import Fleet, Json
from manager_api.core.moment import Moment
from store import logs
from store.clock import Clock
from store.codec import dumps
from store.errors import BadRecord, StoreError, Unavailable
from store.keys import Keys
from store.kv.connection import Client
from store.kv.questions import Asked, Question, answer

log = logging.getLogger("controller")

AT_ONCE, BUDGET = 20, 0.05
"""Questions of one round, and seconds after which a round answers no further one."""
RESTS, MOST_REST = 4.0, 2.0
"""After a round that took longer than its budget, no question is answered for so many times as long, so that
most of the leader's time is for planning, however much is asked; and for no more than the second number of
seconds: it may just be that the machine was busy, and all who wait now would be given up."""
MOST_WAITING = 1000
MOST_ANSWER = 8 * 1024 * 1024
LISTEN_MS = 1000
PAUSE = 1.0
"""Seconds without listening after trouble."""

Handler = Callable[[Fleet, Mapping[str, Any], Moment], Json]


class CannotAnswer(Exception):
    """A question has no answer: an HTTP status, what it is in short, and why."""

    def __init__(self, status: int, error: str, detail: str) -> None:
        super().__init__(error)
        self.said: Json = {"status": status, "error": error, "detail": detail}


@dataclass(frozen=True, slots=True)
class _Waiting:
    question: Question
    until: float
    """On our own monotonic clock."""


class Answers:
    """One leader's. `wake` tells the controller's thread that there is something to answer."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        clock: Clock,
        handlers: Mapping[str, Handler],
        wake: Callable[[], None],
    ) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._handlers = handlers
        self._wake = wake
        self._waiting: deque[_Waiting] = deque(maxlen=MOST_WAITING)
        self._stop = threading.Event()
        self._rests_until = 0.0

    def listen(self) -> None:
        """Begin to hear, on a thread."""
        threading.Thread(target=self._run, name="controller-questions", daemon=True).start()

    def stop(self) -> None:
        """Ask the thread to end; it does within a second or so."""
        self._stop.set()

    def _run(self) -> None:
        asked = Asked(self._client, self._keys)
        while not self._stop.is_set():
            try:
                self.heard(asked.wait(LISTEN_MS))
            except Unavailable:
                self._stop.wait(PAUSE)
            except Exception as error:  # noqa: BLE001 - without answers all else still happens
                log.warning("questions: %r", error)
                self._stop.wait(PAUSE * 5)

    def heard(self, questions: list[Question]) -> None:
        """Put questions where the controller's thread finds them; the oldest go when there are too many."""
        now = self._clock.now()
        self._waiting.extend(_Waiting(each, now + each.left) for each in questions)
        if questions and not self._stop.is_set():
            self._wake()

    def give(self, fleet: Fleet, send: Client) -> None:
        """Answer some of what waits; for the thread that the fleet belongs to.

        Raises:
            Unavailable: the store does not answer.
        """
        began = self._clock.now()
        if began < self._rests_until:
            return
        for _ in range(AT_ONCE):
            try:
                waiting = self._waiting.popleft()
            except IndexError:
                return
            if self._clock.now() < waiting.until:
                self._answer(fleet, waiting.question, send)
            spent = self._clock.now() - began
            if spent > BUDGET:
                self._rests_until = began + spent + min(spent * RESTS, MOST_REST)
                return  # the loop comes by again, at its next tick at the latest
        if self._waiting:
            self._wake()  # the others in the next round

    def _answer(self, fleet: Fleet, question: Question, send: Client) -> None:
        before = logs.request.set(question.request)
        try:
            answer(send, self._keys, question.id, self._said(fleet, question))
        except Unavailable:
            raise
        except StoreError as error:
            log.warning("question %s cannot be answered: %s", question.kind[:40], error)
        finally:
            logs.request.reset(before)

    def _said(self, fleet: Fleet, question: Question) -> Json:
        """The answer, or why there is none."""
        now = Moment(self._clock.wall(), self._clock.now())
        try:
            handler = self._handlers.get(question.kind)
            if handler is None:
                raise CannotAnswer(
                    501,
                    "Not offered",
                    f"this controller does not know questions of kind {question.kind[:40]!r}",
                )
            said = handler(fleet, question.body, now)
            if len(dumps(said)) > MOST_ANSWER:
                raise CannotAnswer(500, "The answer is too large", f"more than {MOST_ANSWER >> 20} MiB")
        except CannotAnswer as error:
            return {"error": error.said}
        except (BadRecord, KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
            log.warning("question %s: %r", question.kind[:40], error)
            why = f"records cannot be read, or the question is none: {error!r}"
            return {"error": CannotAnswer(500, "The controller has no answer", why).said}
        return {"answer": said}
