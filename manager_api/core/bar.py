"""Why a node is kept out of the store: a record of `nodes:status`, the leader's word."""

from dataclasses import dataclass
from typing import Any

from store.codec import loads
from store.errors import BadRecord


@dataclass(frozen=True, slots=True)
class Bar:
    """Since when (wall seconds) and why a node is barred, and with which secret (SHA-256) it came."""

    since: float
    reason: str
    secret: str

    def as_word(self) -> dict[str, Any]:
        """As it lies in the store, under `barred`."""
        return {"since": self.since, "reason": self.reason, "secret_sha256": self.secret}


def bar_of(raw: bytes | None) -> Bar | None:
    """What a node's status says of it; None if there is no such word, or it cannot be read."""
    try:
        said = loads(raw)["barred"] if raw is not None else None
        return Bar(float(said["since"]), str(said["reason"]), str(said["secret_sha256"])) if said else None
    except (BadRecord, KeyError, TypeError, ValueError):
        return None
