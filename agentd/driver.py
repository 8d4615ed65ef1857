"""The brain's side of the keeper: finds or starts it, gives orders, hears events."""

import contextlib
import json
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agentd import calling
from agentd.core.runs import Run
from agentd.keeper import version

log = logging.getLogger("agent")

CONNECT_WITHIN = 10.0
ANSWER_WITHIN = 10.0
PROTOCOLS = (1, 2)
"""Keepers' protocols that this brain can speak."""


class KeeperGone(Exception):
    """The connection to the keeper ended."""


class KeeperError(Exception):
    """The keeper could not do what it was asked to."""


class Driver:
    """One connection. A thread of its own hears events and keeps the table of runs."""

    def __init__(
        self,
        directory: Path,
        on_event: Callable[[], None],
        on_probe: Callable[[str, int | None, str | None], None] = lambda *_: None,
    ) -> None:
        self._directory = directory
        self._on_event = on_event
        self._on_probe = on_probe
        self._lock = threading.Lock()
        self._answers: dict[int, dict[str, Any]] = {}
        self._answered = threading.Condition()
        self._number = 0
        self._socket: socket.socket | None = None
        self._runs: dict[str, Run] = {}
        """By id; a run that did not change stays the same object."""
        self._gone = threading.Event()
        self.pid = 0
        self.guard = 0
        self.protocol = 0
        """Which protocol the keeper and we have in common."""
        self._said: dict[str, Any] = {}

    def connect(self, *, start: bool = True) -> bool:
        """Connect to the keeper; start one if none is there. Whether there is one.

        A keeper of other code than ours is replaced by ours in place; one of the last release, which
        cannot do that, as soon as it has no tasks.

        Raises:
            KeeperGone: none comes up, or it speaks another protocol.
        """
        if not self._meet(start=start):
            return False
        answer = self._said
        if start and answer["protocol"] < version.PROTOCOL:
            if self.outlived():
                self.end(force=False)
                self.wait_gone(ANSWER_WITHIN)
                return self._meet(start=True)
            log.warning("the keeper is of an older release; it is replaced once its tasks have ended")
        elif start and answer["build"] != version.build() and answer["newest"] <= version.PROTOCOL:
            self._upgrade()
        return True

    def outlived(self) -> bool:
        """Whether the keeper is of an older release and keeps nothing: `connect` replaces it."""
        return 0 < self.protocol < version.PROTOCOL and not any(run.live for run in self.runs())

    def _upgrade(self) -> None:
        """Let the keeper and its guard become our code, keeping their children."""
        trouble = calling.check(ANSWER_WITHIN)
        if trouble is not None:
            log.error("the keeper is not upgraded: %s", trouble)
            return
        try:
            self._ask({"verb": "upgrade", "program": calling.PROGRAM})
        except KeeperError as error:
            log.error("the keeper is not upgraded: %s", error)
        except KeeperGone:  # as it should be: what comes next is the new one
            self._meet(start=True)
            log.info("the keeper now runs this release's code")

    def _meet(self, *, start: bool) -> bool:
        self._disconnect()
        deadline = time.monotonic() + CONNECT_WITHIN
        pause = 0.01
        started: subprocess.Popen[bytes] | None = None
        while time.monotonic() < deadline:
            sock = calling.knock(self._directory)
            if sock is not None and self._greet(sock):
                return True
            if sock is None and not start:
                return False
            if sock is None and (started is None or started.poll() is not None):
                if started is not None:  # it ended at once: a full disk, say
                    pause = min(pause * 4, 1.0)
                started = calling.start(self._directory)
            time.sleep(pause)
        raise KeeperGone(f"no keeper came up in {self._directory}; see keeper.log there")

    def _greet(self, sock: socket.socket) -> bool:
        """Begin to hear, and take the table; whether the keeper lived to give it."""
        # Each connection has its own: the thread of an earlier one may still be ending.
        ready, gone = threading.Event(), threading.Event()
        self._socket, self._gone = sock, gone
        threading.Thread(target=self._hear, args=(sock, ready, gone), name="keeper", daemon=True).start()
        try:
            answer = self._ask({"verb": "list", "protocol": version.PROTOCOL})
        except KeeperGone:  # we met it dying: its socket was still there
            self._disconnect()
            return False
        else:
            with self._lock:
                self._runs = {raw["id"]: Run.of(raw) for raw in answer["runs"]}
        finally:
            ready.set()
        if answer["protocol"] not in PROTOCOLS:
            raise KeeperGone(f"the keeper speaks protocol {answer['protocol']}, this agent {PROTOCOLS}")
        self._said = {"build": "", "newest": 1, **answer}
        self.pid, self.guard, self.protocol = answer["pid"], answer.get("guard", 0), answer["protocol"]
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
            KeeperGone: we no longer hear it, and know nothing to plan on.
        """
        if self._gone.is_set():
            raise KeeperGone("the keeper is gone")
        with self._lock:
            return list(self._runs.values())

    def spawn(self, order: dict[str, Any]) -> None:
        """Start a run, and wait until it is journalled."""
        self.finish(self.begin_spawn(order))

    def begin_spawn(self, order: dict[str, Any]) -> int:
        """Ask for a run; `finish` of the number tells whether it was started."""
        return self._begin({"verb": "spawn", "order": order})

    def regroup(self, run: str, groups: list[str]) -> None:
        """Note the control groups that a run is in by now."""
        self._ask({"verb": "regroup", "id": run, "cgroups": groups})

    def refuse(self, run: dict[str, Any], error: str) -> None:
        """Record a run that cannot be started."""
        self._ask({"verb": "refuse", "run": run, "error": error})

    def stop(self, run: str, number: int, why: str | None = None) -> None:
        """Send the stop signal; `why` is kept if this is the task's own fault or its time was up."""
        self.finish(self.begin_stop(run, number, why))

    def begin_stop(self, run: str, number: int, why: str | None) -> int:
        """Order a stop; `finish` of the number tells whether it was heard."""
        return self._begin({"verb": "stop", "id": run, "signal": number, "why": why})

    def expire(self, run: str, deadline: float | None) -> None:
        """Have the run stopped at `deadline` (seconds since boot), brain or no brain; None: never."""
        self._ask({"verb": "expire", "id": run, "deadline": deadline})

    def expire_all(self, deadlines: Mapping[str, float | None]) -> None:
        """`expire` for many runs; all are asked for before the first answer is waited for.

        Raises:
            KeeperError: the keeper has no such switches, or not all could be moved.
        """
        if self.protocol < 2:
            raise KeeperError("the keeper is of an older release")
        asked = [self._begin({"verb": "expire", "id": run, "deadline": at}) for run, at in deadlines.items()]
        for number in asked:
            self.finish(number)

    def probe(self, name: str, order: dict[str, Any], timeout: float) -> None:
        """Run a short command; `on_probe(name, code, error)` is called when it ended."""
        self._ask({"verb": "probe", "id": name, "order": order, "timeout": timeout})

    def kill(self, run: str, why: str | None = None) -> None:
        """SIGKILL to everything of a run."""
        self._ask({"verb": "kill", "id": run, "why": why})

    def forget(self, runs: tuple[str, ...]) -> None:
        """Drop ended runs."""
        self._ask({"verb": "forget", "ids": list(runs)})

    def end(self, *, force: bool) -> None:
        """Let the keeper end: if it has no tasks, or (`force`) after stopping them."""
        self._ask({"verb": "end", "force": force})

    def wait_gone(self, seconds: float) -> bool:
        """Whether the keeper ended within so many seconds."""
        return self._gone.wait(seconds)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        return self.finish(self._begin(message))

    def _begin(self, message: dict[str, Any]) -> int:
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
        return number

    def finish(self, number: int) -> dict[str, Any]:
        """Wait for the answer to a question.

        Raises:
            KeeperError: the keeper could not do it.
            KeeperGone: it did not answer.
        """
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

    def _take(self, entry: dict[str, Any]) -> None:
        """As `events.apply` in the keeper."""
        if entry["kind"] == "run":
            self._runs[entry["run"]["id"]] = Run.of(entry["run"])
        elif entry["kind"] == "forgot":
            for run_id in entry["ids"]:
                self._runs.pop(run_id, None)
        elif entry["id"] in self._runs:
            self._runs[entry["id"]] = self._runs[entry["id"]].after(entry)

    def _hear(self, sock: socket.socket, ready: threading.Event, gone: threading.Event) -> None:
        with sock.makefile("rb") as lines:
            try:
                for line in lines:
                    message = json.loads(line)
                    if "event" in message:
                        ready.wait()  # the table comes first; events that overlap it are harmless
                        with self._lock:
                            if sock is self._socket:
                                self._take(message["event"])
                        self._on_event()
                    elif "probe" in message:
                        self._on_probe(message["probe"], message["code"], message["error"])
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
