"""Rolling forward and back: brains and keepers of this release and the last, in every pair."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.e2e.conftest import PYTHON, pid_and_start, shell
from tests.e2e.test_supervision import a_task, row, task_of

pytestmark = pytest.mark.e2e
LAST = Path(__file__).parents[1] / "releases" / "0.1.0.tar.gz"


@pytest.fixture
def last_release(tmp_path):
    """The agent as it was released last: its source, laid in the way of ours."""
    home = tmp_path / "last"
    shutil.unpack_archive(LAST, home)
    return home


class Node:
    """One node whose agent is now of this release, now of the last."""

    def __init__(self, cluster, last):
        self.cluster, self.last, self.process = cluster, last, None

    def run(self, *, old):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(30) == 0
        env = self.cluster.environment() | ({"PYTHONPATH": str(self.last)} if old else {})
        with (self.cluster.home / "agent.log").open("ab") as out:
            self.process = subprocess.Popen(
                [*PYTHON, "agentd", *self.cluster.agent_flags("web-1")],
                env=env, stdout=out, stderr=out, cwd=self.cluster.home,
            )  # fmt: skip
        self.cluster.started.append(self.process)
        eventually(
            lambda: self.cluster.online("web-1") and self.cluster.nodes()["web-1"]["frozen"] is None, 40
        )
        source = Path(f"/proc/{self.process.pid}/environ").read_bytes()
        assert (str(self.last).encode() in source) is old


def gated(cluster, name, code):
    """A task that ends with a code once it may."""
    gate = cluster.home / f"gate-{name}"
    script = f"until [ -e {gate} ]; do sleep 0.05; done; exit {code}"
    return a_task(name, script, restart={"condition": "no"}), gate.touch


@pytest.mark.parametrize("first", ["old", "new"])
def test_brains_and_keepers_of_two_releases_meet_in_every_pair(cluster, last_release, first):
    """A task started under one brain lives and ends, with its exit code, under the other's."""
    cluster.start_manager()
    node = Node(cluster, last_release)
    pairs = []
    for turn, old in enumerate([first == "old", first == "new", first == "old"]):
        node.run(old=old)
        for deployment, who, _ in pairs:
            assert pid_and_start(cluster.wait(deployment, "RUNNING")["tasks"][0]) == who
        task, let_go = gated(cluster, f"t{turn}", 20 + turn)
        deployment = cluster.deploy(cluster.post(f"x{turn}", task))
        found = row(cluster.wait(deployment, "RUNNING"), f"t{turn}")
        pairs.append((deployment, pid_and_start(found), let_go))
    for turn, (deployment, _, let_go) in enumerate(pairs):
        let_go()
        assert row(cluster.wait(deployment, "FAILED"), f"t{turn}")["exit_code"] == 20 + turn


def test_what_the_last_release_s_keeper_cannot_do_waits_until_it_is_replaced(cluster, last_release):
    cluster.start_manager()
    node = Node(cluster, last_release)
    node.run(old=True)
    first = cluster.deploy(cluster.post("first", a_task()))
    who = pid_and_start(row(cluster.wait(first, "RUNNING")))
    node.run(old=False)
    limited = a_task(resources={"limits": {"memory": "64M"}}, hooks={"pre_start": shell("true")})
    second = cluster.deploy(cluster.post("second", limited))
    eventually(lambda: "the keeper is of an older release" in task_of(cluster, second)["reason"])
    assert pid_and_start(row(cluster.wait(first, "RUNNING"))) == who
    cluster.stop(first)
    cluster.wait(first, "STOPPED")
    assert row(cluster.wait(second, "RUNNING"))["limits"]["memory"] == 64 << 20
