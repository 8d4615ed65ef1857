"""A manager and agents, each in a network namespace of its own, on a bridge that can be cut anywhere.

All of it lies inside namespaces that are made here and removed here: no interface and no address
appears on the machine itself. Names are random, so that runs of the tests do not meet.
"""

import concurrent.futures
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from store.kv.connection import connect
from tests.conftest import eventually, need
from tests.e2e.conftest import PYTHON, UNANSWERED, Cluster

CLONE_NEWNET = 0x40000000
NODES = ("web-1", "web-2", "web-3")
INTERVAL = 0.5


def ip(*words):
    """Raises if it fails: what is tested on must be there."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30).stdout


class Net:
    """A switch in the manager's namespace, and a cable from it to each node's."""

    def __init__(self, nodes):
        self._mark = f"muster-{secrets.token_hex(4)}"
        self.hub = f"{self._mark}-hub"
        self._made = []
        self._cables = {node: f"cable{number}" for number, node in enumerate(nodes)}
        self.address = "10.88.0.1"
        try:
            self._build()
        except BaseException:
            self.remove()
            raise

    def _build(self):
        self._namespace(self.hub)
        ip("-n", self.hub, "link", "add", "name", "switch", "type", "bridge")
        ip("-n", self.hub, "addr", "add", f"{self.address}/24", "dev", "switch")
        ip("-n", self.hub, "link", "set", "switch", "up")
        for number, (node, cable) in enumerate(self._cables.items()):
            space = self.of(node)
            self._namespace(space)
            ip(
                "-n",
                self.hub,
                "link",
                "add",
                "name",
                cable,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                space,
            )
            ip("-n", self.hub, "link", "set", cable, "master", "switch", "up")
            ip("-n", space, "addr", "add", f"10.88.0.{number + 10}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")

    def _namespace(self, name):
        ip("netns", "add", name)
        self._made.append(name)
        ip("-n", name, "link", "set", "lo", "up")

    def of(self, node):
        """The namespace of a node."""
        return f"{self._mark}-{node}"

    def set(self, node, state):
        """`down`: what is on its way is lost, and nobody is told."""
        ip("-n", self.hub, "link", "set", self._cables[node], state)

    def within(self, name):
        """What has to stand before a command for it to run inside; mounts stay as they are."""
        return ["nsenter", f"--net=/run/netns/{name}", "--"]

    def remove(self):
        for name in self._made:
            with contextlib.suppress(subprocess.SubprocessError):
                ip("netns", "del", name)


def enter(name):
    """Take the calling thread into a namespace, for as long as it lives."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(fd)


class Fleet(Cluster):
    """As `Cluster`, but each program in its own namespace, and with cables to pull."""

    def __init__(self, home, net):
        super().__init__(home)
        self.net = net
        self.port = 8080
        self.url = f"http://{net.address}:{self.port}"
        self.interval = str(INTERVAL)
        self.space = net.hub
        self._inside = concurrent.futures.ThreadPoolExecutor(1, initializer=enter, initargs=(net.hub,))

    def run(self, log, module, *flags, cwd=None):
        with (self.home / log).open("ab") as out:
            process = subprocess.Popen(
                [*self.net.within(self.space), *PYTHON, module, *flags], stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, env=self.environment(), cwd=cwd or self.home, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def begin(self):
        """Everything up, every node online."""
        self.start_manager("--listen", self.net.address, "--insecure", "--store-port", "8082")
        for node in NODES:
            self.start_agent(node, wait=False)
        eventually(lambda: all(self.online(node) for node in NODES), 40)

    def start_agent(self, name="web-1", *, wait=True, log=None, **more):
        self.space = self.net.of(name)
        try:
            self.agents[name] = super().start_agent(name, wait=wait, log=log, **more)
        finally:
            self.space = self.net.hub
        return self.agents[name]

    def call(self, path, body=None):
        return self._inside.submit(super().call, path, body).result()

    def muster(self, *words):
        argv = [*self.net.within(self.net.hub), *PYTHON, "muster", *words]
        env = {**self.environment(), "MUSTER_URL": self.url}
        return subprocess.run(
            argv, env=env, capture_output=True, text=True, timeout=60, check=False, cwd=self.home
        )

    def template(self, body):
        status, answer = self.call("/api/task/task_group", body)
        assert status == 200, answer
        return body["name"]

    def row(self, node):
        return self.nodes().get(node, {})

    def tasks(self, deployment):
        """Rows of what should run; nothing while the manager does not answer."""
        with contextlib.suppress(*UNANSWERED):
            status, answer = self.call(f"/deployments/{deployment}")
            if status == 200:
                return answer["tasks"]
        return []

    def client(self):
        home = self.db.with_name(self.db.name + ".d")
        url = f"redis://{self.net.address}:{(home / 'port').read_text()}/0"
        return connect(url, name="test", password=(home / "password").read_text())

    def stored(self, collection, field):
        """A record as it lies in the store."""
        return self._inside.submit(lambda: self.client().hget(f"muster:{collection}", field)).result()

    # -- hands

    def partition(self, node):
        """Nothing goes to or from a node any more."""
        self.net.set(node, "down")

    def heal(self, node):
        self.net.set(node, "up")

    def offline(self, node):
        return self.row(node).get("status") == 1

    def lose(self, node):
        """A machine's sudden end: its agent, guard, keeper and tasks, by `kill -9`."""
        space = space_of(self.net.of(node))

        def all_killed():
            living = inside(space)
            for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: nobody starts anything anew
                for pid in living:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            return not living

        process = self.agents.pop(node)
        eventually(all_killed)
        process.wait(10)

    def end(self):
        for node in NODES:
            with contextlib.suppress(subprocess.SubprocessError):
                self.heal(node)
        super().end()
        self._inside.shutdown()


def space_of(name):
    """What tells a namespace from all others."""
    return Path(f"/run/netns/{name}").stat().st_ino


def inside(space):
    """The pids of all that lives in a namespace."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino == space and lives(pid):
                found.append(pid)
    return found


def lives(pid):
    """Whether there is such a process that has not ended: nobody need have taken notice of its end."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def words_of(pid):
    """The command line of a process; empty once it has ended."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).cmdline()
    return []


def may_make_namespaces():
    """Whether namespaces can be made here: tried, since many things forbid it."""
    name = f"muster-{secrets.token_hex(4)}-try"
    try:
        ip("netns", "add", name)
    except (OSError, subprocess.SubprocessError):
        return False
    try:
        ip("-n", name, "link", "add", "name", "switch", "type", "bridge")
        ip("-n", name, "link", "add", "name", "try0", "type", "veth", "peer", "name", "try1")
        return subprocess.run(["nsenter", f"--net=/run/netns/{name}", "true"], check=False).returncode == 0
    except subprocess.SubprocessError:
        return False
    finally:
        ip("netns", "del", name)


@pytest.fixture
def fleet(tmp_path):
    """A manager and three agents, online."""
    for tool in ("ip", "nsenter"):
        need(shutil.which(tool), tool)
    need(may_make_namespaces(), "the right to make network namespaces")
    net = Net(NODES)
    try:
        found = Fleet(tmp_path, net)
        try:
            found.begin()
            yield found
        finally:
            found.end()
    finally:
        net.remove()
