"""What the benchmarks share: a manager and agents in a directory that goes away, and percentiles."""

import contextlib
import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PYTHON = [sys.executable, "-P", "-m"]


class Rig:
    """A manager on loopback, perhaps with agents."""

    def __init__(self, *flags):
        self._flags = flags
        self.home = Path(tempfile.mkdtemp(prefix="muster-bench-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.db = self.home / "resource_monitor.db"
        self.processes = []

    def __enter__(self):
        self._run("manager", "manager_api", "--port", str(self.port), "--db-path", str(self.db), *self._flags)
        wait(lambda: self.call("GET", "/readyz")[0] == 200)
        return self

    def agent(self, name, interval=5, **more):
        directory = self.home / name
        flags = {
            "interval": interval,
            "manager-url": f"http://127.0.0.1:{self.port}",
            "hostname": name,
            "port": "0",
            "data-dir": directory,
            **more,
        }
        self._run(
            name, "agentd", *(str(word) for key, value in flags.items() for word in (f"--{key}", value))
        )
        wait(
            lambda: any(
                row["id"] == name and row["status"] == 0 for row in self.call("GET", "/v1/nodes")[1]["data"]
            )
        )
        return directory

    def _run(self, name, module, *flags):
        with (self.home / f"{name}.log").open("wb") as out:
            self.processes.append(
                subprocess.Popen([*PYTHON, module, *flags], stdout=out, stderr=out, start_new_session=True)
            )

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def call(self, method, path, body=None):
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def store_access(self):
        """(url, password) of the embedded store."""
        home = self.db.with_name(self.db.name + ".d")
        return f"redis://127.0.0.1:{(home / 'port').read_text()}/0", (home / "password").read_text()

    def __exit__(self, *_):
        for directory in self.home.iterdir():
            if (directory / "identity.json").exists():
                stop = [*PYTHON, "agentd", "stop", "--tasks", "--data-dir", str(directory)]
                subprocess.run(stop, check=False, capture_output=True)
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                process.wait(60)
        shutil.rmtree(self.home, ignore_errors=True)


def wait(condition, seconds=60, every=0.02):
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise SystemExit("the rig did not come up")
        time.sleep(every)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(name, values, unit="ms", goal=""):
    """Print one line: median, 99th percentile, worst."""
    p50, p99, worst = percentile(values, 0.5), percentile(values, 0.99), max(values)
    print(f"{name:<52} p50 {p50:8.2f}  p99 {p99:8.2f}  max {worst:8.2f} {unit}  n={len(values)}  {goal}")
    return p50, p99


def header(title):
    load = os.getloadavg()[0]
    print(
        f"\n{title}\n{platform.machine()}, {os.cpu_count()} cpus, load {load:.1f}, Python {platform.python_version()}"
    )
