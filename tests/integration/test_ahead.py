"""Small files over SFTP that are asked for ahead: the same bytes and errors, in fewer waits, nothing left open."""

import contextlib
import os
import random
from pathlib import Path

import psutil
import pytest

from tests.conftest import eventually
from tests.transfers import failing, login_at, whole
from transfer.conversation import READ_AT_ONCE, Conversation
from transfer.errors import Kind
from transfer.sftp import SftpReader
from transfer.urls import parse

pytestmark = pytest.mark.integration
SIZES = [0, 1, 10_000, READ_AT_ONCE - 1, READ_AT_ONCE, READ_AT_ONCE + 1, 3 * READ_AT_ONCE]


@pytest.fixture
def reader(sshd):
    found = SftpReader(parse(sshd.url()), login_at(sshd))
    yield found
    found.close()


def read_all(reader, paths, ahead=16):
    found = []
    for n, path in enumerate(paths):
        reader.expect([(str(each), True) for each in paths[n : n + ahead]])
        found.append(whole(reader, path))
    return found


def still_open(sshd):
    """Files under its root that a session has open."""
    found = []
    for session in psutil.Process(sshd._process.pid).children(recursive=True):
        for fd in Path(f"/proc/{session.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it has just been closed
                where = os.readlink(fd)  # noqa: PTH115 - what a pipe leads to is no path
                found += [where] if where.startswith(str(sshd.root)) else []
    return found


def test_files_of_all_sizes_come_whole_and_nothing_stays_open(sshd, reader):
    contents = [random.Random(n).randbytes(size) for n, size in enumerate(SIZES * 6)]
    paths = [sshd.file(f"{n}", content) for n, content in enumerate(contents)]
    assert read_all(reader, paths) == contents
    reader.expect([])
    eventually(lambda: not still_open(sshd))
    assert sshd.connections == 1


def test_most_of_them_cost_one_message_each_and_not_three(sshd, reader, monkeypatch):
    paths = [sshd.file(f"{n}", b"%d" % n) for n in range(64)]
    sent = []
    send = Conversation._send
    monkeypatch.setattr(Conversation, "_send", lambda talk: (talk._unsent and sent.append(1), send(talk)))
    read_all(reader, paths)
    assert len(sent) < 2 * len(paths)


def test_what_is_expected_and_never_read_is_let_go_of(sshd, reader):
    paths = [sshd.file(f"{n}", b"x" * 1000) for n in range(20)]
    other = sshd.file("other", b"other")
    for _ in range(3):  # as far as each step
        reader.expect([(str(path), True) for path in [other, *paths]])
        reader.stat(str(other))
    reader.expect([])
    for _ in range(2):
        assert whole(reader, other) == b"other"
        reader.expect([])
    eventually(lambda: not still_open(sshd))


def test_each_has_its_own_error_and_a_pipe_is_not_opened(sshd, reader):
    good = [sshd.file(f"{n}", b"%d" % n) for n in range(3)]
    sshd.file("directory/file")
    os.mkfifo(sshd.root / "pipe")
    none, directory, pipe = (sshd.root / name for name in ("none", "directory", "pipe"))
    paths = [good[0], none, directory, pipe, good[1], none, good[2]]
    kinds = {none: Kind.MISSING, directory: Kind.UNSUPPORTED, pipe: Kind.UNSUPPORTED}
    for n, path in enumerate(paths):
        reader.expect([(str(each), True) for each in paths[n:]])
        if path in kinds:
            failing(kinds[path], lambda path=path: reader.stat(str(path)), str(path))
        else:
            assert whole(reader, path) == path.name.encode()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_file_that_changes_after_it_was_asked_for_is_found_out_and_read_anew(sshd, reader, steps):
    before, path = sshd.file("before", b"before"), sshd.file("file", b"old")
    os.utime(path, (1, 1))
    for _ in range(steps):
        reader.expect([(str(before), True), (str(path), True)])
        assert whole(reader, before) == b"before"
    reader.expect([(str(path), True)])
    stat = reader.stat(str(path))
    path.write_bytes(b"newer")
    try:
        came = b"".join(reader.read(str(path), 0, stat))
        assert (steps, came) == (3, b"old")  # it was read before it changed
    except Exception as error:
        assert error.kind is Kind.CHANGED
    assert whole(reader, path) == b"newer"


def test_looking_again_looks_anew(sshd, reader):
    path = sshd.file("file", b"old")
    reader.expect([(str(path), True)])
    assert reader.stat(str(path)).size == 3
    path.write_bytes(b"newer")
    assert reader.stat(str(path)).size == 5
    assert whole(reader, path) == b"newer"
