"""Heartbeats: on the main store, or on a presence store of their own; read from wherever they are.

A node beats on the presence store if it knows one, and on the main store while that does not
answer; agents that know of no presence store beat on the main one. So both are read, always.
What could not be read is no evidence: `Sight.blind` says so, and nobody counts as gone by it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from store.clock import Clock
from store.errors import Claimed, EpochChanged, StoreError, Unavailable
from store.keys import Keys
from store.kv.connection import Client, connect, translated
from store.kv.server import glob, user_of
from store.kv.trip import Command, transaction

T = TypeVar("T")

ANSWER_WITHIN = 1.0
"""Seconds a presence store has to answer: whoever asks it has other work, too."""
REST = 2.0
"""Seconds in which one that failed is not asked again."""
BEAT_COMMANDS = ("ping", "auth", "hello", "client|setname", "select", "multi", "exec", "get", "set", "del")
MOST_BEAT = 256 * 1024
"""Bytes of a heartbeat above which it counts as unreadable."""
MAIN, APART = "store", "presence store"


class Apart:
    """A presence store. While it is away its callers are told so at once, and none waits for it."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._rest_until = 0.0
        self.trouble: str | None = None
        """Why it cannot be asked, since it last could."""
        self.away_since: float | None = None
        """On the clock's monotonic time."""

    def ask(self, action: Callable[[Client], T]) -> T:
        """Run some commands on it.

        Raises:
            Unavailable: it does not serve us; `Claimed` is the caller's own affair.
        """
        if self._clock.now() < self._rest_until:
            raise Unavailable(f"the presence store is away: {self.trouble}")
        try:
            with translated():
                found = action(self._client)
        except Claimed:
            raise
        except StoreError as error:
            now = self._clock.now()
            self.trouble = str(error)
            self.away_since = now if self.away_since is None else self.away_since
            self._rest_until = now + REST
            raise Unavailable(f"the presence store is away: {error}") from error
        self.trouble = self.away_since = None
        return found

    def away_for(self) -> float:
        """Seconds since it last served; 0.0 while it does."""
        return 0.0 if self.away_since is None else self._clock.now() - self.away_since

    def close(self) -> None:
        """Drop its connections."""
        self._client.close()


def apart(
    url: str | None, *, name: str, clock: Clock, username: str | None = None, password: str | None = None
) -> Apart | None:
    """A presence store by its URL, if there is one. Nothing is sent yet."""
    if not url:
        return None
    return Apart(connect(url, name=name, username=username, password=password, within=ANSWER_WITHIN), clock)


class Seen(Protocol):
    """What reading needs of a `Store`."""

    client: Client
    keys: Keys
    presence: Apart | None


@dataclass(frozen=True, slots=True)
class Sight:
    """Heartbeats of some nodes, in their order."""

    raws: list[bytes | None]
    clocks: dict[str, float]
    """What the servers' own clocks said just then, in seconds since 1970, by name of the server."""
    run_ids: dict[str, str]
    """Which server processes these are, if that was asked."""
    blind: str | None = None
    """Why a node without a heartbeat may have one all the same."""


def look(store: Seen, node_ids: Sequence[str], *, who: bool = False) -> Sight:
    """Read the heartbeats of some nodes, wherever they are; with `who`, also which servers these are.

    Raises:
        Unavailable: the main store does not answer. An absent presence store only makes blind.
    """
    keys = store.keys.beats(node_ids)
    if not keys and not who:
        return Sight([], {}, {})
    with translated():
        raws, clock, run_id = _glance(store.client, keys, who=who)
    clocks, run_ids = {MAIN: clock}, {MAIN: run_id}
    if store.presence is None:
        return Sight(raws, clocks, run_ids)
    try:
        found = store.presence.ask(lambda client: _glance(client, keys, who=who))
    except Unavailable as error:
        return Sight(raws, clocks, run_ids, str(error))
    others, clocks[APART], run_ids[APART] = found
    pairs = zip(others, raws, strict=True)
    return Sight([other if other is not None else raw for other, raw in pairs], clocks, run_ids)


def _glance(client: Client, keys: Sequence[str], *, who: bool) -> tuple[list[bytes | None], float, str]:
    """Heartbeats, the server's clock and its run id at one moment: a step shows beside what it expired."""
    asked: list[Command] = [("MGET", *keys)] if keys else []
    asked += [("TIME",), ("INFO", "server")] if who else [("TIME",)]
    answers = transaction(client, asked)
    raws, ((seconds, micros), *about) = (answers[0], answers[1:]) if keys else ([], answers)
    raws = [raw if raw is None or len(raw) <= MOST_BEAT else b"too long" for raw in raws]
    return raws, int(seconds) + int(micros) / 1e6, _run_id(about[0]) if about else ""


def _run_id(info: bytes) -> str:
    lines = (line.partition(b":") for line in info.splitlines())
    return next((value.decode() for name, _, value in lines if name == b"run_id"), "")


def remaining(store: Seen, node_ids: Sequence[str]) -> list[float | None]:
    """Seconds that some nodes' heartbeats still have to live; 0 where there is none, None: unknown."""
    keys = [store.keys.node(node).beat for node in node_ids]
    if not keys:
        return []
    with translated():
        left: list[float | None] = _left(store.client, keys)
    if store.presence is None:
        return left
    try:
        others = store.presence.ask(lambda client: _left(client, keys))
    except Unavailable:
        return [each or None for each in left]
    return [max(one or 0.0, other or 0.0) for one, other in zip(left, others, strict=True)]


def _left(client: Client, keys: Sequence[str]) -> list[float | None]:
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.pttl(key)
    return [max(0, left) / 1000 for left in pipe.execute()]


def grant_beats(client: Client, keys: Keys, secrets: Mapping[str, str]) -> None:
    """The users of some nodes on a presence store, by node id: each may touch its own heartbeat only.

    Runs inside `Apart.ask`.
    """
    pipe = client.pipeline(transaction=False)
    for node_id, secret in secrets.items():
        rules: list[Any] = [user_of(node_id), "reset", "on", f"#{secret}"]
        rules += [f"~{glob(keys.node(node_id).beat)}", "-@all", *(f"+{each}" for each in BEAT_COMMANDS)]
        pipe.execute_command("ACL", "SETUSER", *rules)
    pipe.execute()


def revoke_beats(client: Client, keys: Keys, node_id: str) -> None:
    """Remove a node's user, and its heartbeat, from a presence store. Runs inside `Apart.ask`."""
    client.acl_deluser(user_of(node_id))
    client.delete(keys.node(node_id).beat)


def own(client: Client, keys: Keys, cluster: str) -> None:
    """Mark a presence store as a cluster's: two with nodes of one name would take them for one.

    Raises:
        EpochChanged: it is another cluster's.
        Unavailable: it is away.
    """
    mark = keys.presence_owner
    with translated():
        if client.set(mark, cluster, nx=True):
            return
        owner = client.get(mark)
    if owner is not None and owner.decode(errors="replace") != cluster:
        raise EpochChanged(
            f"the presence store is in use by cluster {owner.decode(errors='replace')}, not {cluster}; if "
            f"that one is gone, delete the key {mark} there"
        )
