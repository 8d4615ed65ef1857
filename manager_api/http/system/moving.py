"""`GET /v1/export`, `POST /v1/import`: all records of a cluster, out of one store and into any other."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import falcon
import orjson

from manager_api.core import devices
from manager_api.http.frame import bodies, uploads
from manager_api.http.frame.audit import forgo
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import ApiError
from manager_api.http.frame.fields import OneOf
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.query_schema import QuerySchema, Switch
from manager_api.http.frame.store_answers import IMPORTED, ImportedSchema
from manager_api.http.services import Services
from manager_api.http.system import arrivals
from manager_api.http.system.backup import Desk
from manager_api.http.system.merge_report import Report
from manager_api.http.system.merging import Merge
from manager_api.inventory.devices import lines_of
from store import bootstrap, highest, portable
from store.codec import Json
from store.errors import BadRecord, Busy, EpochChanged, StoreError, Unavailable, Unsupported
from store.faults import fault
from store.home import Files
from store.keys import DEVICES, GROUPS
from store.kv.api import Meta
from store.kv.connection import Client
from store.kv.server import Server
from store.kv.store import Store
from store.kv.swap import Order, Swap
from store.model.epoch import epoch_number
from store.portable import Head
from store.process import write_whole

MEDIA = "application/jsonl"
REFUSED, NOT_EMPTY = "This file cannot be imported", "The system is not empty"
MOVE, MERGE, AUTO = "move", "merge", "auto"
LINES_AT_ONCE = 200
MOST_FILE = 1 << 30
"""Bytes of an export: its records lie in the store's memory before they are put in place."""


class ImportQuerySchema(QuerySchema):
    """`?mode=auto&conflict=refuse&dry_run=true&confirm=true`."""

    mode = OneOf(AUTO, MOVE, MERGE)
    conflict = OneOf("refuse", "skip", "replace")
    dry_run = Switch("Only say what would become of it.")
    confirm = Switch(
        "Needed where groups that are made or replaced stop more than half of what a deployment has on every "
        "node of a group."
    )
    about: ClassVar[dict[str, str]] = {
        "mode": "`move`: the whole cluster moves in, into an empty system; `merge`: what people said comes "
        "into a living one; `auto`, the default: whichever fits.",
        "conflict": "What becomes of records that are here and say something else; `refuse` is the default.",
    }


class Export:
    """`GET /v1/export`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Export all records as JSON lines",
        id="export_records",
        tag="store",
        answers={200: Answer("One moment of the cluster; the last line says that it is whole", media=MEDIA)},
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Send it as it is read: memory does not grow with it. It may hold secrets of tasks.

        An answer without its end line broke off.
        """
        server = str(self._services.call(lambda store: Server(store.client).flavour()))
        lines = portable.write(self._services.store, now=self._services.clock.wall(), server=server)
        first = next(lines)
        resp.content_type = MEDIA
        resp.stream = _joined(first, lines)


def _joined(first: bytes, lines: Iterator[bytes]) -> Iterator[bytes]:
    batch = [first]
    for line in lines:
        batch.append(line)
        if len(batch) >= LINES_AT_ONCE:
            yield b"".join(batch)
            batch.clear()
    yield b"".join(batch)


@writes
class Import:
    """`POST /v1/import`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._desk = Desk(services)

    @describe(
        "Import what another system, or this one, exported",
        id="import_records",
        tag="store",
        query=ImportQuerySchema(),
        body_media=MEDIA,
        answers={200: Answer("What was done, or would be", ImportedSchema(), IMPORTED)},
        errors=(409, 413, 422, 507),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Into an empty system the whole cluster moves in, with its id, its nodes and all that runs on them.

        Into a living one come templates, groups, devices and living deployments, whose work is placed anew.
        """
        asked = bodies.query(req)
        if asked.get("dry_run"):
            forgo(req)
        try:
            with self._desk.open() as (files, where, client):
                path = where / "import.jsonl"
                _receive(req, path)
                resp.data = orjson.dumps(self._import(asked, path, client, files))
        except ApiError:
            uploads.discard(req)
            raise
        except (Unsupported, BadRecord) as error:
            raise ApiError(422, REFUSED, f"{error}. Nothing was changed") from None
        except Busy as error:
            raise ApiError(409, "Another import or restore is under way", str(error)) from None

    def _import(self, asked: Json, path: Path, client: Client, files: Files) -> Json:
        head, dry_run = portable.check(path), bool(asked.get("dry_run"))
        arrivals.check_head(head)
        store = Store(client, presence=self._services.store.presence)
        store.attach()
        empty = _is_empty(store)
        mode = asked.get("mode", AUTO)
        mode = (MOVE if empty else MERGE) if mode == AUTO else mode
        if mode == MOVE and not empty:
            raise ApiError(
                409, NOT_EMPTY, "a cluster moves into a system without templates, deployments, devices and "
                "living nodes only; mode=merge takes what people said into this one",
            )  # fmt: skip
        with Swap(client, store.keys) as swap:
            swap.fill(arrivals.checked(portable.pairs(path), posted=mode == MERGE), head.rev)
            if mode == MOVE:
                report, epoch = _move_in(store, swap, head, files, dry_run=dry_run)
            else:
                merge, epoch = Merge(self._services, store, swap, asked.get("conflict", "refuse")), None
                report = merge.plan() if dry_run else merge.run(confirmed=bool(asked.get("confirm")))
        return {
            "mode": mode, "dry_run": dry_run, "cluster": head.cluster, "records": report.counts,
            "conflicts": report.conflicts, "epoch": epoch, **({"stops": report.stops} if dry_run else {}),
        }  # fmt: skip


def _is_empty(store: Store) -> bool:
    """Nodes of the cluster that is to move in may have knocked already, and left their devices."""
    if not bootstrap.is_bare(store) or store.size(GROUPS):
        return False
    return store.count_lines(DEVICES, [("node:", devices.beyond("node:"))]) == [store.size(DEVICES)]


def _move_in(
    store: Store, swap: Swap, head: Head, files: Files, *, dry_run: bool
) -> tuple[Report, str | None]:
    """The cluster lives here from now on, in an epoch after all that its nodes have seen."""
    report = Report(dry_run)
    for name in portable.COLLECTIONS:
        for _ in {key for key, _ in swap.staged(name)}:
            report.note(name, "made")
    if dry_run:
        return report, None
    swap.index(DEVICES, lines_of)
    fault("import.swap.before")
    meta = _swap(store, swap, head, files)
    fault("import.swap.after")
    return report, meta.epoch


def _swap(store: Store, swap: Swap, head: Head, files: Files) -> Meta:
    number, rev = highest.recorded(files)
    last = max(epoch_number(head.epoch), epoch_number(store.epoch), number)
    reason = f"cluster {head.cluster} moved in, from an export of epoch {head.epoch}, revision {head.rev}"
    order = Order(
        expected=store.epoch,
        epoch=bootstrap.new_epoch(last + 1),
        above=max(head.rev, rev),
        leap=bootstrap.LEAP,
        about=bootstrap.about("restored", reason, store.epoch),
        epochs_kept=bootstrap.EPOCHS_KEPT,
        meta={"cluster": head.cluster},
    )
    # First on disk: a manager that dies in between says that its store is another cluster's, and is empty.
    _belong(store, files, head.cluster)
    try:
        swap.swap(order)
    except (EpochChanged, StoreError):
        _belong(store, files, store.meta().cluster)
        raise
    meta = Store(store.client).attach()
    highest.record(files, meta)
    return meta


def _belong(store: Store, files: Files, cluster: str) -> None:
    """This manager and its presence store, if any, are a cluster's: each start asks both."""
    write_whole(files.cluster, cluster.encode())
    if store.presence is not None:
        with suppress(Unavailable):  # the next start says what is to be done
            store.presence.ask(lambda client: client.set(store.keys.presence_owner, cluster))


def _receive(req: falcon.Request, path: Path) -> None:
    with path.open("xb") as file:
        path.chmod(0o600)
        for piece in uploads.bounded(req, MOST_FILE):
            file.write(piece)
