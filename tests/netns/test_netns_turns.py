"""Turns at a server of files that a node still reaches when it no longer reaches the store."""

import contextlib
import shutil
import threading
from pathlib import Path

import pytest

from tests.conftest import eventually, need
from tests.netns.conftest import NODES, Fleet, Net, ip, may_make_namespaces
from tests.sshd import Sshd, need_root

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

FILES = "10.88.0.2"
ESTABLISHED = "01"


class SshdIn(Sshd):
    """One in a namespace."""

    def __init__(self, net):
        super().__init__(more=f"ListenAddress {FILES}")
        self._net = net

    def _command(self):
        return [*self._net.within(self._net.hub), *super()._command()]

    def peers(self):
        """The addresses of those that are connected: no process has closed their end, nor has the server."""
        found = []
        for line in Path(f"/proc/{self._process.pid}/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, state = line.split()[:4]
            if state == ESTABLISHED and local.endswith(f":{self.port:04X}"):
                found.append(int(remote[:2], 16))  # the last byte comes first
        return found


class Counter(threading.Thread):
    """Looks all the time how many are connected."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.most, self.stopping = server, 0, threading.Event()

    def run(self):
        while not self.stopping.wait(0.002):
            with contextlib.suppress(OSError):
                self.most = max(self.most, len(self.server.peers()))


@pytest.fixture
def net():
    for tool in ("ip", "nsenter"):
        need(shutil.which(tool), tool)
    need(may_make_namespaces(), "the right to make network namespaces")
    need_root()
    found = Net(NODES)
    try:
        ip("-n", found.hub, "addr", "add", f"{FILES}/24", "dev", "switch")
        yield found
    finally:
        found.remove()


@pytest.fixture
def server(net):
    found = SshdIn(net)
    try:
        yield found.start()
    finally:
        found.end()


@pytest.fixture
def fleet(tmp_path, net, server):
    """A manager with one turn to give, and agents that take minutes for a file."""
    found = Fleet(tmp_path, net)
    secret = tmp_path / "secret"
    secret.write_text(server.user.password)
    secret.chmod(0o600)
    try:
        found.start_manager(
            "--listen", net.address, "--insecure", "--store-port", "8082", "--source-limit", "1",
            "--sftp-host", server.url().replace("127.0.0.1", FILES), "--sftp-password-file", str(secret),
            "--sftp-fingerprint", server.fingerprint,
        )  # fmt: skip
        for node in NODES:
            found.start_agent(node, wait=False, **{"download-rate": "256K"})
        eventually(lambda: all(found.online(node) for node in NODES), 40)
        yield found
    finally:
        found.end()


def test_a_node_without_the_store_leaves_the_server_of_files_before_another_has_its_turn(fleet, net, server):
    server.file("big", size=1 << 30)
    task = {"name": "main", "config": {"command": "/bin/true"}, "artifacts": [{"source": "big"}]}
    fleet.deploy(fleet.template({"name": "etl", "task_groups": [{"tasks": [task], "count": "all"}]}))
    counter = Counter(server)
    counter.start()
    try:
        (first,) = eventually(server.peers, 40)
        # What the manager and the store say to it is lost; what the server of files says is not.
        ip("-n", net.hub, "rule", "add", "from", net.address, "to", f"10.88.0.{first}", "blackhole")
        (second,) = eventually(lambda: (now := server.peers()) and now != [first] and now, 40)  # and not both
        assert counter.most == 1
        ip("-n", net.hub, "rule", "del", "from", net.address, "to", f"10.88.0.{first}", "blackhole")
        eventually(lambda: fleet.online(NODES[first - 10]), 40)
        net.set(NODES[second - 10], "down")  # the server cannot know of it
        eventually(lambda: [each for each in server.peers() if each != second], 40)
    finally:
        counter.stopping.set()
        counter.join()
