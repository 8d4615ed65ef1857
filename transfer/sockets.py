"""A socket as paramiko wants one, with fewer calls of the system."""

import socket
import time

READ_AHEAD = 512 * 1024
"""Bytes that are read at once, if they are there."""
SHORT = 1024
"""Bytes: whoever wants no more may be reading a line, and gets what is there."""


class Socket:
    """Reads ahead, and meets long wants whole: paramiko's own loop copies what it has for each piece.

    What cannot be sent for `silence` seconds is an error; paramiko would try for ever.
    """

    def __init__(self, connection: socket.socket, silence: float) -> None:
        self._socket, self._silence = connection, silence
        self._buffer = memoryview(bytearray(READ_AHEAD))
        self._start = self._end = 0
        self._stuck_since: float | None = None

    def recv(self, size: int) -> bytes:
        """Bytes: all that are wanted, if these are many; b"" at the end.

        Raises:
            TimeoutError: not all are there yet; what is there is kept.
        """
        size = min(size, READ_AHEAD)
        while not self._has(size):
            if self._start + size > READ_AHEAD:
                self._to_front()
            got = self._socket.recv_into(self._buffer[self._end :])
            if not got:
                return b""
            self._end += got
        upto = min(self._start + size, self._end)
        data = bytes(self._buffer[self._start : upto])
        self._start = upto
        if self._start == self._end:
            self._start = self._end = 0
        return data

    def _has(self, size: int) -> bool:
        have = self._end - self._start
        return have >= size or (have > 0 and size <= SHORT)

    def _to_front(self) -> None:
        left = bytes(self._buffer[self._start : self._end])
        self._buffer[: len(left)] = left
        self._start, self._end = 0, len(left)

    def send(self, data: bytes) -> int:
        """Send some.

        Raises:
            TimeoutError: nothing now, and paramiko tries again; OSError: nothing for too long.
        """
        try:
            sent = self._socket.send(data)
        except TimeoutError:
            now = time.monotonic()
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > self._silence:
                raise OSError("the other side takes nothing") from None
            raise
        self._stuck_since = None
        return sent

    def settimeout(self, seconds: float) -> None:
        """How long `recv` and `send` wait."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def getpeername(self) -> object:
        """Where it leads to."""
        return self._socket.getpeername()
