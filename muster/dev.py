"""`muster dev`: store, manager and agents on this machine, in the foreground, all ended together."""

import _thread
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from muster import context
from muster.client import Refused, Unreachable
from muster.context import running_dev
from muster.output import note

READY_WITHIN = 60.0
LOOK_EVERY = 0.2
MANAGER_STOPS_WITHIN = 60.0
TASKS_STOP_WITHIN = 600.0


class Dev:
    """One run of it."""

    def __init__(self, directory: Path, agents: int, port: int) -> None:
        self._directory = directory.resolve()
        self._names = [f"dev-{number}" for number in range(1, agents + 1)]
        self._port = port or _port()
        self._stopping = threading.Event()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where the manager listens."""
        return f"http://127.0.0.1:{self._port}"

    def run(self) -> int:
        """Until Ctrl-C, SIGTERM, or a death among ours; the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # On a thread: a handler that sets what is just being waited for would wait for itself.
            signal.signal(number, lambda *_: _thread.start_new_thread(self._stopping.set, ()))
        # Others may pass through, as tasks with a user of their own must; they cannot look around.
        self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = (self._directory / "dev.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            about = running_dev(self._directory) or {}
            note(f"muster dev runs on {self._directory} already: {about.get('url', 'it is just starting')}")
            return 1
        try:
            self._start()
            code = self._watch() if self._wait_ready() else 1
        finally:
            self._end()
        return code

    def _start(self) -> None:
        (self._directory / "manager").mkdir(exist_ok=True)
        database = self._directory / "manager" / "resource_monitor.db"
        self._spawn("manager", "manager_api", "--port", str(self._port), "--db-path", str(database))
        for name in self._names:
            self._spawn(
                name, "agentd", *self._agent_flags(name), "--manager-url", self.url, "--interval", "2"
            )
        about = {"url": self.url, "pid": os.getpid(), "db_path": str(database)}
        part = self._directory / ".dev.json.part"
        part.write_text(json.dumps(about))
        part.replace(self._directory / "dev.json")

    def _agent_flags(self, name: str) -> list[str]:
        return ["--hostname", name, "--data-dir", str(self._directory / name), "--port", "0"]

    def _spawn(self, name: str, module: str, *flags: str) -> None:
        """Start a program that ends when we do; a Ctrl-C is for us to pass on."""
        python = [sys.executable, "-P", "-m"]
        tied = [*python, "store.process", str(os.getpid())]
        with self._log(name).open("wb") as out:
            self._processes[name] = subprocess.Popen(
                [*tied, *python, module, *flags],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self._directory,
                start_new_session=True,
            )

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def _wait_ready(self) -> bool:
        deadline = time.monotonic() + READY_WITHIN
        client = context.client(self.url)
        while not self._stopping.is_set():
            if self._somebody_died():
                return False
            try:
                client.get_readiness()
                online = {row["id"] for row in client.list_nodes()["data"] if row["status"] == 0}
                if online >= set(self._names):
                    break
            except (Unreachable, Refused):
                pass
            if time.monotonic() > deadline:
                note(f"not ready after {READY_WITHIN:.0f} s; see the logs in {self._directory}")
                return False
            self._stopping.wait(LOOK_EVERY)
        note(f"manager  {self.url}")
        note(f"nodes    {', '.join(self._names)}")
        note(f"data     {self._directory}")
        note(f"try      MUSTER_URL={self.url} muster nodes")
        note("Ctrl-C ends everything, tasks too.")
        return True

    def _watch(self) -> int:
        while not self._stopping.wait(LOOK_EVERY):
            if self._somebody_died():
                return 1
        return 0

    def _somebody_died(self) -> bool:
        for name, process in self._processes.items():
            if process.poll() is not None:
                note(f"{name} ended with {process.returncode}; its last words, from {self._log(name)}:")
                lines = self._log(name).read_text(errors="replace").splitlines()[-5:]
                note("\n".join(f"  {line}" for line in lines))
                return True
        return False

    def _end(self) -> None:
        """Tasks first, then agents, then the manager: each still has what it needs to end well."""
        note("ending …")
        (self._directory / "dev.json").unlink(missing_ok=True)
        stops = [
            subprocess.Popen(
                [sys.executable, "-P", "-m", "agentd", "stop", "--tasks", *self._agent_flags(name)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._directory,
                start_new_session=True,
            )
            for name in self._names
            if (self._directory / name).exists()
        ]
        for stop in stops:
            if stop.wait(TASKS_STOP_WITHIN) != 0:
                note("an agent could not be stopped with its tasks; its log says more")
        manager = self._processes.get("manager")
        if manager is not None:
            manager.terminate()
            manager.wait(MANAGER_STOPS_WITHIN)


def _port() -> int:
    """8080 if it is free, else any free one."""
    for port in (8080, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port")
