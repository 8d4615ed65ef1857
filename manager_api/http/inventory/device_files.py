"""`/v1/devices/csv`: the inventory as a file that people open in a spreadsheet, out and in, as a stream."""

import contextlib
import io
import secrets
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from itertools import chain, islice
from typing import IO

import falcon
import orjson

from manager_api.http.frame import bodies, durability, uploads
from manager_api.http.frame.audit import forgo
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import ApiError, invalid
from manager_api.http.frame.fields import OneOf
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.query_schema import QuerySchema, Switch
from manager_api.http.inventory.device_lines import taken, written
from manager_api.http.services import Services
from manager_api.inventory import bulk
from store.codec import Json
from store.errors import StoreError
from store.kv.durability import Replicated, more
from store.kv.store import Store

CSV, LINES = "text/csv", "application/jsonl"
MOST_FILE = 256 << 20
"""Bytes of a file: a million devices."""
AT_ONCE = 4
"""Files that one process takes in at once: they lie on the disk meanwhile."""
RETRY_AFTER = 5
SPOOLED = 1 << 20
"""Bytes of a file that are kept in memory; what is longer goes to the disk."""


_MATCH = (
    "A line without an id is for the device that has its serial number, or makes it: a file may be sent "
    "again. Where the number does not tell which, the line is refused."
)


class DeviceFileQuerySchema(QuerySchema):
    """`?dry_run=true&match=sn`."""

    dry_run = Switch("Only say what would become of each line.")
    match = OneOf("sn", metadata={"description": _MATCH})


@writes
class DeviceFile:
    """`GET` and `POST /v1/devices/csv`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._places = threading.BoundedSemaphore(AT_ONCE)

    @describe(
        "Export all devices as a CSV file",
        id="export_devices",
        tag="devices",
        answers={200: Answer("One line a device; what begins a formula has a `'` before it", media=CSV)},
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Send it as it is read."""

        def begin(store: Store) -> tuple[list[bytes], Iterator[bytes]]:
            pieces = written(store)
            return list(islice(pieces, 2)), pieces  # with devices in it: a store that is away is 503

        first, pieces = self._services.call(begin)
        resp.content_type = f"{CSV}; charset=utf-8"
        resp.set_header("Content-Disposition", 'attachment; filename="devices.csv"')
        resp.stream = chain(first, pieces)

    @describe(
        "Import devices from a CSV file",
        id="import_devices",
        tag="devices",
        query=DeviceFileQuerySchema(),
        body_media=CSV,
        answers={200: Answer("A JSON line for each line of the file, then the numbers", media=LINES)},
        errors=(413, 507),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Make the devices whose id is empty or unknown, change the others; bad lines are refused one by one.

        The last line counts: `{"created", "changed", "same", "refused"}`. When writes are to be replicated it
        says whether they are, as `replicated`: the header `Muster-Replicated` would come too early.
        """
        asked = bodies.query(req)
        dry_run, by_sn = bool(asked.get("dry_run")), asked.get("match") == "sn"
        if dry_run:
            forgo(req)
        with contextlib.ExitStack() as held:
            try:
                file = held.enter_context(self._spooled(req))
            except ApiError:
                uploads.discard(req)
                raise
            seed = secrets.token_hex(8)  # begun once more it makes the same devices
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", errors="surrogateescape")

            def begin(store: Store) -> Iterator[bulk.Outcome]:
                text.seek(0)  # in a new epoch it is begun once more
                outcomes = taken(store, text, dry_run=dry_run, seed=seed, by_sn=by_sn)
                return chain(list(islice(outcomes, 1)), outcomes)

            try:
                outcomes = self._services.call(begin)
            except ValueError as error:
                raise invalid(f"body: {error}") from None
            said = self._said(outcomes, None if dry_run else durability.asked(req))
            resp.content_type = LINES
            resp.stream = _Report(said, held.pop_all().close)

    def _said(
        self, outcomes: Iterator[bulk.Outcome], durable: Replicated | None
    ) -> Generator[bytes, None, None]:
        counts: Json = dict.fromkeys((bulk.CREATED, bulk.CHANGED, bulk.SAME, bulk.REFUSED), 0)
        try:
            for outcome in outcomes if durable is None else _durably(outcomes, durable):
                counts[outcome.result] += 1
                said = {"line": outcome.line, "id": outcome.device, "result": outcome.result}
                yield orjson.dumps({**said, "error": outcome.why} if outcome.why else said) + b"\n"
            if durable is not None:
                counts["replicated"] = durability.held(self._services, durable)
        except StoreError as error:
            yield orjson.dumps({"error": f"it ended here: {error}", **counts}) + b"\n"
            return
        yield orjson.dumps(counts) + b"\n"

    @contextlib.contextmanager
    def _spooled(self, req: falcon.Request) -> Iterator[IO[bytes]]:
        """The body as a file: whoever sends slowly does not hold up the store.

        Raises:
            ApiError: 400, 413; 503 while too many are sent, 507 when the disk is full.
        """
        if not self._places.acquire(blocking=False):
            raise _full()
        try:
            with tempfile.SpooledTemporaryFile(SPOOLED) as file:
                try:
                    for piece in uploads.bounded(req, MOST_FILE):
                        file.write(piece)
                except OSError as error:
                    raise uploads.no_room(error, "the directory for temporary files") from None
                file.seek(0)
                yield file
        finally:
            self._places.release()


def _full() -> ApiError:
    refusal = ApiError(503, "Too many imports", f"{AT_ONCE} files are taken in by this process already")
    refusal.retry_after = RETRY_AFTER
    return refusal


def _durably(outcomes: Iterator[bulk.Outcome], durable: Replicated) -> Iterator[bulk.Outcome]:
    """The same; what is written for them waits for replicas. The middleware's part of it is over by then."""
    while True:
        with more(durable):
            outcome = next(outcomes, None)
        if outcome is None:
            return
        yield outcome


class _Report:
    """The answer: a line for each line of the file, as it is taken in; then the numbers."""

    def __init__(self, lines: Generator[bytes, None, None], over: Callable[[], None]) -> None:
        self._lines, self._over = lines, over

    def __iter__(self) -> Iterator[bytes]:
        return self._lines

    def close(self) -> None:
        """Let go of the file; what was not read of it is not taken in."""
        self._lines.close()
        self._over()

    __del__ = close  # an answer that never begins is not closed by anybody
