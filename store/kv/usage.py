"""What the nodes' keys and connections take of the server, and the removal of what is nobody's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from store.batches import batches
from store.kv.connection import translated
from store.kv.lua import verdict
from store.kv.server import glob, user_of
from store.kv.store import Store

EXPIRES_MS = 60_000
"""What should expire by itself and does not, is given so long."""
SCANNED = 1000
"""Revisions that are in memory at once."""
KINDS = {"actual": b"hash", "facts": b"hash", "hb": b"string"}
"""What a node writes that has one key for the node, and of which type."""


@dataclass(frozen=True, slots=True)
class Size:
    """One key of a node."""

    node: str
    kind: str
    key: str
    bytes: int
    fits: bool
    """Whether it is of the type that it should be, or not there."""


class Usage:
    """Measures, and the leader's broom."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def memory(self) -> int:
        """Bytes that the server uses."""
        with translated():
            return int(self._store.client.info("memory")["used_memory"])

    def keys(self) -> int:
        """How many keys there are."""
        with translated():
            return int(self._store.client.dbsize())

    def sizes(self, nodes: Sequence[str]) -> list[Size]:
        """What some nodes' own keys take. Every field is counted: a sample could be led astray."""
        named = [(node, kind, self._key(node, kind)) for node in nodes for kind in KINDS]
        answers = self._ask(
            (word for _, _, key in named for word in (("MEMORY", "USAGE", key, "SAMPLES", 0), ("TYPE", key)))
        )
        pairs = zip(named, answers[::2], answers[1::2], strict=True)
        return [
            Size(node, kind, key, int(size or 0), found in (b"none", KINDS[kind]))
            for (node, kind, key), size, found in pairs
        ]

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """Some of the keys that belong to nodes, whether these are known or not; and where to go on.

        Raw: a node may give its answers names that are no text.
        """
        with translated():
            pattern = f"{glob(self._store.keys.nodes)}*"
            following, found = self._store.client.scan(cursor, match=pattern, count=count)
        return int(following), list(found)

    def answers(self, keys: Sequence[bytes]) -> list[int]:
        """What some streams of answers take; each that nobody gave an end gets one."""
        self.limit(keys)
        return [int(size or 0) for size in self._ask(("MEMORY", "USAGE", key, "SAMPLES", 0) for key in keys)]

    def limit(self, keys: Sequence[bytes]) -> None:
        """Give an end to those that have none: an agent died between two commands, or wants it so."""
        left = self._ask(("PTTL", key) for key in keys)
        endless = [key for key, each in zip(keys, left, strict=True) if each == -1]
        self._ask(("PEXPIRE", key, EXPIRES_MS) for key in endless)

    def drop(self, keys: Iterable[str | bytes]) -> None:
        """Delete keys that a node filled beyond measure."""
        self._ask(("UNLINK", key) for key in keys)

    def sweep(self, node: str, keys: Sequence[str | bytes], token: int) -> int:
        """Delete keys of a node, unless it has a record after all; how many went.

        Raises:
            Fenced, EpochChanged, HistoryLost, StoreEmpty: nothing was deleted.
        """
        names = self._store.keys
        fixed = [names.meta, names.rev, names.lease("leader"), names.fence("leader")]
        args: list[str | bytes | int] = [self._store.epoch, self._store.seen, token, node]
        answer = self._store.scripts.run("sweep", [*fixed, names.collection("nodes"), *keys], args)
        verdict(answer, self._store.epoch)
        return int(answer[3])

    def users(self) -> list[str]:
        """The nodes for which the server has users, those of other prefixes among them."""
        with translated():
            names = self._store.client.acl_users()
        start = user_of("")
        return [name[len(start) :] for name in map(_text, names) if name.startswith(start)]

    def is_ours(self, node: str) -> bool:
        """Whether a node's user has its rights under our prefix."""
        [found] = self._ask([("ACL", "LIST")])
        start = f"user {user_of(node)} "
        mark = f"%R~{glob(self._store.keys.node(node).desired)} "
        return any(text.startswith(start) and mark in text for text in map(_text, found))

    def connections(self) -> list[tuple[int, str, int]]:
        """(id, node, bytes it takes) of every connection of a node's user."""
        with translated():
            clients: list[Mapping[str, Any]] = self._store.client.client_list()
        start = user_of("")
        return [
            (int(each["id"]), each["user"][len(start) :], int(each.get("tot-mem", 0)))
            for each in clients
            if each.get("user", "").startswith(start)
        ]

    def cut(self, connections: Iterable[int]) -> None:
        """End connections, by their ids."""
        self._ask(("CLIENT", "KILL", "ID", each) for each in connections)

    def unrecorded(self, collection: str, most: int) -> list[tuple[str, int]]:
        """Fields that have a mod revision and no record, with that revision; about `most` of them."""
        names = self._store.keys
        records, revisions = names.collection(collection), names.revisions(collection)
        have, numbered = self._ask([("HLEN", records), ("HLEN", revisions)])
        if numbered <= have:
            return []
        found: dict[str, int] = {}  # a scan may give one twice
        with translated():
            for batch in batches(self._store.client.hscan_iter(revisions, count=SCANNED), SCANNED):
                there = self._ask(("HEXISTS", records, field) for field, _ in batch)
                pairs = zip(batch, there, strict=True)
                found |= {field.decode(): int(rev) for (field, rev), is_there in pairs if not is_there}
                if len(found) >= most:
                    break
        return list(found.items())[:most]

    def _key(self, node: str, kind: str) -> str:
        keys = self._store.keys.node(node)
        return {"actual": keys.actual, "facts": keys.facts, "hb": keys.beat}[kind]

    def _ask(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        with translated():
            pipe = self._store.client.pipeline(transaction=False)
            for words in commands:
                pipe.execute_command(*words)
            return list(pipe.execute())


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
