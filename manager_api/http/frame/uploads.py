"""Bodies of any size: read piece by piece, from clients that may be slow, gone, or in for an early answer."""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import falcon

from manager_api.http.frame.errors import ApiError
from transfer.reader import SILENT_AT_MOST

PIECE = 1 << 18
MOST_DISCARDED = 64 << 20
DISCARD_WITHIN = 30.0
BROKEN = "The upload broke off"


def is_chunked(req: falcon.Request) -> bool:
    """Whether a body comes without its length, in pieces that say theirs."""
    return req.content_length is None and bool(req.env.get("wsgi.input_terminated"))


def source(req: falcon.Request) -> Any:
    """The body of a request to read from, however it is sent."""
    return req.stream if is_chunked(req) else req.bounded_stream


def discard(req: falcon.Request) -> None:
    """Read on for a while: a client that is still sending would never see the answer."""
    left, body = MOST_DISCARDED, source(req)
    with suppress(OSError):
        while left > 0 and (piece := body.read(min(PIECE, left))):
            left -= len(piece)


def length(req: falcon.Request) -> int:
    """The body's length, which has to be known: it is how a broken upload is told from a whole one.

    Raises:
        ApiError: 411.
    """
    if req.content_length is not None:
        return req.content_length
    chunked = "chunked" in (req.get_header("Transfer-Encoding") or "").lower()
    why = "a chunked body is not taken" if chunked else "there is none"
    raise ApiError(411, "Length Required", f"Content-Length: {why}; say how many bytes follow")


def pieces(req: falcon.Request, size: int) -> Iterator[bytes]:
    """The body.

    Raises:
        ApiError: 400: its sender went away, or has been silent for too long.
    """
    be_patient(req)
    done = 0
    while done < size:
        try:
            piece = req.bounded_stream.read(min(PIECE, size - done))
        except OSError:
            piece = b""
        if not piece:
            raise ApiError(400, BROKEN, f"{done} of {size} bytes came: nothing was replaced")
        done += len(piece)
        yield piece


def bounded(req: falcon.Request, most: int) -> Iterator[bytes]:
    """A body that may be chunked, and has at most `most` bytes.

    Raises:
        ApiError: 413; 400: its sender went away, or has been silent for too long.
    """
    be_patient(req)
    body, left = source(req), most
    if (req.content_length or 0) > most:
        raise _too_large(most)
    while True:
        try:
            piece = body.read(PIECE)
        except OSError:
            raise ApiError(400, BROKEN, f"after {most - left} bytes: nothing was changed") from None
        if not piece:
            return
        left -= len(piece)
        if left < 0:
            raise _too_large(most)
        yield piece


def no_room(error: OSError, where: str) -> Exception:
    """The answer when a disk is full; any other failure is that failure."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return ApiError(507, "No room", f"{where} on the manager's machine is full: nothing was done")


def _too_large(most: int) -> ApiError:
    return ApiError(413, "Content Too Large", f"body: at most {most} bytes are taken")


@contextmanager
def patience(req: falcon.Request) -> Iterator[None]:
    """For a while, be patient only; the answer may then take as long as its reader needs."""
    be_patient(req)
    try:
        yield
    finally:
        connection = req.env.get("gunicorn.socket")
        if isinstance(connection, socket.socket):
            connection.settimeout(None)


def be_patient(req: falcon.Request) -> None:
    """The server waits for ever: who has gone without a word would keep this thread and a connection."""
    connection = req.env.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        connection.settimeout(SILENT_AT_MOST)


def answer_before_the_end(req: falcon.Request, resp: falcon.Response) -> None:
    """Send the answer at once, and read on for a while: who is still sending would else never see it."""
    data = resp.data or b""
    body = source(req)

    def stream() -> Iterator[bytes]:
        yield data
        left, until = MOST_DISCARDED, time.monotonic() + DISCARD_WITHIN
        with suppress(OSError):
            while left > 0 and time.monotonic() < until:
                piece = body.read(min(PIECE, left))
                if not piece:
                    return
                left -= len(piece)

    resp.data = None
    resp.set_stream(stream(), len(data))
