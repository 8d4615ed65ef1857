"""Turns at a server of files: what a node asks for in its heartbeat, what the leader grants it.

A turn is one connection to one server (a pool: `sftp://host:22`, or `~`, the manager's base). A node asks
by `fetching` in its heartbeat:

    {"asks": {"<ask>": {"pool": "~", "key": "<base64 of the public key that passwords are sealed to>"}}}

and may connect once its grant key lists the ask, for as long as it goes on asking and its heartbeats
arrive. An ask's name is never used again. That it asks no more, or is seen dead, gives the turn back.

The grant key (string, JSON, written by the leader):

    {"v": 1, "uid": "<of the node>", "grants": {"<ask>": {"sealed": "<base64>"}}, "waiting": {"<ask>": "why"}}

`sealed` holds JSON: `base` (a URL without a password, only for `~`), `user`, `password`, `key`,
`fingerprints`; each only if there is one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
