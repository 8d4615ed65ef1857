"""`POST /v1/backup`, `POST /v1/restore`: files are checked before anything else happens."""

import contextlib
import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import falcon
import orjson

from manager_api.http.frame import bodies, uploads
from manager_api.http.frame.errors import ApiError, invalid
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.query_schema import QuerySchema, Word
from manager_api.http.frame.store_answers import RESTORED, RestoredSchema
from manager_api.http.services import Services
from store import backup, rdb
from store.backup import Contents
from store.binaries import Binary
from store.codec import Json
from store.errors import Busy, EpochChanged, Unsupported
from store.faults import fault
from store.home import Files
from store.kv.connection import Client, connect, database
from store.kv.server import Flavour, Server

PIECE = 1 << 18
ABOUT = "X-Muster-Backup"
"""Header: what is in a backup, as JSON."""
REFUSED, BUSY, NO_ROOM = "This file cannot be restored", "Another backup or restore is under way", "No room"


BINARY = "application/octet-stream"


class RestoreQuerySchema(QuerySchema):
    """Which file follows, and what it is to replace."""

    sha256 = Word(
        str,
        "The SHA-256 of the file, in hexadecimal.",
        required=True,
        error_messages={"required": "missing; it is the digest of the file that follows"},
    )
    epoch = Word(str, "The epoch that is to be replaced; without it, nothing is changed.")


class Desk:
    """What both need: a directory, a connection of their own, and a server program to read files with."""

    def __init__(self, services: Services) -> None:
        self._services = services
        home = services.access.home
        self.files = Files(Path(home)) if home else None
        self._program = services.access.server

    @contextlib.contextmanager
    def open(self) -> Iterator[tuple[Files, Path, Client]]:
        """The directory of the manager, an empty one to spool in, and the store.

        Raises:
            ApiError: 409 while another one is under way, 507 when the disk is full.
        """
        if self.files is None:
            raise ApiError(503, "No directory", "this manager has no directory of its own to check files in")
        access = self._services.access
        client = connect(access.url, name="backup", password=access.password())
        try:
            with backup.spool(self.files) as where:
                yield self.files, where, client
        except Busy as error:
            raise ApiError(409, BUSY, str(error)) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ApiError(
                507, NO_ROOM, f"{self.files.home} on the manager's machine is full: nothing was done"
            ) from None
        finally:
            client.close()

    def reader(self, flavour: Flavour) -> Binary | None:
        """A server program that reads the living server's files."""
        return backup.reader(flavour, Path(self._program) if self._program else None)


class Backup:
    """`POST /v1/backup`."""

    def __init__(self, services: Services) -> None:
        self._desk = Desk(services)

    @describe(
        "Take a backup, checked, and send it",
        id="create_backup",
        tag="store",
        errors=(409, 507),
        answers={200: Answer("The backup.", media=BINARY, headers={ABOUT: "What is in it, as JSON."})},
    )
    def on_post(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Take a snapshot, check it, and send it."""
        with self._desk.open() as (_, where, client):
            flavour = Server(client).flavour()
            path, digest = backup.take(client, where)
            fault("backup.check.before")
            found, how = _checked(path, self._desk.reader(flavour), flavour, database(client))
            size = path.stat().st_size
            # Sent when it has no name any more: nothing is left behind, whatever happens.
            file = path.open("rb")
        fault("backup.check.after")
        about = {"size": size, "sha256": digest, "verified": how, "server": str(flavour), **_about(found)}
        resp.content_type = "application/octet-stream"
        resp.set_header(ABOUT, orjson.dumps(about).decode())
        resp.set_stream(file, size)


def _checked(
    path: Path, binary: Binary | None, flavour: Flavour, database: int
) -> tuple[Contents | None, str]:
    try:
        return backup.check(path, binary, flavour, database)
    except Unsupported as error:
        raise ApiError(
            500, "The backup is no good", f"the snapshot that the server gave is no good: {error}"
        ) from None


def _about(found: Contents | None) -> Json:
    return found.as_json() if found else {}


class Restore:
    """`POST /v1/restore?sha256=…`: a dry run, unless `epoch` says which state is to be replaced."""

    def __init__(self, services: Services) -> None:
        self._desk = Desk(services)

    @describe(
        "Look what a backup would undo, or put it in place",
        id="restore_backup",
        tag="store",
        description="A dry run, unless `epoch` says which state is replaced: that of `store` in a dry run.",
        body_media=BINARY,
        query=RestoreQuerySchema(),
        errors=(409, 422, 507),
        answers={200: Answer("What it would undo, or has undone.", RestoredSchema(), RESTORED)},
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Check a backup; say what it would undo, or put it in place."""
        try:
            asked = bodies.query(req)
            digest, expected = asked["sha256"], asked.get("epoch")
            with self._desk.open() as (files, where, client):
                path = where / backup.DUMP
                _receive(req, path, digest)
                answer = self._restore(path, client, files, expected)
        except ApiError:
            uploads.discard(req)
            raise
        except Unsupported as error:
            raise ApiError(
                422, REFUSED, f"the file cannot be restored: {error}. Nothing was changed"
            ) from None
        resp.data = orjson.dumps(answer)

    def _restore(self, path: Path, client: Client, files: Files, expected: str | None) -> Json:
        flavour = Server(client).flavour()
        binary = self._desk.reader(flavour)
        head = rdb.head(path)
        if why := rdb.refusal(head, flavour.name, flavour.version):
            raise Unsupported(f"{why}: restore it into a store of the kind that wrote it")
        if binary is None:
            raise Unsupported(
                f"a {flavour.name}-server of 7.0 or later must be on the manager's machine to read it with. "
                "By hand: stop all managers and the store's server, put the file in place of its dump.rdb "
                "(no append-only file beside it), start the server, then the managers"
            )
        with backup.opened(path, binary, database(client)) as file:
            alive = backup.living(client)
            backup.refuse_stranger(file, alive, files)
            answer: Json = {
                "file": {
                    "server": f"{head.kind} {head.writer}",
                    "made": head.made,
                    **backup.contents(file).as_json(),
                },
                "store": backup.contents(alive).as_json() if alive else None,
                "differences": backup.compare(file, alive),
            }
            if expected is not None:
                old = answer["file"]
                reason = f"restored from a backup of epoch {old['epoch']}, revision {old['rev']}"
                try:
                    meta = backup.put_in_place(file, client, files, expected=expected, reason=reason)
                except EpochChanged as error:
                    raise ApiError(
                        409, "The store has moved on", f"{error}: look again what would be lost"
                    ) from None
                answer["restored"] = {"epoch": meta.epoch, "rev": meta.rev}
        return answer


def _receive(req: falcon.Request, path: Path, digest: str) -> None:
    """Write the body to a file.

    Raises:
        ApiError: 400 when it is not what its sender meant to send.
    """
    found, source = hashlib.sha256(), uploads.source(req)
    with path.open("xb") as file:
        path.chmod(0o600)
        while piece := source.read(PIECE):
            found.update(piece)
            file.write(piece)
    if found.hexdigest() != digest:
        raise invalid(
            "body: it did not arrive whole, or changed on its way: its digest is another. Nothing was changed"
        )
