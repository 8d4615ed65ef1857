"""Files fetched by real children over real connections, killed and cut and lied to: whole in the end, or not there."""

import base64
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agentd.artifacts.rate import Rate
from store.clock import SystemClock
from tests.conftest import eventually, need
from tests.downloading import ChildProcess, have, left, objects, sha
from tests.web import Page, Web
from transfer import seal

pytestmark = pytest.mark.integration
MIB = 1024**2
BIG = random.Random(1).randbytes(12 * MIB)


@pytest.fixture
def web():
    found = Web()
    yield found
    found.end()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "artifacts"


@pytest.fixture
def start(home):
    children = []

    def begin(pool, **how):
        children.append(ChildProcess(home, pool, **how))
        return children[-1]

    yield begin
    for each in children:
        each.end()


def test_a_child_gets_files_one_after_the_other_and_ends_with_its_input(web, start, home):
    web.pages = {"/a": Page(BIG), "/b?token=s3cr3t": Page(b"b"), "/empty": Page(b"")}
    child = start(web.url).open()
    for n, path in enumerate(("/a", "/b?token=s3cr3t", "/empty")):
        child.get(web.url + path, job=str(n))
    words = [child.hear("got") for _ in range(3)]
    assert [(each["job"], each["size"], each["read"]) for each in words] == [("0", len(BIG), len(BIG)), ("1", 1, 1), ("2", 0, 0)]  # fmt: skip
    assert set(objects(home)) == {sha(BIG), sha(b"b"), sha(b"")}
    again = child.done(f"{web.url}/a", known={"sha256": sha(BIG), "stamp": words[0]["stamp"]})
    assert (again["read"], again["sha256"]) == (0, sha(BIG))
    assert web.connections == 1
    assert child.end() == 0
    assert child.stderr() == ""


def test_the_same_file_asked_for_by_two_checksums_is_read_for_each(web, start, home):
    web.pages = {"/a": Page(b"a")}
    child = start(web.url).open()
    for job, known in (("1", sha(b"a")), ("2", None), ("3", sha(b"b")), ("4", None)):
        child.get(f"{web.url}/a", job=job, sha256=known)
    words = {word["job"]: word for word in (child.hear("got", "failed") for _ in range(4))}
    assert [words[job]["say"] for job in "1234"] == ["got", "got", "failed", "got"]
    assert words["3"]["kind"] == "mismatch"
    assert set(objects(home)) == {sha(b"a")}
    assert left(home) == []


def test_what_was_read_before_a_connection_broke_is_said_before_it_is(web, start, home):
    web.pages = {f"/{n}": Page(str(n).encode()) for n in range(20)}
    web.pages["/20"] = Page(BIG, cut=MIB)
    child = start(web.url).open()
    for n in range(21):
        child.get(f"{web.url}/{n}", job=str(n))
    words = [child.hear("got", "lost") for _ in range(21)]
    assert [word.get("job") for word in words] == [*map(str, range(20)), None]
    assert set(objects(home)) == {sha(str(n).encode()) for n in range(20)}


def test_one_missing_file_does_not_cost_the_others_theirs(web, start):
    web.pages = {"/busy": Page(b"", status=503), "/a": Page(b"a")}
    child = start(web.url).open()
    for source, kind, text in (
        ("/none?t=s3cr3t", "missing", "/none?…"),
        ("/busy?t=s3cr3t", "missing", "/busy?…"),
        ("/busy", "unreachable", "busy"),
    ):
        word = child.done(web.url + source)
        assert (word["say"], word["job"], word["kind"]) == ("failed", "1", kind)
        assert text in word["text"]
        assert "s3cr3t" not in word["text"]
    for source in ("http://elsewhere/a", "file:///etc/passwd", "apps/a", "gopher://x/y"):
        assert child.done(source)["kind"] == "unsupported"
    word = child.done(f"{web.url}/a", sha256=sha(b"b"))
    assert word["kind"] == "mismatch"
    assert child.done(f"{web.url}/a", sha256=sha(b"a"))["say"] == "got"


def test_a_connection_that_breaks_ends_the_child_and_the_next_goes_on(web, start, home):
    web.pages["/a"] = Page(BIG, cut=7 * MIB)
    child = start(web.url).open()
    child.get(f"{web.url}/a", job="x")
    child.get(f"{web.url}/a", job="y")
    assert child.hear("lost")["kind"] == "unreachable"
    assert child.hear("got") is None
    assert child.process.wait(20) == 0
    web.pages["/a"].cut = None
    assert start(web.url).open().done(f"{web.url}/a")["read"] == len(BIG) - 7 * MIB
    assert objects(home) == {sha(BIG): BIG}


def test_a_server_that_is_down_is_lost_before_anything_is_read(web, start):
    web.end()
    child = start(web.url).open()
    assert child.done(f"{web.url}/a")["say"] == "lost"
    assert child.process.wait(20) == 0


def test_a_child_killed_at_any_moment_leaves_what_the_next_goes_on_with(web, start, home):
    page = web.pages["/a"] = Page(BIG)
    rng = random.Random(os.urandom(8))
    cuts = sorted(rng.sample(range(2 * MIB, len(BIG) - MIB), 4))
    for cut in cuts:
        sent = web.sent
        page.silent = cut - have(home)  # of what is still to come
        child = start(web.url).open()
        child.get(f"{web.url}/a")
        limit = sent + page.silent
        eventually(lambda limit=limit: web.sent >= limit)
        enough = rng.randrange(have(home), cut + 1)
        eventually(lambda enough=enough: have(home) >= enough)
        child.kill()
        assert objects(home) == {}
    page.silent = None
    there, sent = have(home), web.sent
    assert there > 0
    word = start(web.url).open().done(f"{web.url}/a")
    assert (word["read"], word["sha256"]) == (len(BIG) - there, sha(BIG))
    assert web.sent - sent == len(BIG) - there
    assert objects(home) == {sha(BIG): BIG}
    assert left(home) == []


def test_a_child_killed_while_the_source_changes_gives_the_new_file(web, start, home):
    web.pages["/a"] = Page(BIG, silent=5 * MIB)
    child = start(web.url).open()
    child.get(f"{web.url}/a")
    eventually(lambda: have(home) == 5 * MIB)
    child.kill()
    new = BIG[::-1]
    web.pages["/a"] = Page(new)
    word = start(web.url).open().done(f"{web.url}/a")
    assert (word["read"], word["sha256"]) == (len(BIG), sha(new))
    assert objects(home) == {sha(new): new}


@pytest.mark.parametrize("how", ["no ranges", "lies about the part"])
def test_a_server_that_cannot_go_on_is_read_from_zero(web, start, home, how):
    page = web.pages["/a"] = Page(BIG, cut=5 * MIB)
    assert start(web.url).open().done(f"{web.url}/a")["say"] == "lost"
    page.cut, page.ranges = None, how != "no ranges"
    if how != "no ranges":
        page.content_range = f"bytes 0-{len(BIG) - 1}/{len(BIG)}"
    assert start(web.url).open().done(f"{web.url}/a")["sha256"] == sha(BIG)
    assert objects(home) == {sha(BIG): BIG}


@pytest.mark.parametrize("how", ["TERM", "end of input"])
def test_a_child_that_is_told_to_end_does_so_at_once_and_can_be_gone_on_with(web, start, home, how):
    page = web.pages["/a"] = Page(BIG, silent=5 * MIB)
    child = start(web.url).open()
    child.get(f"{web.url}/a")
    eventually(lambda: have(home) == 5 * MIB)
    if how == "TERM":
        child.process.send_signal(signal.SIGTERM)
    else:
        child.process.stdin.close()
    assert child.process.wait(20) == (-signal.SIGTERM if how == "TERM" else 0)
    page.silent = None
    assert start(web.url).open().done(f"{web.url}/a")["read"] == len(BIG) - 5 * MIB


def test_a_child_dies_with_its_parent(home, tmp_path):
    """Even where its input stays open, since somebody else has it, too."""
    read, write = os.pipe()
    code = (
        "import subprocess, sys, os\n"
        "child = subprocess.Popen([sys.executable, '-m', 'agentd.artifacts.child', sys.argv[1]],\n"
        "                         stdin=int(sys.argv[2]), stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(home), str(read)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[read],
    )  # fmt: skip
    os.write(write, b'{"say":"begin","pool":"","quota":1000}\n')
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.communicate()
    eventually(lambda: not alive(pid))
    os.close(read)
    os.close(write)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def test_a_rate_is_obeyed_and_can_be_changed_in_the_middle_of_a_file(web, start):
    web.pages["/a"] = Page(BIG)
    child = start(web.url, rate=100_000).open()
    child.get(f"{web.url}/a")
    assert 0 < eventually(lambda: child.hear("progress", "got")["done"]) < len(BIG) // 2
    child.say({"say": "rate", "rate": None})
    assert child.hear("got")["read"] == len(BIG)  # in two minutes, by the old rate


def test_a_child_ends_by_itself_when_its_turn_is_over_and_not_before(web, start):
    web.pages["/a"], clock = Page(BIG), SystemClock()
    child = start(web.url, rate=100_000)
    child.say({"say": "lease", "until": clock.now() + 60})
    child.open().get(f"{web.url}/a")
    assert child.hear("progress")
    child.say({"say": "lease", "until": (until := clock.now() + 0.3)})
    child.process.wait(60)
    assert clock.now() >= until


def test_a_child_without_a_login_says_so(start):
    for sealed in (seal.seal("{}", seal.new()[1]), "nonsense", seal.seal("[]", seal.new()[1])):
        child = start("~").open(sealed)
        word = child.hear("lost")
        assert word["kind"] == "login"
        assert child.process.wait(20) == 0


def test_relative_sources_lie_under_the_base_that_was_sealed(web, start):
    """Over HTTP here, which is not served as a base otherwise: how a base is read is its scheme's matter."""
    web.pages["/base/apps/a.bin"] = Page(b"a")
    child = start("~")
    login = {"base": f"{web.url}/base/", "user": "me", "password": "s3cr3t-pässword"}
    child.open(seal.seal(json.dumps(login), child.key))
    assert child.done("apps/a.bin")["sha256"] == sha(b"a")
    pair = base64.b64encode("me:s3cr3t-pässword".encode()).decode()
    assert {headers["authorization"] for _, _, headers in web.asked} == {f"Basic {pair}"}
    assert child.done(f"{web.url}/base/apps/a.bin")["say"] == "got"
    for source in ("../x", "/etc/passwd", "a/../../b", "http://elsewhere/a", ""):
        assert child.done(source)["kind"] == "unsupported"
    for where in ("cmdline", "environ", "status"):
        assert b"s3cr3t" not in Path(f"/proc/{child.process.pid}/{where}").read_bytes()
    assert child.end() == 0
    assert child.stderr() == ""


def test_local_files_are_got_as_far_as_the_policy_lists_them(start, tmp_path, home):
    (tmp_path / "a ü").write_bytes(BIG)
    (tmp_path / "secret").write_bytes(b"s")
    url = (tmp_path / "a ü").as_uri()
    child = start("", files=[f"{tmp_path.resolve()}/a*"]).open()
    assert child.done(url)["sha256"] == sha(BIG)
    word = child.done((tmp_path / "secret").as_uri())
    assert word["kind"] == "unsupported"
    assert "policy" in word["text"]
    assert start("", files=[]).open().done(url)["kind"] == "unsupported"
    assert start("").open().done((tmp_path / "secret").as_uri())["say"] == "got"


def test_a_quota_makes_a_sentence_and_nothing_is_left(web, start, home):
    web.pages["/a"] = Page(BIG)
    word = start(web.url, quota=MIB).open().done(f"{web.url}/a")
    assert (word["say"], word["kind"]) == ("failed", "full")
    assert "1.0 MiB" in word["text"]
    assert left(home) == []
    assert web.sent == 0


@pytest.fixture
def small_disk(tmp_path):
    need(os.geteuid() == 0 and shutil.which("mount"), "root (to mount a small disk)")
    where = tmp_path / "disk"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", where], check=False, capture_output=True
    )
    need(done.returncode == 0, "the right to mount a tmpfs")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


@pytest.mark.parametrize("known", [True, False])
def test_a_real_disk_that_is_full_is_said_and_mends(web, small_disk, known):
    """Also when nobody could know before how long the file would be."""
    page = web.pages["/a"] = Page(BIG, chunked=not known)
    child = ChildProcess(small_disk / "artifacts", web.url).open()
    word = child.done(f"{web.url}/a")
    assert (word["say"], word["kind"]) == ("failed", "full")
    assert re.search(r"no room .* needed, .* may still be used", word["text"]), word
    assert left(small_disk / "artifacts") == []
    page.data = BIG[: 3 * MIB]
    assert child.done(f"{web.url}/a")["say"] == "got"
    child.end()


def fill(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(fd, bytes(4096)):
            pass
    os.close(fd)


def test_a_disk_that_others_fill_while_a_file_comes_is_said(web, small_disk):
    page = web.pages["/a"] = Page(BIG[: 6 * MIB], silent=3 * MIB)
    home = small_disk / "artifacts"
    child = ChildProcess(home, web.url).open()
    child.get(f"{web.url}/a")
    eventually(lambda: have(home) == 3 * MIB)
    fill(small_disk / "other")
    page.silent = None
    web.ended.set()  # the silent connection breaks; the next child meets the full disk
    assert child.hear("lost")
    web.ended.clear()
    child.end()
    child = ChildProcess(home, web.url).open()
    word = child.done(f"{web.url}/a")
    assert (word["say"], word["kind"]) == ("failed", "full")
    assert left(home) == []
    (small_disk / "other").unlink()
    assert child.done(f"{web.url}/a")["say"] == "got"
    child.end()


def test_a_child_stays_small_and_out_of_the_way(web, start):
    web.pages["/a"] = Page(BIG * 4)
    child = start(web.url).open()
    assert child.done(f"{web.url}/a")["say"] == "got"
    assert os.getpriority(os.PRIO_PROCESS, child.process.pid) >= 10
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child.process.pid}/status").read_text())[1])
    assert peak < 48 * 1024, f"{peak} kB"  # the file is 48 MiB


def test_words_that_are_none_end_the_child_without_repeating_them(start):
    child = start("")
    child.process.stdin.write(b"s3cr3t\n")
    child.process.stdin.flush()
    assert child.process.wait(20) == 1
    assert "s3cr3t" not in child.stderr()


def test_many_threads_may_change_a_rate():
    rate = Rate(1e12)
    threads = [
        threading.Thread(target=lambda: [rate.set(n * 1e9) or rate.take(1) for n in range(1, 200)])
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert not any(each.is_alive() for each in threads)
