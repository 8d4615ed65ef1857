"""The node's side of its keys: plain commands only, since scripts count keys as read-write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from store.codec import loads
from store.errors import BadRecord, Claimed
from store.keys import Keys
from store.kv.connection import Client, translated
from store.kv.projection import Desired, revision


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a heartbeat learns: who held the key before, and where desired stands."""

    previous: Mapping[str, object] | None
    epoch: str
    rev: int
    uid: str


class RedisNodeLink:
    """`NodeLink` on Redis; see `agentd.link` for what the verbs mean."""

    def __init__(self, client: Client, waker: Client, keys: Keys, node_id: str) -> None:
        self._client = client
        self._waker = waker
        self._keys = keys
        self._node_id = node_id
        self._node = keys.node(node_id)
        self._cursor = "$"

    def claim(self, uid: str, beat: bytes, ttl_ms: int) -> None:
        """Take the node id, unless another uid's heartbeat still lives.

        Raises:
            Claimed: it does.
        """
        with translated():
            if self._client.set(self._node.beat, beat, px=ttl_ms, nx=True):
                return
            holder = _beat(self._client.get(self._node.beat))
            if holder is not None and holder.get("uid") != uid:
                where = holder.get("hostname", "another machine")
                raise Claimed(f"node id {self._node_id!r} belongs to a living agent on {where}")
            self._client.set(self._node.beat, beat, px=ttl_ms)

    def beat(self, beat: bytes, ttl_ms: int) -> Pulse:
        """Renew the heartbeat and look where desired stands, in one round trip."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            pipe.set(self._node.beat, beat, px=ttl_ms, get=True)
            pipe.hmget(self._node.desired, ["@epoch", "@rev", "@node"])
            previous, (epoch, rev, uid) = pipe.execute()
        where = (epoch or b"").decode(errors="replace"), revision(rev), (uid or b"").decode(errors="replace")
        return Pulse(_beat(previous), *where)

    def fetch(self) -> Desired:
        """Desired, whole and consistent."""
        with translated():
            return Desired(self._client.hgetall(self._node.desired))

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
        with translated():
            self._client.delete(self._node.beat)

    def wake(self, wait_ms: int) -> bool:
        """Whether a hint came within `wait_ms`. Uses a connection of its own."""
        with translated():
            answer = self._waker.xread({self._node.wake: self._cursor}, block=wait_ms)
        if not answer:
            return False
        self._cursor = answer[0][1][-1][0].decode()
        return True

    def close(self) -> None:
        """Drop both connections."""
        self._client.close()
        self._waker.close()


def _beat(raw: bytes | None) -> dict[str, object] | None:
    if raw is None:
        return None
    try:
        return loads(raw, "heartbeat")
    except BadRecord:
        return {}
