"""Children that download from a real sshd, which is killed, changes its files, and is not the one expected."""

import json
import os
import random
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.cutter import Cutter
from tests.downloading import ChildProcess, have, sha
from tests.sshd import PASSWORD, need_root, running
from transfer import seal

pytestmark = pytest.mark.integration
MIB = 1024**2
BIG = random.Random(2).randbytes(12 * MIB)


@pytest.fixture(scope="module")
def server():
    with running() as found:
        yield found


@pytest.fixture
def sshd(server):
    yield server
    if not server.alive:
        server.start()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "artifacts"


@pytest.fixture
def start(sshd, home):
    children = []

    def begin(pool="~", port=None, password=PASSWORD, fingerprint=None, **how):
        """A child with the login of the base, and the server's fingerprint."""
        need_root()
        child = ChildProcess(home, pool, **how)
        children.append(child)
        login = {
            "base": sshd.url(port=port), "user": sshd.user.name, "password": password,
            "fingerprints": [fingerprint or sshd.fingerprint],
        }  # fmt: skip
        return child.open(seal.seal(json.dumps(login), child.key))

    yield begin
    for each in children:
        each.end()


def object_of(home, word):
    return (home / "objects" / word["sha256"][:2] / word["sha256"]).read_bytes()


def test_a_server_that_is_killed_in_the_middle_of_a_file_is_gone_on_with_once_it_is_back(sshd, start, home):
    sshd.file("apps/ä big", BIG)
    child = start(rate=MIB)  # so that there is time to kill it in
    child.get("apps/ä big")
    eventually(lambda: have(home) > MIB)
    sshd.kill()
    word = child.hear("lost", "got", "failed")
    assert (word["say"], word["kind"]) == ("lost", "unreachable")
    assert child.process.wait(20) == 0
    there = have(home)
    assert MIB < there < len(BIG)
    down = start()
    assert down.done("apps/ä big")["kind"] == "unreachable"
    assert have(home) == there
    sshd.start()
    word = start().done("apps/ä big")
    assert (word["read"], word["sha256"]) == (len(BIG) - there, sha(BIG))
    assert object_of(home, word) == BIG
    assert not list((home / "parts").iterdir())


def test_cut_at_random_bytes_and_killed_itself_a_child_comes_to_the_end(sshd, start, home):
    sshd.file("big", BIG)
    rng = random.Random(os.urandom(8))
    read = 0
    for _ in range(3):
        with Cutter(sshd.port, cut_after=rng.randrange(200_000, len(BIG) // 3)) as cutter:
            child = start(port=cutter.port, rate=8 * MIB)
            child.get("big")
            if rng.random() < 0.5:
                assert child.hear("lost")["kind"] == "unreachable"
            else:
                before = have(home)
                eventually(
                    lambda child=child, before=before: have(home) > before or child.process.poll() is not None
                )
            child.kill()
        assert have(home) >= read  # what was there stays
        read = have(home)
    # The base is another port for us each time, and so another server: the last one begins anew.
    word = start().done("big")
    assert word["sha256"] == sha(BIG)
    assert object_of(home, word) == BIG


def test_a_file_that_changed_while_its_server_was_away_is_read_from_zero(sshd, start, home):
    sshd.file("big", BIG)
    child = start(rate=MIB)
    child.get("big")
    eventually(lambda: have(home) > MIB)
    sshd.kill()
    assert child.hear("lost")
    new = BIG[::-1]
    path = sshd.file("big", new)
    os.utime(path, (1_000_000, 1_000_000))
    sshd.start()
    word = start().done("big")
    assert (word["read"], word["sha256"]) == (len(BIG), sha(new))


def test_what_is_known_is_only_looked_at(sshd, start):
    sshd.file("a", b"a")
    child = start()
    got = child.done("a")
    assert child.done("a", known={"sha256": got["sha256"], "stamp": got["stamp"]})["read"] == 0
    sshd.file("a", b"bb")
    assert child.done("a", known={"sha256": got["sha256"], "stamp": got["stamp"]})["sha256"] == sha(b"bb")


def test_a_wrong_password_loses_the_server_and_is_not_said(start):
    child = start(password="wr0ng-s3cr3t")
    word = child.done("a")
    assert (word["say"], word["kind"]) == ("lost", "login")
    assert "wr0ng-s3cr3t" not in json.dumps(word)
    assert child.process.wait(20) == 0
    assert child.stderr() == ""


def test_a_host_key_that_a_template_pins_does_not_open_the_managers_login_to_another_server(sshd, start):
    sshd.file("a", b"a")
    before = sshd.log.read_text().count("Accepted")
    child = start(fingerprint="SHA256:" + "A" * 43)
    word = child.done("a", fingerprint=sshd.fingerprint)
    assert (word["say"], word["kind"]) == ("failed", "host key")
    assert "the template pins" in word["text"]
    assert sshd.log.read_text().count("Accepted") == before


def test_a_host_key_that_one_task_expects_in_vain_costs_the_others_nothing(sshd, start):
    sshd.file("a", b"a")
    child = start()
    word = child.done("a", fingerprint="SHA256:" + "A" * 43)
    assert (word["say"], word["kind"]) == ("failed", "host key")
    assert sshd.fingerprint in word["text"]
    assert child.done("a", fingerprint=sshd.fingerprint)["say"] == "got"
    assert child.done("none")["kind"] == "missing"
    assert child.done("a")["say"] == "got"


def test_a_server_without_the_manager_s_login_is_entered_with_the_node_s_own_key(sshd, home, tmp_path):
    path = sshd.file("own ü", b"own")
    known = tmp_path / "known_hosts"
    known.write_text(sshd.known_hosts())
    pool = f"sftp://127.0.0.1:{sshd.port}"
    child = ChildProcess(home, pool, known_hosts=[str(known)], ssh_key=str(sshd.key_file)).open()
    try:
        assert child.done(sshd.url("own ü"))["sha256"] == sha(b"own")
        assert path.read_bytes() == b"own"
        word = child.done(sshd.url("own ü", user="somebody-else"))
        assert (word["say"], word["kind"]) == ("failed", "login")
        assert child.done("own ü")["kind"] == "unsupported"
    finally:
        assert child.end() == 0


def test_the_password_is_in_nothing_that_anybody_can_look_at(sshd, start, home):
    sshd.file("a", b"a")
    child = start()
    assert child.done("a")["say"] == "got"
    for where in ("cmdline", "environ"):
        assert PASSWORD.encode() not in Path(f"/proc/{child.process.pid}/{where}").read_bytes()
    assert child.end() == 0
    assert child.stderr() == ""
    assert not [path for path in home.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
