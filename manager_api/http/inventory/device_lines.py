"""The inventory as lines of a CSV file: written in pieces, read one by one whatever they hold."""

import csv
import io
from collections.abc import Collection, Iterable, Iterator
from typing import IO

from marshmallow import ValidationError

from manager_api.core import device_csv
from manager_api.http.frame.bodies import sentence
from manager_api.http.inventory.device_schema import DeviceSchema, device_id
from manager_api.inventory import bulk, devices
from manager_api.inventory.presence import present
from manager_api.inventory.search import Search, Wanted
from store.codec import loads
from store.kv.store import Store

MOST_LINE = 64 * 1024
_DEVICE, _ID = DeviceSchema(), device_id()


def written(store: Store, digests: bytearray | None = None) -> Iterator[bytes]:
    """All devices as a CSV file, by id, in pieces of a thousand; the digests of the lines, to those given."""
    yield _lines([device_csv.COLUMNS])
    for batch in Search(store, Wanted()).found():
        records = present(store, [loads(each.raw, "device") for each in batch])
        rows = [device_csv.row(each) for each in records]
        if digests is not None:
            digests += b"".join(map(device_csv.digest, rows))
        yield _lines(rows)


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode()


def taken(
    store: Store,
    source: IO[str],
    *,
    dry_run: bool = False,
    seed: str = "",
    untouched: Collection[bytes] = (),
    by_sn: bool = False,
) -> Iterator[bulk.Outcome]:
    """Take in the lines of a CSV file, one outcome for each; a bad line does not hold up the others.

    What `source` cannot decode must come as surrogates. With a `seed`, lines without an id make the same
    devices whenever they are taken again: for who may have to begin anew in the middle. Lines whose digests
    are among the `untouched` are passed over. `by_sn`: as `bulk.put`.

    Raises:
        ValueError: the first line does not name the columns; nothing was taken.
    """
    return bulk.put(store, _read(source, seed, untouched), dry_run=dry_run, by_sn=by_sn)


def _read(source: IO[str], seed: str, untouched: Collection[bytes]) -> Iterator[bulk.Wish | bulk.Outcome]:
    """What the lines wish for; of those that cannot be read, why."""
    lines = _Lines(source)
    reader = csv.reader(lines, strict=True)
    try:
        device_csv.check_head(next(reader, []))
    except csv.Error as error:
        raise ValueError(f"the first line cannot be read: {error}") from None
    while True:
        lines.record = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield bulk.Outcome(reader.line_num, "", bulk.REFUSED, str(error))
            continue
        if cells and (not untouched or device_csv.digest(cells) not in untouched):
            yield _wish(reader.line_num, cells, seed)


def _wish(line: int, cells: list[str], seed: str) -> bulk.Wish | bulk.Outcome:
    try:
        _check_text(cells)
        device, body = device_csv.read(cells)
        if device:
            _check_id(device)
        suggested = devices.id_of(f"{seed}:{line}") if seed and not device else ""
        return bulk.Wish(line, device, _DEVICE.load(body), suggested)
    except ValidationError as error:
        why = sentence(error.messages)
    except ValueError as error:
        why = str(error)
    return bulk.Outcome(line, cells[0][:40].encode(errors="replace").decode(), bulk.REFUSED, why)


def _check_text(cells: Iterable[str]) -> None:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise ValueError("not UTF-8: save the file as UTF-8") from None


def _check_id(device: str) -> None:
    try:
        _ID.deserialize(device)
    except ValidationError as error:
        raise ValidationError({"id": error.messages}) from None


class _Lines:
    """Lines, the endless ones in pieces: they are refused, and do not fill the memory."""

    def __init__(self, source: IO[str]) -> None:
        self._source = source
        self.record = 0
        """Characters of the record that is being read: quotes may hold any number of lines."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.record > MOST_LINE:
            raise csv.Error(f"longer than {MOST_LINE} characters: is a quotation mark missing?")
        line = self._source.readline(MOST_LINE)
        if not line:
            raise StopIteration
        self.record += len(line)
        return line
