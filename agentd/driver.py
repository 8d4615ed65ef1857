"""The brain's side of the keeper: finds or starts it, gives orders, hears events."""

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentd.core.runs import Run
from agentd.keeper.events import apply

log = logging.getLogger("agent")

CONNECT_WITHIN = 10.0
ANSWER_WITHIN = 10.0
PROTOCOLS = (1,)
"""Keepers' protocols that this brain can speak."""


class KeeperGone(Exception):
    """The connection to the keeper ended."""


class KeeperError(Exception):
    """The keeper could not do what it was asked to."""


class Driver:
    """One connection. A thread of its own hears events and keeps the table of runs."""

    def __init__(self, directory: Path, on_event: Callable[[], None]) -> None:
        self._directory = directory
        self._on_event = on_event
        self._lock = threading.Lock()
        self._answers: dict[int, dict[str, Any]] = {}
        self._answered = threading.Condition()
        self._number = 0
        self._socket: socket.socket | None = None
        self._raw: dict[str, dict[str, Any]] = {}
        self._gone = threading.Event()
        self.pid = 0

    def connect(self, *, start: bool = True) -> bool:
        """Connect to the keeper; start one if none is there. Whether there is one.

        Raises:
            KeeperGone: none comes up, or it speaks another protocol.
        """
        self._disconnect()
        deadline = time.monotonic() + CONNECT_WITHIN
        pause = 0.01
        started: subprocess.Popen[bytes] | None = None
        while time.monotonic() < deadline:
            sock = self._try_connect()
            if sock is not None and self._greet(sock):
                return True
            if sock is None and not start:
                return False
            if sock is None and (started is None or started.poll() is not None):
                if started is not None:  # it ended at once: a full disk, say
                    pause = min(pause * 4, 1.0)
                started = self._start()
            time.sleep(pause)
        raise KeeperGone(f"no keeper came up in {self._directory}; see keeper.log there")

    def _greet(self, sock: socket.socket) -> bool:
        """Begin to hear, and take the table; whether the keeper lived to give it."""
        # Each connection has its own: the thread of an earlier one may still be ending.
        ready, gone = threading.Event(), threading.Event()
        self._socket, self._gone = sock, gone
        threading.Thread(target=self._hear, args=(sock, ready, gone), name="keeper", daemon=True).start()
        try:
            answer = self._ask({"verb": "list"})
        except KeeperGone:  # we met it dying: its socket was still there
            self._disconnect()
            return False
        else:
            with self._lock:
                self._raw = {run["id"]: run for run in answer["runs"]}
        finally:
            ready.set()
        if answer["protocol"] not in PROTOCOLS:
            raise KeeperGone(f"the keeper speaks protocol {answer['protocol']}, this agent {PROTOCOLS}")
        self.pid = answer["pid"]
        return True

    def _disconnect(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def runs(self) -> list[Run]:
        """All runs that the keeper knows.

        Raises:
            KeeperGone: we no longer hear it: what we know may be old, and must not be planned on.
        """
        if self._gone.is_set():
            raise KeeperGone("the keeper is gone")
        with self._lock:
            return [Run.of(raw) for raw in self._raw.values()]

    def spawn(self, order: dict[str, Any]) -> None:
        """Start a run."""
        self._ask({"verb": "spawn", "order": order})

    def refuse(self, run: dict[str, Any], error: str) -> None:
        """Record a run that cannot be started."""
        self._ask({"verb": "refuse", "run": run, "error": error})

    def stop(self, run: str, number: int) -> None:
        """Send the stop signal."""
        self._ask({"verb": "stop", "id": run, "signal": number})

    def kill(self, run: str) -> None:
        """SIGKILL to everything of a run."""
        self._ask({"verb": "kill", "id": run})

    def forget(self, runs: tuple[str, ...]) -> None:
        """Drop ended runs."""
        self._ask({"verb": "forget", "ids": list(runs)})

    def end(self, *, force: bool) -> None:
        """Let the keeper end: if it has no tasks, or (`force`) after stopping them."""
        self._ask({"verb": "end", "force": force})

    def wait_gone(self, seconds: float) -> bool:
        """Whether the keeper ended within so many seconds."""
        return self._gone.wait(seconds)

    def _try_connect(self) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:  # by descriptor: the path itself may be too long for a socket's
            sock.connect(f"/proc/self/fd/{fd}/keeper.sock")
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        finally:
            os.close(fd)
        return sock

    def _start(self) -> subprocess.Popen[bytes]:
        code = Path(__file__).resolve().parent / "keeper"
        with (self._directory / "keeper.log").open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(code), str(self._directory)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd="/",
            )

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        with self._answered:
            self._number += 1
            number = self._number
        line = json.dumps({"re": number, **message}).encode() + b"\n"
        try:
            with self._lock:
                if self._socket is None:
                    raise KeeperGone("the keeper is gone")
                self._socket.sendall(line)
        except OSError as error:
            raise KeeperGone(str(error)) from error
        with self._answered:
            gone = self._gone
            if not self._answered.wait_for(lambda: number in self._answers or gone.is_set(), ANSWER_WITHIN):
                raise KeeperGone("the keeper does not answer")
            answer = self._answers.pop(number, None)
        if answer is None:
            raise KeeperGone("the keeper is gone")
        if "error" in answer:
            raise KeeperError(answer["error"])
        return answer

    def _hear(self, sock: socket.socket, ready: threading.Event, gone: threading.Event) -> None:
        with sock.makefile("rb") as lines:
            try:
                for line in lines:
                    message = json.loads(line)
                    if "event" in message:
                        ready.wait()  # the table comes first; events that overlap it are harmless
                        with self._lock:
                            if sock is self._socket:
                                apply(self._raw, message["event"])
                        self._on_event()
                    else:
                        with self._answered:
                            self._answers[message["re"]] = message
                            self._answered.notify_all()
            except (OSError, ValueError) as error:
                log.info("keeper: %s", error)
        sock.close()
        gone.set()
        with self._answered:
            self._answered.notify_all()
        self._on_event()
