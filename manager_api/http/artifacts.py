"""`/v1/artifacts`: what lies on the server of `--sftp-host`. Bytes pass through; nothing is kept here."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import falcon
import orjson

from manager_api.http import artifact_users, uploads
from manager_api.http.durability import writes
from manager_api.http.errors import ApiError, handle_api_error, invalid
from manager_api.http.services import Services
from store.config import ConfigError
from store.errors import StoreError
from store.model.artifacts import is_sha256
from transfer.errors import Kind, TransferError

log = logging.getLogger("api")

AT_ONCE = 4
"""Connections to the server of files that one worker process has."""
WAITS = 10.0
"""Seconds that a call waits for one of them."""
RETRY_AFTER = 5
NO_BASE, NO_ARTIFACT = "No server of files", "Artifact not found"
OTHER_DIGEST, TROUBLE = "Not what was meant to be sent", "The server of files did not do it"


class Desk:
    """Connections to the server of files: one for each call, a few at once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._room = threading.BoundedSemaphore(AT_ONCE)

    @contextmanager
    def open(self) -> Iterator[Any]:
        """A `transfer.publishing.Publisher` of the base.

        Raises:
            ApiError: 409 without a base, 503 while too many are at it, else what `TransferError`s become.
        """
        try:
            base = self._services.access.artifacts()
        except ConfigError as error:
            raise ApiError(502, TROUBLE, f"this manager cannot log in there: {error}") from None
        if base is None:
            raise ApiError(409, NO_BASE, "this manager was started without --sftp-host: artifacts lie there")
        if not self._room.acquire(timeout=WAITS):
            busy = ApiError(503, "Too many uploads", f"{AT_ONCE} connections to the server of files are busy")
            busy.retry_after = RETRY_AFTER
            raise busy
        try:
            # Only now: paramiko takes most of a second to import.
            from transfer.publishing import Publisher
            from transfer.sftp import Session

            session = Session(base.source, base.login)
            try:
                yield Publisher(session.conversation, base.source)
            finally:
                session.close()
        except TransferError as error:
            raise refusal(error) from None
        finally:
            self._room.release()


def refusal(error: TransferError) -> ApiError:
    """What a caller is told of a failure: their own fault, or the server's."""
    if error.kind == Kind.MISSING:
        return ApiError(404, NO_ARTIFACT, str(error))
    if error.kind == Kind.UNSUPPORTED:
        return invalid(f"name: {error}")
    if error.kind == Kind.MISMATCH:
        return ApiError(422, OTHER_DIGEST, str(error))
    log.warning("artifacts: %s: %s", error.kind, error)
    return ApiError(502, TROUBLE, str(error), kind=str(error.kind))


class Listing:
    """`GET /v1/artifacts?prefix=…`."""

    def __init__(self, services: Services, desk: Desk) -> None:
        self._services = services
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the files, with the templates whose newest versions name them."""
        with self._desk.open() as publisher:
            found = publisher.listing(req.get_param("prefix", default=""))
        users = artifact_users.by_name(self._services.call(artifact_users.newest))
        rows = []
        for item in found.items:
            row = {"name": item.name, "size": item.size, "modified": item.modified}
            row["templates"] = sorted(users.get(item.name, ()))
            rows.append(row | ({"link": item.link} if item.link is not None else {}))
        answer = {"data": rows, "total": len(rows), "next": None, "complete": found.complete}
        resp.data = orjson.dumps(answer)


@writes
class One:
    """`PUT` and `DELETE /v1/artifacts/{artifact}`; its name may have slashes."""

    def __init__(self, services: Services, desk: Desk) -> None:
        self._services = services
        self._desk = desk

    def on_put(self, req: falcon.Request, resp: falcon.Response, artifact: str) -> None:
        """Take a file of any size, in place of what had the name."""
        try:
            answer = self._put(req, artifact)
        except ApiError as error:
            handle_api_error(req, resp, error, {})
            uploads.answer_before_the_end(req, resp)
            return
        resp.data = orjson.dumps(answer)

    def _put(self, req: falcon.Request, name: str) -> dict[str, Any]:
        size, wanted = uploads.length(req), _wanted(req)
        with self._desk.open() as publisher:
            digest = publisher.put(name, uploads.pieces(req, size), size, wanted)
        answer = {"name": artifact_users.clean(name), "size": size, "sha256": digest}
        try:
            newest = self._services.call(artifact_users.newest)
        except StoreError as error:  # the file is there: that is what was asked for
            log.info("who else names %s is not known: %s", name, error)
            return answer
        return answer | {"pinned_otherwise": artifact_users.pinned_otherwise(newest, answer["name"], digest)}

    def on_delete(self, _req: falcon.Request, resp: falcon.Response, artifact: str) -> None:
        """Remove a file."""
        with self._desk.open() as publisher:
            publisher.remove(artifact)
        resp.data = orjson.dumps({"name": artifact_users.clean(artifact)})


def _wanted(req: falcon.Request) -> str | None:
    """The SHA-256 that the body must have, if its sender says so.

    Raises:
        ApiError: 400: it is none.
    """
    wanted = req.get_param("sha256") or req.get_header("Muster-Sha256")
    if wanted is not None and not is_sha256(wanted):
        raise invalid(f"sha256: {wanted[:80]!r} is not 64 lower-case hexadecimal digits")
    return wanted
