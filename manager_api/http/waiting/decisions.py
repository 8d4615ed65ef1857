"""Waiting for the controller: a deployment's status record says when it has decided."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TypeVar

from manager_api.http.waiting.ear import Ear
from store.keys import STATUS

T = TypeVar("T")

RECHECK = 0.5
"""Seconds after which a waiter looks for itself: what is heard are only hints."""


class Decisions:
    """Wakes the waiters of a deployment when its status record changes."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear

    @contextmanager
    def expecting(self, deployment: str) -> Iterator["Waiter"]:
        """Begin to listen before the deployment is written, so that no answer is missed."""
        with self._ear.listening({STATUS: deployment}) as event:
            yield Waiter(event)


class Waiter:
    """One request that waits."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def until(self, check: Callable[[], T | None], seconds: float) -> T | None:
        """What `check` finds, as soon as it finds something; None when the time is over."""
        deadline = monotonic() + seconds
        while (left := deadline - monotonic()) > 0:
            self._event.wait(min(left, RECHECK))
            self._event.clear()
            found = check()
            if found is not None:
                return found
        return None
