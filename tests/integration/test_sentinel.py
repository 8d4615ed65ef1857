"""A store under Sentinel: its primary found and followed, its node users on every server."""

import hashlib

import pytest

from store import bootstrap
from store.errors import Denied, StoreError, Unavailable
from store.kv import servers
from store.kv.connection import connect
from store.kv.node import RedisNodeLink
from store.kv.sentinel import Sentinels
from store.kv.server import user_of
from store.kv.servers import NodeUsers
from store.kv.store import Store
from tests.conftest import eventually
from tests.sentinels import PASSWORD, view_of, where

pytestmark = pytest.mark.integration

SECRET = "s3cret"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()


@pytest.fixture(autouse=True)
def _a_replica_may_be_late(monkeypatch):
    """Else it is told at the next time, which does not come here."""
    monkeypatch.setattr(servers, "REPLICA_WITHIN", 10.0)


def test_a_pool_tells_once_that_its_primary_is_another(make):
    sentinels = make()
    view = view_of(sentinels)
    sentinels.fail_over()
    new = sentinels.promoted(0)
    refusals = []

    def write():
        try:
            return view.put("c", "a", b"1")
        except Unavailable as error:
            refusals.append(str(error))
            return None

    assert eventually(write)
    assert where(view) == sentinels.ports[new]
    assert any("the primary is now" in text for text in refusals), refusals


def test_a_server_that_is_no_primary_is_not_taken_for_one(make, monkeypatch):
    """Reads neither: what a replica has may be old."""
    sentinels = make()
    monkeypatch.setattr(Sentinels, "primary", lambda _: ("127.0.0.1", sentinels.ports[1]))
    view = Store(sentinels.client())
    for attempt in (view.attach, lambda: view.put("c", "a", b"1")):
        with pytest.raises(Unavailable, match="no primary"):
            attempt()


def test_who_has_no_password_is_told_so(make):
    sentinels = make()
    with pytest.raises(Denied, match="Sentinel"):
        Store(connect(sentinels.url.partition("?")[0], name="x")).attach()
    with pytest.raises(Denied):
        Store(connect(sentinels.url, name="x", username="node:none", password="wrong")).attach()
    with pytest.raises(Unavailable, match="knows no primary named 'other'"):
        Store(connect(sentinels.url.replace("/fleet/", "/other/"), name="x")).attach()


def test_node_users_are_on_every_server_also_on_one_that_comes_later(make):
    sentinels = make()
    view = view_of(sentinels)
    sentinels.kill(2)
    eventually(lambda: len(list_replicas(view)) == 1)
    servers.grant(view.client, view.keys, "web-1", DIGEST)
    users = NodeUsers(view.client, view.keys)
    breaths = []
    users.spread({"web-1": DIGEST, "web-2": DIGEST}, lambda: breaths.append(1))
    assert breaths
    for number in (0, 1):
        assert {"node:web-1", "node:web-2"} <= set(sentinels.admin(number).acl_users())
    sentinels.start(2, "--replicaof", f"127.0.0.1 {sentinels.ports[0]}")
    eventually(lambda: len(list_replicas(view)) == 2)
    assert "node:web-1" not in sentinels.admin(2).acl_users()
    users.spread({"web-1": DIGEST, "web-2": DIGEST}, lambda: None)
    assert {"node:web-1", "node:web-2"} <= set(sentinels.admin(2).acl_users())
    servers.revoke(view.client, "web-2")
    assert all("node:web-2" not in sentinels.admin(number).acl_users() for number in range(3))


def list_replicas(view):
    with servers.replicas(view.client) as found:
        return list(found)


def test_a_node_goes_on_with_its_user_after_a_fail_over(make):
    sentinels = make()
    view = view_of(sentinels)
    servers.grant(view.client, view.keys, "web-1", DIGEST)

    def link():
        clients = [
            connect(sentinels.url, name="n", username=user_of("web-1"), password=SECRET) for _ in range(2)
        ]
        return RedisNodeLink(*clients, view.keys, "web-1")

    first = link()
    first.claim("u", b'{"uid":"u"}', 60_000)
    sentinels.kill(0)
    sentinels.promoted(0)
    refusals = []

    def beat(which):
        try:
            which.beat(b'{"uid":"u"}', 60_000)
        except StoreError as error:
            refusals.append(error)
            return False
        return True

    eventually(lambda: beat(first))
    again = link()
    eventually(lambda: beat(again))
    assert {type(error) for error in refusals} <= {Unavailable}
    with pytest.raises(Denied):
        Store(first._client, view.keys).meta()


def test_a_plain_url_has_its_replicas_told_too(make):
    sentinels = make()
    client = connect(f"redis://127.0.0.1:{sentinels.ports[0]}/0", name="x", password=PASSWORD)
    view = Store(client)
    bootstrap.begin(view, None)
    servers.grant(client, view.keys, "web-1", DIGEST)
    assert all("node:web-1" in sentinels.admin(number).acl_users() for number in range(3))
