"""A server with a controller beside it, and nodes that only beat: where the controller is measured."""

import contextlib
import multiprocessing
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from census import PULSES, Census
from procs import cpu
from rig import PYTHON, wait

from store import bootstrap
from store.embedded import EmbeddedServer
from store.home import Files
from store.kv.connection import connect
from store.kv.store import Store

INTERVAL, TTL = 5.0, 60.0
"""Of the nodes that only beat: a busy machine must not kill them."""
LED_WITHIN = 120.0


class Stage:
    """A server, and a controller beside it whenever one is asked for."""

    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="muster-bench-"))
        self.server = EmbeddedServer(Files(self.home))
        self.log = self.home / "controller.log"
        self.process = None

    def __enter__(self):
        self.server.start()
        self.password = self.server.files.password.read_text()
        self.store = Store(self.server.client("bench"))
        bootstrap.begin(self.store, None)
        self.store.attach()
        return self

    def lead(self):
        """Start a controller, and wait until it leads; the seconds in which it read everything."""
        environment = {
            **os.environ, "MUSTER_STORE_URL": self.server.local_url,
            "MUSTER_STORE_PASSWORD_FILE": str(self.server.files.password),
        }  # fmt: skip
        with self.log.open("wb") as out:
            argv = [*PYTHON, "manager_api.controller"]
            self.process = subprocess.Popen(argv, stdout=out, stderr=out, env=environment)
        wait(lambda: self._led() is not None, LED_WITHIN, every=0.05)
        return self._led()

    def _led(self):
        said = re.findall(r"leading with token .* read in ([0-9.]+) s", self.log.read_text(errors="replace"))
        return float(said[-1]) if said else None

    def cpu(self):
        """Processor seconds of the controller so far."""
        return cpu([self.process.pid])

    def rss(self):
        """MiB of the controller."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024

    def dismiss(self):
        """End the controller."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def __exit__(self, *_):
        self.dismiss()
        self.server.stop()
        shutil.rmtree(self.home, ignore_errors=True)


def _beat(url, password, nodes):
    """A process: the heartbeats of the nodes of a census, evenly over the interval. Ends with its parent."""
    store = Store(connect(url, name="pulse", password=password))
    store.attach()
    census = Census(store, nodes=nodes, allocations=0, ttl=TTL)
    parent, due = os.getppid(), time.monotonic()
    number = 0
    while os.getppid() == parent:
        census.pulse(number)
        number += 1
        due += INTERVAL / PULSES
        time.sleep(max(0.0, due - time.monotonic()))


@contextlib.contextmanager
def beating(stage, nodes):
    """While it lasts, the nodes of a census beat."""
    worker = multiprocessing.get_context("spawn").Process(
        target=_beat, args=(stage.server.local_url, stage.password, nodes), daemon=True
    )
    worker.start()
    try:
        yield
    finally:
        worker.kill()
        worker.join()
