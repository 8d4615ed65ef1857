"""The keeper's loop: one thread, one selector; orders in and events out as JSON lines."""

import errno
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import sys
from typing import Any

from agentd.keeper.child import become_subreaper
from agentd.keeper.journal import Entry, Journal
from agentd.keeper.table import Table, boot_clock

PROTOCOL = 1
SYNC_EVERY = 0.05
POLL_EVERY = 0.1
MOST_WAITING = 64 * 1024 * 1024
"""Bytes that a client may leave unread before it is dropped."""


class Peer:
    """One connected brain (or `agent stop`)."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming = b""
        self.outgoing = b""
        self.listens = False

    def send(self, message: dict[str, Any]) -> None:
        """Queue a line."""
        self.outgoing += json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Keeper:
    """Serves one directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._selector = selectors.DefaultSelector()
        self._peers: dict[int, Peer] = {}
        self._ending: float | None = None
        self._synced = 0.0
        self.table = Table(Journal(os.path.join(directory, "keeper.journal")))
        self.table.watch = lambda fd: self._selector.register(fd, selectors.EVENT_READ, "verdict")
        self.table.unwatch = self._selector.unregister

    def serve(self) -> None:
        """Until told to end, and all runs have."""
        become_subreaper()
        self.table.restore()
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._begin_end(None))
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        listener = self._listen()
        self._selector.register(listener, selectors.EVENT_READ, "listener")
        self._selector.register(wake_read, selectors.EVENT_READ, "wake")
        while self._ending is None or self.table.live():
            self._round(listener, wake_read)
        self.table.sync()

    def _round(self, listener: socket.socket, wake: int) -> None:
        for key, _ in self._selector.select(self._timeout()):
            if key.data == "listener":
                self._accept(listener)
            elif key.data == "wake":
                os.read(wake, 4096)
            elif isinstance(key.data, Peer):
                self._hear(key.data)
            elif key.data == "verdict" and key.fd in self.table.verdicts:
                self._tell(self.table.verdict(key.fd))
        self._tell(self.table.reap())
        if self.table.polls():
            self._tell(self.table.poll())
        if self._ending is not None:
            self._press_end(self._ending)
        now = boot_clock()
        if now - self._synced > SYNC_EVERY:
            self.table.sync()
            self._synced = now
        for peer in list(self._peers.values()):
            self._flush(peer)

    def _timeout(self) -> float | None:
        if self.table.polls() or self._ending is not None or self.table.dirty:
            return POLL_EVERY
        return None

    def _listen(self) -> socket.socket:
        path = os.path.join(self._directory, "keeper.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
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

    def _accept(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] not in (0, os.geteuid()):
            sock.close()
            return
        sock.setblocking(False)
        peer = self._peers[sock.fileno()] = Peer(sock)
        self._selector.register(sock, selectors.EVENT_READ, peer)

    def _hear(self, peer: Peer) -> None:
        try:
            data = peer.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(peer)
            return
        *lines, peer.incoming = (peer.incoming + data).split(b"\n")
        for line in lines:
            message: dict[str, Any] = {}
            try:
                parsed = json.loads(line)
                if not isinstance(parsed, dict):
                    raise TypeError("not an object")
                message = parsed
                answer = self._obey(peer, message)
            except OSError as error:
                answer = {"error": error.strerror or str(error)}
            except (ValueError, KeyError, TypeError) as error:
                answer = {"error": f"not understood: {error!r}"}
            peer.send({"re": message.get("re"), **answer})

    def _obey(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        table, verb = self.table, message["verb"]
        entries: list[Entry] = []
        if verb == "list":
            peer.listens = True
            return {
                "seq": table.seq,
                "runs": list(table.runs.values()),
                "protocol": PROTOCOL,
                "pid": os.getpid(),
            }
        if verb == "spawn":
            if self._ending is not None:
                return {"error": "the keeper is ending"}
            entries = table.spawn(message["order"])
        elif verb == "refuse":
            entries = table.refuse(message["run"], message["error"])
        elif verb == "stop":
            entries = table.stop(message["id"], message["signal"])
        elif verb == "kill":
            entries = table.kill(message["id"])
        elif verb == "forget":
            entries = table.forget(message["ids"])
        elif verb == "end":
            self._begin_end(message["force"])
        else:
            return {"error": f"unknown verb {verb!r}"}
        self._tell(entries)
        return {}

    def _begin_end(self, force: bool | None) -> None:  # noqa: FBT001 - a signal handler's way in, too
        """No new runs; those there are get their stop signal and their own grace."""
        if force is False and self.table.live():
            return
        if self._ending is None:
            self._ending = boot_clock()
            self.table.ending = True

    def _press_end(self, since: float) -> None:
        for run in self.table.live():
            if run["stop_at"] is None:
                self._tell(self.table.stop(run["id"], run["stop_signal"]))
            elif boot_clock() - max(run["stop_at"], since) > run["grace"]:
                self._tell(self.table.kill(run["id"]))

    def _tell(self, entries: list[Entry]) -> None:
        for entry in entries:
            for peer in self._peers.values():
                if peer.listens:
                    peer.send({"event": entry})

    def _flush(self, peer: Peer) -> None:
        while peer.outgoing:
            try:
                sent = peer.sock.send(peer.outgoing)
            except BlockingIOError:
                break
            except OSError:
                self._drop(peer)
                return
            peer.outgoing = peer.outgoing[sent:]
        if len(peer.outgoing) > MOST_WAITING:
            self._drop(peer)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.outgoing else 0)
        if self._selector.get_key(peer.sock).events != wanted:
            self._selector.modify(peer.sock, wanted, peer)

    def _drop(self, peer: Peer) -> None:
        if self._peers.pop(peer.sock.fileno(), None) is not None:
            self._selector.unregister(peer.sock)
            peer.sock.close()


def main(directory: str) -> int:
    """Serve a directory, unless another keeper does."""
    os.closerange(3, 256)
    lock = os.open(os.path.join(directory, "keeper.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            sys.stderr.write("another keeper serves this directory\n")
            return 1
        raise
    Keeper(directory).serve()
    return 0
