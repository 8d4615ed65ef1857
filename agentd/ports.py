"""Ports of this node: whether one can be had just now, and who has it if not."""

import contextlib
import errno
import socket
from collections.abc import Iterable
from typing import Any

import psutil

from agentd.core.runs import PORT

FAMILIES = (socket.AF_INET, socket.AF_INET6)


def held(numbers: Iterable[int]) -> str | None:
    """Which of these TCP ports cannot be had, and who holds it, as a sentence; None: all are free."""
    for number in sorted(set(numbers)):
        if not _is_free(number):
            return f"{PORT}{number} is held by {_holder(number)}"
    return None


def _is_free(number: int) -> bool:
    """Whether nobody has the port, of IPv4 and of IPv6, as a server that asks for SO_REUSEADDR finds out."""
    for family in FAMILIES:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # no such family on this machine
            continue
        with sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind(("", number))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return _only_wait(number)
                if error.errno == errno.EACCES:  # not ours to try, though perhaps the task's
                    return not any(each.status == psutil.CONN_LISTEN for each in _sockets(number))
    return True


def _only_wait(number: int) -> bool:
    """Whether what is in the way are ended connections that wait for their time to be over: nobody's."""
    found = _sockets(number)
    return bool(found) and all(each.status == psutil.CONN_TIME_WAIT for each in found)


def _holder(number: int) -> str:
    """A program and its pid, if we may see that; who listens is named before who is connected."""
    found = sorted(_sockets(number), key=lambda each: (each.status != psutil.CONN_LISTEN, each.pid or 0))
    for each in found:
        with contextlib.suppress(psutil.Error):
            if each.pid:
                return f"{psutil.Process(each.pid).name()} (pid {each.pid})"
    return "another program"


def _sockets(number: int) -> list[Any]:
    """The TCP sockets that have this port on our side."""
    with contextlib.suppress(psutil.Error, OSError):
        return [each for each in psutil.net_connections("tcp") if each.laddr and each.laddr.port == number]
    return []
