"""`manager` itself: parent of store, API and controller; restarts what dies, stops all in order."""

import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from manager_api.warden import Warden
from store.backoff import Backoff
from store.clock import Clock
from store.embedded import EmbeddedServer
from store.errors import StoreError
from store.process import on_end, tied_to_parent
from store.snapshot import SnapshotKeeper

log = logging.getLogger("manager")

TICK = 0.25
API_STOPS_WITHIN = 20.0
CONTROLLER_STOPS_WITHIN = 10.0
SNAPSHOT_WITHIN = 15.0
STEADY = 10.0
"""Seconds a child must live for its earlier deaths to be forgiven."""


class Child:
    """One child process that is to run for as long as we do."""

    def __init__(self, name: str, start: Callable[[], subprocess.Popen[bytes]], clock: Clock) -> None:
        self.name = name
        self._start = start
        self._clock = clock
        self._backoff = Backoff(first=0.1, most=5.0)
        self._failures = 0
        self._started = 0.0
        self._retry_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def tick(self) -> None:
        """Start it when it is not running and its delay is over."""
        now = self._clock.now()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            self._failures = 1 if now - self._started > STEADY else self._failures + 1
            delay = self._backoff.delay(self._failures)
            log.error("%s ended with %d; started again in %.1f s", self.name, code, delay)
            self.process, self._retry_at = None, now + delay
        if now >= self._retry_at:
            try:
                self.process = self._start()
            except OSError as error:  # no process or memory for it just now
                self._failures += 1
                self._retry_at = now + self._backoff.delay(self._failures)
                log.error("%s cannot be started: %s", self.name, error)
                return
            self._started = now
            log.info("%s runs as pid %d", self.name, self.process.pid)

    def stop(self, seconds: float) -> None:
        """SIGTERM, then SIGKILL."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.warning("%s did not end within %.0f s and is killed", self.name, seconds)
            self.process.kill()
            self.process.wait()


class Supervisor:
    """Runs the children until told to stop."""

    def __init__(
        self,
        clock: Clock,
        children: list[Child],
        embedded: EmbeddedServer | None,
        snapshots: SnapshotKeeper | None,
        wardens: Sequence[Warden] = (),
    ) -> None:
        self._clock = clock
        self._children = children
        self._embedded = embedded
        self._snapshots = snapshots
        self._wardens = wardens
        self._stop = threading.Event()
        self._store_retry_at = 0.0
        self._store_failures = 0

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Signals must be free for this process to take."""
        on_end(self._stop.set)
        while not self._stop.is_set():
            if self._embedded is not None:
                self._tend_store(self._embedded)
            for child in self._children:
                child.tick()
            if self._snapshots is not None:
                self._snapshots.tick()
            for warden in self._wardens:
                warden.tick()
            self._stop.wait(TICK)
        log.info("shutting down")
        self._shut_down()

    def _tend_store(self, embedded: EmbeddedServer) -> None:
        code = embedded.poll()
        now = self._clock.now()
        if code is None or now < self._store_retry_at:
            return
        log.error("the store ended with %d; starting it again on its own data", code)
        try:
            embedded.start()
            self._store_failures = 0
        except (StoreError, OSError) as error:
            self._store_failures += 1
            delay = Backoff(first=0.5, most=10.0).delay(self._store_failures)
            self._store_retry_at = now + delay
            log.error("the store does not start: %s; again in %.1f s", error, delay)

    def _shut_down(self) -> None:
        """Callers first, then who decides, then what both stand on."""
        limits = {"api": API_STOPS_WITHIN, "controller": CONTROLLER_STOPS_WITHIN}
        for child in self._children:
            child.stop(limits.get(child.name, CONTROLLER_STOPS_WITHIN))
        if self._embedded is None:
            return
        if self._embedded.pid is not None and self._snapshots is not None:
            self._last_snapshot(self._snapshots)
        self._embedded.stop()

    def _last_snapshot(self, snapshots: SnapshotKeeper) -> None:
        deadline = self._clock.now() + SNAPSHOT_WITHIN
        snapshots.forgive()
        try:
            while not snapshots.up_to_date() and self._clock.now() < deadline:
                snapshots.tick()
                if snapshots.trouble:
                    return
                threading.Event().wait(0.02)
        except StoreError as error:
            log.warning("no last snapshot: %s", error)


def api_child(
    clock: Clock, environment: dict[str, str], listener: socket.socket, metrics: Path | None = None
) -> Child:
    """Gunicorn on a socket that we hold: callers wait while it is restarted, and are not refused.

    Its workers keep their counts in the directory `metrics`, which is empty when it begins.
    """
    conf = gunicorn_conf()
    argv = [sys.executable, "-P", "-m", "gunicorn", "--config", str(conf)]
    argv += ["--bind", f"fd://{listener.fileno()}", "manager_api.wsgi:app"]

    shared = {"PROMETHEUS_MULTIPROC_DIR": str(metrics.resolve())} if metrics else {}

    def start() -> subprocess.Popen[bytes]:
        if metrics is not None:
            shutil.rmtree(metrics, ignore_errors=True)
            metrics.mkdir(mode=0o700, parents=True)
        return subprocess.Popen(
            tied_to_parent(argv),
            env={**os.environ, **environment, **shared},
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    return Child("api", start, clock)


def controller_child(clock: Clock, environment: dict[str, str]) -> Child:
    """The controller."""
    return _module_child("controller", "manager_api.controller", clock, environment)


def device_file_child(clock: Clock, environment: dict[str, str]) -> Child:
    """Who keeps the file of `--device-csv`."""
    return _module_child("device file", "manager_api.device_file", clock, environment)


def _module_child(name: str, module: str, clock: Clock, environment: dict[str, str]) -> Child:
    argv = [sys.executable, "-P", "-m", module]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            tied_to_parent(argv),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    return Child(name, start, clock)


def gunicorn_conf() -> Path:
    """The shipped gunicorn settings: beside the source, else where the wheel put them."""
    beside = Path(__file__).resolve().parent.parent / "ops" / "gunicorn.conf.py"
    return beside if beside.exists() else Path(sys.prefix) / "share" / "muster" / "gunicorn.conf.py"
