"""Files read over HTTP and on this machine, from servers that behave well, badly and worse."""

import base64
import os
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from agentd.policy import Forbidden, Policy
from tests.conftest import need
from tests.web import Page, Web, long_ago
from transfer import http as reading
from transfer.errors import Kind, NotNow, TransferError
from transfer.http import HttpReader
from transfer.http_answer import Answer
from transfer.local import LocalReader
from transfer.login import Login
from transfer.reader import Stat
from transfer.sources import open_reader
from transfer.urls import parse

pytestmark = pytest.mark.integration
DATA = os.urandom(300_000)
TOKEN = "sig=s3cr3t"


@pytest.fixture
def web():
    found = Web()
    yield found
    found.end()


@pytest.fixture
def other():
    found = Web()
    yield found
    found.end()


@pytest.fixture
def reader(web):
    found = HttpReader(parse(f"{web.url}/x"), Login())
    yield found
    found.close()


def whole(reader, path, offset=0, stat=None):
    return b"".join(reader.read(path, offset, stat or reader.stat(path)))


def refused(kind, call, *words):
    """The error of a call; what it says holds these words, and nothing secret."""
    with pytest.raises(TransferError) as found:
        call()
    assert found.value.kind is kind, found.value
    for word in words:
        assert word in str(found.value)
    assert "s3cr3t" not in str(found.value)
    return found.value


def test_a_file_is_read_whole_and_from_any_byte_over_one_connection(web, reader):
    web.pages["/a"] = Page(DATA)
    stat = reader.stat("/a")
    assert stat.size == len(DATA)
    assert stat.stamp
    assert stat.exact
    for offset in (0, 1, 70_000, len(DATA) - 1):
        assert whole(reader, "/a", offset, stat) == DATA[offset:]
    assert web.connections == 1
    assert all(headers["accept-encoding"] == "identity" for _, _, headers in web.asked)


def test_an_empty_file_is_a_file(web, reader):
    web.pages["/empty"] = Page(b"")
    assert reader.stat("/empty").size == 0
    assert whole(reader, "/empty") == b""
    web.pages["/empty"].head = 403
    assert reader.stat("/empty").size == 0


def test_a_server_that_answers_no_head_is_asked_for_one_byte(web, reader):
    web.pages[f"/a?{TOKEN}"] = Page(DATA, head=403)
    assert reader.stat(f"/a?{TOKEN}") == Stat(len(DATA), f"etag {web.pages[f'/a?{TOKEN}'].stamp}")
    assert web.sent == 1
    web.pages["/whole"] = Page(b"abc", head=405, ranges=False)
    assert reader.stat("/whole").size == 3


def test_a_date_serves_where_there_is_no_etag_once_it_is_old_enough_to_tell(web, reader):
    web.pages["/a"] = Page(DATA, etag="", modified=long_ago())
    stat = reader.stat("/a")
    assert stat.exact
    assert whole(reader, "/a", 5, stat) == DATA[5:]
    web.pages["/a"].modified += 3600
    assert reader.stat("/a").stamp == ""
    web.pages["/a"].modified = None
    assert reader.stat("/a") == Stat(len(DATA), "", exact=False)


def test_a_weak_etag_tells_that_a_file_is_the_same_but_not_to_the_byte(web, reader):
    web.pages["/a"] = Page(DATA, etag='W/"1"')
    stat = reader.stat("/a")
    assert stat.stamp
    assert not stat.exact


def test_a_part_of_a_file_that_has_changed_is_not_given(web, reader):
    web.pages["/a"] = Page(DATA)
    stat = reader.stat("/a")
    web.pages["/a"].data = DATA[::-1]
    refused(Kind.CHANGED, lambda: whole(reader, "/a", 1000, stat), "/a")
    refused(Kind.CHANGED, lambda: whole(reader, "/a", 0, stat), "/a")
    web.pages["/a"].data = DATA[:100]
    refused(Kind.CHANGED, lambda: whole(reader, "/a", 1000, stat))


def test_a_server_without_ranges_sends_the_whole_which_is_not_taken_for_a_part(web, reader):
    web.pages["/a"] = Page(DATA, ranges=False)
    stat = reader.stat("/a")
    refused(Kind.CHANGED, lambda: whole(reader, "/a", 1000, stat), "no parts of files")
    assert whole(reader, "/a", 0, stat) == DATA


@pytest.mark.parametrize(
    "said", ["bytes 0-299999/300000", "bytes 1000-2000/300000", "bytes 1000-299999/400000", "nonsense", ""]
)
def test_a_wrong_part_is_not_taken(web, reader, said):
    web.pages["/a"] = Page(DATA, content_range=said)
    stat = reader.stat("/a")
    refused(Kind.CHANGED, lambda: whole(reader, "/a", 1000, stat))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_breaks_off_is_a_break(web, reader, chunked):
    web.pages["/a"] = Page(DATA, cut=100_001, chunked=chunked)
    stat = reader.stat("/a")
    got = []

    def read():
        got.extend(reader.read("/a", 0, stat))

    refused(Kind.UNREACHABLE, read)
    assert b"".join(got) == DATA[:100_001]
    web.pages["/a"].cut = None
    assert b"".join(got) + whole(reader, "/a", 100_001, stat) == DATA


@pytest.mark.parametrize("digits", ["9" * 5000, "²", "-1"])
def test_a_length_that_is_none_is_the_same_as_an_unknown_one(digits):
    for answer in (
        Answer(200, {"content-length": digits}),
        Answer(206, {"content-range": f"bytes 0-1/{digits}"}),
        Answer(416, {"content-range": f"bytes */{digits}"}),
    ):
        assert answer.stat.size is None


def test_a_file_of_unknown_length_is_read_to_its_end(web, reader):
    web.pages["/a"] = Page(DATA, chunked=True)
    assert reader.stat("/a").size is None
    assert whole(reader, "/a") == DATA


def test_whoever_stops_reading_may_ask_for_more(web, reader):
    web.pages["/a"] = Page(DATA)
    stat = reader.stat("/a")
    first = reader.read("/a", 0, stat)
    assert next(first)
    second = reader.read("/a", 7, stat)
    piece = next(second)
    del first  # its end must not break the other
    assert piece + b"".join(second) == DATA[7:]


def test_a_connection_that_the_server_has_closed_meanwhile_is_made_anew(web, reader):
    web.pages["/a"] = Page(b"a")
    reader.stat("/a")
    for each in list(web._sockets):
        each.shutdown(socket.SHUT_RDWR)
    assert whole(reader, "/a") == b"a"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirections_are_followed_to_other_servers_without_the_password(web, other, status):
    web.pages["/a"] = Page(b"", status=status, headers={"Location": f"{other.url}/b%20c?{TOKEN}"})
    other.pages[f"/b%20c?{TOKEN}"] = Page(DATA)
    reader = HttpReader(parse(f"{web.url}/a"), Login(user="me", password="s3cr3t"))
    assert whole(reader, "/a") == DATA
    expected = "Basic " + base64.b64encode(b"me:s3cr3t").decode()
    assert {headers.get("authorization") for _, _, headers in web.asked} == {expected}
    assert {headers.get("authorization") for _, _, headers in other.asked} == {None}
    reader.close()


def test_redirections_may_be_relative_and_end(web, reader):
    for n in range(7):
        web.pages[f"/{n}"] = Page(b"", status=302, headers={"Location": str(n + 1)})
    web.pages["/7"] = Page(b"end")
    assert whole(reader, "/2") == b"end"
    refused(Kind.UNSUPPORTED, lambda: reader.stat("/1"), "more than 5 times")


@pytest.mark.parametrize(
    "where",
    [
        "file:///etc/passwd",
        "ftp://h/x",
        "sftp://h/x",
        "",
        "http://[",
        "//",
        "http://a:s3cr3t@h/x",
        "gopher:x",
        "http://h:99999/x",
    ],
)
def test_redirections_elsewhere_are_not_followed(web, reader, where):
    web.pages[f"/a?{TOKEN}"] = Page(b"", status=302, headers={"Location": where})
    refused(Kind.UNSUPPORTED, lambda: reader.stat(f"/a?{TOKEN}"), "/a?…")


@pytest.mark.parametrize(
    ("status", "kind", "gone_on"),
    [(401, Kind.DENIED, False), (403, Kind.DENIED, False), (404, Kind.MISSING, False), (410, Kind.MISSING, False), (400, Kind.DENIED, False), (416, Kind.DENIED, False), (429, Kind.UNREACHABLE, True), (500, Kind.UNREACHABLE, True), (503, Kind.UNREACHABLE, True), (204, Kind.UNREACHABLE, True), (799, Kind.UNREACHABLE, True)],
)  # fmt: skip
def test_what_a_server_answers_becomes_a_kind_and_a_sentence(web, reader, status, kind, gone_on):
    web.pages[f"/a?{TOKEN}"] = Page(b"", status=status, headers={"Retry-After": "7"})
    error = refused(kind, lambda: reader.stat(f"/a?{TOKEN}"), f"{web.url}/a?…", str(status))
    assert isinstance(error, NotNow) is gone_on
    assert ("7 s of rest" in str(error)) is (status in (429, 503))
    web.pages["/b"] = Page(b"there")
    assert whole(reader, "/b") == b"there"


def test_errors_while_reading_have_their_kinds_too(web, reader):
    web.pages["/a"] = Page(DATA)
    stat = reader.stat("/a")
    web.pages["/a"].status = 503
    assert isinstance(refused(Kind.UNREACHABLE, lambda: whole(reader, "/a", 0, stat)), NotNow)
    del web.pages["/a"]
    refused(Kind.MISSING, lambda: whole(reader, "/a", 0, stat))


def test_nobody_at_home_and_nobody_of_that_name(web, reader):
    web.end()
    error = refused(Kind.UNREACHABLE, lambda: reader.stat(f"/a?{TOKEN}"), "refused")
    assert not isinstance(error, NotNow)
    nowhere = HttpReader(parse("http://nowhere.invalid/x"), Login())
    refused(Kind.UNREACHABLE, lambda: nowhere.stat("/x"), "nowhere.invalid")
    too_long = HttpReader(parse(f"http://{'a' * 70}.invalid/x"), Login())
    refused(Kind.UNREACHABLE, lambda: too_long.stat("/x"))


def test_a_server_that_falls_silent_is_left(web, reader, monkeypatch):
    monkeypatch.setattr(reading, "SILENT_AT_MOST", 2.0)
    web.pages["/a"] = Page(DATA, silent=50_000)
    stat = reader.stat("/a")
    got = []
    refused(Kind.UNREACHABLE, lambda: got.extend(reader.read("/a", 0, stat)), "silent")
    assert b"".join(got) == DATA[:50_000]


def test_what_is_no_http_is_said_to_be_none():
    listener = socket.create_server(("127.0.0.1", 0))

    def babble():
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 10)

    thread = threading.Thread(target=babble)
    thread.start()
    reader = HttpReader(parse(f"http://127.0.0.1:{listener.getsockname()[1]}/x"), Login())
    refused(Kind.UNREACHABLE, lambda: reader.stat("/x"))
    thread.join()
    listener.close()


@pytest.mark.parametrize("path", ["/ä b", "/a\r\nX: y", '/"<>'])
def test_no_path_ends_the_request_line(web, reader, path):
    refused(Kind.MISSING, lambda: reader.stat(path))
    assert not any("x" in headers for _, _, headers in web.asked)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    need(shutil.which("openssl"), "openssl")
    home = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=files", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1", "-keyout", home / "key", "-out", home / "cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "cert", home / "key")
    return context, home / "cert"


@pytest.fixture
def safe(certificate):
    found = Web(certificate[0])
    yield found
    found.end()


def test_tls_is_believed_only_with_a_certificate_that_this_machine_trusts(safe, certificate, monkeypatch):
    safe.pages["/a"] = Page(DATA)
    strange = HttpReader(parse(f"{safe.url}/a"), Login())
    refused(Kind.HOST_KEY, lambda: strange.stat("/a"), safe.host, "self-signed certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    reader = HttpReader(parse(f"{safe.url}/a"), Login())
    assert whole(reader, "/a") == DATA
    reader.close()


def test_nobody_is_led_from_tls_to_none(safe, web, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    safe.pages["/a"] = Page(b"", status=302, headers={"Location": f"{web.url}/a"})
    web.pages["/a"] = Page(DATA)
    reader = HttpReader(parse(f"{safe.url}/a"), Login())
    refused(Kind.UNSUPPORTED, lambda: reader.stat("/a"), "https to http")
    assert not web.asked
    reader.close()


def test_a_query_is_shown_nowhere():
    source = parse(f"https://h/a/b.tgz?{TOKEN}&x=1")
    assert str(source) == "https://h/a/b.tgz?…"
    assert source.name == "b.tgz"
    assert source.path.endswith(f"?{TOKEN}&x=1")


# Files of this machine.


def test_a_local_file_is_read_from_any_byte(tmp_path):
    path = tmp_path / "ä b%"
    path.write_bytes(DATA)
    reader = open_reader(parse(path.as_uri()), Login())
    stat = reader.stat(str(path))
    assert stat.size == len(DATA)
    for offset in (0, 1, len(DATA)):
        assert whole(reader, str(path), offset, stat) == DATA[offset:]


def test_a_local_file_that_changes_is_told_from_what_it_was(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(5 * 1024**2))
    reader = LocalReader()
    stat = reader.stat(str(path))
    pieces = reader.read(str(path), 0, stat)
    next(pieces)
    with path.open("r+b") as file:
        file.seek(4 * 1024**2)
        file.write(b"x")
    os.utime(path, ns=(1, 1))
    refused(Kind.CHANGED, lambda: list(pieces))
    refused(Kind.CHANGED, lambda: list(reader.read(str(path), 0, stat)))
    stat = reader.stat(str(path))
    pieces = reader.read(str(path), 0, stat)
    next(pieces)
    os.truncate(path, 1024**2)
    refused(Kind.CHANGED, lambda: list(pieces))
    stat = reader.stat(str(path))
    (tmp_path / "new").write_bytes(path.read_bytes())
    os.utime(tmp_path / "new", ns=(1, path.stat().st_mtime_ns))
    (tmp_path / "new").replace(path)
    refused(Kind.CHANGED, lambda: list(reader.read(str(path), 0, stat)))


def test_only_regular_files_are_read_and_nothing_waits(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero"):
        refused(Kind.UNSUPPORTED, lambda path=path: LocalReader().stat(str(path)), "no regular file")
    refused(Kind.MISSING, lambda: LocalReader().stat(str(tmp_path / "none")), "no such file")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(TransferError):
        LocalReader().stat(str(tmp_path / "loop"))
    refused(Kind.UNSUPPORTED, lambda: LocalReader().stat("/a\0b"))


def test_a_policy_is_not_deceived_by_what_is_mounted_in_another_namespace(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    inside.joinpath("a").write_bytes(b"a")
    outside.write_bytes(b"secret")
    command = [
        "unshare",
        "-m" if os.geteuid() == 0 else "-Urm",
        "sh",
        "-c",
        'mount --bind "$0" "$1" && echo up && read x',
    ]
    holder = subprocess.Popen(
        [*command, str(outside), str(inside / "a")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        try:
            need(holder.stdout.readline() == b"up\n", "namespaces to mount in")
            there = f"/proc/{holder.pid}/root{(inside / 'a').resolve()}"
            with Path(there).open("rb") as file:
                assert file.read() == b"secret"
            assert whole(LocalReader([f"{inside.resolve()}/*"]), there) == b"a"
            rules = tmp_path / "policy.yaml"
            rules.write_text(f'{{commands: ["{inside.resolve()}/*"]}}')
            Policy(rules).check_command(str(inside / "a"), ())
            with pytest.raises(Forbidden, match="namespace"):
                Policy(rules).check_command(there, ())
        finally:
            holder.stdin.close()


def test_a_policy_counts_for_the_file_that_a_link_leads_to(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "a").write_bytes(b"a")
    (outside / "b").write_bytes(b"b")
    (inside / "link").symlink_to(outside / "b")
    (outside / "link").symlink_to(inside / "a")
    reader = LocalReader([f"{inside.resolve()}/*"])
    assert whole(reader, str(inside / "a")) == b"a"
    assert whole(reader, str(outside / "link")) == b"a"
    for path in (inside / "link", outside / "b", outside / "missing", inside / ".." / "out" / "b"):
        refused(Kind.UNSUPPORTED, lambda path=path: reader.stat(str(path)), "policy")
    refused(Kind.MISSING, lambda: reader.stat(str(inside / "missing")))
    refused(Kind.UNSUPPORTED, lambda: LocalReader([]).stat(str(inside / "a")))


def test_a_link_that_moves_between_two_looks_opens_nothing_that_is_not_allowed(tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(b"s")
    reader = LocalReader([f"{tmp_path.resolve()}/public"])
    public = f"{tmp_path.resolve()}/public"
    Path(public).symlink_to(tmp_path / "secret")
    monkeypatch.setattr(os.path, "realpath", lambda _: public)  # it was a file when it was looked at
    refused(Kind.FAULT, lambda: reader.stat(public), "cannot be read")


def test_a_file_that_may_not_be_read_is_denied(tmp_path):
    need(os.geteuid() == 0, "root (to be somebody else)")
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "a").chmod(0)
    os.seteuid(65534)
    try:
        refused(Kind.DENIED, lambda: LocalReader().stat(str(tmp_path / "a")), "may not be read")
    finally:
        os.seteuid(0)
