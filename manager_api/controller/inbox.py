"""Where the controller's listening threads leave what they hear, and wake it."""

import logging
import threading
from dataclasses import dataclass, field

from store.errors import EpochChanged, StoreError, Unavailable
from store.keys import Keys
from store.kv.api import Event
from store.kv.connection import Client
from store.kv.hints import Hints
from store.kv.watch import Watch

log = logging.getLogger("controller")

MOST_HINTED = 50_000
"""Names that wait to be looked at; forged ones among them."""
STORM_PAUSE = 0.25
"""Seconds without listening to hints after a storm of them."""


@dataclass(slots=True)
class Mail:
    """What came in since the last look."""

    events: list[Event] = field(default_factory=list)
    hinted: set[str] = field(default_factory=set)
    trouble: StoreError | None = None
    poked: bool = False
    """Somebody has something for the controller elsewhere."""


class Inbox:
    """Threads put, the controller takes."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._mail = Mail()

    def take(self, seconds: float) -> Mail:
        """All that is there; waits for something, up to `seconds`."""
        with self._condition:
            mail = self._mail
            if not (mail.events or mail.hinted or mail.trouble or mail.poked):
                self._condition.wait(seconds)
            mail, self._mail = self._mail, Mail()
            return mail

    def moved(self, events: list[Event]) -> None:
        """The change log has these."""
        with self._condition:
            self._mail.events += events
            self._condition.notify()

    def hinted(self, nodes: set[str]) -> None:
        """These nodes' `actual` moved, it is said."""
        with self._condition:
            if len(self._mail.hinted) < MOST_HINTED:
                self._mail.hinted |= nodes
            self._condition.notify()

    def poke(self) -> None:
        """There is something to do that lies elsewhere."""
        with self._condition:
            self._mail.poked = True
            self._condition.notify()

    def failed(self, error: StoreError) -> None:
        """The change log can no longer be followed."""
        with self._condition:
            self._mail.trouble = error
            self._condition.notify()


class Listeners:
    """Two threads: one follows the change log, one the agents' hints. Until stopped."""

    def __init__(self, inbox: Inbox, client: Client, keys: Keys, *, epoch: str, after: int) -> None:
        self._inbox = inbox
        self._stop = threading.Event()
        self._watch = Watch(client, keys, epoch=epoch, after=after)
        self._hints = Hints(client, keys)
        for run, name in ((self._follow_log, "log"), (self._follow_hints, "hints")):
            threading.Thread(target=run, name=f"controller-{name}", daemon=True).start()

    def stop(self) -> None:
        """Ask both to end; they do within a second or so."""
        self._stop.set()

    def _follow_log(self) -> None:
        """Ends at the first trouble: the controller lists again and starts new listeners."""
        while not self._stop.is_set():
            try:
                events = self._watch.poll(1000)
            except StoreError as error:
                if not self._stop.is_set():
                    self._inbox.failed(error)
                return
            except Exception as error:
                log.error("change log", exc_info=error)
                self._inbox.failed(StoreError(f"the change log cannot be read: {error!r}"))
                return
            if events:
                self._inbox.moved(events)

    def _follow_hints(self) -> None:
        """Without hints everything still happens, a little later."""
        while not self._stop.is_set():
            try:
                named = self._hints.wait(1.0)
            except (Unavailable, EpochChanged):
                self._hints.reset()
                self._stop.wait(0.5)
                continue
            except Exception as error:  # noqa: BLE001 - without hints all still happens, a little later
                log.warning("hints: %r", error)
                self._hints.reset()
                self._stop.wait(5.0)
                continue
            if named:
                self._inbox.hinted(named)
            if self._hints.storm:
                self._stop.wait(STORM_PAUSE)  # the server drops what piles up meanwhile
