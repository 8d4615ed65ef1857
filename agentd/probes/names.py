"""Addresses of hosts. Numbers and localhost cost nothing; names are looked up beside the loop.

The resolver of the C library blocks, so each name is looked up on a short-lived thread, and the
answer serves all its probes for a while. Probes of a node's own tasks need none of it.
"""

import functools
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentd.probes.attempt import Address

log = logging.getLogger("agent")

KEPT = 30.0
"""Seconds for which an answer is good."""
MOST_THREADS = 8
_LOCALHOST: tuple[Address, ...] = (
    (socket.AF_INET, ("127.0.0.1", 0)),
    (socket.AF_INET6, ("::1", 0, 0, 0)),
)


@dataclass(frozen=True, slots=True)
class Found:
    """Addresses with port 0, or why there are none."""

    addresses: tuple[Address, ...]
    error: str = ""


class Names:
    """For one thread, but for its helpers, which only leave word with `post`."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._post = post
        self._known: dict[str, tuple[float, Found]] = {}
        self._waiting: dict[str, list[Callable[[Found], None]]] = {}
        self._queue: deque[str] = deque()
        self._threads = 0

    def find(self, host: str, now: float, then: Callable[[Found], None]) -> Found | None:
        """What is known of a host; None: `then` is called when it is."""
        plain = _plain(host)
        if plain is not None:
            return plain
        until, found = self._known.get(host, (now, None))
        if found is not None and now < until:
            return found
        if host not in self._waiting:
            self._queue.append(host)
        self._waiting.setdefault(host, []).append(then)
        self._next(now)
        return None

    def _next(self, now: float) -> None:
        while self._queue and self._threads < MOST_THREADS:
            host = self._queue.popleft()
            try:
                threading.Thread(target=self._ask, args=(host, now), name="names", daemon=True).start()
            except RuntimeError as error:
                log.error("'%s' cannot be looked up: %s", host, error)
                self._waiting.pop(host, None)  # those who wait run out of time; the next ask again
            else:
                self._threads += 1

    def _ask(self, host: str, now: float) -> None:
        try:
            found = Found(_look_up(host, 0))
        except (OSError, UnicodeError) as error:
            text = getattr(error, "strerror", None) or "it is no host name"
            found = Found((), f"'{host}' cannot be looked up: {text}")
        self._post(lambda: self._answered(host, now, found))

    def _answered(self, host: str, now: float, found: Found) -> None:
        self._threads -= 1
        self._known = {name: each for name, each in self._known.items() if each[0] > now}
        if found.addresses:
            self._known[host] = (now + KEPT, found)
        for then in self._waiting.pop(host, ()):
            then(found)
        self._next(now)


@functools.lru_cache(maxsize=256)
def _plain(host: str) -> Found | None:
    if host == "localhost":
        return Found(_LOCALHOST)
    try:
        return Found(_look_up(host, socket.AI_NUMERICHOST))
    except (OSError, UnicodeError):
        return None


def _look_up(host: str, flags: int) -> tuple[Address, ...]:
    # Bytes: for a text, Python would load its tables for international names.
    rows: list[tuple[Any, ...]] = socket.getaddrinfo(
        host.encode("ascii"), 0, type=socket.SOCK_STREAM, flags=flags
    )
    return tuple((family, address) for family, _, _, _, address in rows)


def at_port(addresses: tuple[Address, ...], port: int) -> list[Address]:
    """The same hosts, with a port."""
    return [(family, (address[0], port, *address[2:])) for family, address in addresses]
