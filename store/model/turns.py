"""Turns at a server of files: what a node asks for in its heartbeat, what the leader grants it.

A turn is one connection to one server (a pool: `sftp://host:22`, or `~`, the manager's base). A node asks
by `fetching` in its heartbeat:

    {"asks": {"<ask>": {"pool": "~", "key": "<base64 of the public key that passwords are sealed to>"}}}

and may connect once its grant key lists the ask, for as long as it goes on asking and its heartbeats
arrive. An ask's name is never used again. That it asks no more, or is seen dead, gives the turn back.

The grant key (string, JSON, written by the leader):

    {"v": 1, "uid": "<of the node>", "grants": {"<ask>": {"sealed": "<base64>"}}, "waiting": {"<ask>": "why"}}

`sealed` holds JSON: `base` (a URL without a password, only for `~`), `user`, `password`, `key`,
`fingerprints`; each only if there is one. An agent that reads a grant key which no longer lists its ask has
lost its turn.

What the leader remembers of a node's turns (collection `downloads`, by node), for the next one:

    {"v": 1, "uid": "<of the node>", "ttl": <seconds>, "turns": {"<ask>": "<server>"}}

where a server is a pool that is no `~`; `ttl` is how long the node's heartbeats last.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from store.errors import BadRecord
from store.model.beat import DEFAULT_TTL

Json = dict[str, Any]

MOST_TTL = 86_400.0
MOST_ASKS = 8
"""Of one node at once."""
PER_SOURCE = 4
"""Turns at one server at once, over the whole fleet, unless the manager is told otherwise."""
_ASK = re.compile(r"[A-Za-z0-9.-]{1,64}")
_POOL = re.compile(r"~|(?:sftp|https?)://[^\s/@]{1,260}:[0-9]{1,5}")
_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")


@dataclass(frozen=True, slots=True)
class Ask:
    """A node wants to connect to a server."""

    pool: str
    key: str


def asks_of(beat: Mapping[str, Any]) -> dict[str, Ask]:
    """What a heartbeat asks for; what is no proper ask is none: nodes may talk nonsense."""
    said = beat.get("fetching")
    asks = said.get("asks") if isinstance(said, dict) else None
    found: dict[str, Ask] = {}
    for name, each in asks.items() if isinstance(asks, dict) else ():
        if len(found) >= MOST_ASKS:
            break
        if not isinstance(each, dict) or not _ASK.fullmatch(str(name)):
            continue
        pool, key = each.get("pool"), each.get("key")
        if isinstance(pool, str) and isinstance(key, str) and _POOL.fullmatch(pool) and _KEY.fullmatch(key):
            found[name] = Ask(pool, key)
    return found


def grant_record(uid: str, grants: Mapping[str, str | None], waiting: Mapping[str, str]) -> Json:
    """A grant key: asks with what is sealed for them, and why others wait."""
    given = {ask: {} if sealed is None else {"sealed": sealed} for ask, sealed in grants.items()}
    return {"v": 1, "uid": uid, "grants": given, "waiting": dict(waiting)}


def granted_by(said: Mapping[str, Any], uid: str) -> dict[str, str | None]:
    """The asks that a grant key lists for a machine, with what is sealed for them."""
    grants = said.get("grants")
    if said.get("uid") != uid or not isinstance(grants, dict):
        return {}
    return {
        ask: each["sealed"] if isinstance(each.get("sealed"), str) else None
        for ask, each in grants.items()
        if _ASK.fullmatch(ask) and isinstance(each, dict)
    }


def waiting_in(said: Mapping[str, Any]) -> dict[str, str]:
    """The asks that a grant key says wait, and why."""
    waiting = said.get("waiting")
    return {ask: str(why) for ask, why in waiting.items()} if isinstance(waiting, dict) else {}


@dataclass(frozen=True, slots=True)
class Held:
    """The turns of one node, as the leader remembers them."""

    uid: str
    turns: Mapping[str, str]
    """Ask to server."""
    ttl: float = DEFAULT_TTL
    """Seconds for which its last heartbeat may count."""

    def as_record(self) -> Json:
        """As it lies in `downloads`."""
        return {"v": 1, "uid": self.uid, "ttl": self.ttl, "turns": dict(self.turns)}

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Held":
        """As it was written.

        Raises:
            BadRecord: it cannot be read.
        """
        turns, ttl = said.get("turns"), said.get("ttl", DEFAULT_TTL)
        if not isinstance(turns, dict) or not all(isinstance(each, str) for each in turns.values()):
            raise BadRecord("turns: not asks with their servers")
        if not isinstance(ttl, int | float) or not 0 < ttl <= MOST_TTL:
            raise BadRecord("turns: ttl is not a number of seconds")
        return cls(str(said.get("uid", "")), turns, float(ttl))
