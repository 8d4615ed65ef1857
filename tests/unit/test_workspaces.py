"""Workspaces: what may be set of them, and words made of users' ids."""

import pytest

from manager_api.core import workspaces as names
from manager_api.settings import SETTINGS, StoreAccess, manager_settings
from manager_api.workspaces import DEFAULT_URL, check_url, directory, lifetime, url_of
from store.config import ConfigError, resolve

pytestmark = pytest.mark.unit


class NoFlags:
    config = None


def settings(tmp_path, **environ):
    said = {f"MUSTER_WORKSPACE_{key.upper()}": value for key, value in environ.items()}
    found = resolve(SETTINGS, NoFlags(), said)
    return manager_settings({**found, "db_path": tmp_path / "r.db"})


def test_what_is_set_reaches_the_children(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = {"template": "matlab", "data": "/srv/ws", "ttl": "8h", "url": "https://{hostname}/{user}"}
    found = settings(tmp_path, **said).workspaces
    assert (found.template, found.data, found.ttl, found.url) == tuple(said.values())
    access = StoreAccess(
        url="redis://x", advertised_port=None, password_file=None, holder="h", workspaces=found
    )
    assert StoreAccess.from_environment(access.environment()).workspaces == found
    assert settings(tmp_path, template="matlab").workspaces.url == DEFAULT_URL
    assert settings(tmp_path).workspaces is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"ttl": "8h"}, "--workspace-ttl goes with --workspace-template"),
        ({"template": "x", "ttl": "soon"}, "not a duration"),
        ({"template": "x", "ttl": "10ms"}, "shorter than 1s"),
        ({"template": "x", "data": "ws"}, "not an absolute path"),
        ({"template": "x", "data": "/srv/../etc"}, "not an absolute path"),
        ({"template": "x", "data": "/srv/a:b"}, "not an absolute path"),
        ({"template": "x", "url": "http://{host}/"}, "{host} is not known: there are {ip}"),
        ({"template": "x", "url": "http://{ip.x}/"}, "is not known"),
        ({"template": "x", "url": "http://{ip!r}/"}, "is not known"),
        ({"template": "x", "url": "http://{ip:>999999999}/"}, "is not known"),
        ({"template": "x", "url": "http://{/"}, "is no pattern"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(tmp_path, monkeypatch, said, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        settings(tmp_path, **said)
    assert words in str(error.value)


def test_readers_give_back_what_can_be_used():
    assert (directory("/srv/ws/"), lifetime("8h")) == ("/srv/ws", "8h")
    assert check_url("plain") == "plain"


def test_addresses():
    known = {"ip": "::1", "port": 8000, "user": "a/b é", "node": "web-1", "hostname": None, "id": "1-2"}
    assert url_of("http://{ip}:{port}/", known) == "http://[::1]:8000/"
    assert url_of("https://x/{user}/{{}}", known) == "https://x/a%2Fb%20%C3%A9/{}"
    assert url_of("http://{hostname}/", known) is None


def test_keys_of_users_are_words_and_never_shared():
    assert names.key_of("jane.doe-1") == "jane.doe-1"
    odd = names.key_of("jane@x")
    assert names.key_of(odd) != odd
    assert len({names.key_of(user) for user in ("a b", "a_b", "a  b", "a@b", "-a", "_", "é", "e")}) == 8


def test_which_port_is_the_workspace_s():
    assert names.port_of({}) is None
    assert names.port_of({"x": {"b": 2}, "y": {"a": 1}}) == 1
    assert names.port_of({"x": {"a": 1}, "y": {"http": 2}}) == 2
