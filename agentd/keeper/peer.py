"""One connection of a brain (or of `agent stop`) to the keeper: JSON lines both ways."""

import json
import socket
import struct
from typing import Any

MOST_WAITING = 64 * 1024 * 1024
"""Bytes that a client may leave unread before it is dropped."""


class Peer:
    """Lines in, lines out, never blocking."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._incoming = b""
        self.outgoing = bytearray()
        self.listens = False

    @classmethod
    def accept(cls, listener: socket.socket, uid: int) -> "Peer | None":
        """The next connection, if it comes from root or from `uid`."""
        try:
            sock, _ = listener.accept()
        except OSError:
            return None
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] not in (0, uid):
            sock.close()
            return None
        sock.setblocking(False)
        return cls(sock)

    def send(self, message: dict[str, Any]) -> None:
        """Queue a line."""
        self.outgoing += json.dumps(message, separators=(",", ":")).encode() + b"\n"

    def receive(self) -> list[bytes] | None:
        """The lines that have come whole; None when the other end is gone."""
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self._incoming = (self._incoming + data).split(b"\n")
        return lines

    def flush(self) -> bool:
        """Hand over what the other end takes; False when it is gone, or does not read."""
        while self.outgoing:
            try:
                sent = self.sock.send(self.outgoing)
            except BlockingIOError:
                break
            except OSError:
                return False
            del self.outgoing[:sent]
        return len(self.outgoing) <= MOST_WAITING
