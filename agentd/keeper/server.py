"""The keeper's loop: one thread, one selector; orders in and events out as JSON lines."""

import json
import math
import os
import selectors
import signal
import sys
from collections.abc import Callable
from typing import Any

from agentd.keeper import version
from agentd.keeper.events import EXPIRED
from agentd.keeper.guard import Line
from agentd.keeper.journal import Entry, Journal
from agentd.keeper.peer import Peer
from agentd.keeper.post import Post
from agentd.keeper.probes import Probes
from agentd.keeper.reaper import Reaper
from agentd.keeper.table import Table, boot_clock

SYNC_EVERY = 0.05
POLL_EVERY = 0.1
AWAKE_EVERY = 1.0
"""Seconds, at most, until a deadline is noticed that passed while the machine slept."""


CHANGES: dict[str, Callable[[Table, dict[str, Any]], list[Entry]]] = {
    "refuse": lambda table, said: table.refuse(said["run"], said["error"]),
    "stop": lambda table, said: table.stop(said["id"], said["signal"], said.get("why")),
    "kill": lambda table, said: table.kill(said["id"], said.get("why")),
    "expire": lambda table, said: table.expire(said["id"], said["deadline"]),
    "regroup": lambda table, said: table.regroup(said["id"], said["cgroups"]),
    "forget": lambda table, said: table.forget(said["ids"]),
}
"""Orders that change nothing but the table."""


class Keeper:
    """Serves one directory."""

    def __init__(self, post: Post, line: Line) -> None:
        self._post = post
        self._line = line
        self._selector = selectors.DefaultSelector()
        self._peers: dict[int, Peer] = {}
        self._ending: float | None = None
        self._synced = 0.0
        self._unguarded = False
        self._settled = False
        self._upgrade: tuple[list[str], Peer, object] | None = None
        self.table = Table(Journal(os.path.join(post.directory, "keeper.journal")))
        self.table.watch = lambda fd: self._selector.register(fd, selectors.EVENT_READ, "verdict")
        self.table.unwatch = self._selector.unregister
        self.probes = Probes()
        self.reaper = Reaper(self.table, os.getppid(), self.probes)

    def serve(self) -> bool:
        """Until told to end and all runs have (True), or until the guard is gone (False)."""
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._begin_end(None))
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        self.table.replay()
        self.reaper.restore()
        self._line.send({"settle": True})
        self._selector.register(self._line.sock, selectors.EVENT_READ, "guard")
        while not self._settled and not self._unguarded:
            self._hear_guard()
        self.reaper.settle()
        self._selector.register(self._post.listener, selectors.EVENT_READ, "listener")
        self._selector.register(wake_read, selectors.EVENT_READ, "wake")
        os.write(wake_write, b"!")  # what ended while we were being replaced raised no signal
        while not self._unguarded and (self._ending is None or self.table.live()):
            self._round(wake_read)
        self._close(wake_read, wake_write)
        return not self._unguarded

    def _close(self, *pipes: int) -> None:
        """Let go of all but the post: this process may be a guard next."""
        while self.table.verdicts:  # a forked child says within moments how its exec went
            self.table.verdict(next(iter(self.table.verdicts)))
        self.reaper.remove_all()
        self.table.close()
        signal.set_wakeup_fd(-1)
        for peer in self._peers.values():
            peer.flush()
            peer.sock.close()
        self._line.sock.close()
        self._selector.close()
        for fd in pipes:
            os.close(fd)

    def _round(self, wake: int) -> None:
        for key, _ in self._selector.select(self._timeout()):
            if key.data == "listener":
                self._accept()
            elif key.data == "wake":
                os.read(wake, 4096)
            elif key.data == "guard":
                self._hear_guard()
            elif isinstance(key.data, Peer):
                self._hear(key.data)
            elif key.data == "verdict" and key.fd in self.table.verdicts:
                self._tell(self.table.verdict(key.fd))
        self._tell(self.reaper.reap())
        if self.reaper.polls():
            self._tell(self.reaper.poll())
        self._press()
        now = boot_clock()
        if now - self._synced > SYNC_EVERY:
            self.table.sync()
            self._synced = now
        for peer in list(self._peers.values()):
            self._flush(peer)
        self._upgrade_if_quiet()

    def _timeout(self) -> float | None:
        busy = self.reaper.polls() or self._ending is not None or self.table.dirty or self._upgrade
        first = self._first_deadline()
        if first is None:
            return POLL_EVERY if busy else None
        left = max(0.0, first - boot_clock())
        return min(left, POLL_EVERY if busy else AWAKE_EVERY)

    def _first_deadline(self) -> float | None:
        return min((*self.table.deadlines.values(), *self.probes.deadlines()), default=None)

    def _accept(self) -> None:
        peer = Peer.accept(self._post.listener, os.geteuid())
        if peer is not None:
            self._peers[peer.sock.fileno()] = peer
            self._selector.register(peer.sock, selectors.EVENT_READ, peer)

    def _hear_guard(self) -> None:
        messages = self._line.receive()
        if messages is None:
            self._unguarded = True
        told: list[list[int]] = []
        for message in messages or ():
            if "exit" in message:
                pid, start, status = message["exit"]
                self._tell(self.reaper.told(pid, start, status))
                told.append([pid, start])
            elif "settled" in message:
                self._settled = True
            elif "upgraded" in message and self._upgrade is not None:
                self._follow(message["upgraded"])
        if told:
            self._line.send({"ack": told})

    def _hear(self, peer: Peer) -> None:
        lines = peer.receive()
        if lines is None:
            self._drop(peer)
            return
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
            if answer is not None:
                peer.send({"re": message.get("re"), **answer})

    def _obey(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None: it comes later."""
        table, verb = self.table, message["verb"]
        entries: list[Entry] = []
        if verb == "list":
            peer.listens = True
            return {"seq": table.seq, "runs": list(table.runs.values()), **version.of(message)}
        if verb == "spawn":
            if self._ending is not None:
                return {"error": "the keeper is ending"}
            if boot_clock() >= (message["order"].get("deadline") or math.inf):
                return {"error": "its deadline has passed already"}
            entries = table.spawn(message["order"])
        elif verb == "probe":
            self.probes.start(peer, message["id"], message["order"], message["timeout"])
        elif verb == "end":
            self._begin_end(message["force"])
        elif verb == "upgrade":
            self._upgrade = [str(word) for word in message["program"]], peer, message.get("re")
            return None
        elif verb in CHANGES:
            entries = CHANGES[verb](table, message)
        else:
            return {"error": f"unknown verb {verb!r}"}
        self._tell(entries)
        return {}

    def _upgrade_if_quiet(self) -> None:
        """The guard goes first; before us, no fork may be half done."""
        if self._upgrade is not None and not self.table.verdicts and not self.probes.running:
            self._line.send({"upgrade": self._upgrade[0]})
            while self._upgrade is not None and not self._unguarded:
                self._hear_guard()
            for peer in list(self._peers.values()):  # still here: why, is answered before we sleep again
                self._flush(peer)

    def _follow(self, verdict: object) -> None:
        """The guard was replaced, or not; now we are, keeping our children."""
        assert self._upgrade is not None
        program, peer, number = self._upgrade
        self._upgrade = None
        if verdict is True:
            self.table.sync()
            try:
                self._post.replace(program, "keeper", self._line.sock)
            except OSError as error:
                verdict = error.strerror
        sys.stderr.write(f"not replaced by {program}: {verdict}\n")
        peer.send({"re": number, "error": f"not replaced: {verdict}"})

    @property
    def ending(self) -> bool:
        """Whether it was told to end."""
        return self._ending is not None

    def _begin_end(self, force: bool | None) -> None:  # noqa: FBT001 - a signal handler's way in, too
        """No new runs; those there are get their stop signal and their own grace."""
        if force is False and self.table.live():
            return
        if self._ending is None:
            self._ending = boot_clock()
            self.reaper.ending = True
            self._line.send({"ending": True})

    def _press(self) -> None:
        """Runs whose deadline is over, or all when we are ending: signal, grace, SIGKILL."""
        now = boot_clock()
        self.probes.kill_overdue(now)
        late = {run_id for run_id, deadline in self.table.deadlines.items() if now >= deadline}
        for run in (
            self.table.live() if self._ending is not None else [self.table.runs[each] for each in late]
        ):
            deadline, overdue = run.get("deadline"), run["id"] in late
            since = min(each for each in (self._ending, deadline if overdue else None) if each is not None)
            if run["stop_at"] is None:
                why = EXPIRED if overdue else None
                self._tell(self.table.stop(run["id"], run["stop_signal"], why))
            elif now - max(run["stop_at"], since) > run["grace"]:
                self._tell(self.table.kill(run["id"]))

    def _tell(self, entries: list[Entry]) -> None:
        for entry in entries:
            for peer in self._peers.values():
                if peer.listens:
                    peer.send({"event": entry})

    def _flush(self, peer: Peer) -> None:
        if not peer.flush():
            self._drop(peer)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.outgoing else 0)
        if self._selector.get_key(peer.sock).events != wanted:
            self._selector.modify(peer.sock, wanted, peer)

    def _drop(self, peer: Peer) -> None:
        if self._peers.pop(peer.sock.fileno(), None) is not None:
            self._selector.unregister(peer.sock)
            peer.sock.close()
