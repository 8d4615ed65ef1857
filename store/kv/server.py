"""The server itself: what it is, snapshots, users with rights to their own keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from store.errors import Denied, StoreError, Unsupported
from store.keys import Keys
from store.kv.connection import Client, database, translated
from store.model.preflight import OLDEST
from store.model.server import mode_of


@dataclass(frozen=True, slots=True)
class Flavour:
    """Which server, and which version of it."""

    name: str
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}"

    @property
    def has_key_patterns(self) -> bool:
        """Whether ACLs can give read-only access to some keys (`%R~`)."""
        return self.name == "valkey" or self.version >= (7, 0)


def flavour_of(info: Mapping[str, Any]) -> Flavour:
    """Name and version, from INFO."""
    name = "valkey" if "valkey_version" in info else "redis"
    text = str(info.get("valkey_version") or info["redis_version"])
    return Flavour(name, tuple(int(part) for part in text.split(".")[:3]))


class Server:
    """Administration of one server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def flavour(self) -> Flavour:
        """Name and version. Valkey calls itself redis 7.2.4, for old clients; not here.

        Raises:
            Unsupported: older than 6.2, or a Redis Cluster.
        """
        with translated():
            info = self._client.info("server")
        if mode_of(info) == "cluster":
            raise Unsupported("Redis Cluster is not supported: cross-slot access may pass silently")
        flavour = flavour_of(info)
        if flavour.version < OLDEST:
            raise Unsupported(f"{flavour} is too old: 6.2 is the oldest that can serve Muster")
        return flavour

    def ping(self) -> None:
        """Raise unless it answers and has loaded its data."""
        with translated():
            self._client.ping()

    def run_id(self) -> str:
        """Changes with every start of the server."""
        with translated():
            return str(self._client.info("server")["run_id"])

    def lineage(self) -> tuple[str, str]:
        """Replication ids: of the history it goes on with, and of the one it took over; '' for none.

        A server that was a replica and was promoted has the second one.
        """
        with translated():
            info = self._client.info("replication")
        former = str(info.get("master_replid2", ""))
        return str(info.get("master_replid", "")), former if former.strip("0") else ""

    def save_in_background(self) -> bool:
        """Begin an RDB snapshot of this moment; whether it did (another child may be busy)."""
        with translated():
            try:
                self._client.bgsave()
            except redis.ResponseError as error:
                if "in progress" in str(error) or "child process" in str(error):
                    return False
                raise
            return True

    def saving(self) -> tuple[bool, bool]:
        """(a snapshot is under way, the last one succeeded)."""
        with translated():
            info = self._client.info("persistence")
        return bool(info["rdb_bgsave_in_progress"]), info["rdb_last_bgsave_status"] == "ok"

    def begin_append_only(self) -> None:
        """Turn the append-only file on; it is written anew from what is in memory."""
        with translated():
            self._client.config_set("appendonly", "yes")

    def append_only_ready(self) -> bool:
        """Whether the append-only file holds everything."""
        with translated():
            info = self._client.info("persistence")
        busy = info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]
        return not busy and info["aof_last_bgrewrite_status"] == "ok"

    def grant_node(self, keys: Keys, node_id: str, secret_sha256: str) -> None:
        """The user of one node: reads its own orders, grants and asks, writes its own reports and answers.

        Raises:
            Unsupported: the server has no ACL key patterns.
        """
        self.grant_nodes(keys, {node_id: secret_sha256})

    def grant_nodes(self, keys: Keys, secrets: Mapping[str, str]) -> None:
        """The users of some nodes, by id, in one round trip.

        Raises:
            Unsupported: the server has no ACL key patterns.
        """
        # Only where the URL names a database; elsewhere the others are nobody's business.
        more = ("select",) if database(self._client) else ()
        try:
            with translated():
                pipe = self._client.pipeline(transaction=False)
                for node_id, secret in secrets.items():
                    pipe.execute_command("ACL", "SETUSER", *_rules(keys, node_id, secret, more))
                pipe.execute()
        except Denied:
            raise
        except StoreError as error:
            if self.flavour().has_key_patterns:
                raise
            raise Unsupported(f"this server cannot limit a node to its own keys: {error}") from error

    def bar_node(self, node_id: str) -> None:
        """Turn a node's user off until it is granted anew; its connections end."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            pipe.execute_command("ACL", "SETUSER", user_of(node_id), "off")
            pipe.execute_command("CLIENT", "KILL", "USER", user_of(node_id))
            pipe.execute()

    def revoke_node(self, node_id: str) -> None:
        """Remove a node's user; its connections end."""
        with translated():
            self._client.acl_deluser(user_of(node_id))


NODE_COMMANDS = (
    "ping", "client|setname", "multi", "exec",
    "get", "set", "del", "hmget", "hgetall", "hset", "hdel", "xread", "xadd", "pexpire", "publish",
)  # fmt: skip


def _rules(keys: Keys, node_id: str, secret_sha256: str, more: Sequence[str] = ()) -> list[str]:
    node = keys.node(node_id)
    return [
        user_of(node_id), "reset", "on", f"#{secret_sha256}",
        f"%R~{glob(node.desired)}", f"%R~{glob(node.wake)}", f"%R~{glob(node.ask)}",
        f"%R~{glob(node.grant)}",
        f"~{glob(node.actual)}", f"~{glob(node.facts)}", f"~{glob(node.beat)}",
        f"~{glob(node.answers)}*", f"&{keys.hints}",
        "-@all", *(f"+{command}" for command in (*NODE_COMMANDS, *more)),
    ]  # fmt: skip


def user_of(node_id: str) -> str:
    """The store user of a node."""
    return f"node:{node_id}"


def glob(key: str) -> str:
    """A key as a pattern that matches only itself."""
    return "".join(f"\\{c}" if c in "*?[]\\" else c for c in key)
