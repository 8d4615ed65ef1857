"""A server of a test's own that is killed, stopped and started; and processes beside it."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from store import bootstrap
from store.embedded import EmbeddedServer
from store.home import Files
from store.kv.store import Store
from tests.conftest import eventually, server_binary

ROOT = Path(__file__).parents[2]


class Stage:
    """One server and the processes that use it; all of them are ended with it."""

    def __init__(self, home, kind):
        self.home = home
        self.server = EmbeddedServer(Files(home / "store"), binary=server_binary(kind))
        self.processes = []

    def start(self):
        self.server.files.home.mkdir(mode=0o700)
        self.server.start()
        return bootstrap.begin(self.store(), None)

    def store(self, name="test"):
        """A view of its own, with a connection of its own."""
        return Store(self.server.client(name))

    def attached(self, name="test"):
        store = self.store(name)
        store.attach()
        return store

    def run(self, module, *args, **more):
        """A program of this directory, which is told port and password file first."""
        words = [str(self.server.port), str(self.server.files.password), *map(str, args)]
        process = subprocess.Popen(
            [sys.executable, "-m", f"tests.linear.{module}", *words], cwd=ROOT, start_new_session=True, **more
        )
        self.processes.append(process)
        return process

    def kill_server(self):
        """`kill -9`, and another start on the same append-only file."""
        self.kill_9()
        self.server.start()

    def kill_9(self):
        os.kill(self.server.pid, signal.SIGKILL)
        eventually(lambda: self.server.poll() is not None)

    def pause(self, pid, seconds):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def still(self, processes):
        """They do nothing meanwhile, wherever it caught them."""
        for process in processes:
            os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process.pid, signal.SIGCONT)

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()
        if self.server.pid:
            os.kill(self.server.pid, signal.SIGCONT)
            self.server.stop()


def some_time(most=0.4):
    """Chance decides when the next disturbance comes; nothing is asserted on it."""
    time.sleep(random.uniform(0.0, most))
