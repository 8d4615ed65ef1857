"""What is set of the server of artifacts: from where its password comes, and that nobody repeats it."""

import json
from pathlib import Path

import pytest

from manager_api.base import (
    HOST,
    PASSWORD,
    BaseSettings,
    base_settings,
    take_password,
)
from manager_api.settings import SETTINGS, StoreAccess, manager_settings
from store.config import ConfigError
from transfer import urls
from transfer.hostkeys import HostKey

pytestmark = pytest.mark.unit

PINNED = "SHA256:" + "a" * 43
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3B1\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.fixture(autouse=True)
def nobody_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr("transfer.hostkeys.KNOWN_HOSTS", (str(tmp_path / "known_hosts"),))


def settings(tmp_path, **more):
    values = {setting.key: setting.default for setting in SETTINGS}
    return manager_settings({**values, "db_path": tmp_path / "r.db", **more})


@pytest.mark.parametrize(
    ("url", "source", "password"),
    [
        ("sftp://joe:secret@files/apps/", "sftp://joe@files/apps", "secret"),
        ("sftp://joe:secret@files:2222/apps", "sftp://joe@files:2222/apps", "secret"),
        ("sftp://joe:secret@Files", "sftp://joe@files/", "secret"),
        ("sftp://j%40e:p%40ss%2F%3A%23w%C3%B6rd@files/", "sftp://j%40e@files/", "p@ss/:#wörd"),
        ("sftp://joe:secret@[::1]:22/a%20b/", "sftp://joe@[::1]/a%20b", "secret"),
    ],
)
def test_a_url_is_taken_apart(url, source, password):
    base = base_settings(url).open()
    assert (str(base.source), base.login.password) == (source, password)
    assert base.login.user == base.source.user


@pytest.mark.parametrize(
    "url",
    [
        "http://x/", "sftp://files/", "sftp://:hush@files/", "sftp://joe:hush@/apps", "sftp://joe:hush@files:x/", "hush",
        "sftp://joe:hu#sh@files/", "sftp://joe:hu?sh@files/", "sftp://joe:hu/sh@files/", "sftp://joe:hush@files/../etc",
        "sftp://joe:hush@[::1/", "sftp://joe:hush@files/a?b=hush",
    ],
)  # fmt: skip
def test_what_is_no_such_url_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigError, match="expected sftp://user:password@host:port/path/") as caught:
        base_settings(url)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_password_may_lie_in_a_file(tmp_path):
    (tmp_path / "password").write_text("hunter 2\n")
    found = settings(tmp_path, sftp_host="sftp://joe@files/", sftp_password_file=tmp_path / "password")
    assert found.base.open().login.password == "hunter 2"
    (tmp_path / "password").write_text("another")
    assert found.base.open().login.password == "another", "whoever changes it need not start us anew"


def test_a_key_needs_no_password_and_may_have_one(tmp_path):
    (tmp_path / "key").write_text(KEY)
    alone = settings(tmp_path, sftp_host="sftp://joe@files/", sftp_key_file=tmp_path / "key").base.open()
    assert (alone.login.key, alone.login.password) == (KEY, None)
    both = settings(tmp_path, sftp_host="sftp://joe:phrase@files/", sftp_key_file=tmp_path / "key")
    assert both.base.open().login.password == "phrase"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"sftp_host": "sftp://joe@files/"}, "--sftp-host has no password"),
        (
            {"sftp_host": "sftp://joe:hush@files/", "sftp_password": "hush2"},
            "given in the URL of --sftp-host and in MUSTER_SFTP_PASSWORD: once",
        ),
        (
            {"sftp_host": "sftp://joe:hush@files/", "sftp_password_file": "password"},
            "given in the URL of --sftp-host and by --sftp-password-file",
        ),
        ({"sftp_host": "sftp://joe@files/", "sftp_password_file": "nope"}, "nope cannot be read: No such file"),
        ({"sftp_host": "sftp://joe@files/", "sftp_password_file": "."}, "cannot be read: Is a directory"),
        ({"sftp_host": "sftp://joe@files/", "sftp_password_file": "empty"}, "empty is empty"),
        ({"sftp_host": "sftp://joe@files/", "sftp_password_file": "binary"}, "is not text in UTF-8"),
        ({"sftp_host": "sftp://joe@files/", "sftp_key_file": "password"}, "holds no private key"),
        ({"sftp_host": "sftp://joe:hush@files/", "sftp_fingerprint": "SHA256:abc"}, "is not a fingerprint"),
        ({"sftp_host": "sftp://joe:hush@files/", "sftp_fingerprint": f"{PINNED},MD5:aa"}, "'MD5:aa' is not"),
        ({"sftp_password_file": "password"}, "--sftp-password-file goes with --sftp-host"),
        ({"sftp_key_file": "password"}, "--sftp-key-file goes with --sftp-host"),
        ({"sftp_fingerprint": PINNED}, "--sftp-fingerprint goes with --sftp-host"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_a_sentence_without_secrets(tmp_path, more, says):
    (tmp_path / "password").write_text("hush")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfehush")
    more = {key: tmp_path / value if key.endswith("_file") else value for key, value in more.items()}
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, **more)
    assert says in str(caught.value)
    assert "hush" not in str(caught.value)


def test_children_are_told_by_environment_and_nothing_of_it_shows():
    base = base_settings("sftp://joe:hush@files:23/a/", fingerprint=f" {PINNED} , {PINNED[:-1]}b")
    access = StoreAccess(
        url="redis://x", advertised_port=None, password_file=None, holder="me", base=base, source_limit=7
    )
    environment = access.environment()
    assert environment[HOST] == "sftp://joe@files:23/a"
    assert [key for key, value in environment.items() if "hush" in value] == [PASSWORD]
    child = StoreAccess.from_environment(environment)
    assert child == access
    assert child.artifacts().login.fingerprints == (PINNED, f"{PINNED[:-1]}b")
    assert "hush" not in f"{access} {child!r} {child.artifacts()!r} {base!r}"
    assert StoreAccess.from_environment({"MUSTER_STORE_URL": "redis://x"}).artifacts() is None


def test_files_are_named_to_children_and_not_what_is_in_them(tmp_path, monkeypatch):
    (tmp_path / "password").write_text("hush")
    (tmp_path / "key").write_text(KEY)
    monkeypatch.chdir(tmp_path)
    base = settings(
        tmp_path,
        sftp_host="sftp://joe@files/",
        sftp_password_file=Path("password"),
        sftp_key_file=Path("key"),
    ).base
    environment = base.environment()
    monkeypatch.chdir("/")
    assert not any("hush" in value or "PRIVATE" in value for value in environment.values())
    assert BaseSettings.from_environment(environment).open().login.password == "hush"
    assert BaseSettings.from_environment(environment).open().login.key == KEY


def test_a_file_in_ones_home_is_named_to_children_as_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "id").write_text(KEY)
    ours = base_settings("sftp://joe@files/a", password_file=Path("~/secret"), key_file=Path("~/id"))
    theirs = BaseSettings.from_environment(ours.environment())
    assert theirs.open().login == ours.open().login


def test_the_environment_is_cleared_of_it():
    environ = {HOST: "sftp://joe:hush@files/", PASSWORD: "hush", "PATH": "/bin"}
    assert take_password(environ) == "hush"
    assert environ == {"PATH": "/bin"}
    assert take_password(environ) is None


def test_a_host_key_that_this_machine_knows_goes_to_the_nodes(tmp_path):
    key = HostKey("ssh-ed25519", b"not much of a key")
    base = base_settings("sftp://joe:hush@files:2222/")
    (tmp_path / "known_hosts").write_text(f"{key.line(base.source)}\n")
    assert base.open().login.fingerprints == (key.fingerprint,)
    pinned = base_settings("sftp://joe:hush@files:2222/", fingerprint=PINNED)
    assert pinned.open().login.fingerprints == (PINNED,)
    (tmp_path / "known_hosts").write_text(f"{key.line(base.source)}\n@revoked {key.line(base.source)}\n")
    assert base.open().login.fingerprints == ()


def test_it_is_said_where_artifacts_lie_and_if_nobody_knows_that_server(caplog):
    caplog.set_level("INFO")
    base_settings("sftp://joe:hush@files/a").open().tell()
    assert "artifacts lie under sftp://joe@files/a" in caplog.text
    assert "no host key of sftp://files:22 is known" in caplog.text
    caplog.clear()
    base_settings("sftp://joe:hush@files/a", fingerprint=PINNED).open().tell()
    assert "no host key" not in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o604, True), (0o640, False), (0o600, False)])
def test_a_secret_that_everybody_on_the_machine_may_read_is_warned_of(tmp_path, caplog, mode, warned):
    secret, key = tmp_path / "secret", tmp_path / "id"
    secret.write_text("hush\n")
    key.write_text(KEY)
    for file in (secret, key):
        file.chmod(mode)
    base_settings("sftp://joe@files/a", password_file=secret, key_file=key).warn()
    cures = [f"--sftp-password-file {secret}", f"chmod 600 {secret}", f"--sftp-key-file {key}"]
    assert [cure in caplog.text for cure in cures] == [warned] * 3
    assert "hush" not in caplog.text


@pytest.mark.parametrize("path", ["/", "/apps/", "/a/b"])
def test_what_is_sealed_for_a_node_says_all_it_needs(path):
    base = base_settings(f"sftp://joe:hush@files{path}", fingerprint=PINNED).open()
    said = json.loads(base.sealed_text(whole=True))
    assert (said["user"], said["password"], said["fingerprints"]) == ("joe", "hush", [PINNED])
    assert "hush" not in said["base"]
    assert urls.under(urls.parse(said["base"]), "x.tgz") == urls.under(base.source, "x.tgz")
    assert "base" not in json.loads(base.sealed_text(whole=False))
