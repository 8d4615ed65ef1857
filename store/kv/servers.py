"""Every server of a store, primary and replicas: what is not replicated must be said to each."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from store.batches import batches
from store.errors import StoreError, Unsupported
from store.keys import Keys
from store.kv.connection import Client, sibling, translated
from store.kv.server import Server

log = logging.getLogger("store")

REPLICA_WITHIN = 1.0
"""Seconds that a replica has to answer: nobody shall wait long for it."""
FRESH = 5
"""Seconds since a replica's last word after which it counts as away."""
AT_ONCE = 500
"""Users that are pushed in one round trip."""


@contextmanager
def replicas(client: Client) -> Iterator[dict[str, Server]]:
    """The replicas that the primary has just now, by `host:port`; those that lag or load are left out."""
    with translated():
        info = client.info("replication")
    rows = [info[f"slave{number}"] for number in range(int(info.get("connected_slaves", 0)))]
    clients = {
        f"{row['ip']}:{row['port']}": sibling(client, str(row["ip"]), int(row["port"]), within=REPLICA_WITHIN)
        for row in rows
        if row["state"] == "online" and int(row["lag"]) <= FRESH
    }
    try:
        yield {address: Server(each) for address, each in clients.items()}
    finally:
        for each in clients.values():
            each.close()


def grant(client: Client, keys: Keys, node_id: str, secret_sha256: str) -> None:
    """Make one node's user on every server; what a replica misses now, `NodeUsers` brings later.

    Raises:
        Unsupported: the servers have no ACL key patterns.
        Unavailable: the primary does not answer.
    """
    Server(client).grant_node(keys, node_id, secret_sha256)
    with replicas(client) as found:
        for address, server in found.items():
            with _forgiving(address):
                server.grant_node(keys, node_id, secret_sha256)


def revoke(client: Client, node_id: str) -> None:
    """Remove one node's user from every server; its connections end.

    Raises:
        Unavailable: the primary does not answer.
    """
    Server(client).revoke_node(node_id)
    with replicas(client) as found:
        for address, server in found.items():
            with _forgiving(address):
                server.revoke_node(node_id)


class NodeUsers:
    """The leader's care: all nodes' users on every server, also on one that is new or was away."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._pushed: dict[str, dict[str, str]] = {}

    def spread(self, secrets: Mapping[str, str], breath: Callable[[], object]) -> None:
        """Push what each server lacks; `secrets` by node id. `breath` is called between two parts.

        Raises:
            Unsupported: the servers have no ACL key patterns.
            Unavailable: the primary does not answer; a replica that does not is left for the next time.
        """
        there: set[str] = set()
        for _ in self._bring(Server(self._client), secrets, there):
            breath()
        with replicas(self._client) as found:
            for address, server in found.items():
                part = self._bring(server, secrets, there)
                while _goes_on(address, part):
                    breath()
        self._pushed = {run_id: known for run_id, known in self._pushed.items() if run_id in there}

    def _bring(self, server: Server, secrets: Mapping[str, str], there: set[str]) -> Iterator[None]:
        """Push to one server, part by part. Another process has another run id, and no users."""
        run_id = server.run_id()
        there.add(run_id)
        known = self._pushed.get(run_id, {})
        lacking = [node for node, secret in secrets.items() if known.get(node) != secret]
        for part in batches(lacking, AT_ONCE):
            try:
                server.grant_nodes(self._keys, {node: secrets[node] for node in part})
            except Unsupported:
                self._pushed[run_id] = dict(secrets)  # said once
                raise
            yield
        self._pushed[run_id] = dict(secrets)


def _goes_on(address: str, part: Iterator[None]) -> bool:
    """Whether there is more to push; a replica in trouble ends it."""
    try:
        next(part)
    except StopIteration:
        return False
    except Unsupported:
        raise
    except StoreError as error:
        _left_out(address, error)
        return False
    return True


@contextmanager
def _forgiving(address: str) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        _left_out(address, error)


def _left_out(address: str, error: StoreError) -> None:
    log.warning("replica %s is left without node users for now: %s", address, error)
