"""Files over SFTP, from a real sshd: what is read, and what is said when it cannot be."""

import hashlib
import os
import random

import pytest

from tests.conftest import eventually
from tests.cutter import Cutter
from tests.sshd import need_root, running
from tests.transfers import failing, login_at, whole
from transfer import ssh
from transfer.conversation import IN_FLIGHT, READ_AT_ONCE
from transfer.errors import Kind
from transfer.login import Login
from transfer.reader import Stat
from transfer.sources import open_reader
from transfer.urls import parse

pytestmark = pytest.mark.integration

MB = 1024 * 1024
CONTENT = random.Random(1).randbytes(3 * MB + 12_345)


# -- what is read


@pytest.mark.parametrize(
    "size", [0, 1, READ_AT_ONCE - 1, READ_AT_ONCE, READ_AT_ONCE + 1, IN_FLIGHT, len(CONTENT)]
)
def test_a_file_comes_whole_whatever_its_size(sshd, reading, size):
    content = (CONTENT * 2)[:size]
    path = sshd.file("file", content)
    assert whole(reading(), path) == content


def test_pieces_are_no_longer_than_a_reader_promises(sshd, reading):
    path = sshd.file("file", CONTENT)
    reader = reading()
    assert max(len(piece) for piece in reader.read(str(path), 0, reader.stat(str(path)))) <= MB


@pytest.mark.parametrize(
    "name", ["größe ✓.tgz", "a b", "per%cent", "'quoted\"", "日本語/文書", "-dash", "*?[x]"]
)
def test_names_are_taken_as_they_are(sshd, reading, name):
    path = sshd.file(name, b"here")
    assert parse(sshd.url(name)).path == str(path)
    assert whole(reading(), path) == b"here"


def test_what_is_read_from_an_offset_is_the_rest(sshd, reading):
    path = sshd.file("file", CONTENT)
    for offset in (0, 1, 1_000_000, len(CONTENT) - 1, len(CONTENT)):
        assert whole(reading(), path, offset) == CONTENT[offset:]


def test_a_stamp_changes_with_a_file_and_only_with_it(sshd, reading):
    path = sshd.file("file", b"before")
    first = reading().stat(str(path))
    assert (first.size, reading().stat(str(path))) == (6, first)
    os.utime(path, (1, 1))
    touched = reading().stat(str(path))
    path.write_bytes(b"longer than before")
    os.utime(path, (1, 1))
    assert len({first.stamp, touched.stamp, reading().stat(str(path)).stamp}) == 3


def test_links_are_followed(sshd, reading):
    sshd.file("file", b"behind")
    (sshd.root / "link").symlink_to("file")
    assert whole(reading(), sshd.root / "link") == b"behind"


def test_one_connection_serves_many_files(sshd, reading):
    reader = reading()
    for number in range(50):
        assert whole(reader, sshd.file(f"{number}", b"%d" % number)) == b"%d" % number
    assert sshd.connections == 1


def test_a_reading_that_is_given_up_leaves_the_connection_as_it_was(sshd, reading):
    path, other = sshd.file("file", CONTENT), sshd.file("other", b"other")
    reader = reading()
    for _ in range(5):
        pieces = reader.read(str(path), 0, reader.stat(str(path)))
        next(pieces)
        pieces.close()
    assert whole(reader, other) == b"other"
    assert whole(reader, path) == CONTENT


def test_who_takes_slowly_is_not_sent_more_than_was_asked_for(sshd, reading):
    path = sshd.file("file", size=64 * MB)
    with Cutter(sshd.port) as proxy:
        reader = reading(login_at(sshd), port=proxy.port)
        stat, before = reader.stat(str(path)), proxy.passed
        pieces = reader.read(str(path), 0, stat)
        next(pieces)
        taken = sum(len(next(pieces)) for _ in range(20))
        eventually(lambda: proxy.passed - before >= IN_FLIGHT)
        looks = []
        eventually(lambda: looks.append(proxy.passed) or looks[-15:] == [looks[-1]] * 15)
        assert proxy.passed - before <= IN_FLIGHT + taken + 2 * READ_AT_ONCE + MB // 4
        pieces.close()


def test_a_connection_is_let_go_of(sshd):
    reader = open_reader(parse(sshd.url("x")), login_at(sshd))
    assert sshd.connections == 1
    reader.close()
    reader.close()
    eventually(lambda: sshd.connections == 0)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_five_gigabytes_and_more_than_32_bits_count(sshd, reading):
    size = 5 * 1024 * MB + 7
    path = sshd.file("sparse", size=size)
    with path.open("r+b") as file:
        file.seek(size - 3)
        file.write(b"end")
    reader, digest, expected = reading(), hashlib.sha256(), hashlib.sha256()
    count, last = 0, b""
    for piece in reader.read(str(path), 0, reader.stat(str(path))):
        digest.update(piece)
        count, last = count + len(piece), piece
    zeros = bytes(MB)
    for _ in range(5 * 1024):
        expected.update(zeros)
    expected.update(bytes(4) + b"end")
    assert (count, last[-3:], digest.digest()) == (size, b"end", expected.digest())


def test_the_end_of_a_file_of_five_gigabytes_is_found(sshd, reading):
    size = 5 * 1024 * MB
    path = sshd.file("sparse", size=size)
    with path.open("r+b") as file:
        file.seek(size - 3)
        file.write(b"end")
    assert whole(reading(), path, size - 10) == bytes(7) + b"end"


# -- files that are not as they should be


def test_a_missing_file_is_said_with_its_url(sshd, reading):
    failing(Kind.MISSING, lambda: reading().stat(str(sshd.root / "clean ü.tgz")), sshd.url("clean ü.tgz"))


def test_a_file_that_went_between_looking_and_reading_is_missing(sshd, reading):
    path, reader = sshd.file("file", b"x"), reading()
    stat = reader.stat(str(path))
    path.unlink()
    failing(Kind.MISSING, lambda: list(reader.read(str(path), 0, stat)), "no such file")


def test_a_file_of_somebody_else_is_denied(sshd, reading):
    path = sshd.file("secret", b"x")
    sshd.forbid(path)
    reader = reading()
    stat = reader.stat(str(path))
    failing(
        Kind.DENIED, lambda: list(reader.read(str(path), 0, stat)), "permission denied", sshd.url("secret")
    )
    assert whole(reader, sshd.file("other", b"y")) == b"y"


def test_a_directory_of_somebody_else_is_denied(sshd, reading):
    path = sshd.file("closed/file", b"x")
    sshd.forbid(path.parent)
    failing(Kind.DENIED, lambda: reading().stat(str(path)), "permission denied")


def test_a_directory_is_no_file(sshd, reading):
    sshd.file("directory/file")
    failing(Kind.UNSUPPORTED, lambda: reading().stat(str(sshd.root / "directory")), "is a directory")


def test_a_pipe_is_not_waited_for(sshd, reading):
    os.mkfifo(sshd.root / "pipe")
    failing(Kind.UNSUPPORTED, lambda: reading().stat(str(sshd.root / "pipe")), "no file to be read")


@pytest.mark.parametrize("how", ["longer", "shorter", "touched", "another"])
def test_a_file_that_changes_while_it_is_read_is_found_out(sshd, reading, how):
    path = sshd.file("file", CONTENT * 4)
    os.utime(path, (1, 1))
    reader = reading()
    pieces = reader.read(str(path), 0, reader.stat(str(path)))
    next(pieces)
    if how == "longer":
        with path.open("ab") as file:
            file.write(b"more")
    elif how == "shorter":
        os.truncate(path, 1000)
    elif how == "touched":
        os.utime(path)
    else:
        with path.open("r+b") as file:
            file.write(b"another beginning")
    failing(Kind.CHANGED, lambda: list(pieces), "while it was read")


def test_a_file_that_changed_before_it_is_read_is_found_out(sshd, reading):
    path = sshd.file("file", b"long enough")
    reader = reading()
    stat = reader.stat(str(path))
    path.write_bytes(b"short")
    failing(Kind.CHANGED, lambda: list(reader.read(str(path), 0, stat)))


def test_a_file_whose_size_nobody_says_is_read_to_its_end(sshd, reading):
    path, reader = sshd.file("file", CONTENT), reading()
    pieces = reader.read(str(path), 0, Stat(None, reader.stat(str(path)).stamp))
    assert b"".join(pieces) == CONTENT


# -- who we are


def test_the_right_password_opens(sshd, reading):
    need_root()
    path = sshd.file("file", b"x")
    assert whole(reading(Login(password=sshd.user.password, fingerprints=(sshd.fingerprint,))), path) == b"x"


def test_a_wrong_password_is_said_and_not_shown(sshd, reading):
    need_root()
    login = Login(password="wr0ng-secret", fingerprints=(sshd.fingerprint,))
    text = failing(Kind.LOGIN, lambda: reading(login), "the password of user 'files'", "does not take")
    assert "wr0ng" not in text


def test_a_server_that_takes_no_passwords_says_what_it_takes(reading):
    with running(more="Match User *\n  PasswordAuthentication no") as server:
        login = Login(password="whatever", fingerprints=(server.fingerprint,))
        failing(Kind.LOGIN, lambda: reading(login, server=server), "publickey")


def test_a_key_that_nobody_knows_is_said(sshd, reading):
    login = login_at(sshd, key_file=sshd.new_key("other"))
    failing(Kind.LOGIN, lambda: reading(login), "does not take the key of user")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_keys_of_all_kinds_open_as_a_file_or_as_a_text(sshd, reading, kind):
    key = sshd.new_key(kind, kind=kind)
    sshd.authorize(key)
    path = sshd.file("file", b"x")
    assert whole(reading(login_at(sshd, key_file=key)), path) == b"x"
    assert whole(reading(login_at(sshd, key_file=None, key=key.read_text())), path) == b"x"


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_protected_key_needs_its_passphrase(sshd, reading, kind):
    key = sshd.new_key("locked", kind=kind, passphrase="open sesame")
    sshd.authorize(key)
    path = sshd.file("file", b"x")
    assert whole(reading(login_at(sshd, key_file=key, password="open sesame")), path) == b"x"
    failing(Kind.LOGIN, lambda: reading(login_at(sshd, key_file=key)), "passphrase")
    text = failing(Kind.LOGIN, lambda: reading(login_at(sshd, key_file=key, password="wr0ng")), "passphrase")
    assert "wr0ng" not in text


def test_a_key_file_that_is_none_or_not_there_is_said(sshd, reading):
    nonsense = sshd.home / "nonsense"
    nonsense.write_text("-----BEGIN SECRET-----")
    text = failing(Kind.LOGIN, lambda: reading(login_at(sshd, key_file=nonsense)), str(nonsense))
    assert "BEGIN" not in text
    failing(Kind.LOGIN, lambda: reading(login_at(sshd, key_file=sshd.home / "absent")), "No such file")


def test_the_password_is_tried_where_the_key_is_not_taken(sshd, reading):
    need_root()
    path = sshd.file("file", b"x")
    login = login_at(sshd, key_file=sshd.new_key("other"), password=sshd.user.password)
    assert whole(reading(login), path) == b"x"


def test_without_a_user_or_a_proof_nobody_is_asked(sshd, reading):
    failing(Kind.LOGIN, lambda: reading(login_at(sshd), user=""), "no user")
    failing(Kind.LOGIN, lambda: reading(login_at(sshd, key_file=None)), "neither a password nor a key")


@pytest.mark.parametrize("closed", ["before a word", "whenever"])
def test_a_user_without_sftp_is_said(reading, monkeypatch, closed):
    begin = ssh.open_sftp

    def late(*words):
        channel = begin(*words)
        eventually(lambda: channel.closed)  # what the server began instead has ended
        return channel

    if closed == "before a word":
        monkeypatch.setattr(ssh, "open_sftp", late)
    with running(more="Match User *\n  ForceCommand /bin/false") as server:
        reader = reading(server=server)
        failing(Kind.LOGIN, lambda: reader.stat("/x"), "does not speak SFTP")
