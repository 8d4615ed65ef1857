"""The guard stands over the keeper: parent of it, heir of its children.

When a keeper is killed, its tasks become the guard's; it starts the next keeper and tells that one
how they end. When the guard is killed, the keeper becomes the guard and starts a keeper. So no
single `kill -9` loses a task or an exit code. The two speak JSON lines over a socket pair:

    keeper to guard   {"ack": [[pid, start], …]}  {"settle": true}  {"ending": true}
                      {"upgrade": [program, …]}
    guard to keeper   {"exit": [pid, start, status]}  {"settled": true}  {"upgraded": true | reason}
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from agentd.keeper import proc
from agentd.keeper.post import Post

SOON = 1.0
"""A keeper that lived for fewer seconds than this is not started again at once."""


class Line:
    """One end of the socket pair: whole JSON lines in, whole JSON lines out.

    The guard's end never waits for the keeper, which may wait for it: what is not taken yet is kept.
    """

    def __init__(self, sock: socket.socket, *, waits: bool) -> None:
        self.sock = sock
        self._part = b""
        self.unsent = bytearray()
        sock.setblocking(waits)

    def send(self, message: dict[str, Any]) -> None:
        """Send; a peer that is gone hears nothing."""
        self.unsent += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Hand over what the other end takes now."""
        try:
            while self.unsent:
                del self.unsent[: self.sock.send(self.unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.unsent.clear()

    def receive(self) -> list[dict[str, Any]] | None:
        """What has come; None when the other end is gone."""
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        if not data:
            return None
        *lines, self._part = (self._part + data).split(b"\n")
        return [json.loads(line) for line in lines]


class Guard:
    """One life of a guard. All it knows is which exits no keeper has journalled yet."""

    def __init__(self, post: Post, *, ending: bool = False) -> None:
        self._post = post
        self._exits: dict[tuple[int, int], int] = {}
        self._keeper = 0
        self._ended: int | None = None
        self._asked_to_end = ending
        self._line: Line | None = None
        self._born = 0.0
        self._upgrade: list[str] | None = None
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def watch(self, keeper: int = 0, sock: socket.socket | None = None) -> Line:
        """Keep a keeper running; perhaps one that is there already, since we replaced an older guard.

        Returns in each keeper that is forked, with its line to the guard; in the guard never.
        """
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._pass_on(signal.SIGTERM))
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        self._keeper, self._line = keeper, Line(sock, waits=False) if sock else None
        self._tell({"upgraded": True})
        while True:
            link = self._reap() if self._keeper or self._ended is not None else self._start()
            if link is not None:
                return link
            if self._line is not None:
                self._wait(self._line)

    def _pass_on(self, number: int) -> None:
        """A keeper that is killed while it ends its tasks is followed by one that goes on with it."""
        self._asked_to_end = True
        if self._keeper:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._keeper, number)

    def _wait(self, line: Line) -> None:
        sock = line.sock.fileno()
        readable, writable, _ = select.select([self._wake, sock], [sock] if line.unsent else [], [])
        if self._wake in readable:
            os.read(self._wake, 4096)
        for message in (line.receive() if sock in readable else None) or ():
            self._hear(message)
        if writable:
            line.flush()
        if self._upgrade and not self._exits:
            self._become(self._upgrade)

    def _hear(self, message: dict[str, Any]) -> None:
        if "ack" in message:
            for pid, start in message["ack"]:
                self._exits.pop((pid, start), None)
        elif "ending" in message:
            self._asked_to_end = True
        elif "settle" in message:
            self._collect()
            self._tell({"settled": True})
        elif "upgrade" in message:
            self._upgrade = message["upgrade"]

    def _tell(self, message: dict[str, Any]) -> None:
        if self._line is not None:
            self._line.send(message)

    def _start(self) -> Line | None:
        """Fork a keeper: None in the guard, also when there is no process to be had just now."""
        self._born = time.monotonic()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # until the keeper has its own handler
        try:
            ours, theirs = socket.socketpair()
            try:
                self._keeper = os.fork()
            except OSError:
                ours.close()
                theirs.close()
                raise
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            self._complain(f"no keeper: {error.strerror}; trying again")
            self._collect()
            time.sleep(SOON / 10)
            return None
        if self._keeper == 0:
            signal.set_wakeup_fd(-1)
            for fd in (self._wake, self._woken):
                os.close(fd)
            ours.close()
            return Line(theirs, waits=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        theirs.close()
        self._line = Line(ours, waits=False)
        if self._asked_to_end:
            self._pass_on(signal.SIGTERM)
        for (pid, start), status in self._exits.items():
            self._line.send({"exit": [pid, start, status]})
        return None

    def _complain(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _reap(self) -> Line | None:
        """Collect who ended; a keeper that was killed is followed by another."""
        self._collect()
        ended, self._ended = self._ended, None
        if ended is None:
            return None
        if ended == 0:
            sys.exit(0)
        self._complain(f"the keeper ended with wait status {ended}; starting another")
        if self._line is not None:
            self._line.sock.close()
        self._line = None
        if time.monotonic() - self._born < SOON:
            time.sleep(SOON / 10)
        return self._start()

    def _collect(self) -> None:
        """Tell the keeper of everybody who ended, and note it if that was the keeper."""
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                info = None
            if info is None:
                return
            found = proc.stat(info.si_pid)
            _, status = os.waitpid(info.si_pid, 0)
            if info.si_pid == self._keeper:
                self._ended, self._keeper = status, 0
            elif found is not None:
                self._exits[info.si_pid, found.start] = status
                self._tell({"exit": [info.si_pid, found.start, status]})

    def _become(self, program: list[str]) -> None:
        """Replace this program in place; children, lock and listener stay ours."""
        assert self._line is not None
        self._upgrade = None
        try:
            self._post.replace(program, "guard", self._line.sock, keeper=self._keeper)
        except OSError as error:
            self._tell({"upgraded": error.strerror or str(error)})
