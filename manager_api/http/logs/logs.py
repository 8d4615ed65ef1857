"""`GET /v1/deployments/{id}/logs`: what tasks wrote, from whichever nodes they run on."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from time import monotonic

import falcon

from manager_api.http.deployments import views
from manager_api.http.deployments.briefs import briefs
from manager_api.http.frame import bodies
from manager_api.http.frame.errors import NO_DEPLOYMENT, ApiError, invalid
from manager_api.http.frame.operation import Answer as Described
from manager_api.http.frame.operation import describe
from manager_api.http.logs.log_lines import JsonLines, Source, Text
from manager_api.http.logs.log_query import LogsQuerySchema, Query
from manager_api.http.logs.log_stream import WORD_EVERY, LogStream
from manager_api.http.services import Services
from store.codec import Json, loads
from store.errors import StoreError
from store.keys import DEPLOYMENTS, NODES, STATUS
from store.kv.asks import Asks
from store.kv.projection import Projection
from store.kv.store import Store
from store.model.lifecycle import DEPLOYMENT_ENDED

MOST_READERS = 24
"""Readers of one worker process: each has a thread of 64 for as long as it reads."""
MOST_SOURCES = 100
STUCK_FOR = 300
"""Seconds after which a reader that takes nothing is let go; by its cursor it can go on."""


def sources(
    deployment: str, record: Json, status: Json | None, placed: Sequence[Json], asked: Query
) -> list[Source]:
    """The logs that are meant, of a deployment's allocations.

    Raises:
        ApiError: 404 for an unknown task, 409 when nothing was placed, 400 when it would be too many.
    """
    if not placed:
        reason = (status or {}).get("reason") or "no controller has decided yet"
        raise ApiError(409, "No logs", f"nothing of deployment {deployment} was placed: {reason}")
    again = int(views.restarting(record, status))
    names = dict.fromkeys(name for brief in placed for name in brief["tasks"])
    nodes = dict.fromkeys(brief["node"] for brief in placed)
    for word, wanted, known in (("task", asked.task, names), ("node", asked.node, nodes)):
        if wanted is not None and wanted not in known:
            raise ApiError(
                404, f"{word.capitalize()} not found",
                f"deployment {deployment} has no {word} {wanted!r}; it has {', '.join(known)}",
            )  # fmt: skip
    found = [
        Source(name, position, brief["node"], brief["id"], stream, brief.get("generation", 1) + again)
        for brief in placed
        if asked.node in (None, brief["node"])
        for position, name in enumerate(brief["tasks"])
        if asked.task in (None, name)
        for stream in asked.streams
    ]
    if len(found) > MOST_SOURCES:
        raise invalid(
            f"{len(found)} logs at once, at most {MOST_SOURCES} are read: say which with task, node or stream"
        )
    return found


def unable(store: Store, nodes: list[str]) -> dict[str, str]:
    """The nodes that cannot serve logs now, and why, as sentences."""
    records = store.get_many([(NODES, node) for node in nodes])
    beats = Projection(store).beats(nodes)
    found: dict[str, str] = {}
    for node, record, beat in zip(nodes, records, beats, strict=True):
        known = loads(record.value) if record else None
        if known is None:
            found[node] = f"node {node} is not known any more"
        elif beat is None:
            found[node] = f"node {node} is offline: its logs can be read when it is back"
        elif "logs" not in known["features"]:
            found[node] = f"the agent of node {node}, version {known['version']}, does not serve logs"
    return found


class Logs:
    """`GET /v1/deployments/{id}/logs`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._places = threading.BoundedSemaphore(MOST_READERS)

    @describe(
        "Read the logs of a deployment",
        id="read_logs",
        tag="deployments",
        description="Line by line, as they come, from whichever nodes its tasks run on. `format=json` gives "
        "`application/x-ndjson`: an object for each line (`task`, `node`, `alloc`, `stream`, `cursor`, and "
        "`text` or `base64`), and such as have an `event`.",
        query=LogsQuerySchema(),
        answers={
            200: Described(
                "Lines.", None, "4 rows cleaned\n", media=Text.media_type, others=(JsonLines.media_type,)
            )
        },
        errors=(404, 409),
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Answer logs, line by line, as they come."""
        asked: Query = bodies.query(req)
        wanted = self._services.call(lambda store: self._sources(store, deployment, asked))
        trouble = self._services.call(lambda store: unable(store, list({each.node: 1 for each in wanted})))
        able = [source for source in wanted if source.node not in trouble]
        if not able:
            raise ApiError(409, "No logs", "; ".join(trouble.values()))
        if not self._places.acquire(blocking=False):
            resp.set_header("Retry-After", "5")
            raise ApiError(
                503, "Too many readers",
                f"{MOST_READERS} readers of logs are served by this process already; try again later",
            )  # fmt: skip
        answer = Answer(self._places, req.env.get("gunicorn.socket"))
        try:
            stream = self._stream(deployment, able, asked)
            answer.begin(stream, list(trouble.values()))
        except BaseException:
            answer.close()
            raise
        resp.content_type = stream.form.media_type
        resp.stream = answer

    def _sources(self, store: Store, deployment: str, asked: Query) -> list[Source]:
        record, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
        if record is None:
            raise ApiError(404, NO_DEPLOYMENT, f"there is no deployment with id {deployment!r}")
        known = loads(status.value) if status else None
        there = briefs(store, deployment, known) if known is not None else ()
        return sources(deployment, loads(record.value), known, there, asked)

    def _stream(self, deployment: str, wanted: list[Source], asked: Query) -> LogStream:
        services = self._services
        asks = Asks(services.store.client, services.store.keys)

        def over() -> bool:
            return services.call(lambda store: _over(store, deployment))

        return LogStream(asks, wanted, asked, over=over, stopping=services.stopping)


def _over(store: Store, deployment: str) -> bool:
    record, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
    if record is None:
        return True
    return views.state(loads(record.value), loads(status.value) if status else None) in DEPLOYMENT_ENDED


class Answer:
    """The body: what a WSGI server iterates, and closes whatever happens."""

    def __init__(self, places: threading.BoundedSemaphore, peer: socket.socket | None) -> None:
        self._places: threading.BoundedSemaphore | None = places
        self._peer = peer
        self._stream: LogStream | None = None
        self._parts: Iterator[bytes] = iter(())
        if peer is not None:
            _limit(peer)

    def begin(self, stream: LogStream, notes: list[str]) -> None:
        """Ask, and wait for the first words.

        Raises:
            ApiError: 503 when no node says anything.
        """
        self._stream = stream
        words, silent = stream.begin()
        notes += [f"node {node} does not answer" for node in silent]
        if silent and not words and not stream.busy:
            raise ApiError(503, "No logs", "; ".join(notes))
        self._parts = self._run(stream, stream.form, [*map(stream.form.note, notes), *words])

    def _run(self, stream: LogStream, form: Text | JsonLines, words: list[bytes]) -> Iterator[bytes]:
        yield b"".join(words)
        said = monotonic()
        for part in stream.run():
            if part:
                said = monotonic()
            elif monotonic() - said > WORD_EVERY and form.nothing:
                said, part = monotonic(), form.nothing  # noqa: PLW2901 - a sign of life in its place
            elif self._hung_up():
                return
            if part:
                yield part

    def _hung_up(self) -> bool:
        """Whether a client that hears nothing is gone: there is no write that could fail."""
        if self._peer is None:
            return False
        try:
            return self._peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._parts)

    def close(self) -> None:
        """Give the place back, and tell the nodes."""
        places, self._places = self._places, None
        if places is None:
            return
        places.release()
        if self._stream is not None:
            with contextlib.suppress(StoreError):
                self._stream.close()


def _limit(peer: socket.socket) -> None:
    """Neither a client that vanished nor one that takes nothing may hold a thread for ever."""
    with contextlib.suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", STUCK_FOR, 0))
