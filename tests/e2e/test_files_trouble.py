"""What goes wrong with files, through the whole product: the right sentence, no half file, and recovery by itself."""

import contextlib
import hashlib
import io
import os
import random
import re
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from tests import sshd
from tests.builders import a_task
from tests.conftest import SOAK, eventually
from tests.cutter import Cutter
from tests.web import Page, Web, long_ago

pytestmark = pytest.mark.e2e

MIB = 1024**2
PYTHON = [sys.executable, "-P", "-m"]
HOME = re.compile(r".+@[0-9a-f]{12}")


@pytest.fixture
def server():
    sshd.need_root()
    with sshd.running() as found:
        yield found


@pytest.fixture
def web():
    found = Web()
    yield found
    found.end()


def start(cluster, server, *more, port=None):
    """A manager whose base is the server."""
    cluster.interval = "5"  # a node that is late for a second must not lose its turn at the server
    secret = cluster.home / "sftp-password"
    secret.write_text(sshd.PASSWORD + "\n")
    secret.chmod(0o600)
    return cluster.start_manager(
        "--sftp-host", server.url(port=port), "--sftp-password-file", str(secret),
        "--sftp-fingerprint", server.fingerprint, *more,
    )  # fmt: skip


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def deploy(cluster, name, *artifacts, **more):
    task = a_task("main", ["sleep", "600"], **more)
    task["artifacts"] = list(artifacts)
    return cluster.deploy(cluster.post(name, task))


def row(cluster, deployment):
    return next(iter(cluster.deployment(deployment)["tasks"]), {})


def reason(cluster, deployment):
    return row(cluster, deployment).get("reason") or ""


def says(cluster, deployment, sentence):
    eventually(lambda: sentence in reason(cluster, deployment), 20)


def contents(cluster, deployment):
    """What lies in the directory of a deployment's task, by name."""
    pid = cluster.wait(deployment, "RUNNING", seconds=60)["tasks"][0]["pid"]
    home = Path(f"/proc/{pid}/cwd").resolve()
    assert HOME.fullmatch(home.name)
    return {str(each.relative_to(home)): each.read_bytes() for each in home.rglob("*") if each.is_file()}


class Watcher:
    """Looks all the time at the directories of tasks: whatever is under a final name must be whole."""

    def __init__(self, allocs, *whole):
        self._allocs, self._whole = allocs, {sha256(each) for each in whole}
        self.seen, self.looks, self.wrong = set(), 0, []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _run(self):
        while not self._end.wait(0.002):
            self.looks += 1
            for home in self._allocs.glob("*/*@*"):
                if HOME.fullmatch(home.name) and home not in self.seen:
                    self.seen.add(home)
                    self._look(home)

    def _look(self, home):
        files = [each for each in home.rglob("*") if each.is_file()]
        if not files:
            self.wrong.append(f"{home} is empty")
        for file in files:
            found = hashlib.sha256(file.read_bytes()).hexdigest()
            if found not in self._whole:
                self.wrong.append(f"{file}: {found}")


def allocs(cluster, node="web-1"):
    return cluster.home / f"agent-{node}" / "alloc"


def test_a_connection_that_is_cut_again_and_again_brings_the_right_bytes(cluster, server):
    content = os.urandom(10 * MIB)
    server.file("big.bin", content)
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    with Cutter(server.port) as proxy, Watcher(allocs(cluster), content) as watcher:
        start(cluster, server, port=proxy.port)
        cluster.start_agent()
        places = [chance.randrange(1, 3_000), *(chance.randrange(200_000, 4 * MIB) for _ in range(3))]
        proxy.cut_after = places[0]
        deployment = deploy(cluster, "cut", "big.bin")
        for number, place in enumerate([*places[1:], None], start=1):
            eventually(
                lambda n=number: proxy.cuts >= n or cluster.deployment(deployment)["status"] == "RUNNING"
            )
            proxy.cut_after = place
        assert contents(cluster, deployment) == {"big.bin": content}, seed
        assert proxy.cuts > 2, seed
        assert proxy.passed < 2 * len(content), seed
    assert watcher.wrong == []
    assert watcher.seen
    assert row(cluster, deployment)["restarts"] == 0


def mount(directory, size, *, remount=False):
    directory.mkdir(parents=True, exist_ok=True)
    option = f"size={size},mode=700" + (",remount" if remount else "")
    subprocess.run(["mount", "-t", "tmpfs", "-o", option, "none", str(directory)], check=True)


def a_bad_archive():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        link = tarfile.TarInfo("sub/link")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../.."
        archive.addfile(link)
        member = tarfile.TarInfo("sub/link/outside")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"bad"))
    return raw.getvalue()


def test_each_trouble_has_its_sentence_and_what_can_be_mended_goes_on_by_itself(cluster, server):
    """All at once, and none stands in the way of another."""
    small, name = os.urandom(2 * MIB), "größe 数据 #?%20.bin"
    server.file(name, small)
    server.file("none", b"")
    server.file("dir/x", b"x")
    server.file("evil.tgz", a_bad_archive())
    server.forbid(server.file("denied", small))
    large = os.urandom(8 * MIB)
    server.file("large", large)
    artifacts = cluster.home / "agent-web-1" / "artifacts"
    mount(artifacts, "7m")
    try:
        start(cluster, server)
        cluster.start_agent()
        with Watcher(allocs(cluster), small, large, b"") as watcher:
            good = deploy(cluster, "good", name, {"source": "none", "to": "a/b/ü"})
            full = deploy(cluster, "full", "large")
            missing = deploy(cluster, "missing", "missing")
            denied = deploy(cluster, "denied", "denied")
            directory = deploy(cluster, "directory", "dir")
            wrong = deploy(cluster, "wrong", {"source": name, "sha256": "0" * 64})
            evil = deploy(cluster, "evil", {"source": "evil.tgz", "extract": True})
            assert contents(cluster, good) == {name: small, "a/b/ü": b""}
            says(cluster, full, "no room on the disk")
            says(cluster, missing, f"no such file sftp://{server.user.name}@127.0.0.1:{server.port}")
            says(cluster, denied, "permission denied")
            for each in (full, missing, denied):
                says(cluster, each, "tried again in")
                assert row(cluster, each)["state"] == "fetching"
            for each, words in (
                (directory, ["is a directory"]),
                (wrong, [sha256(small), "0" * 64]),
                (evil, ["evil.tgz", "sub/link"]),
            ):
                cluster.wait(each, "FAILED")
                assert all(word in reason(cluster, each) for word in words), reason(cluster, each)
            mount(artifacts, "64m", remount=True)
            for each, content in (("missing", small), ("denied", large)):
                (server.root / each).unlink(missing_ok=True)
                server.file(each, content)
            assert contents(cluster, full) == {"large": large}
            assert contents(cluster, missing) == {"missing": small}
            assert contents(cluster, denied) == {"denied": large}
            assert watcher.wrong == []
            eventually(lambda: len(watcher.seen) == 4)
        assert not list(cluster.home.rglob("outside"))
    finally:
        cluster.end()
        subprocess.run(["umount", "-l", str(artifacts)], check=True)


def test_what_is_pushed_under_its_readers_reaches_them_old_or_new_and_never_mixed(cluster, server):
    """Ten push one name at once, again and again, through four connections of each worker, while a node reads."""
    versions = [os.urandom(4 * MIB) for _ in range(20)]
    server.file("moving", versions[0])
    with Cutter(server.port, rate=8 * MIB) as proxy, Watcher(allocs(cluster), *versions) as watcher:
        start(cluster, server, port=proxy.port)
        cluster.start_agent()
        deployment = deploy(cluster, "moving", "moving")
        pinned = deploy(cluster, "pinned", {"source": "moving", "sha256": sha256(versions[0])})
        for number, version in enumerate(versions):
            (cluster.home / f"v{number}").write_bytes(version)
        argv = [*PYTHON, "muster", "artifact", "push", "--as", "moving"]
        env = {**cluster.environment(), "MUSTER_URL": cluster.url}
        pushes = [
            subprocess.Popen([*argv, str(cluster.home / f"v{number}")], env=env, stderr=subprocess.PIPE)
            for number in range(1, len(versions))
        ]
        for push in pushes:
            stderr = push.communicate(timeout=100)[1]
            assert push.returncode == 0, stderr
        found = contents(cluster, deployment)["moving"]
        assert (server.root / "moving").read_bytes() in versions[1:]
        assert not list(server.root.rglob(".muster-*"))
        assert cluster.wait(pinned, "RUNNING", "FAILED")
        if row(cluster, pinned)["state"] == "failed":
            assert sha256(versions[0]) in reason(cluster, pinned)
    assert watcher.wrong == []
    assert found in versions


def test_web_servers_that_behave_badly_are_borne_like_others(cluster, web):
    content = os.urandom(3 * MIB)
    page = {"data": content, "modified": long_ago()}
    web.pages = {
        "/good": Page(b""),
        "/cut": Page(**page, cut=MIB),
        "/silent?token=hidden": Page(**page, cut=2 * MIB, etag="", ranges=False),
        "/denied": Page(**page, status=403),
        "/broken": Page(**page, status=500),
        "/chunked": Page(**page, chunked=True),
        "/moving": Page(**page, then=[content[::-1]]),
    }
    cluster.start_manager()
    cluster.start_agent()
    with Watcher(allocs(cluster), content, content[::-1], b"") as watcher:
        names = ("good", "cut", "silent?token=hidden", "denied", "broken", "chunked", "moving", "missing")
        ids = {each: deploy(cluster, each.partition("?")[0], f"{web.url}/{each}") for each in names}
        wrong = deploy(cluster, "wrong", {"source": f"{web.url}/chunked", "sha256": "0" * 64})
        for name, words in (
            ("denied", "403"),
            ("broken", "500"),
            ("missing", "no such file"),
            ("silent?token=hidden", "/silent"),
        ):
            says(cluster, ids[name], words)
            says(cluster, ids[name], "tried again")
            assert row(cluster, ids[name])["state"] == "fetching"
            assert "hidden" not in reason(cluster, ids[name])
        for name in ("/missing", "/denied", "/broken", "/silent?token=hidden"):
            web.pages[name] = Page(**page)
        for name in ("missing", "denied", "broken", "silent?token=hidden"):
            assert contents(cluster, ids[name]) == {name.partition("?")[0]: content}
        assert contents(cluster, ids["good"]) == {"good": b""}
        assert contents(cluster, ids["chunked"]) == {"chunked": content}
        assert contents(cluster, ids["cut"]) == {"cut": content}
        assert contents(cluster, ids["moving"])["moving"] in (content, content[::-1])
        cluster.wait(wrong, "FAILED")
        assert sha256(content) in reason(cluster, wrong)
        assert watcher.wrong == []


NODES = 10 if SOAK else 3


def test_nodes_are_served_two_at_a_time(cluster, server):
    server.file("shared", os.urandom(MIB))
    names = [f"n{number}" for number in range(NODES)]
    with Cutter(server.port, rate=MIB // 2) as proxy:  # slow enough that two are under way at once
        start(cluster, server, "--source-limit", "2", port=proxy.port)
        for name in names:
            cluster.start_agent(name, wait=False)
        eventually(lambda: all(cluster.online(name) for name in names), 40)
        ids = []
        for name in names:
            task = a_task("main", ["sleep", "600"], config={"node": name})
            task["artifacts"] = ["shared"]
            ids.append(cluster.deploy(cluster.post(name, task)))
        for each in ids:
            cluster.wait(each, "RUNNING", seconds=60)
        assert proxy.most == 2
        assert proxy.total == NODES


def test_a_disk_that_fills_up_meanwhile_is_said_and_borne(cluster, server):
    content = os.urandom(12 * MIB)
    server.file("big", content)
    home = cluster.home / "agent-web-1"
    mount(home, "64m")
    ballast = home / "ballast"
    try:
        with Cutter(server.port, rate=MIB) as proxy:
            start(cluster, server, port=proxy.port)
            cluster.start_agent()
            with Watcher(allocs(cluster), content) as watcher:
                deployment = deploy(cluster, "full", "big")
                eventually(lambda: proxy.passed > 2 * MIB)
                with ballast.open("wb") as file, contextlib.suppress(OSError):
                    while file.write(bytes(MIB)):
                        pass
                says(cluster, deployment, "no room on the disk")
                assert row(cluster, deployment)["state"] == "fetching"
                proxy.rate = None
                ballast.unlink()
                assert contents(cluster, deployment) == {"big": content}
                assert watcher.wrong == []
    finally:
        cluster.end()
        subprocess.run(["umount", "-l", str(home)], check=True)


@pytest.mark.soak  # ten gigabytes are written
def test_five_sparse_gigabytes_arrive_whole(cluster, server):
    size = 5 * 1024 * MIB + 1
    path = server.file("huge", b"at the beginning", size=size)
    start(cluster, server)
    cluster.start_agent()
    deployment = deploy(cluster, "huge", "huge")
    pid = cluster.wait(deployment, "RUNNING", seconds=900)["tasks"][0]["pid"]
    with path.open("rb") as sent, Path(f"/proc/{pid}/cwd/huge").open("rb") as found:
        assert hashlib.file_digest(found, "sha256").digest() == hashlib.file_digest(sent, "sha256").digest()


@pytest.mark.soak  # it lets uploads go on for 15 s
def test_a_manager_that_ends_amid_a_push_says_so_and_replaces_nothing(cluster, server):
    server.file("x", b"old")
    with Cutter(server.port) as proxy:
        manager = start(cluster, server, port=proxy.port)
        (cluster.home / "x").write_bytes(bytes(256 * MIB))
        argv = [*PYTHON, "muster", "artifact", "push", str(cluster.home / "x")]
        env = {**cluster.environment(), "MUSTER_URL": cluster.url}
        push = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        eventually(lambda: any(each.stat().st_size > MIB for each in server.root.glob(".muster-*")))
        proxy.pause()
        manager.terminate()
        stdout, stderr = push.communicate(timeout=60)
        assert manager.wait(60) == 0
    assert push.returncode == 6  # as whenever no manager answers
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "broke off" in stderr
    assert (server.root / "x").read_bytes() == b"old"
