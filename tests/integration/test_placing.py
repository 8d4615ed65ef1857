"""The placing child: homes that are whole or not there, whoever else writes beside them."""

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from agentd.artifacts import background, extract, placing, removing, space, staging, tree
from agentd.artifacts.home import STAGING
from agentd.artifacts.removing import sweep
from tests.conftest import SOAK, eventually, need
from tests.placed import HOME, Allocation, seen

pytestmark = pytest.mark.integration
AS_ROOT = os.geteuid() == 0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def alloc(tmp_path):
    return Allocation(tmp_path)


def started(alloc, *items, **more):
    """A child with its order."""
    child = subprocess.Popen(
        [sys.executable, "-m", "agentd.artifacts.placing"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child.stdin.write(json.dumps(alloc.word(*items, **more)).encode() + b"\n")
    child.stdin.flush()
    return child


def ended(child):
    """What it says."""
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return json.loads(out)


def leftovers(alloc):
    return [each.name for each in alloc.directory.iterdir() if each.name.startswith(".")]


def packed(*files, mode="w:gz", change=lambda info: None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            change(info)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def as_link(info):
    info.type, info.linkname = tarfile.SYMTYPE, "y"


def test_files_and_archives_lie_in_the_home_as_ordered(alloc):
    items = [
        alloc.file(b"#!/bin/sh\n", "bin/tool", mode=0o750),
        alloc.file(b"", "empty"),
        alloc.file("Größe".encode(), "näme/日本"),
        alloc.archive(packed(("run", b"1"), ("lib/a", b"2"))),
        alloc.archive(packed(("run", b"3"), mode="w:xz"), "other/place"),
    ]
    assert ended(started(alloc, *items)) == {"say": "placed"}
    assert (alloc.home / "bin/tool").read_bytes() == b"#!/bin/sh\n"
    assert (alloc.home / "bin/tool").stat().st_mode & 0o7777 == 0o750
    assert (alloc.home / "empty").stat().st_size == 0
    assert (alloc.home / "empty").stat().st_mode & 0o7777 == 0o644
    assert (alloc.home / "näme/日本").read_text() == "Größe"
    assert [(alloc.home / path).read_bytes() for path in ("run", "lib/a", "other/place/run")] == [
        b"1",
        b"2",
        b"3",
    ]
    assert alloc.home.stat().st_mode & 0o7777 == 0o755
    assert (alloc.home / "bin").stat().st_mode & 0o7777 == 0o755
    assert leftovers(alloc) == []


def test_the_umask_of_the_agent_is_not_that_of_the_files(alloc):
    before = os.umask(0o077)
    try:
        assert alloc.place(alloc.file(b"1", "d/x", mode=0o666))["say"] == "placed"
    finally:
        os.umask(before)
    assert (alloc.home / "d/x").stat().st_mode & 0o7777 == 0o666
    assert (alloc.home / "d").stat().st_mode & 0o7777 == 0o755


def test_what_is_there_is_not_placed_again(alloc):
    item = alloc.file(b"1", "x")
    assert alloc.place(item)["say"] == "placed"
    (alloc.home / "x").write_text("the task's own")
    shutil.rmtree(alloc.objects)
    assert alloc.place(item)["say"] == "placed"
    assert (alloc.home / "x").read_text() == "the task's own"


def test_a_file_in_the_home_is_no_name_of_the_object_in_the_cache(alloc):
    item = alloc.file(b"1", "x")
    alloc.place(item)
    (alloc.home / "x").write_text("the task's own")
    path = alloc.objects / item["object"][:2] / item["object"]
    assert path.read_bytes() == b"1"


@pytest.mark.skipif(not AS_ROOT, reason="gives files away")
def test_files_belong_to_the_task_or_to_whom_the_item_says(alloc):
    made = packed(("d/in", b"1"), change=lambda info: setattr(info, "uid", 0))
    items = [alloc.archive(made), alloc.file(b"2", "own"), alloc.file(b"3", "etc/conf", uid=0, gid=7)]
    assert alloc.place(*items, uid=12345, gid=54321)["say"] == "placed"
    owners = {
        str(path.relative_to(alloc.home)): (path.stat().st_uid, path.stat().st_gid)
        for path in alloc.home.rglob("*")
    }
    task = (12345, 54321)
    assert owners == {"d": task, "d/in": task, "own": task, "etc": (0, 7), "etc/conf": (0, 7)}
    assert (alloc.home.stat().st_uid, alloc.home.stat().st_gid) == task


@pytest.mark.parametrize("extract", [False, True])
def test_an_object_that_was_damaged_on_disk_is_noticed_and_goes(alloc, extract):
    data = packed(("a", b"1" * 5000))
    item = {**alloc.file(data, "x"), "extract": extract}
    path = alloc.objects / item["object"][:2] / item["object"]
    path.write_bytes(data[:50] + b"!" + data[51:])
    said = alloc.place(item)
    assert (said["say"], said["kind"], said["object"]) == ("failed", "fault", item["object"])
    assert "in this node's cache is gone or damaged" in said["text"]
    assert not path.exists()
    assert seen(alloc.directory).keys() == {".", "canary", "canary/file", "canary/link"}
    again = alloc.place(item)
    assert (again["kind"], again["object"]) == ("fault", item["object"])


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (lambda alloc: alloc.file(b"2", "x"), "two artifacts are placed at 'x'"),
        (lambda alloc: alloc.file(b"2", "x/y"), "'x' is one artifact's file and another's directory"),
        (lambda alloc: alloc.archive(packed(("x", b"2"))), "two artifacts are placed at 'x'"),
        (lambda alloc: alloc.archive(packed(("x/y", b"2"))), "two artifacts are placed at 'x'"),
        (lambda alloc: alloc.archive(packed(("y", b"2")), "x"), "'x' is one artifact's file and another's directory"),
        (lambda alloc: alloc.archive(packed(("x", b""), change=as_link)), "two artifacts are placed at 'x'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("swapped", [False, True])
def test_two_artifacts_on_one_path_are_said_so(alloc, second, words, swapped):
    items = [alloc.file(b"1", "x"), second(alloc)]
    said = alloc.place(*(reversed(items) if swapped else items))
    assert (said["say"], said["kind"]) == ("failed", "unsupported"), said
    assert words in said["text"] or "two artifacts are placed at 'x" in said["text"]
    assert not alloc.home.exists()


def test_archives_may_share_directories(alloc):
    items = [alloc.archive(packed((f"lib/{n}", b"1"))) for n in "ab"]
    assert alloc.place(*items)["say"] == "placed"
    assert sorted(each.name for each in (alloc.home / "lib").iterdir()) == ["a", "b"]


def test_a_full_disk_is_a_sentence_and_leaves_nothing(alloc, monkeypatch):
    monkeypatch.setattr(placing, "usable", lambda _: 10)
    said = alloc.place(alloc.file(b"1" * 11, "x"))
    assert said["kind"] == "full"
    assert "no room on the disk of tasks' directories: 11 B needed, 10 B may still be used" in said["text"]
    assert leftovers(alloc) == []


def small_disk(directory):
    """A disk of 2 MiB of its own."""
    need(AS_ROOT and shutil.which("mount"), "mount, as root")
    directory.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "none", directory], check=False)
    need(done.returncode == 0, "the right to mount")


@pytest.mark.parametrize("extract", [False, True])
def test_a_disk_that_fills_up_meanwhile_is_a_sentence_and_leaves_nothing(tmp_path, monkeypatch, extract):
    small_disk(tmp_path / "disk")
    try:
        alloc = Allocation(tmp_path / "disk")
        other = Allocation(tmp_path / "objects-elsewhere")
        for module in (placing, space):
            monkeypatch.setattr(module, "usable", lambda _: 10**9)
        monkeypatch.setattr("agentd.artifacts.budget.usable", lambda _: 10**9)
        data = os.urandom(4 * 1024**2)
        item = other.archive(packed(("x", data))) if extract else other.file(data, "x")
        said = placing.answer({**alloc.word(item), "objects": str(other.objects)})
        assert said["kind"] == "full"
        assert "no room on the disk of tasks' directories" in said["text"]
        assert seen(alloc.directory).keys() == {".", "canary", "canary/file", "canary/link"}
    finally:
        subprocess.run(["umount", tmp_path / "disk"], check=True)


def test_whoever_is_killed_leaves_nothing_or_all(alloc):
    """At any moment: the home is whole whenever it is there, and the next order mends the rest."""
    files = [(f"d{n % 7}/f{n}", os.urandom(3000)) for n in range(400)]
    items = [alloc.archive(packed(*files)), *(alloc.file(data, f"x/{name}") for name, data in files[:50])]
    wanted = {name for name, _ in files} | {f"x/{name}" for name, _ in files[:50]}
    stages = set()
    for attempt in range(60 if SOAK else 12):
        child = started(alloc, *items)
        stage = wait_for_stage(alloc, child, attempt)
        child.kill()
        child.wait()
        child.stdin.close(), child.stdout.close()
        if alloc.home.exists():
            stages.add("whole")
            check_whole(alloc, wanted)
            alloc.remove(HOME)
        else:
            stages.add(stage)
    assert len(stages) >= 2, stages
    assert ended(started(alloc, *items)) == {"say": "placed"}
    check_whole(alloc, wanted)
    assert leftovers(alloc) == []


def wait_for_stage(alloc, child, attempt):
    """Wait until so much of the work is done, or it is over; where it stood."""
    most = random.Random(attempt).choice([0, 1, 40, 200, 450])

    def reached():
        begun = [each for each in alloc.directory.iterdir() if each.name.startswith(STAGING)]
        count = sum(len(files) for each in begun for _, _, files in os.walk(each))
        return alloc.home.exists() or (begun and count >= most) or child.poll() is not None

    eventually(reached, every=0.0005)
    return f"at least {most} files"


def check_whole(alloc, wanted):
    assert {str(path.relative_to(alloc.home)) for path in alloc.home.rglob("*") if path.is_file()} == wanted


STEPS = (
    [("mkdir", n) for n in (1, 2, 3)] + [("open", n) for n in range(2, 10)] + [("rename", 1), ("fsync", 1)]
    + [("fchown", 1), ("fchmod", 2), ("symlink", 1), ("utime", 2)]
)  # fmt: skip


@pytest.mark.parametrize(("call", "number"), STEPS)
def test_killed_before_any_one_step_it_leaves_nothing_or_all(alloc, call, number):
    """A child that dies as if by `kill -9` before its n-th system call of a kind."""
    made = packed(("a/b", b"1"), ("a/c", b"2"))
    with_link = io.BytesIO()
    with tarfile.open(fileobj=with_link, mode="w:gz") as archive:
        info = tarfile.TarInfo("l")
        info.type, info.linkname = tarfile.SYMTYPE, "x"
        archive.addfile(info)
    items = [alloc.archive(with_link.getvalue(), "t"), alloc.archive(made, "s"), alloc.file(b"3", "x")]
    order = alloc.word(*items, uid=os.getuid(), gid=os.getgid())
    program = f"""
import os, signal, sys, json
from agentd.artifacts import placing
left = [{number}]
true = os.{call}
def dying(*args, **more):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return true(*args, **more)
os.{call} = dying
placing.answer(json.loads(sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", program, json.dumps(order)], cwd=ROOT, check=False)
    assert done.returncode == -9
    wanted = {"t/l", "s/a/b", "s/a/c", "x"}
    if alloc.home.exists():
        check_links_and_files(alloc, wanted)
    assert placing.answer(order) == {"say": "placed"}
    check_links_and_files(alloc, wanted)
    assert leftovers(alloc) == []


def check_links_and_files(alloc, wanted):
    found = {
        str(path.relative_to(alloc.home))
        for path in alloc.home.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    assert found == wanted


def test_two_children_with_one_order_agree(alloc):
    items = [alloc.file(os.urandom(100_000), f"f{n}") for n in range(20)]
    children = [started(alloc, *items) for _ in range(4)]
    assert [ended(each) for each in children] == [{"say": "placed"}] * 4
    assert len(list(alloc.home.iterdir())) == 20
    assert leftovers(alloc) == []


def test_another_childs_staging_directory_is_not_swept_while_it_lives(alloc):
    fd = os.open(alloc.directory, os.O_RDONLY)
    try:
        living = staging.Staging(fd)
        (alloc.directory / f"{STAGING}dead").mkdir()
        sweep(fd)
        assert leftovers(alloc) == [living.name]
        os.close(living.fd)
        sweep(fd)
        assert leftovers(alloc) == []
    finally:
        os.close(fd)


def test_an_order_that_is_cut_off_is_none(alloc):
    child = subprocess.run(
        [sys.executable, "-m", "agentd.artifacts.placing"],
        cwd=ROOT, input=json.dumps(alloc.word(alloc.file(b"1", "x"))).encode()[:-1], capture_output=True, check=True,
    )  # fmt: skip
    assert child.stdout == b""
    assert not alloc.home.exists()


@pytest.mark.parametrize(
    "more",
    [
        {"items": [{"object": "0" * 64, "to": "../x"}]},
        {"items": None},
        {"items": [{"object": "../canary", "to": "x"}]},
    ],
)
def test_an_order_that_makes_no_sense_does_nothing(alloc, tmp_path, more):
    word = {**alloc.word(alloc.file(b"1", "x")), **more}
    before = seen(tmp_path)
    assert placing.answer(word)["kind"] == "fault"
    assert seen(tmp_path) == before


def test_the_child_is_gentle_and_ends_with_its_parent(alloc):
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'agentd.artifacts.placing'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    order, ours = os.pipe()  # its input does not end with its parent
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=order, stdout=subprocess.PIPE, text=True
    )
    os.close(order)
    pid = int(parent.stdout.readline())
    eventually(lambda: os.getpriority(os.PRIO_PROCESS, pid) == background.NICE)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: has_ended(pid))
    os.close(ours)


def has_ended(pid):
    try:
        return "(zombie)" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_the_child_imports_no_other_packages():
    program = "import sys, agentd.artifacts.placing; print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tops = {name.partition(".")[0] for name in said.stdout.split()}
    assert tops & {"agentd", "orjson", "paramiko", "psutil", "redis", "yaml", "nacl", "cffi"} == {"agentd"}


# Others write where the homes lie.


def foreign(alloc, how):
    if how == "link":
        alloc.home.symlink_to("canary")
    elif how == "file":
        alloc.home.write_text("mine")
    else:
        alloc.home.mkdir()
        (alloc.home / "x").write_text("evil")
        os.chown(alloc.home, 4711, 4711)


@pytest.mark.parametrize("how", ["link", "file", "directory"])
@pytest.mark.skipif(not AS_ROOT, reason="gives files away")
def test_what_another_put_in_the_homes_place_is_not_taken_for_it(alloc, tmp_path, how):
    item = alloc.file(b"1", "x")
    foreign(alloc, how)
    before = seen(tmp_path)
    said = alloc.place(item, uid=12345, gid=12345)
    assert said["kind"] == "denied"
    assert f"{HOME} of user {4711 if how == 'directory' else 0} that this agent has not made" in said["text"]
    assert seen(tmp_path) == before


@pytest.mark.parametrize("how", ["link", "file", "directory"])
@pytest.mark.skipif(not AS_ROOT, reason="gives files away")
def test_nor_is_what_appears_there_while_the_files_are_placed(alloc, monkeypatch, how):
    fill = placing.fill
    monkeypatch.setattr(placing, "fill", lambda *args: (fill(*args), foreign(alloc, how)))
    assert alloc.place(alloc.file(b"1", "x"), uid=12345, gid=12345)["kind"] == "denied"
    assert leftovers(alloc) == []
    assert (alloc.canary / "file").read_text() == "sings"


@pytest.mark.skipif(not AS_ROOT, reason="gives files away")
def test_a_staging_directory_that_its_new_owner_exchanged_is_noticed(alloc, monkeypatch):
    rename = os.rename

    def exchanged(source, target, **fds):
        rename(source, "aside", **fds)
        (alloc.directory / source).mkdir()
        rename(source, target, **fds)

    monkeypatch.setattr(staging.os, "rename", exchanged)
    assert alloc.place(alloc.file(b"1", "x"))["kind"] == "denied"


def test_links_named_as_staging_directories_are_not_followed(alloc):
    (alloc.directory / f"{STAGING}evil").symlink_to("canary")
    before = seen(alloc.canary)
    assert alloc.place(alloc.file(b"1", "x"))["say"] == "placed"
    assert seen(alloc.canary) == before


def test_an_allocations_directory_that_is_a_link_is_not_followed(alloc, tmp_path):
    (tmp_path / "alloc" / "a2").symlink_to("a1")
    before = seen(tmp_path)
    said = placing.answer({**alloc.word(), "into": str(tmp_path / "alloc" / "a2" / HOME)})
    assert said["say"] == "failed"
    assert seen(tmp_path) == before


def test_old_homes_are_removed_without_following_links(alloc):
    old = alloc.directory / "web@aaaaaaaaaaaa"
    (old / "d").mkdir(parents=True)
    (old / "d" / "l").symlink_to(alloc.canary)
    (old / "l").symlink_to(alloc.canary / "file")
    (old / "d").chmod(0o500)
    before = seen(alloc.canary)
    alloc.remove(old.name)
    alloc.remove("gone@bbbbbbbbbbbb")
    assert not old.exists()
    assert seen(alloc.canary) == before


def test_a_directory_of_any_size_is_removed_a_few_names_at_a_time(alloc, monkeypatch):
    monkeypatch.setattr(removing, "AT_ONCE", 3)
    read = []
    names = removing._names
    monkeypatch.setattr(removing, "_names", lambda fd: read.append(names(fd)) or read[-1])
    for n in range(50):
        path = alloc.directory / "web@aaaaaaaaaaaa" / ("d/" * (n % 3)) / str(n)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    alloc.remove("web@aaaaaaaaaaaa")
    assert not (alloc.directory / "web@aaaaaaaaaaaa").exists()
    assert max(map(len, read)) == 3


def test_a_tree_of_any_depth_is_removed(alloc):
    at = os.open(alloc.directory, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=at)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    try:
        alloc.remove("d")
        assert not (alloc.directory / "d").exists()
    finally:  # what is so deep, pytest could not remove
        subprocess.run(["rm", "-rf", alloc.directory / "d"], check=True)


# Archives as people make them.


@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "posix"])
@pytest.mark.parametrize("packing", ["", "--gzip", "--bzip2", "--xz"])
def test_what_tar_packs_is_unpacked(alloc, tmp_path, form, packing):
    need(shutil.which("tar"), "tar")
    source = tmp_path / "source"
    (source / "lib" / "deep").mkdir(parents=True)
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o4755)
    (source / "lib" / "big").write_bytes(bytes(range(256)) * 5000)
    (source / "lib" / "deep" / "same").hardlink_to(source / "run")
    (source / "current").symlink_to("lib/deep")
    (source / "lib" / "up").symlink_to("../run")
    if form in ("gnu", "posix"):
        (source / ("n" * 200)).write_text("long")
    os.utime(source / "lib", (1_600_000_000, 1_600_000_000))
    os.utime(source / "run", (1_500_000_000, 1_500_000_000))
    done = subprocess.run(
        ["tar", *filter(None, [packing]), f"--format={form}", "-C", source, "-cf", tmp_path / "a.tar", "."], check=False,
        capture_output=True,
    )  # fmt: skip
    need(done.returncode == 0, f"tar {packing}")
    said = alloc.place(alloc.archive((tmp_path / "a.tar").read_bytes()))
    assert said == {"say": "placed"}, said
    diff = subprocess.run(
        ["diff", "-r", "--no-dereference", source, alloc.home], capture_output=True, check=False
    )
    assert diff.stdout == b""
    assert (alloc.home / "run").stat().st_mode & 0o7777 == 0o755
    assert (alloc.home / "run").samefile(alloc.home / "lib/deep/same")
    assert (alloc.home / "run").stat().st_mtime == 1_500_000_000
    assert (alloc.home / "lib").stat().st_mtime == 1_600_000_000


def test_what_zip_packs_is_unpacked(alloc, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo("bin/run", (2020, 2, 3, 4, 5, 6))
        info.external_attr = 0o106755 << 16
        archive.writestr(info, "#!/bin/sh\n")
        archive.writestr("größe", "1")
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "bin/run")
        with archive.open(zipfile.ZipInfo("large"), "w", force_zip64=True) as file:
            file.write(b"2" * 100_000)
        archive.comment = b"a comment"
    said = alloc.place(alloc.archive(buffer.getvalue()))
    assert said == {"say": "placed"}, said
    assert (alloc.home / "bin/run").stat().st_mode & 0o7777 == 0o755
    assert (alloc.home / "bin/run").stat().st_mtime == 1580702706
    assert (alloc.home / "größe").read_text() == "1"
    assert (alloc.home / "link").readlink() == Path("bin/run")
    assert (alloc.home / "large").stat().st_size == 100_000


def test_a_zip_may_have_more_entries_than_fit_into_its_first_format(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(66_000):
            archive.writestr(zipfile.ZipInfo(str(number)), b"")
    with (tmp_path / "a.zip").open("rb") as file:
        names = [each.name for each in extract.entries(file, (tmp_path / "a.zip").stat().st_size, 10**9)]
    assert names == [b"%d" % number for number in range(66_000)]


def test_names_that_are_no_utf8_are_kept_byte_by_byte(alloc):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("gr\xf6\xdfe"))
    assert alloc.place(alloc.archive(buffer.getvalue()))["say"] == "placed"
    assert [os.fsencode(each.name) for each in alloc.home.iterdir()] == [b"gr\xf6\xdfe"]


def test_an_empty_archive_is_an_empty_directory(alloc):
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    for data, to in [(empty.getvalue(), "zip"), (packed(), "gz"), (packed(mode="w:"), "tar")]:
        word = alloc.word(alloc.archive(data, to))
        assert placing.answer({**word, "into": f"{alloc.home}{to}"}) == {"say": "placed"}
        assert (alloc.directory / f"{HOME}{to}" / to).is_dir()


def test_the_right_of_others_to_write_is_not_unpacked(alloc):
    made = packed(("all", b"1"), change=lambda info: setattr(info, "mode", 0o7777))
    alloc.place(alloc.archive(made))
    assert (alloc.home / "all").stat().st_mode & 0o7777 == tree.FILE_BITS
