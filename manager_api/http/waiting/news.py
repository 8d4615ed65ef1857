"""Blocking reads, as Consul's: `?after=REV&wait=30s` holds a GET until what it shows has changed.

Every answer that can be held says in `Muster-Revision` what to give as `after` next. An answer may come
early, with nothing new in it; no change is missed. Who waits for the same is given the same answer.
"""

import contextlib
import socket
from time import monotonic
from typing import Any

import falcon
from marshmallow import ValidationError

from manager_api.http.frame.bodies import sentence
from manager_api.http.frame.errors import ApiError, invalid
from manager_api.http.frame.fields import Read, StrictSchema
from manager_api.http.services import Services
from manager_api.http.waiting.ear import Ear, Position, Wanted, position
from manager_api.http.waiting.sharing import Busy, Flight, Found
from store.keys import DEPLOYMENTS, GROUPS, NODES, NODES_STATUS, STATUS
from store.model import quantity

HEADER = "Muster-Revision"
OF_NODES: Wanted = {NODES: None, NODES_STATUS: None, GROUPS: None}
OF_DEPLOYMENTS: Wanted = {DEPLOYMENTS: None, STATUS: None}
"""What the lists of nodes and deployments are made of."""
WORDS = ("after", "wait")
DEFAULT_WAIT = 30.0
MOST_WAIT = 300.0
RETRY_AFTER = 5
LOOK_EVERY = 5.0
"""Seconds after which a held read looks whether its caller is still there."""
CATCH_UP = 1.0
"""Seconds in which a revision that another worker gave has to become known here."""
_SHARED_HEADERS = (
    "content-type",
    "etag",
    "content-encoding",
    "vary",
    "cache-control",
    "last-modified",
    "link",
)
_ASKED_HEADERS = ("HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "HTTP_IF_NONE_MATCH")


def of_node(node: str) -> Wanted:
    """What the view of one node is made of: any group may be one of its groups."""
    return {NODES: node, NODES_STATUS: node, GROUPS: None}


class After(Read[Position]):
    """What an earlier answer gave as `Muster-Revision`."""

    def _read(self, value: Any) -> Position:
        return position(value)

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string", "pattern": r"^[0-9]{1,16}(\.[0-9]{1,15}\.[0-9]{1,19})?$"}


class Wait(Read[float]):
    """How long to wait at most, in seconds."""

    def _read(self, value: Any) -> float:
        seconds = quantity.duration(value)
        if seconds > MOST_WAIT:
            raise ValidationError(f"longer than {MOST_WAIT / 60:.0f}m")
        return seconds

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"}


class WaitSchema(StrictSchema):
    """The query words of every GET that can be held."""

    after = After(
        metadata={"description": f"Wait until something has changed since an answer with this `{HEADER}`."}
    )
    wait = Wait(
        metadata={
            "description": f"How long to wait at most, with `after`: {DEFAULT_WAIT:.0f}s unless it is said, "
            f"up to {MOST_WAIT / 60:.0f}m. When it is over, the answer is what there is."
        }
    )


_SCHEMA = WaitSchema()


class Given(Exception):
    """The answer is one that another request has found."""

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found


def hold(services: Services, req: falcon.Request, wanted: Wanted) -> None:
    """Begin a GET that shows some records: wait, if that is asked for, until one of them has changed.

    `wanted`: collection to the one record that matters, or None for all of it. Readers of nodes and devices
    are woken by nodes' coming and going, too. To be called before anything is read.

    Raises:
        ApiError: 400 for words that cannot be read, 503 when too many wait.
        Given: somebody else has found the answer; the application hands it on.
    """
    if "after" not in req.params:
        if "wait" in req.params:
            raise invalid("wait: goes with after")
        req.context.revision = services.ear.mark()
        return
    try:
        asked = _SCHEMA.load({word: req.params[word] for word in WORDS if word in req.params})
    except ValidationError as error:
        raise invalid(sentence(error.messages)) from None
    if not services.room.enter():
        raise _full(f"{services.room.most()} reads are held by this process already")
    begun = monotonic()
    try:
        need = _wait(services, req, wanted, asked["after"], asked.get("wait", DEFAULT_WAIT))
    finally:
        req.context.held = monotonic() - begun  # no latency: see `metrics`
        services.room.leave()
    _share(services, req, need)


def _wait(
    services: Services, req: falcon.Request, wanted: Wanted, after: Position, seconds: float
) -> Position:
    """Wait; what the answer has to show at least."""
    ear, begun = services.ear, monotonic()
    with ear.listening(wanted) as event:
        while True:
            event.clear()
            changed = ear.last(wanted, after)
            if changed is not None:
                return changed.at_least(after)
            left = _patience(ear, after, seconds) - (monotonic() - begun)
            if left <= 0 or services.stopping() or _has_gone(req):
                return after
            event.wait(min(left, LOOK_EVERY))


def _patience(ear: Ear, after: Position, seconds: float) -> float:
    """How long to wait in all: not for long for a future that nobody has seen."""
    return min(seconds, CATCH_UP) if ear.is_beyond(after) else seconds


def _has_gone(req: falcon.Request) -> bool:
    """Whether the caller has hung up, as far as can be seen."""
    peer = req.env.get("gunicorn.socket")
    if type(peer) is not socket.socket:
        return False
    with contextlib.suppress(OSError):
        return peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    return False


def _share(services: Services, req: falcon.Request, need: Position) -> None:
    """Have the answer found by one of those who ask the same.

    Raises:
        Given: it was found. ApiError: 503, it takes too long.
    """
    question = _question(req)
    try:
        flight = services.sharing.join(question, need, services.ear.mark)
    except Busy:
        raise _full("those who wait are answered slowly") from None
    req.context.revision = flight.position
    if flight.found is not None:
        raise Given(flight.found)
    req.context.flight = question, flight


def _question(req: falcon.Request) -> tuple[object, ...]:
    """All that the answer depends on. A body is not read: such a call is like no other."""
    words = sorted((name, str(value)) for name, value in req.params.items() if name not in WORDS)
    alone = id(req) if req.content_length or "HTTP_TRANSFER_ENCODING" in req.env else 0
    return (req.method, req.path, tuple(words), *(req.env.get(each) for each in _ASKED_HEADERS), alone)


class News:
    """Middleware, around all others: says the revision of an answer, and hands it on to who waits for it."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        succeeded: bool,  # noqa: FBT001
    ) -> None:
        """Nothing, for all calls that cannot be held."""
        revision: Position | None = getattr(req.context, "revision", None)
        if revision is None:
            return
        given: Found | None = getattr(req.context, "given", None)
        if given is not None:
            resp.set_headers(given.headers)  # as they were, whatever was made of them once more
        if resp.status_code < 400:
            resp.set_header(HEADER, str(revision))
        if (lead := getattr(req.context, "flight", None)) is not None:
            question: tuple[object, ...]
            flight: Flight
            question, flight = lead
            self._services.sharing.land(question, flight, _found(resp) if succeeded else None)


def _found(resp: falcon.Response) -> Found | None:
    """The answer, if it can be given to others, too."""
    if resp.status_code not in (200, 304) or resp.stream is not None:
        return None
    headers = {name: value for name in _SHARED_HEADERS if (value := resp.get_header(name)) is not None}
    return Found(resp.status_code, resp.data or b"", headers)


def handle_given(
    req: falcon.Request, resp: falcon.Response, given: Given, _params: dict[str, object]
) -> None:
    """Falcon's handler: answer what was found; it is compressed already, if it is to be."""
    req.context.given = given.found
    resp.status = given.found.status
    resp.data = given.found.data
    resp.set_headers(given.found.headers)


def _full(detail: str) -> ApiError:
    refusal = ApiError(503, "Too many waiting reads", f"{detail}; try again later")
    refusal.retry_after = RETRY_AFTER
    return refusal
