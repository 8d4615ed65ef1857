"""The socket of the API, held by the supervisor so that callers wait while what answers is restarted."""

import errno
import socket
import time

from manager_api.settings import ManagerSettings
from store.clock import SystemClock
from store.errors import StoreError
from store.home import Files

LOCK_WITHIN = 30.0
"""Seconds that what an earlier manager left behind has to end."""


def pause(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def listen(settings: ManagerSettings, files: Files, clock: SystemClock) -> socket.socket:
    """The API's socket. After a crash, what answered for our former self may still hold it.

    Raises:
        StoreError: somebody else has the port, or the address is none of ours.
    """
    crashed = (files.home / "manager.json").exists()
    deadline = clock.now() + (LOCK_WITHIN if crashed else 0.0)
    while True:
        try:
            return _bind(settings.listen, settings.port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or clock.now() >= deadline:
                where = f"{settings.listen} port {settings.port}"
                raise StoreError(f"cannot listen on {where}: {error.strerror or error}") from error
        pause(0.2)


def _bind(address: str, port: int) -> socket.socket:
    family, kind, proto, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, proto)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(where)
    except OSError:
        listener.close()
        raise
    listener.listen(1024)
    return listener
