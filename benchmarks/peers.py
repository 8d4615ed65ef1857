"""The supervisors that Muster is measured against, each as its users would set it up to be fast.

Every one has `begin` (its manager runs and knows the tasks), `up`, `stop` (the tasks; the manager
stays), `pids` (all processes that are the manager's and not tasks) and `close`. Where that is quicker
for them, their programs run before the clock starts and are asked through their own protocol.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import xmlrpc.client
from pathlib import Path

from procs import children
from rig import wait


class Missing(Exception):
    """A peer is not here and cannot be fetched."""


def _run(*words, **more):
    try:
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=300, **more)
    except FileNotFoundError:
        raise Missing(f"{words[0]} is not there") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip() or "no reason given").splitlines()[-1]
        raise Missing(f"{words[0]}: {last}") from None


def _from_pypi(tools, package):
    """A virtual environment of its own, so that nothing of it touches ours."""
    directory = tools / package
    if not directory.exists():
        _run(sys.executable, "-m", "venv", directory)
        _run(directory / "bin" / "python", "-m", "pip", "install", "--quiet", package)
    return directory / "bin"


class Peer:
    """One manager in a directory of its own. `apps` are (name, command, how many)."""

    def __init__(self, tools, home):
        self.tools, self.home = tools, Path(home)
        self.process = None

    def spawn(self, *words, **more):
        with (self.home / "out").open("ab") as out:
            self.process = subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True, **more)

    def pids(self):
        return [self.process.pid]

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(120)


class Supervisord(Peer):
    """Started cold, which is not slower for it than asking for all tasks; they write no logs: quicker so."""

    name = "supervisord"

    def begin(self, apps):
        path = self.home / "conf"
        # Every child closes so many descriptors: as few as will do.
        fds = max(1024, 64 + 3 * sum(count for _, _, count in apps))
        lines = [
            f"[unix_http_server]\nfile={self.home}/sock",
            f"[supervisord]\nlogfile={self.home}/log\npidfile={self.home}/pid\nminfds={fds}",
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        ]
        for name, command, count in apps:
            quoted = " ".join(f"'{word}'" for word in command)
            lines.append(
                f"[program:{name}]\ncommand={quoted}\nnumprocs={count}\nprocess_name={name}%(process_num)s\n"
                "autorestart=true\nstartsecs=0\nstdout_logfile=NONE\nstderr_logfile=NONE"
            )
        path.write_text("\n".join(lines) + "\n")
        self._program = _from_pypi(self.tools, "supervisor") / "supervisord"
        if not apps:
            self.up()
            wait(lambda: self._call("getState")["statecode"] == 1)

    def _call(self, verb, *args):
        transport = _UnixTransport(self.home / "sock")
        return getattr(xmlrpc.client.ServerProxy("http://unix", transport).supervisor, verb)(*args)

    def up(self):
        self.spawn(self._program, "-n", "-c", self.home / "conf")

    def stop(self):
        self._call("stopAllProcesses", False)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path):
        super().__init__()
        self._path = str(path)

    def make_connection(self, host):
        connection = http.client.HTTPConnection(host)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._path)
        return connection


class Circus(Peer):
    """Looks after its tasks every second rather than every five."""

    name = "circus"
    _CLIENT = (
        "import sys\nfrom circus.client import CircusClient\n"
        "client = CircusClient(endpoint=sys.argv[1], timeout=300)\n"
        "for line in sys.stdin:\n    verb, *name = line.split()\n"
        "    more = {'name': name[0], 'match': 'simple', 'waiting': True} if name else {}\n"
        "    client.call({'command': verb, 'properties': more})\n"
        "    print('done', flush=True)\n"
    )

    def begin(self, apps):
        path = self.home / "ini"
        endpoint = f"ipc://{self.home}/ask"
        lines = [f"[circus]\nendpoint = {endpoint}\npubsub_endpoint = ipc://{self.home}/say\ncheck_delay = 1"]
        for name, command, count in apps:
            cmd, args = command[0], " ".join(f"'{word}'" for word in command[1:])
            lines.append(
                f"[watcher:{name}]\ncmd = {cmd}\nargs = {args}\nnumprocesses = {count}\nautostart = False\n"
                "warmup_delay = 0\nmax_retry = -1\ncopy_env = True"
            )
        path.write_text("\n".join(lines) + "\n")
        self._names = [name for name, _, _ in apps]
        programs = _from_pypi(self.tools, "circus")
        self.spawn(programs / "circusd", path)
        self._client = subprocess.Popen(
            [programs / "python", "-c", self._CLIENT, endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._call("list")

    def _call(self, verb):
        self._client.stdin.write(verb + "\n")
        self._client.stdin.flush()
        if not self._client.stdout.readline():
            raise SystemExit("circus does not answer")

    def up(self):
        for name in self._names:  # a start of everything passes over what does not start by itself
            self._call(f"start {name}")

    def stop(self):
        self._call("stop")

    def close(self):
        self._client.stdin.close()
        self._client.stdout.close()
        self._client.wait(60)
        super().close()


class Runit(Peer):
    """`runsvdir` is started cold: it looks for new services only every five seconds."""

    name = "runit"

    def begin(self, apps):
        self._path = self._programs()
        self._services = self.home / "service"
        self._services.mkdir()
        for name, command, count in apps:
            for number in range(count):
                service = self._services / f"{name}{number}"
                service.mkdir()
                script = service / "run"
                quoted = " ".join(f"'{word}'" for word in command)
                script.write_text(f"#!/bin/sh\nexec {quoted}\n")
                script.chmod(0o755)
        if not apps:
            self.up()

    def _programs(self):
        found = shutil.which("runsvdir")
        if found:
            return os.environ["PATH"]
        directory = self.tools / "runit"
        if not directory.exists():
            fetched = self.tools / "deb"
            fetched.mkdir(exist_ok=True)
            _run("apt-get", "download", "runit", cwd=fetched)
            _run("dpkg-deb", "-x", next(fetched.glob("runit_*.deb")), directory)
        return f"{directory}/usr/bin:{directory}/usr/sbin:{os.environ['PATH']}"

    def _environment(self):
        return {**os.environ, "PATH": self._path}

    def up(self):
        self.spawn("runsvdir", "-P", self._services, env=self._environment())

    def stop(self):
        services = sorted(self._services.iterdir())
        subprocess.run(["sv", "down", *services], check=True, capture_output=True, env=self._environment())

    def pids(self):
        return [self.process.pid, *children(self.process.pid)]

    def close(self):
        if self.process is not None:
            left = self.pids()
            self.process.send_signal(signal.SIGHUP)
            self.process.wait(60)
            wait(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in left[1:]))


class Pm2(Peer):
    """Its daemon runs before the clock starts; its tasks write no logs."""

    name = "pm2"

    def begin(self, apps):
        self._program = self._fetch()
        file = [
            {"name": name, "script": command[0], "args": command[1:], "instances": count, "interpreter": "none",
             "exec_mode": "fork", "restart_delay": 0, "max_restarts": 1_000_000, "cwd": str(self.home),
             "out_file": "/dev/null", "error_file": "/dev/null"}
            for name, command, count in apps
        ]  # fmt: skip
        (self.home / "apps.json").write_text(json.dumps({"apps": file}))
        self._call("ping")
        self._pid = int((self.home / "pm2.pid").read_text())

    def _fetch(self):
        found = shutil.which("pm2")
        if found:
            return found
        directory = self.tools / "pm2"
        if not directory.exists():
            directory.mkdir()
            _run("npm", "install", "--no-audit", "--no-fund", "--prefix", directory, "pm2")
        return directory / "node_modules" / ".bin" / "pm2"

    def _call(self, *words):
        more = {"PM2_HOME": str(self.home), "PM2_DISABLE_VERSION_CHECK": "true"}
        with (self.home / "out").open("ab") as out:
            subprocess.run(
                [self._program, *words], check=True, stdout=out, stderr=out, env={**os.environ, **more}
            )

    def up(self):
        self._call("start", self.home / "apps.json")

    def stop(self):
        self._call("stop", "all")

    def pids(self):
        return [self._pid]

    def close(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self._call("kill")


PEERS = {peer.name: peer for peer in (Supervisord, Circus, Runit, Pm2)}
