"""Files over SFTP from servers that are not who they should be, break, hang, or are not there."""

import contextlib
import logging
import random
import socket
import threading
import traceback

import paramiko
import pytest

from tests.conftest import eventually
from tests.cutter import Cutter
from tests.sshd import need_root, running
from tests.transfers import failing, login_at, whole
from transfer import ssh
from transfer.errors import Kind, TransferError
from transfer.login import Login
from transfer.messages import Type, text
from transfer.sftp import Session, errors
from transfer.ssh import Patience
from transfer.urls import parse

pytestmark = pytest.mark.integration

CONTENT = random.Random(2).randbytes(4 * 1024 * 1024 + 77)
SHORT = Patience(connect=0.5, silence=0.5)


def known_by(sshd, text, **how):
    """A login that knows the server by a file of this text, besides one that is not there."""
    file = sshd.home / "known_hosts"
    file.write_text(text)
    absent = sshd.home / "absent"
    return login_at(sshd, fingerprints=(), known_hosts=(absent, file), **how)


# -- which server it is


def test_a_server_is_known_by_a_file(sshd, reading):
    path = sshd.file("file", b"x")
    assert whole(reading(known_by(sshd, "# a comment\nnonsense\n" + sshd.known_hosts())), path) == b"x"


def test_a_server_is_known_by_a_hashed_name(sshd, reading):
    name, _, key = sshd.known_hosts().partition(" ")
    hashed = paramiko.HostKeys.hash_host(name)
    assert whole(reading(known_by(sshd, f"{hashed} {key}")), sshd.file("file", b"x")) == b"x"


def test_an_unknown_server_is_refused_and_it_is_said_what_to_do(sshd, reading):
    login = known_by(sshd, "other.example ssh-ed25519 AAAA\n")
    line = sshd.known_hosts().strip()
    failing(Kind.HOST_KEY, lambda: reading(login), f"--sftp-fingerprint {sshd.fingerprint}", line)
    assert "Accepted" not in sshd.log.read_text()


def test_what_it_says_to_do_is_enough(sshd, reading):
    text = failing(Kind.HOST_KEY, lambda: reading(known_by(sshd, "")))
    line = text.partition("the line: ")[2]
    path = sshd.file("file", b"x")
    assert whole(reading(known_by(sshd, line)), path) == b"x"
    pinned = text.partition("--sftp-fingerprint ")[2].partition(",")[0]
    assert whole(reading(login_at(sshd, fingerprints=(pinned,))), path) == b"x"


def test_a_server_with_another_key_than_before_is_refused_loudly(sshd, reading):
    login, old = known_by(sshd, sshd.known_hosts()), sshd.fingerprint
    sshd.new_host_keys()
    sshd.restart()
    failing(Kind.HOST_KEY, lambda: reading(login), "ANOTHER HOST KEY", old, sshd.fingerprint, "known_hosts:1")
    assert "Accepted" not in sshd.log.read_text()


def test_a_server_with_another_key_than_the_pinned_is_refused(sshd, reading):
    login, old = login_at(sshd), sshd.fingerprint
    sshd.new_host_keys()
    sshd.restart()
    failing(Kind.HOST_KEY, lambda: reading(login), "not the pinned", old, sshd.fingerprint)


def test_a_revoked_key_is_refused_though_it_is_known(sshd, reading):
    login = known_by(sshd, f"{sshd.known_hosts()}@revoked {sshd.known_hosts()}")
    failing(Kind.HOST_KEY, lambda: reading(login), "revoked", "known_hosts:2")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_server_is_asked_for_the_key_that_is_known(reading, kind):
    with running(host_keys=("rsa", "ecdsa", "ed25519")) as server:
        path = server.file("file", b"x")
        assert whole(reading(known_by(server, server.known_hosts(kind)), server=server), path) == b"x"
        pinned = login_at(server, fingerprints=(server.fingerprint_of(kind).removeprefix("SHA256:") + "=",))
        assert whole(reading(pinned, server=server), path) == b"x"


def test_all_keys_of_a_server_are_said_when_none_is_the_pinned(reading):
    with running(host_keys=("rsa", "ed25519")) as server:
        login = login_at(server, fingerprints=("SHA256:" + "A" * 43,))
        both = [server.fingerprint_of(kind) for kind in ("rsa", "ed25519")]
        failing(Kind.HOST_KEY, lambda: reading(login, server=server), *both)


# -- connections that break


@pytest.mark.parametrize("seed", range(6))
def test_a_connection_cut_anywhere_is_said_and_the_rest_is_got_by_another(sshd, reading, seed):
    path = sshd.file("file", CONTENT)
    got, cuts = bytearray(), 0
    chance = random.Random(seed)
    with Cutter(sshd.port) as proxy:
        while len(got) < len(CONTENT):
            proxy.cut_after = chance.randrange(100, 2 * len(CONTENT)) if cuts < 8 else None
            try:
                reader = reading(port=proxy.port)
                stat = reader.stat(str(path))
                for piece in reader.read(str(path), len(got), stat):
                    got += piece
            except TransferError as error:
                assert error.kind is Kind.UNREACHABLE, error
                cuts += 1
    assert got == CONTENT


@pytest.mark.parametrize("part", [0, 0.01, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_a_connection_cut_before_anything_is_read_is_unreachable(sshd, reading, part):
    path = sshd.file("file", b"x")
    with Cutter(sshd.port) as proxy:
        whole(reading(port=proxy.port), path)
        needed = proxy.passed
    with Cutter(sshd.port, cut_after=int(part * needed)) as proxy:
        failing(Kind.UNREACHABLE, lambda: whole(reading(port=proxy.port), path), f"127.0.0.1:{proxy.port}")


def test_a_server_that_is_killed_is_unreachable_and_back_again(sshd, reading):
    path = sshd.file("file", CONTENT * 4)
    reader = reading()
    pieces = reader.read(str(path), 0, reader.stat(str(path)))
    got = next(pieces)
    sshd.kill()
    rest = []
    failing(Kind.UNREACHABLE, lambda: rest.extend(pieces))
    got += b"".join(rest)
    failing(Kind.UNREACHABLE, reading, "refused")
    sshd.start()
    assert got + whole(reading(), path, len(got)) == CONTENT * 4


def test_a_session_that_is_thrown_out_is_unreachable(sshd, reading):
    path, reader = sshd.file("file", b"x"), reading()
    reader.stat(str(path))
    sshd.kill_sessions()
    failing(Kind.UNREACHABLE, lambda: whole(reader, path), "broke")


@pytest.mark.parametrize("stall_after", [0, 30, 300, 1200, 1700, 2500, 3200, 100_000])
def test_a_connection_that_stalls_is_given_up(sshd, reading, stall_after):
    path = sshd.file("file", CONTENT)
    with Cutter(sshd.port, stall_after=stall_after) as proxy:
        patience = Patience(connect=2.0, silence=0.5)  # who waits longer for the connection itself says less
        call = lambda: whole(reading(port=proxy.port, patience=patience), path)  # noqa: E731
        failing(Kind.UNREACHABLE, call, f"127.0.0.1:{proxy.port}")
        eventually(lambda: proxy.now <= 1)


def test_a_server_that_never_begins_to_speak_sftp_is_given_up(sshd, reading):
    """Where paramiko waits for ever: the last byte is missing of the answer to what begins SFTP."""
    with Cutter(sshd.port) as proxy:
        source = parse(sshd.url("x", port=proxy.port))
        transport = ssh.connect(source, login_at(sshd), Patience())
        ssh.open_sftp(transport, Patience())
        needed = proxy.passed
        transport.close()
    with Cutter(sshd.port, stall_after=needed - 1) as proxy:
        patience = Patience(connect=3.0, silence=0.5)
        failing(Kind.UNREACHABLE, lambda: reading(port=proxy.port, patience=patience).stat("/"), "silent")


def test_a_sender_that_is_not_heard_is_an_error(sshd):
    source = parse(sshd.url("upload"))
    with Cutter(sshd.port) as proxy:
        there = parse(sshd.url("upload", port=proxy.port))
        with Session(there, login_at(sshd), Patience(connect=10.0, silence=2.0)) as session:
            talk = session.conversation
            proxy.pause()

            def send():
                with errors(source):
                    for _ in range(10_000):
                        talk.begin(Type.WRITE, text(b"handle"), bytes(8), text(bytes(30_000)))

            failing(Kind.UNREACHABLE, send)


def test_nobody_listening_is_unreachable(sshd, reading):
    sshd.kill()
    failing(Kind.UNREACHABLE, reading, "refused", f"127.0.0.1:{sshd.port}")


def test_an_unknown_host_name_is_said(sshd):
    source = parse("sftp://files@no.such.host.invalid/x")
    failing(Kind.UNREACHABLE, lambda: Session(source, login_at(sshd)), "no.such.host.invalid")


KEXINIT = bytes([20]) + bytes(16) + b"".join(text(each) for each in [b"a", b"b"] + [b""] * 8) + bytes(5)
ODD = {
    "another protocol": b"220 ftp ready\r\n" * 200,
    "a web server": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an old version": b"SSH-1.5-old\r\n",
    "noise": b"SSH-2.0-x\r\n" + random.Random(1).randbytes(100_000),
    "zeros": b"SSH-2.0-x\r\n" + bytes(100_000),
    "an empty packet": b"SSH-2.0-x\r\n" + bytes([0, 0, 0, 12, 11]) + bytes(11),
    "half a list": b"SSH-2.0-x\r\n" + bytes([0, 0, 0, 28, 10, 20]) + bytes(16) + b"\xff" * 10,
    "nothing in common": b"SSH-2.0-x\r\n" + bytes([0, 0, 0, len(KEXINIT) + 6, 5]) + KEXINIT + bytes(5),
    "no text": b"\xff\xfe\r\n" + b"SSH-2.0-\xff\xfe\r\n" + bytes(1000),
}


@pytest.mark.parametrize("said", ODD.values(), ids=ODD)
def test_what_is_no_ssh_server_is_said(sshd, reading, said):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(said)
                connection.settimeout(5)
                with contextlib.suppress(OSError):
                    while connection.recv(1000):
                        pass

        thread = threading.Thread(target=greet)
        thread.start()
        failing(Kind.UNREACHABLE, lambda: reading(port=listener.getsockname()[1], patience=SHORT))
        thread.join()


# -- secrets


def everything_said(error):
    """An error, all that it came of, and every stack, as they might be shown somewhere."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(error.args), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


@pytest.mark.parametrize("trouble", ["none", "refused", "cut", "host key", "key", "stall"])
def test_no_password_is_said_anywhere(sshd, caplog, trouble):
    need_root()
    secret = "s3cret-of-nobody" if trouble == "refused" else sshd.user.password
    how = {"password": secret, "fingerprints": (sshd.fingerprint,)}
    if trouble == "host key":
        how["fingerprints"] = ("SHA256:" + "A" * 43,)
    if trouble == "key":
        how["key"] = sshd.new_key("locked", passphrase="another").read_text()
    login = Login(**how)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "transfer.ssh")
    texts = [repr(login), str(login)]
    with Cutter(sshd.port) as proxy:
        proxy.cut_after = 1700 if trouble == "cut" else None
        proxy.stall_after = 1700 if trouble == "stall" else None
        try:
            patience = SHORT if trouble == "stall" else Patience(10.0, 10.0)
            with Session(parse(sshd.url("x", port=proxy.port)), login, patience) as session:
                texts.append(repr(session))
                session.conversation.stat(str(sshd.root))
                assert trouble == "none"
        except TransferError as error:
            assert trouble != "none"
            texts.append(everything_said(error))
    texts += [f"{record.getMessage()} {record.args} {record.exc_text}" for record in caplog.records]
    assert any("transfer.ssh" in record.name for record in caplog.records)
    assert secret not in "\n".join(texts)
    assert "PRIVATE KEY" not in "\n".join(texts)
