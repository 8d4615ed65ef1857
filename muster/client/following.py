"""Events as the manager tells them (server-sent events), heard again from where it broke off."""

import json
from collections.abc import Mapping
from typing import Any

from muster.client import exchange
from muster.client.errors import MusterError, Refused, Unreachable

EVENTS = "/v1/events"
NEWEST = f"{EVENTS}?limit=1"
BEGINNING = "0-0"
FIRST, LONGEST = 0.2, 5.0
"""Seconds between tries to hear more."""
PASSING = frozenset({429, 500, 502, 503, 504})
"""What a manager may answer while it or its store comes back."""


def passes(error: MusterError) -> bool:
    """Whether a manager may come back from this."""
    return isinstance(error, Unreachable) or (isinstance(error, Refused) and error.status in PASSING)


class Following:
    """What is known of a stream; line by line."""

    def __init__(self, asked: Mapping[str, str | None], after: str) -> None:
        self._asked = asked
        self._after = after
        self._heard = ""
        self.failed = 0
        """Tries since the manager last said something."""

    @property
    def path(self) -> str:
        """Where to go on."""
        return exchange.with_query(EVENTS, {**self._asked, "follow": "1", "after": self._after})

    def hear(self, line: bytes) -> dict[str, Any] | None:
        """The event of which a line is the last part, if it is one."""
        self.failed = 0
        name, _, value = line.decode(errors="replace").rstrip("\n").partition(": ")
        if name == "id":
            self._heard = value
        elif name == "data" and line.endswith(b"\n"):
            found: dict[str, Any] = json.loads(value)
            return found
        return None

    def done(self) -> None:
        """The event that was heard last has been dealt with: it is not to come again."""
        self._after = self._heard or self._after

    def trouble(self, error: MusterError) -> tuple[float, bool]:
        """How many seconds to wait before the next try, and whether this is the first that failed.

        Raises:
            MusterError: the error, if trying again is of no use.
        """
        if not passes(error):
            raise error
        self.failed += 1
        return min(LONGEST, FIRST * 2.0 ** min(self.failed - 1, 30)), self.failed == 1


def newest(answer: Any) -> str:
    """The id of the newest event that there is."""
    return str(answer["data"][0]["id"]) if answer["data"] else BEGINNING
