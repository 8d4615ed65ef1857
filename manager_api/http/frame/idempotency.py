"""`Idempotency-Key`: a POST that is sent again, its answer being lost, is answered again, not done again.

Kept are the answers of successes, for a day. A refusal has changed nothing, and after a failure nobody knows:
both are tried anew. Neither keys nor bodies are stored, but digests that only who has the key can compute.
"""

import hashlib
import logging
import re
import uuid
from dataclasses import dataclass
from typing import Any

import falcon

from manager_api.http.frame import bodies
from manager_api.http.frame.errors import ApiError, invalid
from manager_api.http.frame.operation import JSON, Operation
from manager_api.http.services import Services
from store.clock import Clock
from store.codec import Json
from store.errors import StoreError
from store.kv.replays import KEPT_MS, Replays
from store.kv.store import Store

log = logging.getLogger("api")

HEADER, REPLAYED = "Idempotency-Key", "Idempotent-Replayed"
MOST_ANSWER = 64 * 1024
"""Bytes of an answer that is kept whole."""
KEPT = KEPT_MS / 1000
"""Seconds for which an answer is kept."""
MOST_A_DAY = 32 << 20
"""Bytes of answers that one process keeps for a whole day; what is more is kept for `SHORT_MS`."""
SHORT_MS = 10 * 60 * 1000
MOST_SHORT = 32 << 20
"""Bytes of these in so long; of what is still more only that it was done, for a minute."""
SHORTEST_MS = 60 * 1000
OVERHEAD = 300
"""Bytes of memory that a key costs beside its answer."""
STILL, OTHER = "The call is still being answered", "This Idempotency-Key was used for another call"
TOO_LONG = "The call was done; its answer was too long to be kept"
_KEY = re.compile(r'"([\x21\x23-\x7e]{1,255})"|([\x21\x23-\x7e]{1,255})')
_HEADERS = ("Content-Type", "Location", "ETag", "Muster-Replicated", "Muster-Revision")


@dataclass(frozen=True, slots=True)
class Claim:
    """A call that is being made under a key."""

    name: str
    """Where its answer goes."""
    said: Json
    """What lies there meanwhile."""


def wanted_id(req: falcon.Request) -> str | None:
    """The id that a new record should have, so that the call finds it when made again; None: any."""
    return getattr(req.context, "idempotency_id", None)


def takes_keys(method: str, resource: object, called: Operation | None) -> bool:
    """Whether calls of a resource take keys: those that write, whose bodies can be told apart."""
    if method != "POST" or not getattr(resource, "writes", False):
        return False
    return getattr(resource, "replayable", True) and (called is None or called.body_media == JSON)


class Allowance:
    """How long answers are kept, so that no flood of keys fills the store's memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began, self._left = clock.now(), MOST_A_DAY
        self._short, self._short_left = clock.now(), MOST_SHORT

    def lives_ms(self, size: int) -> int:
        """For how many milliseconds to keep an answer of so many bytes; `SHORTEST_MS`: and not its body."""
        if (now := self._clock.now()) - self._began >= KEPT:
            self._began, self._left = now, MOST_A_DAY
        if self._left >= size + OVERHEAD:
            self._left -= size + OVERHEAD
            return KEPT_MS
        if now - self._short >= SHORT_MS / 1000:
            self._short, self._short_left = now, MOST_SHORT
        self._short_left -= size + OVERHEAD
        return SHORT_MS if self._short_left >= 0 else SHORTEST_MS


class Idempotency:
    """Middleware over POSTs of resources that are marked with `durability.writes`, and read JSON.

    A resource with `replayable = False` is left out: its answers hold secrets, or the same call again is
    the same anyway.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._cluster: tuple[str, str] = "", ""
        self._known: tuple[Store, Replays] | None = None
        self._allowance = Allowance(services.clock)

    def process_resource(
        self, req: falcon.Request, resp: falcon.Response, resource: object, _params: dict[str, Any]
    ) -> None:
        """Claim the key, or answer what was answered.

        Raises:
            ApiError: 400 for what is no key, 409 while the first call runs, 422 for a key of another call.
        """
        said = req.env.get("HTTP_IDEMPOTENCY_KEY")
        if said is None or not takes_keys(req.method, resource, req.context.operation):
            return
        key = _read(said)
        epoch, cluster = self._where()
        name = hashlib.sha256(f"{epoch}\0{key}".encode()).hexdigest()
        call = _digest(req, key)
        claim = Claim(name, {"v": 1, "call": call, "by": uuid.uuid4().hex})
        found = self._replays().claim(name, claim.said)
        if found is None:
            req.context.idempotency_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{cluster}\0{key}\0{call}"))
            req.context.claim = claim
        else:
            _replay(resp, call, found)

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        succeeded: bool,  # noqa: FBT001
    ) -> None:
        """Keep the answer of a success. The call does not fail because that did: the claim expires then."""
        claim: Claim | None = getattr(req.context, "claim", None)
        if claim is None:
            return
        try:
            if succeeded and 200 <= resp.status_code < 300 and resp.stream is None:
                answer = _kept(claim, resp)
                lives = self._allowance.lives_ms(len(answer["body"] or ""))
                if lives == SHORTEST_MS and len(answer["body"] or "") > OVERHEAD:
                    answer["body"] = None
                self._replays().keep(claim.name, claim.said, answer, lives)
            else:
                self._replays().give_up(claim.name, claim.said)
        except StoreError as error:
            log.warning("an answer is not kept for its Idempotency-Key: %s", error)

    def _replays(self) -> Replays:
        store = self._services.store  # another one after a fork
        if self._known is None or self._known[0] is not store:
            self._known = store, Replays(store.client, store.keys)
        return self._known[1]

    def _where(self) -> tuple[str, str]:
        """The epoch, and the cluster: an answer of a history that was lost is none any more."""
        epoch = self._services.store.epoch
        if not epoch or self._cluster[0] != epoch:
            meta = self._services.call(lambda store: store.meta())
            self._cluster = meta.epoch, meta.cluster
        return self._cluster


def _read(said: str) -> str:
    """A key, with or without quotes.

    Raises:
        ApiError: 400.
    """
    found = _KEY.fullmatch(said.strip())
    if found is None:
        raise invalid(f"{HEADER}: not 1 to 255 visible ASCII characters without quotes inside")
    return found[1] or found[2]


def _digest(req: falcon.Request, key: str) -> str:
    """What is called, as a digest that says nothing to who does not have the key."""
    made = hashlib.blake2b(key=hashlib.sha256(key.encode()).digest(), digest_size=16)
    head = (req.path, req.env.get("QUERY_STRING", ""))
    made.update("\0".join((*head, "")).encode("utf-8", "surrogatepass"))
    made.update(bodies.raw(req))
    return made.hexdigest()


def _kept(claim: Claim, resp: falcon.Response) -> Json:
    """What is kept of an answer."""
    headers = {name: value for name in _HEADERS if (value := resp.get_header(name)) is not None}
    data = resp.render_body() or b""
    body = data.decode() if len(data) <= MOST_ANSWER else None
    return {
        "v": 1, "call": claim.said["call"], "status": resp.status_code, "headers": headers, "body": body
    }  # fmt: skip


def _replay(resp: falcon.Response, call: str, found: Json) -> None:
    """Answer what was answered.

    Raises:
        ApiError: 409, 422.
    """
    if found["call"] != call:
        raise ApiError(
            422, OTHER, f"{HEADER}: the earlier call had another path, query or body; take another key"
        )
    if "status" not in found:
        still = ApiError(409, STILL, f"{HEADER}: the first call with this key has not been answered yet")
        still.retry_after = 1
        raise still
    if found["body"] is None:
        raise ApiError(
            409, TOO_LONG, f"{HEADER}: it was {found['status']}, and more than {MOST_ANSWER} bytes"
        )
    resp.status = found["status"]
    resp.data = found["body"].encode()
    for name, value in found["headers"].items():
        resp.set_header(name, value)
    resp.set_header(REPLAYED, "true")
    resp.complete = True
