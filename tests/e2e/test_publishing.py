"""`muster artifact` and `deploy --push`: through a real manager to a real server."""

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from tests import sshd
from tests.builders import a_task, a_template
from tests.conftest import eventually, need

pytestmark = pytest.mark.e2e

MUCH = 192 << 20


@pytest.fixture(scope="module")
def server():
    with sshd.running() as found:
        yield found


@pytest.fixture
def site(cluster, server):
    """A manager whose files lie on a server."""
    subprocess.run(["find", str(server.root), "-mindepth", "1", "-delete"], check=True)
    secret = cluster.home / "secret"
    secret.write_text(f"{server.user.password}\n")
    login = (
        ["--sftp-password-file", str(secret)] if sshd.is_root() else ["--sftp-key-file", str(server.key_file)]
    )
    cluster.start_manager("--sftp-host", server.url(), *login, "--sftp-fingerprint", server.fingerprint)
    cluster.server, cluster.root = server, server.root
    return cluster


def done(result, code=0):
    assert result.returncode == code, result.stderr
    return result


def hidden(site):
    return list(site.root.rglob(".muster-*"))


def peak(pid, *, anew=False):
    """Bytes of memory that a process had at most, since it was last looked at `anew`."""
    if anew:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def test_much_is_pushed_whole_through_little_memory(site):
    path = site.home / "much"
    with path.open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(MUCH)
    site.call("/v1/artifacts")  # what it takes to speak SFTP at all is loaded
    before = {pid: peak(pid, anew=True) for pid in site.part("worker")}
    result = done(site.muster("artifact", "push", str(path), "--to", "apps"))
    digest = hashlib.file_digest(path.open("rb"), "sha256").hexdigest()
    assert result.stdout == f"{digest}  apps/much\n"
    assert hashlib.file_digest((site.root / "apps/much").open("rb"), "sha256").hexdigest() == digest
    assert all(peak(pid) - before[pid] < MUCH // 2 for pid in before)
    assert hidden(site) == []


def test_names_are_taken_as_they_are(site):
    names = ["a b/ü#?%2F.tgz", "日本/語", "-x", "a+b"]
    path = site.home / "file"
    path.write_bytes(b"x")
    for name in names:
        done(site.muster("artifact", "push", str(path), f"--as={name}"))
    listed = json.loads(done(site.muster("artifact", "ls", "-o", "json")).stdout)
    assert sorted(row["name"] for row in listed) == sorted(names)
    assert sorted(
        str(each.relative_to(site.root)) for each in site.root.rglob("*") if each.is_file()
    ) == sorted(names)
    done(site.muster("artifact", "rm", "--", *names))
    assert json.loads(done(site.muster("artifact", "ls", "-o", "json")).stdout) == []
    done(site.muster("artifact", "rm", "nope"), 4)


def test_a_client_that_dies_amid_its_upload_leaves_nothing(site):
    site.server.file("x", b"old")
    where = socket.create_connection(("127.0.0.1", site.port))
    where.sendall(
        b"PUT /v1/artifacts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n" + b"n" * 25_000_000
    )
    eventually(lambda: any(each.stat().st_size > 1_000_000 for each in hidden(site)))
    where.close()
    eventually(lambda: hidden(site) == [])
    assert (site.root / "x").read_bytes() == b"old"


def test_a_manager_that_is_killed_amid_an_upload_replaces_nothing(site):
    site.server.file("x", b"old")
    where = socket.create_connection(("127.0.0.1", site.port))
    where.sendall(
        b"PUT /v1/artifacts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n" + b"n" * 25_000_000
    )
    eventually(lambda: any(each.stat().st_size > 1_000_000 for each in hidden(site)))
    for pid in site.part("worker"):
        psutil.Process(pid).kill()
    where.close()
    eventually(lambda: site.server.connections == 0)
    assert (site.root / "x").read_bytes() == b"old"
    (site.home / "y").write_bytes(b"y")
    eventually(site.ready)
    done(site.muster("artifact", "push", str(site.home / "y")))


def test_a_chunked_body_is_refused_with_the_reason(site):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    connection.request("PUT", "/v1/artifacts/x", iter([b"a", b"b"]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    answer = connection.getresponse()
    assert answer.status == 411
    assert "a chunked body is not taken" in json.load(answer)["detail"]
    connection.close()


def test_what_the_server_cannot_is_said_however_much_was_to_be_sent(site):
    sshd.need_root()
    need(shutil.which("nsenter"), "nsenter")
    for name in ("full", "theirs"):
        (site.root / name).mkdir(mode=0o755)
    pid = str(site.server._process.pid)
    full = str(site.root / "full")
    in_there = ["nsenter", "-t", pid, "-m"]
    subprocess.run([*in_there, "mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "none", full], check=True)
    path = site.home / "much"
    with path.open("wb") as file:
        file.truncate(MUCH)
    try:
        for name, says in (("full", "the server's disk is full"), ("theirs", "permission denied")):
            result = done(site.muster("artifact", "push", str(path), "--to", name), 1)
            assert says in result.stderr
            assert site.server.user.password not in result.stderr
    finally:
        subprocess.run([*in_there, "umount", "-l", full], check=True)


def test_a_server_that_is_away_is_a_sentence(site):
    site.server.kill()
    try:
        for words in (("ls",), ("rm", "x", "--yes")):
            stderr = done(site.muster("artifact", *words), 1).stderr
            assert f"sftp://127.0.0.1:{site.server.port}" in stderr
            assert "Traceback" not in stderr
    finally:
        site.server.start()
    assert done(site.muster("artifact", "ls"))


def test_deploy_pushes_first_and_pins_what_it_pushed(site):
    (site.home / "apps").mkdir()
    (site.home / "apps" / "a.tgz").write_bytes(b"a" * 100_000)
    task = {**a_task("web"), "artifacts": [{"source": "apps/a.tgz"}]}
    (site.home / "shop.json").write_text(json.dumps(a_template(task, name="shop")))
    result = done(site.muster("deploy", "shop.json", "--push", "--no-wait", "--wait-for-capacity"))
    digest = hashlib.sha256(b"a" * 100_000).hexdigest()
    assert (site.root / "apps/a.tgz").read_bytes() == b"a" * 100_000
    _, template = site.call("/api/task/query", {"name": "shop"})
    assert template["task_groups"][0]["tasks"][0]["artifacts"] == [{"source": "apps/a.tgz", "sha256": digest}]
    assert digest in result.stderr
    result = done(site.muster("artifact", "rm", "apps/a.tgz"), 1)
    assert "named by the newest version of shop" in result.stderr


def test_the_password_is_nowhere(site):
    sshd.need_root()
    password = site.server.user.password
    (site.home / "x").write_bytes(b"x")
    said = [
        site.muster("artifact", "push", str(site.home / "x")),
        site.muster("artifact", "ls", "-o", "json"),
    ]
    site.server.kill()
    try:
        said.append(site.muster("artifact", "ls"))
    finally:
        site.server.start()
    said.append(site.muster("events"))
    text = "".join(each.stdout + each.stderr for each in said) + site.log("manager.log")
    assert "x" in text
    assert password not in text
