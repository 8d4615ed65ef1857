"""The node's side of its turns at servers of files, on every kind of store."""

import pytest
import redis

from store.kv.node import RedisNodeLink

pytestmark = pytest.mark.contract


def test_a_node_reads_its_grant_key_if_there_is_one(any_store):
    link = RedisNodeLink(any_store.client, any_store.client, any_store.keys, "web-1")
    assert link.granted() is None
    any_store.client.set(any_store.keys.node("web-1").grant, b"{}")
    assert link.granted() == b"{}"


def test_a_node_that_may_not_read_its_grant_key_has_no_turns_and_goes_on(any_store, monkeypatch):
    def refuse(*_):
        raise redis.exceptions.NoPermissionError("this user has no permissions")

    link = RedisNodeLink(any_store.client, any_store.client, any_store.keys, "web-1")
    monkeypatch.setattr(any_store.client, "get", refuse)
    assert link.granted() is None
