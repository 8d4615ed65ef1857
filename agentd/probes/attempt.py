"""One http or tcp probe under way: a socket that never blocks, and the next step to take with it."""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Sequence
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING

from agentd.probes.answer import WELL, Answer, Verdict
from agentd.probes.target import Target
from store.model.policies import HealthCheck

if TYPE_CHECKING:
    import ssl

Address = tuple[int, tuple[str | int, ...]]
"""A family and what its sockets connect to."""

AT_ONCE = 16 * 1024
"""Bytes read in one go: no target keeps the others waiting by saying much."""
NOT_THE_TARGETS_FAULT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
_SENTENCES = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
}


class OutOfMeans(Exception):
    """This machine lacks what a probe needs; nothing is known of the target."""


class Attempt:
    """Call `proceed` at first and whenever `sock` is ready for `wants`, until there is a verdict."""

    __slots__ = (
        "_addresses", "_answer", "_check", "_heard", "_left", "_step", "_target", "sock", "tries", "wants",
    )  # fmt: skip

    def __init__(self, check: HealthCheck, target: Target, addresses: Sequence[Address]) -> None:
        self._check = check
        self._target = target
        self._addresses = list(addresses)
        self._step: Callable[[], Verdict | None] = self._connect
        self._left = target.request
        self._answer = Answer(check.status, check.body)
        self._heard = False
        self.sock: socket.socket | ssl.SSLSocket | None = None
        self.tries = 0
        """How many sockets there have been: one for each address tried."""
        self.wants = EVENT_READ

    def proceed(self) -> Verdict | None:
        """Go as far as possible without waiting.

        Raises:
            OutOfMeans: no file descriptor, no local port, no memory.
        """
        try:
            return self._step()
        except BlockingIOError:
            return None
        except OSError as error:
            return self._stopped(error)

    def late(self) -> Verdict:
        """The verdict when time is up."""
        if self._step == self._connected:
            what = "no connection"
        else:
            what = "no whole answer" if self._heard else "no answer"
        return self._ill(f"{what} within {self._check.timeout:g} s")

    def close(self) -> None:
        """Let go of the socket."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.close()
            self.sock = None

    def _ill(self, what: str) -> Verdict:
        return Verdict(ok=False, reason=said_of(self._check, what))

    def _stopped(self, error: OSError) -> Verdict | None:
        if error.errno in NOT_THE_TARGETS_FAULT:
            raise OutOfMeans(os.strerror(error.errno or 0)) from error
        if self._target.tls:
            from agentd.probes import tls

            waits_for = tls.waits_for(error)
            if waits_for is not None:
                self.wants = waits_for
                return None
            about_tls = tls.sentence(error)
            if about_tls is not None:
                return self._ill(about_tls)
        if self._step in (self._connect, self._connected) and self._addresses:
            self.close()
            self._step = self._connect
            return self.proceed()
        return self._ill(sentence(error))

    def _connect(self) -> Verdict | None:
        """Try the next address."""
        family, address = self._addresses.pop(0)
        self.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.tries += 1
        code = self.sock.connect_ex(address)
        self._step, self.wants = self._connected, EVENT_WRITE
        if code == errno.EINPROGRESS:
            # Over loopback it stands already, whatever `connect` says: that saves a round.
            return self._connected() if _stands(self.sock) else None
        if code:
            raise OSError(code, os.strerror(code))
        return self._connected()

    def _connected(self) -> Verdict | None:
        assert self.sock is not None
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        if not self._left:
            return WELL
        if not self._target.tls:
            self._step = self._send
            return self._send()
        from agentd.probes import tls

        self.sock = tls.wrap(self.sock, self._target.host)
        self._step = self._shake_hands
        return self._shake_hands()

    def _shake_hands(self) -> Verdict | None:
        self.sock.do_handshake()  # type: ignore[union-attr]
        self._step, self.wants = self._send, EVENT_WRITE
        return self._send()

    def _send(self) -> Verdict | None:
        assert self.sock is not None
        while self._left:
            self._left = self._left[self.sock.send(self._left) :]
        self._step, self.wants = self._receive, EVENT_READ
        return None if not self._target.tls else self._receive()

    def _receive(self) -> Verdict | None:
        assert self.sock is not None
        while True:
            data = self.sock.recv(AT_ONCE)
            self._heard = True
            verdict = self._answer.feed(data) if data else self._answer.end()
            if verdict is not None:
                return verdict if verdict.ok else self._ill(verdict.reason)
            # What TLS has decrypted already, no selector will tell of.
            if not self._target.tls or not self.sock.pending():  # type: ignore[attr-defined]
                self.wants = EVENT_READ
                return None


def _stands(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def said_of(check: HealthCheck, what: str) -> str:
    """A reason that names its target."""
    target = check.target if len(check.target) <= 200 else f"{check.target[:200]}…"
    return f"{target}: {what}"


def sentence(error: OSError) -> str:
    """A failed call in words."""
    known = _SENTENCES.get(error.errno or 0)
    if known is not None:
        return known
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]
