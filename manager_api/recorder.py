"""Keeps a manager's history of events: a thread that follows the stream and writes it down.

It holds nothing else up and can fail in nothing but this: what it cannot write now it writes later, from
the stream; what the stream has dropped by then is a gap, which it records.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from manager_api.chronicle import FILE, KEPT_FOR, MOST_KEPT, Chronicle, Damaged, set_aside
from manager_api.settings import StoreAccess
from store.backoff import Backoff
from store.clock import Clock
from store.errors import StoreError
from store.keys import Keys
from store.kv.connection import Client, connect
from store.kv.events import Follower

log = logging.getLogger("manager")

WAIT_MS = 1000
GATHERED = 0.2
"""Seconds between two commits of a storm; a single event is written at once."""
AT_ONCE = 5_000
STOPS_WITHIN = 5.0


class Recorder:
    """One manager's; `start`, later `stop`."""

    def __init__(
        self,
        path: Path,
        connected: Callable[[], Client],
        clock: Clock,
        keys: Keys | None = None,
        *,
        most: int = MOST_KEPT,
        kept_for: float = KEPT_FOR,
    ) -> None:
        self._path = path
        self._connected = connected
        self._client: Client | None = None
        self._clock = clock
        self._keys = keys or Keys()
        self._most, self._kept_for = most, kept_for
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._chronicle: Chronicle | None = None
        self._follower: Follower | None = None
        self._gap, self._busy = "", False
        self._troubles: dict[str, str] = {}

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="recorder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what was heard is written."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOPS_WITHIN)

    def run(self) -> None:
        """Follow until stopped."""
        failures, backoff = 0, Backoff(first=0.2, most=10.0)
        while not self._stop.is_set():
            failures = 0 if self.step(WAIT_MS) else failures + 1
            self._stop.wait(backoff.delay(failures) if failures else GATHERED if self._busy else 0.0)
        self._forget()
        if self._client is not None:
            self._client.close()

    def step(self, wait_ms: int) -> bool:
        """Hear what is new and write it down; whether that went well. Raises nothing."""
        try:
            self._once(wait_ms)
        except Damaged as error:
            self._set_aside(error)
            return False
        except OSError as error:
            self._trouble("disk", f"events are not recorded: {self._path}: {error}; tried again later")
        except StoreError as error:
            self._trouble("store", f"events cannot be followed: {error}")
        except Exception:
            log.exception("events are not recorded; tried again later")
        else:
            return True
        self._forget()
        return False

    def _once(self, wait_ms: int) -> None:
        if self._chronicle is None:
            self._chronicle = Chronicle(self._path, self._most, self._kept_for)
        if self._follower is None:
            self._client = self._client or self._connected()
            self._follower = Follower(self._client, self._keys, self._chronicle.last())
        heard = self._follower.poll(wait_ms, AT_ONCE)
        self._fine("store", "events are followed again")
        self._busy = bool(heard.entries)
        gap = self._gap or heard.gap
        if heard.entries:
            self._chronicle.record(heard.entries, self._clock.wall(), gap)
            self._gap = ""
            self._fine("disk", "events are recorded again")
        else:
            self._gap = gap  # said where the next one comes

    def _set_aside(self, error: Damaged) -> None:
        self._forget()
        try:
            aside = set_aside(self._path)
        except OSError as why:
            self._trouble(
                "disk", f"events are not recorded: {self._path} is damaged ({error}), and stays: {why}"
            )
            return
        self._gap = f"older events are in a damaged file, {aside.name}"
        log.error("%s is damaged: %s. It lies at %s now, and a new one is begun", self._path, error, aside)

    def _forget(self) -> None:
        """Begin anew with the file; where we were stands in it."""
        if self._chronicle is not None:
            self._chronicle.close()
        self._chronicle = self._follower = None

    def _trouble(self, what: str, text: str) -> None:
        if what not in self._troubles:
            log.warning("%s", text)
        self._troubles[what] = text

    def _fine(self, what: str, text: str) -> None:
        if self._troubles.pop(what, None) is not None:
            log.info("%s", text)


def recorder(access: StoreAccess, home: Path, clock: Clock) -> Recorder:
    """The manager's, with a connection of its own."""

    def connected() -> Client:
        return connect(access.url, name="recorder", password=access.password(), recheck=True)

    return Recorder(home / FILE, connected, clock)
