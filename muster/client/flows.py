"""What a client does, without doing it: generators that say what is to be sent, and when to wait.

A flow yields `Call` (and is sent its `Answer`, or has `Unreachable` thrown in), `Pause`, and `Out` for what
its caller gets. The client that blocks and the one that does not both carry out the same flows.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from muster.client import exchange
from muster.client.errors import Invalid, MusterError, Refused, Unreachable
from muster.client.exchange import Answer, Call
from muster.client.following import passes
from muster.client.retrying import Retries

REVISION = "muster-revision"
GRACE = 10.0
"""Seconds that an answer may take beyond those for which it is to be held back."""
WHOLE_PAGE = 500
WAIT = 60.0
"""Seconds for which a manager holds an answer back at most, unless others are asked for."""
OnTrouble = Callable[[MusterError], None] | None
"""Is told that a manager is away, which is waited for."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Out:
    """Something for whoever asked."""

    value: Any


Flow = Generator[Call | Pause | Out, Any, None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What flows are to know of the client that carries them out."""

    url: str
    retries: Retries


def answered(call: Call, rules: Rules) -> Generator[Call | Pause | Out, Any, Any]:
    """What a call is answered, after as many tries as it takes.

    Raises:
        Unreachable, Refused: as named, the last time.
    """
    tried = 0
    while True:
        error: MusterError
        try:
            return exchange.decoded((yield call), rules.url)
        except (Unreachable, Refused) as found:
            error = found
        tried += 1
        pause = rules.retries.pause(call, tried, error)
        if pause is None:
            raise error
        yield Pause(pause)


def once(call: Call, rules: Rules) -> Flow:
    """One call."""
    yield Out((yield from answered(call, rules)))


def pages(make: Callable[[Mapping[str, Any]], Call], asked: Mapping[str, Any], rules: Rules) -> Flow:
    """The rows of a list, page by page; `make` gives the call for a query.

    What comes and goes meanwhile neither repeats nor hides what stays.
    """
    page = {**asked, "limit": asked.get("limit") or WHOLE_PAGE}
    while True:
        found = yield from answered(make(page), rules)
        for row in found["data"]:
            yield Out(row)
        if not found.get("next"):
            return
        page["cursor"] = found["next"]


def watch(
    make: Callable[[Mapping[str, Any]], Call],
    asked: Mapping[str, Any],
    rules: Rules,
    wait: float,
    on_trouble: OnTrouble,
) -> Flow:
    """What a blocking read answers now, and then whenever it has become another.

    With `after` in `asked`, the revision of an earlier answer, it begins with what is newer than that one.

    A manager that is away is waited for, however long; `on_trouble` is told once each time. What the manager
    refuses for good (a record that is gone, say) is raised.
    """
    after: str | None = asked.get("after")
    seen: Answer | None = None
    failed = 0
    while True:
        query = {**asked, "after": after, "wait": f"{wait:g}s" if after is not None else None}
        call = replace(make(query), timeout=wait + GRACE)
        try:
            answer: Answer = yield call
            found = exchange.decoded(answer, rules.url)
        except (Unreachable, Refused) as error:
            if isinstance(error, Invalid) and after is not None and seen is not None:
                after = None  # a revision of another history: begin anew
                continue
            if not passes(error):
                raise
            failed += 1
            if on_trouble and failed == 1:
                on_trouble(error)
            yield Pause(rules.retries.before(failed, error))
            continue
        failed = 0
        revision = answer.headers.get(REVISION)
        if revision is None:
            raise Unreachable(f"the manager at {rules.url} does not answer reads that wait")
        if (after is None or revision != after) and (seen is None or answer.data != seen.data):
            yield Out(found)
        seen, after = answer, revision
