"""Files reach the nodes: from a real sshd, by the programs as users run them."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import signal
import tarfile
from pathlib import Path

import psutil
import pytest

from tests import sshd
from tests.builders import a_task
from tests.conftest import eventually
from tests.cutter import Cutter
from tests.e2e.conftest import content

pytestmark = pytest.mark.e2e

SCRIPT = b"#!/bin/sh\necho version $1 >> $LEDGER\nexec sleep 600\n"


@pytest.fixture
def server():
    sshd.need_root()
    with sshd.running() as found:
        yield found


@pytest.fixture
def base(cluster, server):
    """A manager whose base is the server, and one node."""
    start(cluster, server)
    cluster.start_agent()
    return cluster


def start(cluster, server, *more, port=None, password=sshd.PASSWORD, fingerprint=None):
    cluster.interval = "5"  # a node that is late for a second must not lose its turn at the server
    secret = cluster.home / "sftp-password"
    secret.write_text(password + "\n")
    secret.chmod(0o600)
    return cluster.start_manager(
        "--sftp-host", server.url(port=port), "--sftp-password-file", str(secret),
        "--sftp-fingerprint", fingerprint or server.fingerprint, *more,
    )  # fmt: skip


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def an_archive(**files):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def noise(size):
    return os.urandom(size)


def row(cluster, deployment, name=None):
    rows = cluster.deployment(deployment)["tasks"]
    return next((each for each in rows if name in (None, each["name"])), {})


def deploy(cluster, *tasks, name="files", **group):
    return cluster.deploy(cluster.post(name, *tasks, **group))


def children(cluster):
    """The downloading children of the node's brain."""
    found = []
    for each in psutil.Process(cluster.agents["web-1"].pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if "artifacts" in " ".join(each.cmdline()):
                found.append(each)
    return found


def has_ended(process):
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def homes(cluster, node="web-1"):
    return sorted((cluster.home / f"agent-{node}" / "alloc").glob("*/*@*"))


def parts(cluster):
    return sorted((cluster.home / "agent-web-1" / "artifacts" / "parts").glob("*.part"))


def test_a_file_of_the_base_is_run_in_the_directory_of_its_task(base, server):
    server.file("run.sh", SCRIPT)
    archive = an_archive(data__greeting=b"hello")
    server.file("verzeichnis/größe 数据.tgz", archive)
    task = a_task("web", ["./run.sh", "one"], config={"env": {"LEDGER": str(base.ledger)}})
    task["artifacts"] = [
        {"source": "run.sh", "sha256": sha256(SCRIPT), "mode": "0755"},
        {"source": "verzeichnis/größe 数据.tgz", "extract": True, "to": "unpacked"},
    ]
    deployment = deploy(base, task)
    base.wait(deployment, "RUNNING")
    eventually(lambda: base.written() == ["version one"])
    pid = row(base, deployment)["pid"]
    home = Path(f"/proc/{pid}/cwd").resolve()
    assert home in homes(base)
    assert (home / "unpacked" / "data" / "greeting").read_bytes() == b"hello"
    assert row(base, deployment)["restarts"] == 0
    eventually(lambda: not children(base))
    eventually(lambda: server.connections == 0)


def test_tasks_that_need_one_file_share_one_download_and_it_is_not_got_twice(base, server):
    content = noise(300_000)
    server.file("shared.bin", content)
    tasks = [a_task(f"t{n}", ["sleep", "600"]) for n in range(5)]
    for task in tasks:
        task["artifacts"] = ["shared.bin"]
    deployment = deploy(base, *tasks)
    base.wait(deployment, "RUNNING")
    assert len(homes(base)) == 5
    assert all((home / "shared.bin").read_bytes() == content for home in homes(base))
    assert server.log.read_text().count("Accepted password") == 1
    server.kill()
    for task in tasks:
        task["artifacts"] = [{"source": "shared.bin", "sha256": sha256(content)}]
    again = deploy(base, *tasks, name="pinned")  # what is known by its contents needs no server
    base.wait(again, "RUNNING")


def test_a_server_that_is_killed_in_the_midst_is_read_on_when_it_is_back(cluster, server):
    content = noise(24 * 1024**2)
    server.file("big.bin", content)
    with Cutter(server.port, rate=8 * 1024**2) as proxy:
        start(cluster, server, port=proxy.port)
        cluster.start_agent()
        task = a_task("web", ["sleep", "600"])
        task["artifacts"] = [{"source": "big.bin", "sha256": sha256(content)}]
        deployment = deploy(cluster, task)
        eventually(lambda: proxy.passed > 6 * 1024**2)
        server.kill()
        eventually(lambda: "tried again" in row(cluster, deployment).get("reason", ""))
        assert row(cluster, deployment)["state"] == "fetching"
        assert parts(cluster)
        proxy.rate = None
        server.start()
        cluster.wait(deployment, "RUNNING", seconds=60)
        assert (homes(cluster)[0] / "big.bin").read_bytes() == content
        assert proxy.passed < 1.5 * len(content)
    assert not parts(cluster)


def test_a_node_whose_agent_is_killed_in_the_midst_resumes(cluster, server):
    content = noise(24 * 1024**2)
    server.file("big.bin", content)
    with Cutter(server.port, rate=6 * 1024**2) as proxy:
        start(cluster, server, port=proxy.port)
        cluster.start_agent()
        task = a_task("web", ["sleep", "600"])
        task["artifacts"] = ["big.bin"]
        deployment = deploy(cluster, task)
        eventually(lambda: any(part.stat().st_size > 4 * 1024**2 for part in parts(cluster)))
        child = children(cluster)[0]
        cluster.agents["web-1"].send_signal(signal.SIGKILL)
        cluster.agents["web-1"].wait()
        eventually(lambda: has_ended(child))
        had = parts(cluster)[0].stat().st_size
        assert had > 4 * 1024**2
        eventually(lambda: proxy.now == 0)  # what was on its way to the one that was killed is counted
        before, proxy.rate = proxy.passed, None
        cluster.agents["web-1"] = cluster.start_agent()
        cluster.wait(deployment, "RUNNING", seconds=60)
        assert (homes(cluster)[0] / "big.bin").read_bytes() == content
        assert proxy.passed - before < len(content) - had + 2 * 1024**2
    assert row(cluster, deployment)["restarts"] == 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("password", "password"),
        ("missing", "no such file"),
        ("denied", "permission denied"),
        ("host key", "SHA256:"),
    ],
)
def test_what_a_person_mends_is_said_and_then_goes_on_by_itself(cluster, server, wrong, sentence):
    good = server.file("run.sh", SCRIPT)
    if wrong == "missing":
        good.unlink()
    if wrong == "denied":
        server.forbid(good)
    fingerprint = f"SHA256:{'A' * 43}" if wrong == "host key" else server.fingerprint
    start(
        cluster, server, password="wrong" if wrong == "password" else sshd.PASSWORD, fingerprint=fingerprint
    )
    cluster.start_agent()
    task = a_task("web", ["./run.sh", "one"], config={"env": {"LEDGER": str(cluster.ledger)}})
    task["artifacts"] = [{"source": "run.sh", "mode": "0755"}]
    deployment = deploy(cluster, task)
    eventually(lambda: sentence in row(cluster, deployment).get("reason", ""))
    found = row(cluster, deployment)
    assert (found["state"], found["restarts"], found["pid"]) == ("fetching", 0, None)
    if wrong in ("missing", "denied"):
        good.unlink(missing_ok=True)
        server.file("run.sh", SCRIPT)
    else:
        cluster.manager.terminate()
        cluster.manager.wait(30)
        start(cluster, server)
    cluster.wait(deployment, "RUNNING", seconds=60)


def test_a_wrong_checksum_and_a_hostile_archive_fail_the_task_at_once(base, server, tmp_path):
    server.file("run.sh", SCRIPT)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        member = tarfile.TarInfo("../../../outside")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"bad"))
    server.file("evil.tgz", gzip.compress(raw.getvalue()))
    mismatch, evil = a_task("sum", ["sleep", "600"]), a_task("evil", ["sleep", "600"])
    mismatch["artifacts"] = [{"source": "run.sh", "sha256": "0" * 64}]
    evil["artifacts"] = [{"source": "evil.tgz", "extract": True}]
    first, second = deploy(base, mismatch, name="sum"), deploy(base, evil, name="evil")
    base.wait(first, "FAILED")
    base.wait(second, "FAILED")
    assert sha256(SCRIPT) in row(base, first)["reason"]
    assert "../../../outside" in row(base, second)["reason"]
    assert not list(base.home.rglob("outside"))
    assert homes(base) == []


def test_an_update_fetches_before_it_stops_and_a_rollback_needs_no_server(base, server):
    env = {"LEDGER": str(base.ledger)}
    for number, name in enumerate(("one", "two")):
        server.file(f"v{number}/run.sh", SCRIPT + f"# {name}\n".encode())
    task = a_task("web", ["./run.sh", "one"], config={"env": env})
    task["artifacts"] = [{"source": "v0/run.sh", "mode": "0755"}]
    deployment = deploy(base, task)
    base.wait(deployment, "RUNNING")
    old = row(base, deployment)["pid"]
    newer = a_task("web", ["./run.sh", "two"], config={"env": env})
    newer["artifacts"] = [{"source": "v1/run.sh", "mode": "0755"}]
    server.kill()
    base.post("files", newer)
    status, answer = base.call(f"/v1/deployments/{deployment}/update", {"confirm": True})
    assert status == 200, answer
    eventually(lambda: "tried again" in str(base.deployment(deployment)["tasks"]))
    assert psutil.pid_exists(old)
    server.start()
    eventually(lambda: "version two" in base.written(), 60)
    base.wait(deployment, "RUNNING")
    server.kill()
    status, answer = base.call(f"/v1/deployments/{deployment}/rollback", {"confirm": True})
    assert status == 200, answer
    eventually(lambda: base.written()[-1] == "version one" and len(base.written()) == 3, 60)


def test_a_command_that_the_node_lacks_is_fetched_by_its_name(base, server):
    server.file("clean.sh", SCRIPT)
    task = a_task("web", ["/opt/nowhere/clean.sh", "three"], config={"env": {"LEDGER": str(base.ledger)}})
    task["fetch"] = True
    deployment = deploy(base, task)
    base.wait(deployment, "RUNNING")
    eventually(lambda: base.written() == ["version three"])


def test_pushed_by_hand_listed_deployed_and_removed(base, server, tmp_path):
    (base.home / "run.sh").write_bytes(SCRIPT)
    template = {"name": "pushed", "task_groups": [{"tasks": [
        {"name": "web", "config": {"command": ["./run.sh", "four"], "env": {"LEDGER": str(base.ledger)}},
         "artifacts": [{"source": "run.sh", "mode": "0755"}]}]}]}  # fmt: skip
    (base.home / "pushed.json").write_text(json.dumps(template))
    said = base.muster("deploy", "pushed.json", "--push")
    assert said.returncode == 0, said.stderr
    eventually(lambda: base.written() == ["version four"])
    listed = base.muster("artifact", "ls")
    assert "run.sh" in listed.stdout
    assert base.muster("artifact", "rm", "run.sh", "--yes").returncode == 0
    assert not (server.root / "run.sh").exists()


def test_the_password_is_nowhere_but_where_its_owner_put_it(cluster, server):
    """Work that succeeds, fails and is retried; then everything is searched for the password."""
    secret = sshd.PASSWORD
    server.file("run.sh", SCRIPT)
    server.file("big.bin", noise(8 * 1024**2))
    with Cutter(server.port, rate=2 * 1024**2) as proxy:
        start(cluster, server, port=proxy.port)
        cluster.start_agent()
        task = a_task("web", ["./run.sh", "five"], config={"env": {"LEDGER": str(cluster.ledger)}})
        task["artifacts"] = [{"source": "run.sh", "mode": "0755"}, "big.bin"]
        missing = a_task("none", ["sleep", "600"])
        missing["artifacts"] = ["missing.bin"]
        first = deploy(cluster, task)
        second = deploy(cluster, missing, name="missing")
        eventually(lambda: proxy.passed > 1024**2)
        seen = processes(cluster)  # in the midst of it
        proxy.rate = None
        cluster.wait(first, "RUNNING", seconds=60)
        eventually(lambda: "no such file" in row(cluster, second).get("reason", ""))
        said = cluster.muster("artifact", "ls")
        (cluster.home / "said").write_text(said.stdout + said.stderr)
        for path in (
            "/v1/deployments",
            "/v1/events",
            "/v1/doctor",
            "/v1/nodes",
            "/v1/templates",
            "/v1/artifacts",
        ):
            (cluster.home / f"answer{path.replace('/', '-')}").write_text(json.dumps(cluster.call(path)))
        tasks = processes(cluster, of=row(cluster, first)["pid"])
        cluster.manager.terminate()
        cluster.manager.wait(30)
    forms = {secret.encode(), secret.encode("utf-16-le"), json.dumps(secret)[1:-1].encode(), server.url(
        password=secret).partition("@")[0].rpartition(":")[2].encode()}  # fmt: skip
    found = [
        str(path.relative_to(cluster.home))
        for path in sorted(cluster.home.rglob("*"))
        if path.is_file() and any(form in content(path) for form in forms)
    ]
    assert found == ["sftp-password"]
    for what, text in [*seen.items(), *tasks.items()]:
        assert not any(form in text for form in forms), what


def processes(cluster, of=None):
    """Arguments of everything that runs here, and environments of the node's and its tasks' processes."""
    found = {}
    mine = [*psutil.Process(cluster.agents["web-1"].pid).children(recursive=True)]
    mine += [psutil.Process(cluster.agents["web-1"].pid), psutil.Process(cluster.manager.pid)]
    mine += psutil.Process(cluster.manager.pid).children(recursive=True)
    manager = {each.pid for each in psutil.Process(cluster.manager.pid).children(recursive=True)}
    for process in mine + ([psutil.Process(of)] if of else []):
        try:
            found[f"cmdline of {process.pid}"] = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            if process.pid not in manager:
                found[f"environment of {process.pid}"] = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:
            continue
    return found
