"""Waiting for the controller: one watching thread per worker, however many requests wait."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TypeVar

from store.backoff import Backoff
from store.errors import StoreError
from store.keys import STATUS
from store.kv.store import Store
from store.kv.watch import Watch

log = logging.getLogger("api")
T = TypeVar("T")

RECHECK = 0.5
"""Seconds after which a waiter looks for itself: events are only hints."""


class Decisions:
    """Wakes the waiters of a deployment when its status record changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiters: dict[str, set[threading.Event]] = {}
        """By deployment: a name that several ask for at once has several who wait."""
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @contextmanager
    def expecting(self, deployment: str) -> Iterator["Waiter"]:
        """Begin to listen before the deployment is written, so that no answer is missed."""
        self._ensure_thread()
        event = threading.Event()
        with self._lock:
            self._waiters.setdefault(deployment, set()).add(event)
        try:
            yield Waiter(event)
        finally:
            with self._lock:
                self._waiters[deployment].discard(event)
                if not self._waiters[deployment]:
                    del self._waiters[deployment]

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        failures, backoff = 0, Backoff(first=0.05, most=2.0)
        while True:
            try:
                meta = self._store.meta()
                watch = Watch(self._store.client, self._store.keys, epoch=meta.epoch, after=meta.rev)
                while True:
                    events = watch.poll(1000)
                    failures = 0
                    for event in events:
                        if event.collection == STATUS:
                            self._wake(event.field)
            except StoreError as error:
                failures += 1
                if failures == 1:
                    log.info("decisions: %s; listening again", error)
                threading.Event().wait(backoff.delay(failures))
                for deployment in list(self._waiters):
                    self._wake(deployment)

    def _wake(self, deployment: str) -> None:
        with self._lock:
            events = list(self._waiters.get(deployment, ()))
        for event in events:
            event.set()


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
