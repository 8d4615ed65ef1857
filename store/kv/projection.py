"""The leader's side of a node's keys: write desired, read beats and actual."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from store.batches import batches
from store.errors import BadRecord, StoreError
from store.kv import presence
from store.kv.connection import translated
from store.kv.lua import verdict
from store.kv.store import Store

MARKS = (b"@rev", b"@epoch", b"@node")
READ_AT_ONCE = 500
"""Nodes in one pipeline: the server keeps its answers in memory until they are read."""


class Desired:
    """One node's desired hash, as it lies in the store."""

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self.rev = revision(raw.get(b"@rev"))
        self.epoch = raw.get(b"@epoch", b"").decode(errors="replace")
        self.uid = raw.get(b"@node", b"").decode(errors="replace")
        self.entries = {
            field.decode(errors="replace"): value for field, value in raw.items() if field not in MARKS
        }


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written into one node's desired hash."""

    node: str
    uid: str
    puts: Mapping[str, bytes]
    deletes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Grant:
    """What one node's grant key is to say (empty: there is to be none), and whether to wake the node."""

    node: str
    said: bytes
    wake: bool = True


def revision(raw: bytes | None) -> int:
    """A revision as it lies in the store; 0 when there is none.

    Raises:
        BadRecord: it is not a number.
    """
    text = raw or b"0"
    if not text.isdigit():
        raise BadRecord(f"revision {text[:40]!r} is not a number")
    return int(text)


def _desired(raw: Mapping[bytes, bytes | None]) -> Desired:
    """As the leader reads it: marks that nobody of us wrote count as none, and it is written anew."""
    there = {field: value for field, value in raw.items() if value is not None}
    if not there.get(b"@rev", b"0").isdigit():
        there = {field: value for field, value in there.items() if field not in MARKS}
    return Desired(there)


class Projection:
    """Reads and fenced writes of the per-node keys."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def store(self) -> Store:
        """Whose nodes these are."""
        return self._store

    def project(
        self, node_id: str, uid: str, puts: Mapping[str, bytes], deletes: Sequence[str], *, token: int
    ) -> int:
        """Write and delete desired entries, and wake the node; the new `@rev`.

        Raises:
            Fenced, EpochChanged, HistoryLost, StoreEmpty: nothing was written.
        """
        names, args = self._call(Order(node_id, uid, puts, deletes), token)
        answer = self._store.scripts.run("project", names, args)
        verdict(answer, self._store.epoch)
        return self._store.saw(answer[2])

    def project_many(self, orders: Sequence[Order], *, token: int) -> list[int | StoreError]:
        """The same for many nodes, in one round trip: each is written, or not, for itself.

        Returns:
            For each the new `@rev`, or why nothing was written: what `project` raises.

        Raises:
            Unavailable: unanswered; any of them may have happened.
        """
        answers = self._store.scripts.run_many("project", [self._call(each, token) for each in orders])
        return [self._outcome(answer) for answer in answers]

    def grant_many(self, grants: Sequence[Grant], *, token: int) -> list[StoreError | None]:
        """Write the grant keys of many nodes in one round trip: each is written, or not, for itself.

        Returns:
            For each None, or why nothing was written: what `project` raises.

        Raises:
            Unavailable: unanswered; any of them may have happened.
        """
        keys = self._store.keys
        fixed = [keys.meta, keys.rev, keys.lease("leader"), keys.fence("leader")]
        calls: list[tuple[list[str | bytes], list[str | bytes | int]]] = []
        for each in grants:
            node = keys.node(each.node)
            args: list[str | bytes | int] = [self._store.epoch, self._store.seen, token]
            calls.append(([*fixed, node.grant, node.wake], [*args, each.said, int(each.wake)]))
        found = [self._outcome(answer) for answer in self._store.scripts.run_many("grant", calls)]
        return [each if isinstance(each, StoreError) else None for each in found]

    def grants(self, node_ids: Sequence[str]) -> list[bytes | None]:
        """The grant keys of some nodes; None where there is none, or nothing that is one."""
        answers = self._pipelined(node_ids, lambda pipe, key: pipe.get(key.grant), strict=False)
        return [raw if isinstance(raw, bytes) else None for raw in answers]

    def _call(self, order: Order, token: int) -> tuple[list[str | bytes], list[str | bytes | int]]:
        keys = self._store.keys
        node = keys.node(order.node)
        args: list[str | bytes | int] = [self._store.epoch, self._store.seen, token, order.uid]
        args.append(len(order.puts))
        for alloc_id, entry in order.puts.items():
            args += [alloc_id, entry]
        args += order.deletes
        leader = keys.lease("leader"), keys.fence("leader")
        return [keys.meta, keys.rev, *leader, node.desired, node.wake], args

    def _outcome(self, answer: Any) -> int | StoreError:
        if isinstance(answer, StoreError):
            return answer
        try:
            verdict(answer, self._store.epoch)
        except StoreError as error:
            return error
        return self._store.saw(answer[2])

    def desired(self, node_ids: Sequence[str]) -> dict[str, Desired]:
        """The desired hashes of some nodes, each read whole."""
        answers = self._pipelined(node_ids, lambda pipe, key: pipe.hgetall(key.desired))
        return {node: _desired(raw) for node, raw in zip(node_ids, answers, strict=True)}

    def marks(self, node_ids: Sequence[str]) -> list[tuple[int, str, str]]:
        """`@rev`, `@epoch` and `@node` of some nodes' desired hashes."""
        answers = self._pipelined(node_ids, lambda pipe, key: pipe.hmget(key.desired, list(MARKS)))
        found = [_desired(dict(zip(MARKS, marks, strict=True))) for marks in answers]
        return [(each.rev, each.epoch, each.uid) for each in found]

    def facts(self, node_id: str) -> dict[str, bytes]:
        """What a node says of its hardware, software and nics; nothing if it says nothing, or in no hash."""
        names = ["hardware", "software", "nic"]
        [answer] = self._pipelined([node_id], lambda pipe, key: pipe.hmget(key.facts, names), strict=False)
        said = answer if isinstance(answer, list) else []
        return {name: raw for name, raw in zip(names, said, strict=False) if raw is not None}

    def beats(self, node_ids: Sequence[str]) -> list[bytes | None]:
        """The heartbeats of some nodes, None where there is none (any more)."""
        return self.look(node_ids).raws

    def look(self, node_ids: Sequence[str], *, who: bool = False) -> presence.Sight:
        """The heartbeats of some nodes, with what the servers' clocks said, and what could not be seen."""
        return presence.look(self._store, node_ids, who=who)

    def judged(self, node_ids: Sequence[str]) -> tuple[list[bytes | None], str | None]:
        """The heartbeats of some nodes, and why those without one are not known to be gone, if so."""
        sight = self.look(node_ids)
        if sight.blind or None not in sight.raws:
            return sight.raws, sight.blind
        with translated():
            doubt = self._store.client.get(self._store.keys.doubt)
        return sight.raws, doubt.decode(errors="replace") if doubt else None

    def doubt(self, reason: str, seconds: float) -> None:
        """Say for some time that an absent heartbeat is no death. For people: the leader knows."""
        with translated():
            self._store.client.set(self._store.keys.doubt, reason, px=max(1, int(seconds * 1000)))

    def remaining(self, node_ids: Sequence[str]) -> list[float | None]:
        """Seconds that some nodes' heartbeats still have to live; 0 where there is none, None: unknown."""
        return presence.remaining(self._store, node_ids)

    def actual(self, node_ids: Sequence[str]) -> list[dict[str, bytes] | None]:
        """What some nodes say of their allocations; None where it cannot be read: it is no hash, say."""
        answers = self._pipelined(node_ids, lambda pipe, key: pipe.hgetall(key.actual), strict=False)
        return [
            {field.decode(errors="replace"): value for field, value in raw.items()}
            if isinstance(raw, dict)
            else None
            for raw in answers
        ]

    def actual_entries(self, wanted: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """Single `actual` entries, by (node id, allocation id)."""
        if not wanted:
            return []
        with translated():
            pipe = self._store.client.pipeline(transaction=False)
            for node, alloc in wanted:
                pipe.hget(self._store.keys.node(node).actual, alloc)
            answers = pipe.execute(raise_on_error=False)
        return [raw if isinstance(raw, bytes) else None for raw in answers]

    def _pipelined(self, node_ids: Sequence[str], ask: Any, *, strict: bool = True) -> list[Any]:
        """An answer for each node; unless `strict`, errors in their places: nodes choose what lies there."""
        answers: list[Any] = []
        for part in batches(node_ids, READ_AT_ONCE):
            with translated():
                pipe = self._store.client.pipeline(transaction=False)
                for node in part:
                    ask(pipe, self._store.keys.node(node))
                answers += pipe.execute(raise_on_error=strict)
        return answers
