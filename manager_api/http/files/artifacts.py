"""`/v1/artifacts`: what lies on the server of `--sftp-host`. Bytes pass through; nothing is kept here."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import falcon
import orjson

from manager_api.http.files import artifact_users
from manager_api.http.frame import bodies, uploads
from manager_api.http.frame.answer_fields import flag
from manager_api.http.frame.answers import listed
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import ApiError, handle_api_error, invalid
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.pages import PageSchema, Sort, page
from manager_api.http.frame.query_schema import QuerySchema, Word
from manager_api.http.frame.store_answers import (
    A_FILE,
    UPLOADED,
    ArtifactRowSchema,
    NamedSchema,
    UploadedSchema,
)
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


_SORTS = {word: itemgetter(word) for word in ("name", "size", "modified")}
FILES = listed(
    ArtifactRowSchema,
    "Artifacts",
    complete=flag("Whether these are all: a server with very many is not read to the end."),
)
A_LIST = {"data": [A_FILE], "total": 1, "next": None, "complete": True}


class FilesQuerySchema(QuerySchema, PageSchema):
    """Which files are listed."""

    prefix = Word(str, "With what their names begin.")
    sort = Sort("name", "size", "modified")


class UploadQuerySchema(QuerySchema):
    """What the file is meant to be."""

    sha256 = Word(str, "Its SHA-256, in hexadecimal; another one is not put there. Also as `Muster-Sha256`.")


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

    @describe(
        "List files on the server of --sftp-host",
        id="list_artifacts",
        tag="artifacts",
        description="With the templates whose newest versions name them.",
        query=FilesQuerySchema(),
        errors=(409, 502),
        answers={200: Answer("The files.", FILES, A_LIST)},
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the files, with the templates whose newest versions name them."""
        asked = bodies.query(req)
        with self._desk.open() as publisher:
            found = publisher.listing(asked.get("prefix", ""))
        users = artifact_users.by_name(self._services.call(artifact_users.newest))
        rows = []
        for item in found.items:
            row = {"name": item.name, "size": item.size, "modified": item.modified}
            row["templates"] = sorted(users.get(item.name, ()))
            rows.append(row | ({"link": item.link} if item.link is not None else {}))
        answer = page(rows, asked, sorts=_SORTS, default="name", key=itemgetter("name"))
        resp.data = orjson.dumps(answer | {"complete": found.complete})


@writes
class One:
    """`PUT` and `DELETE /v1/artifacts/{artifact}`; its name may have slashes."""

    def __init__(self, services: Services, desk: Desk) -> None:
        self._services = services
        self._desk = desk

    @describe(
        "Put a file there, in place of what had the name",
        id="put_artifact",
        tag="artifacts",
        description="A body of any size, whose length is known. It has its name once all of it is there.",
        body_media="application/octet-stream",
        query=UploadQuerySchema(),
        errors=(404, 409, 411, 422, 502),
        answers={200: Answer("It is there.", UploadedSchema(), UPLOADED)},
    )
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

    @describe(
        "Remove a file",
        id="delete_artifact",
        tag="artifacts",
        errors=(404, 409, 502),
        answers={200: Answer("It is gone.", NamedSchema(), {"name": "apps/etl-1.4.tar.gz"})},
    )
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
    wanted = bodies.query(req).get("sha256") or req.get_header("Muster-Sha256")
    if wanted is not None and not is_sha256(wanted):
        raise invalid(f"sha256: {wanted[:80]!r} is not 64 lower-case hexadecimal digits")
    return wanted
