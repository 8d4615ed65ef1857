"""The node's side of its keys: plain commands only, since scripts count keys as read-write."""

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from store.codec import loads
from store.errors import BadRecord, Claimed, Denied, Unavailable
from store.keys import Keys
from store.kv.asks import ANSWERS_LIVE_MS, MOST_ASKS, MOST_CHUNKS, Chunk, ask_of
from store.kv.connection import Client, translated
from store.kv.presence import Apart
from store.kv.projection import Desired, revision
from store.kv.sentinel import doubt

PATIENCE = 300.0
"""Seconds, up to twice of them, without a presence store before the manager is asked where it is."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a heartbeat learns: who held the key before, and where desired stands."""

    previous: Mapping[str, object] | None
    epoch: str
    rev: int
    uid: str


@dataclass(frozen=True, slots=True)
class Word:
    """What was heard while waiting: a hint that desired moved, and what readers of logs ask for."""

    hint: bool = False
    asks: tuple[Mapping[str, Any], ...] = ()

    def __bool__(self) -> bool:
        return self.hint or bool(self.asks)


class RedisNodeLink:
    """`NodeLink` on Redis; see `agentd.link` for what the verbs mean.

    `answerer` is the client that answers go through: they must not hold up beats. `presence` is where
    heartbeats go if there is such a place, and while it answers; else they go with the rest.
    """

    def __init__(
        self,
        client: Client,
        waker: Client,
        keys: Keys,
        node_id: str,
        answerer: Client | None = None,
        presence: Apart | None = None,
    ) -> None:
        self._client = client
        self._presence = presence
        self._waker = waker
        self._answerer = answerer or client
        self._keys = keys
        self._node_id = node_id
        self._node = keys.node(node_id)
        self._patience = PATIENCE * (1 + random.random())
        # From the beginning: "$" would miss what comes between two waits. An old hint costs one beat more.
        self._cursors = {self._node.wake: "0-0", self._node.ask: "0-0"}

    def claim(self, uid: str, beat: bytes, ttl_ms: int) -> None:
        """Take the node id, unless another uid's heartbeat still lives.

        Raises:
            Claimed: it does.
        """
        if self._presence is not None:
            with translated():
                self._refuse_other(self._client, uid)
            with suppress(Unavailable):
                self._presence.ask(lambda client: self._claim(client, uid, beat, ttl_ms))
                return
        with translated():
            self._claim(self._client, uid, beat, ttl_ms)

    def _claim(self, client: Client, uid: str, beat: bytes, ttl_ms: int) -> None:
        if not client.set(self._node.beat, beat, px=ttl_ms, nx=True):
            self._refuse_other(client, uid)
            client.set(self._node.beat, beat, px=ttl_ms)

    def _refuse_other(self, client: Client, uid: str) -> None:
        holder = _beat(client.get(self._node.beat))
        if holder is not None and holder.get("uid") != uid:
            where = holder.get("hostname", "another machine")
            raise Claimed(f"node id {self._node_id!r} belongs to a living agent on {where}")

    def beat(self, beat: bytes, ttl_ms: int) -> Pulse:
        """Renew the heartbeat and look where desired stands: one round trip to each server.

        Raises:
            Denied: the presence store has been away for long: where it is must be asked anew.
        """
        answers: list[Any] = self._beat_apart(beat, ttl_ms)
        began = monotonic()
        with translated():
            pipe = self._client.pipeline(transaction=False)
            if not answers:
                pipe.set(self._node.beat, beat, px=ttl_ms, get=True)
            pipe.hmget(self._node.desired, ["@epoch", "@rev", "@node"])
            answers += pipe.execute()
            doubt(self._client, began)
        previous, (epoch, rev, uid) = answers
        where = (epoch or b"").decode(errors="replace"), revision(rev), (uid or b"").decode(errors="replace")
        return Pulse(_beat(previous), *where)

    def _beat_apart(self, beat: bytes, ttl_ms: int) -> list[bytes | None]:
        """[the previous heartbeat], if the presence store took this one."""
        presence = self._presence
        if presence is None:
            return []
        try:
            return [presence.ask(lambda client: client.set(self._node.beat, beat, px=ttl_ms, get=True))]
        except Unavailable as error:
            if presence.away_for() > self._patience:
                raise Denied(f"{error}; asking the manager whether it has moved") from error
            return []

    def granted(self) -> bytes | None:
        """The grant key; None as well while a manager of the last release has given no right to it."""
        try:
            with translated():
                found: bytes | None = self._client.get(self._node.grant)
                return found
        except Denied:
            return None

    def fetch(self) -> Desired:
        """Desired, whole and consistent."""
        began = monotonic()
        with translated():
            found = self._client.hgetall(self._node.desired)
            doubt(self._client, began)
        return Desired(found)

    def report(self, puts: Mapping[str, bytes], deletes: Sequence[str]) -> None:
        """Write changed `actual` entries; `hint` says so."""
        with translated():
            pipe = self._client.pipeline(transaction=True)
            if puts:
                pipe.hset(self._node.actual, mapping=dict(puts))
            if deletes:
                pipe.hdel(self._node.actual, *deletes)
            pipe.execute()

    def hint(self) -> None:
        """Say that `actual_seq` moved; nobody need hear it."""
        with translated():
            self._client.publish(self._keys.hints, self._node_id)

    def reported(self) -> dict[str, bytes]:
        """The `actual` entries that lie in the store, from an earlier life of this agent."""
        with translated():
            return {field.decode(): value for field, value in self._client.hgetall(self._node.actual).items()}

    def describe(self, facts: Mapping[str, bytes]) -> None:
        """Write the node's facts."""
        with translated():
            self._client.hset(self._node.facts, mapping=dict(facts))

    def leave(self) -> None:
        """Delete the heartbeat: offline at once, and on purpose."""
        if self._presence is not None:
            with suppress(Unavailable):
                self._presence.ask(lambda client: client.delete(self._node.beat))
        with translated():
            self._client.delete(self._node.beat)

    def wake(self, wait_ms: int) -> Word:
        """What came within `wait_ms`. Uses a connection of its own."""
        with translated():
            answer = self._waker.xread(dict(self._cursors), block=wait_ms, count=MOST_ASKS)
        hint, asks = False, []
        for raw_key, entries in answer or ():
            key = raw_key.decode()
            self._cursors[key] = entries[-1][0].decode()
            if key == self._node.wake:
                hint = True
            else:
                asks = [found for _, fields in entries if (found := ask_of(fields)) is not None]
        return Word(hint, tuple(asks))

    def chunk(self, ask: str, chunks: Sequence[Chunk]) -> None:
        """Append to the answers of one ask; nobody need read them."""
        key = self._node.answer(ask)
        with translated():
            pipe = self._answerer.pipeline(transaction=False)
            for each in chunks:
                pipe.xadd(key, each.fields(), maxlen=MOST_CHUNKS, approximate=False)
            pipe.pexpire(key, ANSWERS_LIVE_MS)
            pipe.execute()

    def rest(self) -> None:
        """Nobody reads just now: drop the connection that only answers need."""
        if self._answerer is not self._client:
            self._answerer.close()

    def close(self) -> None:
        """Drop all connections."""
        self._client.close()
        self._waker.close()
        self._answerer.close()
        if self._presence is not None:
            self._presence.close()


def _beat(raw: bytes | None) -> dict[str, object] | None:
    if raw is None:
        return None
    try:
        return loads(raw, "heartbeat")
    except BadRecord:
        return {}
