"""`/v1/artifacts`, `muster artifact` and `muster deploy --push`; what lies under the base lies in memory."""

import hashlib
import http.client
import io
import json
import os
import threading
import urllib.parse
from contextlib import contextmanager

import pytest

from manager_api.http.files import artifacts
from manager_api.http.frame import uploads
from manager_api.http.templates import templates
from manager_api.settings import Base, StoreAccess
from muster import uploading
from muster.client import Client
from muster.deploying import Failed
from store.config import ConfigError
from tests.builders import a_task, a_template
from tests.conftest import eventually
from tests.contract.test_cli import Cli
from transfer.errors import Kind, TransferError
from transfer.login import Login
from transfer.publishing import Item, Listing
from transfer.urls import Source

pytestmark = pytest.mark.contract

SECRET = "s3cret"
BASE = Base(
    source=Source(scheme="sftp", host="files", port=22, user="joe", path="/srv"), login=Login(password=SECRET)
)


class Shelf:
    """What lies there, and a publisher of it; `trouble` is what the server answers to everything."""

    def __init__(self):
        self.files, self.trouble, self.complete = {}, None, True
        self.hold, self.inside = None, 0

    @contextmanager
    def session(self, _source, _login):
        yield self

    def close(self):
        pass

    conversation = None

    def publisher(self, _conversation, _base):
        if self.trouble:
            raise self.trouble
        return self

    def put(self, name, pieces, size, sha256=None):
        data = b"".join(pieces)
        assert len(data) == size
        if self.hold:
            self.inside += 1
            self.hold.wait(60)
        digest = hashlib.sha256(data).hexdigest()
        if sha256 not in (None, digest):
            raise TransferError(Kind.MISMATCH, f"{digest} is not {sha256}: nothing was replaced")
        self.files[name] = data
        return digest

    def listing(self, prefix):
        names = sorted(name for name in self.files if name.startswith(prefix))
        return Listing([Item(name, len(self.files[name]), 1_700_000_000) for name in names], self.complete)

    def remove(self, name):
        if name not in self.files:
            raise TransferError(Kind.MISSING, f"no such file sftp://files/srv/{name}")
        del self.files[name]


@pytest.fixture
def shelf(monkeypatch):
    found = Shelf()
    monkeypatch.setattr("transfer.sftp.Session", lambda *_: found)
    monkeypatch.setattr("transfer.publishing.Publisher", found.publisher)
    monkeypatch.setattr(StoreAccess, "artifacts", lambda _: BASE)
    return found


@pytest.fixture
def cli(fake_store, monkeypatch, shelf):
    monkeypatch.setattr("manager_api.http.deployments.deployments.DECIDED_WITHIN", 0.0)
    found = Cli(fake_store)
    yield found
    found.server.shutdown()
    found.server.server_close()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def naming(*sources, name="shop", **more):
    task = {**a_task("web"), "artifacts": [{"source": each, **more} for each in sources]}
    return a_template(task, name=name)


def put(cli, name, body=b"", query="", **headers):
    """A call by hand: its status, its headers, its answer."""
    where = urllib.parse.urlsplit(cli.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    connection.request("PUT", f"/v1/artifacts/{name}{query}", body, headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers, json.loads(answer.read())
    connection.close()
    return found


# -- the API


def test_a_body_becomes_a_file(cli, shelf):
    status, _, answer = put(cli, "a%20b/%C3%BC%23%3F%25.tgz", b"hello")
    assert status == 200
    assert answer == {
        "name": "a b/ü#?%.tgz", "size": 5, "sha256": sha256(b"hello"), "pinned_otherwise": [],
    }  # fmt: skip
    assert shelf.files == {"a b/ü#?%.tgz": b"hello"}
    event = Client(cli.url).get("/v1/events")["data"][0]
    assert event["reason"] == "PUT /v1/artifacts/{artifact:path}"
    assert event["data"]["artifact"] == "a b/ü#?%.tgz"
    assert put(cli, "empty")[2]["sha256"] == sha256(b"")


def test_a_digest_that_is_given_has_to_be_met(cli, shelf):
    shelf.files["x"] = b"old"
    for how in ({"query": f"?sha256={'0' * 64}"}, {"Muster-Sha256": "0" * 64}):
        status, _, answer = put(cli, "x", b"new", **how)
        assert status == 422
        assert sha256(b"new") in answer["detail"]
        assert "0" * 64 in answer["detail"]
    assert shelf.files == {"x": b"old"}
    assert put(cli, "x", b"new", query=f"?sha256={sha256(b'new')}")[0] == 200
    status, _, answer = put(cli, "x", b"new", query="?sha256=abc")
    assert (status, answer["detail"]) == (400, "sha256: 'abc' is not 64 lower-case hexadecimal digits")


@pytest.mark.parametrize(
    ("headers", "why"),
    [({}, "there is none"), ({"Transfer-Encoding": "chunked"}, "a chunked body is not taken")],
)
def test_a_body_without_a_length_is_refused(cli, shelf, headers, why):
    where = urllib.parse.urlsplit(cli.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    connection.putrequest("PUT", "/v1/artifacts/x")
    for header in headers.items():
        connection.putheader(*header)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 411
    assert json.load(answer)["detail"] == f"Content-Length: {why}; say how many bytes follow"
    connection.close()
    assert shelf.files == {}


def test_without_a_base_all_calls_say_so(cli, shelf, monkeypatch):
    monkeypatch.setattr(StoreAccess, "artifacts", lambda _: None)
    status, _, answer = put(cli, "x", b"x")
    assert (status, answer["error"]) == (409, "No server of files")
    for words in (("ls",), ("rm", "x", "--yes")):
        assert "started without --sftp-host" in cli("artifact", *words, expect=1).stderr


@pytest.mark.parametrize("kind", [*Kind])
def test_every_kind_of_trouble_has_its_answer_and_no_secret(cli, shelf, kind, caplog):
    shelf.trouble = TransferError(kind, f"sftp://joe@files/srv: {kind}")
    codes = {Kind.MISSING: 404, Kind.UNSUPPORTED: 400, Kind.MISMATCH: 422}
    status, _, answer = put(cli, "x", b"x")
    assert status == codes.get(kind, 502)
    assert str(kind) in answer["detail"]
    assert SECRET not in json.dumps(answer) + caplog.text + repr(BASE)


def test_an_answer_comes_before_the_body_has(cli, shelf):
    """Who sends much to somebody who will not have it is told so at once, not when the line breaks."""
    shelf.trouble = TransferError(Kind.DENIED, "permission denied")

    def never_ending():
        while True:
            yield bytes(1 << 20)

    status, _, answer = _upload(cli, never_ending(), 1 << 40)
    assert (status, answer["detail"]) == (502, "permission denied")


def _upload(cli, pieces, size):
    where = urllib.parse.urlsplit(cli.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    connection.putrequest("PUT", "/v1/artifacts/x")
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    found = []

    def listen():
        answer = connection.getresponse()
        found.append((answer.status, answer.headers, json.loads(answer.read())))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        while listener.is_alive():
            connection.sock.sendall(next(pieces))
    except (OSError, AttributeError):
        pass
    listener.join(20)
    connection.close()
    return found[0]


def test_only_so_many_at_once_have_a_connection(cli, shelf, monkeypatch):
    monkeypatch.setattr(artifacts, "WAITS", 0.0)
    shelf.hold = threading.Event()
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(put(cli, f"x{n}", b"x")[0]))
        for n in range(artifacts.AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: shelf.inside == artifacts.AT_ONCE)
        status, headers, _ = put(cli, "more", b"x")
    finally:
        shelf.hold.set()
        for thread in threads:
            thread.join()
    assert (status, headers["Retry-After"]) == (503, str(artifacts.RETRY_AFTER))
    assert found == [200] * artifacts.AT_ONCE
    assert put(cli, "more", b"x")[0] == 200


def test_push_waits_while_the_manager_has_its_hands_full(cli, shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "WAITS", 0.0)
    shelf.hold, slept = threading.Event(), []
    threads = [
        threading.Thread(target=put, args=(cli, f"x{number}", b"x")) for number in range(artifacts.AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: shelf.inside == artifacts.AT_ONCE)

    def sleep(seconds):
        slept.append(seconds)
        shelf.hold.set()
        for thread in threads:
            thread.join()

    monkeypatch.setattr(uploading, "_sleep", sleep)
    (tmp_path / "more").write_bytes(b"more")
    result = cli("artifact", "push", str(tmp_path / "more"))
    assert result.exit_code == 0, result.stderr
    assert shelf.files["more"] == b"more"
    assert [abs(each - artifacts.RETRY_AFTER) <= artifacts.RETRY_AFTER / 2 for each in slept] == [True]


def test_a_sender_that_leaves_replaces_nothing(cli, shelf):
    shelf.files["x"] = b"old"
    where = urllib.parse.urlsplit(cli.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    connection.putrequest("PUT", "/v1/artifacts/x")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"only this")
    connection.sock.shutdown(1)
    answer = connection.getresponse()
    assert answer.status == 400
    assert "9 of 1000 bytes came: nothing was replaced" in answer.read().decode()
    connection.close()
    assert shelf.files == {"x": b"old"}


def test_lists_say_which_templates_name_what(cli, shelf):
    shelf.files = {"apps/a.tgz": b"a", "clean": b"", "z": b""}
    templates.save(cli.store, naming("./apps//a.tgz", "https://host/z", "${x}/z"))
    fetching = {**a_task("web", command="/opt/bin/clean --all"), "fetch": True}
    templates.save(cli.store, a_template(fetching, name="cleaner"))
    answer = Client(cli.url).get("/v1/artifacts")
    assert answer == {
        "data": [
            {"name": "apps/a.tgz", "size": 1, "modified": 1_700_000_000, "templates": ["shop"]},
            {"name": "clean", "size": 0, "modified": 1_700_000_000, "templates": ["cleaner"]},
            {"name": "z", "size": 0, "modified": 1_700_000_000, "templates": []},
        ],
        "total": 3, "next": None, "complete": True,
    }  # fmt: skip


def test_a_secret_that_cannot_be_read_is_a_sentence(cli, shelf, monkeypatch):
    def fails(_):
        raise ConfigError("--sftp-password-file /run/secret cannot be read: No such file or directory")

    monkeypatch.setattr(StoreAccess, "artifacts", fails)
    status, _, answer = put(cli, "x", b"x")
    assert (status, answer["detail"].partition(":")[0]) == (502, "this manager cannot log in there")


# -- muster artifact


def test_push_prints_what_sha256sum_would(cli, shelf, tmp_path):
    one, two = tmp_path / "one.tgz", tmp_path / "zwei ü.tgz"
    one.write_bytes(b"1"), two.write_bytes(os.urandom(600_000))
    result = cli("artifact", "push", str(one), str(two), "--to", "apps/")
    assert result.stdout.splitlines() == [
        f"{sha256(b'1')}  apps/one.tgz",
        f"{sha256(two.read_bytes())}  apps/zwei ü.tgz",
    ]
    assert shelf.files == {"apps/one.tgz": b"1", "apps/zwei ü.tgz": two.read_bytes()}
    result = cli("artifact", "push", str(one), "--as", "1.tgz", "-o", "json")
    assert json.loads(result.stdout) == [
        {"name": "1.tgz", "size": 1, "sha256": sha256(b"1"), "pinned_otherwise": []}
    ]
    assert result.stderr == "", "no bar where there is no terminal"


def test_on_a_terminal_there_is_a_bar_out_of_the_way_of_what_programs_read(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with uploading.meter("apps/x", 100 << 20) as show:
        show("reading", 50 << 20)
        show("sending", 25 << 20)
    assert "sending apps/x" in terminal.getvalue()
    assert "25.0/100.0 MiB" in terminal.getvalue()


def test_what_cannot_be_pushed(cli, shelf, tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").touch()
    os.mkfifo(tmp_path / "fifo")
    x, d = str(tmp_path / "x"), str(tmp_path / "d")
    for words, code, says in (
        ((d,), 1, f"tar czf d.tgz -C {d} ."),
        ((x, d), 1, "is a directory"),
        ((str(tmp_path / "nope"),), 1, "nope: No such file"),
        ((str(tmp_path / "fifo"),), 1, "no regular file"),
        ((x, f"{d}/x"), 2, "two of the files are called x"),
        ((x, f"{d}/x", "--as", "y"), 2, "--as names one file"),
        ((x, "--as", ""), 2, "--as needs a name"),
        ((), 2, "Missing argument"),
    ):
        assert says in cli("artifact", "push", *words, expect=code).stderr
    assert shelf.files == {}
    shelf.trouble = TransferError(Kind.FULL, "the server's disk is full")
    assert "the server's disk is full" in cli("artifact", "push", x, expect=1).stderr
    cli("artifact", "push", x, "--url", "http://127.0.0.1:1", expect=6)


@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
def test_a_file_that_changes_while_it_is_read_replaces_nothing(cli, shelf, tmp_path, change):
    shelf.files["x"] = b"old"
    path = tmp_path / "x"
    path.write_bytes(b"x" * 1_000_000)
    local = uploading.hashed(uploading.look(path), lambda *_: None)
    shows = iter([True])

    def now(what, _done):
        assert what == "sending"
        if next(shows, False):
            with path.open("r+b") as file:
                if change == "shorter":
                    file.truncate(500_000)
                elif change == "other":
                    file.seek(900_000)
                    file.write(b"y")
                else:
                    file.seek(0, 2)
                    file.write(b"y")

    if change == "longer":
        uploading.send(Client(cli.url), local, "x", now)
        assert shelf.files["x"] == b"x" * 1_000_000, "what was there when it was hashed"
        return
    with pytest.raises(Failed, match="changed while it was read: nothing was replaced"):
        uploading.send(Client(cli.url), local, "x", now)
    assert shelf.files == {"x": b"old"}


def test_a_file_that_changes_while_it_is_hashed(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x" * 1_000_000)
    local = uploading.look(path)

    def now(_what, done):
        if done < 500_000:
            path.write_bytes(b"y" * 999_999)

    with pytest.raises(Failed, match="changed while it was read"):
        uploading.hashed(local, now)


def test_who_pushes_much_is_told_the_reason_not_that_the_line_broke(cli, shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_DISCARDED", 1 << 20)
    shelf.trouble = TransferError(Kind.DENIED, "permission denied: apps")
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(300 << 20)
    assert "permission denied: apps" in cli("artifact", "push", str(path), expect=1).stderr


def test_push_warns_of_templates_that_want_other_bytes(cli, shelf, tmp_path):
    templates.save(cli.store, naming("x", sha256=sha256(b"old")))
    templates.save(cli.store, naming("x", name="same", sha256=sha256(b"new")))
    templates.save(cli.store, naming("x", name="any"))
    (tmp_path / "x").write_bytes(b"new")
    assert "warning: shop name x with another sha256" in cli("artifact", "push", str(tmp_path / "x")).stderr


def test_ls(cli, shelf):
    shelf.files = {"apps/a.tgz": b"a" * 10, "z": b""}
    templates.save(cli.store, naming("z"))
    lines = cli("artifact", "ls").stdout.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "MODIFIED", "NAMED", "BY"]
    assert lines[1].split()[:2] == ["apps/a.tgz", "10"]
    assert lines[2].split()[-1] == "shop"
    found = json.loads(cli("artifact", "ls", "apps/", "-o", "json").stdout)
    assert [row["name"] for row in found] == ["apps/a.tgz"]
    shelf.complete = False
    assert "there are more" in cli("artifact", "ls").stderr


def test_rm(cli, shelf):
    shelf.files = {"a b/ü": b"", "used": b"", "y": b""}
    templates.save(cli.store, naming("used"))
    assert cli("artifact", "rm", "a b/ü").stdout == "a b/ü is removed\n"
    assert "no such file" in cli("artifact", "rm", "nope", expect=4).stderr
    result = cli("artifact", "rm", "y", "used", expect=1)
    assert "used is named by the newest version of shop" in result.stderr
    assert "nothing was done" in result.stderr
    assert sorted(shelf.files) == ["used", "y"]
    cli("artifact", "rm", "y", "used", "--yes")
    assert shelf.files == {}


# -- muster deploy --push


def write(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))
    return str(path)


def saved(cli, name="shop"):
    return templates.find(cli.store, name)["body"]["task_groups"][0]["tasks"][0]["artifacts"]


def test_deploy_pushes_what_lies_beside_the_template_and_pins_it(cli, shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write(
        tmp_path / "t" / "shop.yaml",
        {
            **naming("apps/a.tgz", "b", "https://host/c", "there", "${param.x}/d"),
            "parameters": {"x": {"default": "1"}},
        },
    )
    (tmp_path / "t" / "apps").mkdir()
    (tmp_path / "t" / "apps" / "a.tgz").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    shelf.files["there"] = b"there"
    result = cli("deploy", "t/shop.yaml", "--push", "--no-wait")
    assert f"pushed apps/a.tgz, 1 bytes, sha256 {sha256(b'a')}" in result.stderr
    assert "${param.x}/d depends on parameters" in result.stderr
    assert shelf.files == {"apps/a.tgz": b"a", "b": b"b", "there": b"there"}
    assert f"{sha256(b'b')}" in result.stderr
    pins = [each.get("sha256") for each in saved(cli)]
    assert pins == [sha256(b"a"), sha256(b"b"), None, None, None]
    (tmp_path / "b").write_bytes(b"b2")
    result = cli("deploy", file, "--push", "--no-wait")
    assert "version 2" in result.stderr
    assert "warning" not in result.stderr, "that its own last version had another is no news"


def test_deploy_does_nothing_when_a_file_is_nowhere_or_another(cli, shelf, tmp_path):
    (tmp_path / "here").write_bytes(b"here")
    for body, says in (
        (naming("here", "nope"), "nope is neither beside"),
        (naming("here", sha256="0" * 64), f"has sha256 {sha256(b'here')}, and the template says 0000"),
        (naming("here", "../here"), "../here is no path under the manager's --sftp-host"),
        (naming("here", "/here"), "/here is no path under"),
        (naming("here", "", "nope/"), "nope/ is neither beside"),
    ):
        file = write(tmp_path / "shop.json", body)
        assert says in cli("deploy", file, "--push", "--no-wait", expect=1).stderr
        assert shelf.files == {}
    cli("deploy", write(tmp_path / "shop.json", naming("gone", sha256="0" * 64)), "--push", "--no-wait")
    assert "--push goes with a template's file" in cli("deploy", "shop", "--push", expect=2).stderr
    assert "does not go with --dry-run" in cli("deploy", file, "--push", "--dry-run", expect=2).stderr


def test_a_deploy_that_fails_for_a_file_that_lies_here_names_push(cli, shelf, tmp_path, monkeypatch):
    file = write(tmp_path / "shop.json", naming("apps/a.tgz"))
    error = "task web on web-1 failed: no such file sftp://files/srv/apps/a.tgz"

    def fails(*_):
        raise Failed(error)

    monkeypatch.setattr("muster.deploying.wait_up", fails)
    assert "--push" not in cli("deploy", file, expect=1).stderr
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "a.tgz").touch()
    result = cli("deploy", file, expect=1)
    assert "apps/a.tgz: it lies here: --push sends what a template names" in result.stderr
    assert error in result.stderr
    for other in (
        "task web on web-1 failed: sftp://files/srv/apps/a.tgz has the SHA-256 1, and the template says 2",
        "task web on web-1 failed: /data/apps/a.tgz is not executable",
    ):
        error = other
        assert "--push" not in cli("deploy", file, expect=1).stderr, "it would not help"
    file = write(tmp_path / "shop.json", naming("ü b.tgz"))
    (tmp_path / "ü b.tgz").touch()
    error = "task web on web-1 failed: no such file sftp://files/srv/%C3%BC%20b.tgz"
    assert "ü b.tgz: it lies here" in cli("deploy", file, expect=1).stderr


def test_artifacts_may_be_texts_and_pins_may_be_written_in_any_way(cli, shelf, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    body = naming("b", sha256=f"sha256:{sha256(b'b').upper()}")
    body["task_groups"][0]["tasks"][0]["artifacts"].append("a")
    cli("deploy", write(tmp_path / "shop.json", body), "--push", "--no-wait")
    assert saved(cli) == [{"source": "b", "sha256": sha256(b"b")}, {"source": "a", "sha256": sha256(b"a")}]


def test_a_template_that_is_none_is_the_managers_to_refuse(cli, shelf, tmp_path):
    for n, body in enumerate(
        ({"name": "x"}, {"name": "x", "task_groups": [1, {"tasks": [{"artifacts": 1}]}]})
    ):
        result = cli("deploy", write(tmp_path / f"{n}.json", body), "--push", "--no-wait", expect=1)
        assert "task_groups" in result.stderr
    assert shelf.files == {}
