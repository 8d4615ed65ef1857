"""A snapshot of this moment from any server, as a replica is given it; nobody else is held up."""

import contextlib
from collections.abc import Iterator
from typing import Any

import redis

from store.errors import Denied, StoreError, Unavailable
from store.kv.connection import Client, translated

PIECE = 1 << 18
QUIET_FOR = 60.0
"""Seconds without a byte. A server that is busy with another snapshot says so once a second."""


def dump(client: Client) -> Iterator[bytes]:
    """The server's data as the bytes of an RDB file, in pieces; one moment, whatever is written meanwhile.

    It asks as a replica that wants this file and no more: the server forks, sends, and hangs up.

    Raises:
        Denied: this user may not.
        Unavailable: it broke off; what came is not the whole.
    """
    with translated():
        connection = client.connection_pool.get_connection()
        try:
            connection.send_command("REPLCONF", "capa", "eof")
            connection.read_response()
            with contextlib.suppress(redis.ResponseError):  # 6.2 does not know it
                connection.send_command("REPLCONF", "rdb-only", "1")
                connection.read_response()
            connection.send_command("SYNC")
            yield from _receive(connection._sock)  # noqa: SLF001 - what follows is no reply that its parser knows
        except OSError as error:
            if isinstance(error, redis.RedisError):
                raise
            raise Unavailable(f"the snapshot broke off: {error or type(error).__name__}") from error
        finally:
            connection.disconnect()
            client.connection_pool.release(connection)


def _receive(sock: Any) -> Iterator[bytes]:
    sock.settimeout(QUIET_FOR)
    line, rest = _head(sock)
    if line.startswith(b"$EOF:"):
        yield from _until(sock, rest, line[5:])
    elif line.startswith(b"$") and line[1:].isdigit():
        yield from _exactly(sock, rest, int(line[1:]))
    elif line.startswith((b"-NOPERM", b"-NOAUTH")):
        raise Denied(
            f"this store user may not take a snapshot: it needs the command SYNC ({line[1:].decode()})"
        )
    else:
        raise StoreError(f"the server gives no snapshot: {line[:200].decode(errors='replace')}")


def _head(sock: Any) -> tuple[bytes, bytes]:
    """The line that says what follows, and what has come of that already."""
    found = b""
    while True:
        found = (found + _more(sock)).lstrip(b"\n")  # signs of life while it is busy
        line, ends, rest = found.partition(b"\r\n")
        if ends:
            return line, rest


def _until(sock: Any, pending: bytes, mark: bytes) -> Iterator[bytes]:
    while not pending.endswith(mark):
        if len(pending) > PIECE:
            yield pending[: -len(mark)]
            pending = pending[-len(mark) :]
        pending += _more(sock)
    yield pending[: -len(mark)]


def _exactly(sock: Any, pending: bytes, left: int) -> Iterator[bytes]:
    while len(pending) < left:
        yield pending
        left -= len(pending)
        pending = _more(sock)
    yield pending[:left]


def _more(sock: Any) -> bytes:
    found: bytes = sock.recv(PIECE)
    if not found:
        raise Unavailable("the snapshot broke off: the server hung up")
    return found
