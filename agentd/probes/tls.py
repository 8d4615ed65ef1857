"""TLS for https probes; imported when the first one is made, since it is not free.

Certificates are not verified, as in the kubelet: a probe asks whether a task answers, mostly over
loopback, where no certificate carries the right name; it sends no secrets and believes nothing.
"""

import functools
import selectors
import socket
import ssl


@functools.cache
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def wrap(sock: socket.socket, host: str) -> ssl.SSLSocket:
    """A connected, non-blocking socket with TLS over it; the handshake is still to be made."""
    # Bytes: for a text, Python would load its tables for international names.
    name = host.encode("ascii")
    return _context().wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)


def waits_for(error: OSError) -> int | None:
    """The selector event that a call stopped for, or None if it failed."""
    if isinstance(error, ssl.SSLWantReadError):
        return selectors.EVENT_READ
    return selectors.EVENT_WRITE if isinstance(error, ssl.SSLWantWriteError) else None


def sentence(error: OSError) -> str | None:
    """What went wrong with TLS itself, or None if that is not what failed."""
    if not isinstance(error, ssl.SSLError):
        return None
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "the target does not speak TLS; is it http?"
    return f"TLS failed: {(error.reason or 'no reason given').replace('_', ' ').lower()}"
