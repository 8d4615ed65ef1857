"""Joining: where the store is and who we are there; remembered, so that an agent needs no manager."""

import hashlib
import http.client
import json
import logging
import random
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from agentd.facts.node import addresses, inventory
from agentd.identity import Identity
from store.clock import Clock, SystemClock
from store.errors import Claimed, Denied, EpochChanged, StoreError, Unavailable
from store.keys import Keys
from store.kv.connection import connect
from store.kv.node import RedisNodeLink
from store.kv.presence import apart
from store.kv.server import user_of
from store.kv.url import redacted
from store.process import write_whole
from store.version import VERSION

log = logging.getLogger("agent")

ANSWER_WITHIN = 10.0
WAKE_WITHIN = 20.0
"""Seconds that a wait for hints may take: longer than `agentd.uplink` asks for."""
UNLISTED_BEATS = 3
REJOIN_EVERY = 15.0
LEAST_SPREAD, MOST_SPREAD = 0.5, 60.0


@dataclass(frozen=True, slots=True)
class Membership:
    """What a join answered. `password` only where the store has no users of its own for nodes."""

    uid: str
    cluster: str
    url: str
    username: str | None
    password: str | None
    said: str = ""
    """What we said of ourselves then: a manager sends only what an agent has claimed."""
    presence: str | None = None
    """Where heartbeats go, if not to the store itself. There the user is always the node's own."""
    spread: float = LEAST_SPREAD
    """Seconds over which the fleet comes back after a loss."""
    facts: str = ""
    """Digest of what we said of our machine then."""


class Unlisted:
    """Notices a store that says nothing at all to this node: it may have lost the node's record."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beats = 0
        self._next = 0.0

    def look(self, epoch: str) -> None:
        """Note what a heartbeat learned.

        Raises:
            Denied: it is time to join anew; said now and then, as long as it lasts.
        """
        self._beats = 0 if epoch else self._beats + 1
        now = self._clock.now()
        if self._beats >= UNLISTED_BEATS and now >= self._next:
            self._beats, self._next = 0, now + random.uniform(1, 2) * REJOIN_EVERY
            raise Denied("the store does not list this node: joining anew")


class Epochs:
    """Notices another epoch of the store: an older state may have come back, with what we were then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epoch = ""
        self._at: float | None = None

    def look(self, epoch: str, spread: float) -> bool:
        """Note what a heartbeat learned; whether to say all of us again now, not all agents at once."""
        if epoch and epoch != self._epoch:
            if self._epoch:
                self._at = self._clock.now() + random.uniform(0, 3 * spread)
            self._epoch = epoch
        due = self._at is not None and self._clock.now() >= self._at
        if due:
            self._at = None
        return due


class Rejoins:
    """When to ask the manager again for what is remembered: not all agents of a large fleet at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next: float | None = None

    def forget(self) -> None:
        """Trouble has just begun: the store may be back before the manager need be asked."""
        self._next = None

    def due(self, spread: float) -> bool:
        """Whether to ask now; `spread` is over how many seconds the fleet comes back."""
        now = self._clock.now()
        if self._next is None:
            self._next = now + (random.uniform(0, 3 * spread) if spread > LEAST_SPREAD else 0.0)
        if now < self._next:
            return False
        self._next = now + random.uniform(3, 5) * spread
        return True


class Joiner:
    """Gives links to the store, by what is remembered or by asking the manager."""

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        manager_url: str,
        features: Sequence[str],
        labels: Mapping[str, str] | None = None,
        inventory: Callable[[], dict[str, Any]] = inventory,
    ) -> None:
        self._path = directory / "join.json"
        self._identity = identity
        self._manager_url = manager_url
        self._features = features
        self._labels = dict(labels or {})
        self._inventory = inventory
        said = [*sorted(features), *(f"{key}={value}" for key, value in sorted(self._labels.items()))]
        self._claims = f"{VERSION} {' '.join(said)}"
        self._known = self._recall()
        self._rejoins = Rejoins(SystemClock())

    def connect(self, *, anew: bool) -> RedisNodeLink:
        """A link. `anew`: ask the manager, in its time, although we remember; else, fall back on memory.

        What has changed of our machine is said as well; the link does not depend on that.

        Raises:
            Claimed: the node id belongs to another living agent.
            Denied: the manager does not take this node in, and says why.
            EpochChanged: the manager serves another cluster than this node belongs to.
            Unavailable: we remember nothing, and the manager does not answer.
        """
        if not anew:
            self._rejoins.forget()
        asks = anew and self._rejoins.due(self.spread())
        facts = self._inventory()
        if self._known is None or asks or self._known.said != self._claims:
            try:
                self._join(facts)
            except Unavailable:
                if self._known is None:
                    raise
        elif self._known.facts != _digest(facts):
            self._mention(facts)
        known = self._known
        assert known is not None
        password = known.password or self._identity.secret
        make: dict[str, Any] = {"username": known.username, "password": password}
        client = connect(known.url, name=self._identity.node, **make)
        waker = connect(known.url, name=f"{self._identity.node}-wake", within=WAKE_WITHIN, **make)
        answerer = connect(known.url, name=f"{self._identity.node}-logs", **make)
        user, secret = user_of(self._identity.node), self._identity.secret
        beats = f"{self._identity.node}-presence"
        presence = apart(known.presence, name=beats, clock=SystemClock(), username=user, password=secret)
        return RedisNodeLink(client, waker, Keys(), self._identity.node, answerer, presence)

    def say_again(self) -> None:
        """Have the next `connect` say all of us: what we said may be forgotten."""
        if self._known is not None:
            self._known = replace(self._known, facts="")

    def spread(self) -> float:
        """Seconds over which all agents come back after they lost the store, as the manager said."""
        return self._known.spread if self._known else LEAST_SPREAD

    def _mention(self, facts: dict[str, Any]) -> None:
        try:
            self._join(facts)
        except StoreError as error:
            log.info("what has changed of this machine is said another time: %s", error)

    def _join(self, facts: dict[str, Any]) -> None:
        answer = self._post(
            {
                "id": self._identity.node,
                "uid": self._identity.uid,
                "hostname": socket.gethostname(),
                "addresses": addresses(),
                "secret_sha256": self._identity.secret_sha256,
                "version": VERSION,
                "features": list(self._features),
                "labels": self._labels,
                "facts": facts,
            }
        )
        try:
            store, cluster = answer["store"], answer["cluster"]
            fresh = Membership(
                self._identity.uid, cluster, store["url"], store["username"], store["password"], self._claims,
                store.get("presence"), min(max(float(answer.get("spread", 0)), LEAST_SPREAD), MOST_SPREAD),
                _digest(facts),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(f"{self._manager_url} did not answer as a manager does: {error!r}") from error
        if self._known is not None and self._known.cluster != cluster:
            raise EpochChanged(
                f"the manager serves cluster {cluster}, this node belongs to {self._known.cluster}; to move "
                f"it there, run `agent stop --tasks` and delete {self._path.parent}"
            )
        if store.get("warning"):
            log.warning("%s", store["warning"])
        log.info("joined cluster %s as %s; store %s", cluster, self._identity.node, redacted(store["url"]))
        self._known = fresh
        try:
            write_whole(self._path, json.dumps(asdict(fresh)).encode())
        except OSError as error:
            log.warning("%s is not written: %s; the next start asks the manager again", self._path, error)

    def _post(self, body: dict[str, object]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - settings allow http and https only
            f"{self._manager_url}/v1/nodes/join",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN) as answer:  # noqa: S310
                parsed = json.load(answer)
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unavailable(f"manager {self._manager_url} does not answer: {reason}") from error
        if not isinstance(parsed, dict):
            raise Unavailable(f"{self._manager_url} did not answer as a manager does")
        return parsed

    def _refusal(self, error: urllib.error.HTTPError) -> StoreError:
        try:
            body = json.load(error)
            text = str(body.get("detail") or body.get("error"))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            text = str(error)
        if error.code == 409:
            return Claimed(text)
        if error.code == 403:
            return Denied(text)
        return Unavailable(f"manager {self._manager_url} refused to take this node in: {text}")

    def _recall(self) -> Membership | None:
        try:
            known = json.loads(self._path.read_text())
            found = Membership(
                **{each.name: known[each.name] for each in fields(Membership) if each.name in known}
            )
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            log.warning("%s cannot be read: %s; joining anew", self._path, error)
            return None
        return found if found.uid == self._identity.uid else None


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
