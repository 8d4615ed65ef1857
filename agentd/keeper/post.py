"""What keepers and guards of one directory hand on to each other: the directory, its lock, its listener."""

import errno
import fcntl
import json
import os
import socket
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Post:
    """The place that a keeper and a guard fill."""

    directory: str
    lock: int
    listener: socket.socket

    @classmethod
    def take(cls, directory: str) -> "Post | None":
        """Lock a directory and listen in it; None if another keeper or guard has it."""
        lock = os.open(os.path.join(directory, "keeper.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return None
            raise
        return cls(directory, lock, _listen(directory))

    def replace(self, program: list[str], role: str, line: socket.socket, *, keeper: int = 0) -> None:
        """Become another program that goes on in this place.

        Raises:
            OSError: it cannot be run; nothing has changed.
        """
        fds = {"lock": self.lock, "listener": self.listener.fileno(), "line": line.fileno()}
        for fd in fds.values():
            os.set_inheritable(fd, True)
        sys.stderr.flush()
        try:
            os.execv(
                program[0], [*program, self.directory, json.dumps({"role": role, "keeper": keeper, **fds})]
            )
        finally:
            for fd in fds.values():
                os.set_inheritable(fd, False)

    @classmethod
    def resume(cls, directory: str, handed: dict[str, int]) -> "Post":
        """Take over what `replace` handed on."""
        for name in ("lock", "listener", "line"):
            os.set_inheritable(handed[name], False)
        return cls(directory, handed["lock"], socket.socket(fileno=handed["listener"]))


def _listen(directory: str) -> socket.socket:
    path = os.path.join(directory, "keeper.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:  # a socket's path may be 107 bytes long; a directory's may be longer
        if os.path.exists(path):
            os.unlink(path)
        old = os.umask(0o177)
        listener.bind(f"/proc/self/fd/{fd}/keeper.sock")
        os.umask(old)
    finally:
        os.close(fd)
    listener.listen(16)
    listener.setblocking(False)
    return listener
