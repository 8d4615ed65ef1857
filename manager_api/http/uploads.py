"""Bodies of any size: read piece by piece, from clients that may be slow, gone, or in for an early answer."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import falcon

from manager_api.http.errors import ApiError
from transfer.reader import SILENT_AT_MOST

PIECE = 1 << 18
MOST_DISCARDED = 64 << 20
DISCARD_WITHIN = 30.0
BROKEN = "The upload broke off"


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
    # gunicorn waits for ever: who has gone without a word would keep this thread and a connection.
    connection = req.env.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        connection.settimeout(SILENT_AT_MOST)
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


def answer_before_the_end(req: falcon.Request, resp: falcon.Response) -> None:
    """Send the answer at once, and read on for a while: who is still sending would else never see it."""
    data = resp.data or b""
    chunked = req.content_length is None and req.env.get("wsgi.input_terminated")
    body = req.stream if chunked else req.bounded_stream

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
