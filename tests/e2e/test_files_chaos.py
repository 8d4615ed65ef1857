"""Files and hands that kill: whatever dies at whatever moment, one process of each task runs, in whole files."""

import contextlib

import psutil
import pytest

from tests import sshd
from tests.builders import a_task
from tests.conftest import eventually
from tests.cutter import Cutter
from tests.e2e.test_files import SCRIPT, children, homes, noise, parts, row, sha256

pytestmark = pytest.mark.e2e


@pytest.fixture
def server():
    sshd.need_root()
    with sshd.running() as found:
        yield found


def start(cluster, server, *, port=None):
    cluster.interval = "5"  # a node that is late for a second must not lose its turn at the server
    secret = cluster.home / "sftp-password"
    secret.write_text(sshd.PASSWORD)
    secret.chmod(0o600)
    return cluster.start_manager(
        "--sftp-host", server.url(port=port), "--sftp-password-file", str(secret),
        "--sftp-fingerprint", server.fingerprint,
    )  # fmt: skip


def of_home(cluster):
    """Processes whose working directory is a task's."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if str(cluster.home / "agent-web-1" / "alloc") in process.cwd() and process.name() == "sleep":
                found.append(process.pid)
    return found


def a_version(cluster, number, *artifacts, **more):
    task = a_task("web", ["./run.sh", number], config={"env": {"LEDGER": str(cluster.ledger)}}, **more)
    task["artifacts"] = [{"source": f"{number}/run.sh", "mode": "0755"}, *artifacts]
    return task


def update(cluster, deployment, how="update"):
    status, answer = cluster.call(f"/v1/deployments/{deployment}/{how}", {"confirm": True})
    assert status == 200, answer


def test_an_update_whose_files_never_come_is_taken_back_without_the_server(cluster, server):
    start(cluster, server)
    cluster.start_agent()
    server.file("one/run.sh", SCRIPT)
    group = {"update": {"auto_revert": True}}
    deployment = cluster.deploy(cluster.post("files", a_version(cluster, "one"), **group))
    cluster.wait(deployment, "RUNNING")
    old = row(cluster, deployment)["pid"]
    server.kill()
    cluster.post("files", a_version(cluster, "two", fetch_timeout="3s"), **group)
    update(cluster, deployment)
    eventually(lambda: "tried again" in str(cluster.deployment(deployment)["tasks"]))
    assert psutil.pid_exists(old)
    eventually(lambda: cluster.written() == ["version one"] * 2, 60)
    cluster.wait(deployment, "RUNNING", seconds=30)
    eventually(lambda: len(of_home(cluster)) == 1)


def test_the_old_run_goes_on_under_killed_brains_until_the_new_files_are_there(cluster, server):
    start(cluster, server)
    cluster.start_agent()
    server.file("one/run.sh", SCRIPT)
    deployment = cluster.deploy(cluster.post("files", a_version(cluster, "one")))
    cluster.wait(deployment, "RUNNING")
    (old,) = eventually(lambda: of_home(cluster))
    cluster.post("files", a_version(cluster, "two"))
    update(cluster, deployment)
    for _ in range(3):
        eventually(lambda: "no such file" in row(cluster, deployment).get("reason", ""))
        assert of_home(cluster) == [old]
        cluster.agents["web-1"].kill()
        cluster.agents["web-1"].wait()
        cluster.start_agent()
    assert cluster.written() == ["version one"]
    server.file("two/run.sh", SCRIPT)
    eventually(lambda: cluster.written() == ["version one", "version two"], 40)
    eventually(lambda: len(of_home(cluster)) == 1)
    assert of_home(cluster) != [old]


def test_what_is_stopped_while_it_is_fetched_gives_everything_back(cluster, server):
    content = noise(24 * 1024**2)
    server.file("big.bin", content)
    with Cutter(server.port, rate=2 * 1024**2) as proxy:
        start(cluster, server, port=proxy.port)
        cluster.start_agent()
        task = a_task("web", ["sleep", "600"])
        task["artifacts"] = [{"source": "big.bin", "sha256": sha256(content)}]
        deployment = cluster.deploy(cluster.post("files", task))
        eventually(lambda: proxy.passed > 3 * 1024**2)
        (child,) = eventually(lambda: len(found := children(cluster)) == 1 and found)
        cluster.stop(deployment)
        eventually(lambda: not child.is_running())
        cluster.wait(deployment, "STOPPED")
        eventually(lambda: cluster.client().hget("muster:downloads", "web-1") is None)
        assert parts(cluster)
        assert not homes(cluster)
