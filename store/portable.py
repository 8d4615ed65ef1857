"""Exports: all records of a cluster as JSON lines that any server's store can take in.

    {"muster": "export", "v": 1, "release": …, "schema": …, "cluster": …, "epoch": …, "rev": …, "time": …, …}
    {"collection": "templates", "field": "etl", "record": {…}}        a later line wins over an earlier one
    {"collection": "templates", "field": "etl", "record": null}       it went while the export was made
    {"end": {"lines": n, "rev": …, "sha256": "of all bytes before"}}

What nodes say of themselves is not in it, nor what follows from the rest: desired hashes, turns at servers of
files, indices, revisions. A record that is no JSON lies in `raw`, as base64.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from store.codec import Json, dumps, loads
from store.errors import BadRecord, Unsupported
from store.keys import (
    ALLOCATIONS,
    CLAIMS,
    CONTROLS,
    CONTROLS_STATUS,
    DEPLOYMENTS,
    DEVICES,
    GROUP_NAMES,
    GROUPS,
    NAMES,
    NODES,
    NODES_STATUS,
    STATUS,
    TEMPLATES,
    VERSIONS,
)  # fmt: skip
from store.kv.copying import Copy, Pair
from store.kv.store import Store
from store.schema import check_record
from store.version import SCHEMA, VERSION

FORMAT = 1
COLLECTIONS = (
    TEMPLATES, VERSIONS, GROUPS, GROUP_NAMES, DEVICES, NODES, NODES_STATUS, DEPLOYMENTS, STATUS, NAMES,
    ALLOCATIONS, CLAIMS, CONTROLS, CONTROLS_STATUS,
)  # fmt: skip
"""What is exported, in this order: what a record refers to comes before it."""
MOST_LINE = 4 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """What an export says of itself."""

    cluster: str
    epoch: str
    rev: int
    release: str
    time: float
    server: str


def write(store: Store, *, now: float, server: str) -> Iterator[bytes]:
    """The lines of an export of an attached store, as they are read; memory does not grow with them.

    Raises:
        StoreError: it broke off; without the end line nobody will take it for whole.
    """
    meta, copy, digest, lines = store.meta(), Copy(store, COLLECTIONS), hashlib.sha256(), 0
    head = {
        "muster": "export", "v": FORMAT, "release": VERSION, "schema": meta.schema.highest,
        "cluster": meta.cluster, "epoch": meta.epoch, "rev": copy.began, "time": now, "server": server,
    }  # fmt: skip
    for line in _chain(orjson.dumps(head) + b"\n", copy):
        digest.update(line)
        lines += 1
        yield line
    yield dumps({"end": {"lines": lines, "rev": copy.rev, "sha256": digest.hexdigest()}}) + b"\n"


def _chain(head: bytes, copy: Copy) -> Iterator[bytes]:
    yield head
    for pair in copy:
        yield _line(*pair)


def _line(collection: str, field: str, value: bytes | None) -> bytes:
    said: Json = {"collection": collection, "field": field}
    if value is None:
        return orjson.dumps({**said, "record": None}) + b"\n"
    try:
        return orjson.dumps({**said, "record": orjson.loads(value)}) + b"\n"
    except orjson.JSONDecodeError:
        return orjson.dumps({**said, "raw": base64.b64encode(value).decode()}) + b"\n"


def check(path: Path) -> Head:
    """Read an export once, to its end.

    Raises:
        Unsupported: it is none, is not whole, or is of a release that this one does not understand.
    """
    digest, lines, head, end = hashlib.sha256(), 0, None, None
    for number, raw in _lines(path):
        if end is not None:
            raise Unsupported(f"line {number}: something follows the end of the export")
        said = _read(raw, number)
        if head is None:
            head = _head(said)
        elif "end" in said:
            end = said["end"]
            continue
        else:
            _pair(said, number)
        digest.update(raw)
        lines += 1
    if head is None:
        raise Unsupported("it is empty")
    if end is None:
        raise Unsupported("it breaks off: it has no end line")
    if not isinstance(end, Mapping) or (end.get("lines"), end.get("sha256")) != (lines, digest.hexdigest()):
        raise Unsupported("it was changed, or damaged: its lines are not those that its end speaks of")
    return head


def pairs(path: Path) -> Iterator[Pair]:
    """The records of an export that `check` has found whole."""
    for number, raw in _lines(path):
        said = _read(raw, number)
        if "collection" in said:
            yield _pair(said, number)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MOST_LINE):
            number += 1
            if not raw.endswith(b"\n"):
                long = len(raw) == MOST_LINE
                raise Unsupported(f"line {number}: " + ("too long" if long else "it breaks off here"))
            yield number, raw


def _read(raw: bytes, number: int) -> Json:
    try:
        return loads(raw, f"line {number}")
    except BadRecord as error:
        raise Unsupported(str(error)) from None


def _head(said: Json) -> Head:
    if said.get("muster") != "export":
        raise Unsupported("line 1: it is no export of Muster")
    if said.get("v") != FORMAT:
        raise Unsupported(f"line 1: it is of format {said.get('v')!r}, and muster {VERSION} reads {FORMAT}")
    schema = said.get("schema")
    if type(schema) is not int or schema > SCHEMA:
        later = said.get("release")
        raise Unsupported(f"line 1: its records are of schema {schema!r}: use muster {later} or later")
    try:
        return Head(**{name: said[name] for name in Head.__slots__})
    except KeyError as error:
        raise Unsupported(f"line 1: {error.args[0]} is missing") from None


def _pair(said: Json, number: int) -> Pair:
    collection, field = said.get("collection"), said.get("field")
    if collection not in COLLECTIONS or not isinstance(field, str):
        raise Unsupported(f"line {number}: no record of a collection that is known")
    try:
        return collection, field, _value(said, f"line {number}: {collection}/{field}")
    except BadRecord as error:
        raise Unsupported(str(error)) from None


def _value(said: Json, where: str) -> bytes | None:
    if "raw" in said:
        try:
            return base64.b64decode(said["raw"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise BadRecord(f"{where}: raw is not base64") from None
    record: Any = said.get("record")
    if record is None and "record" in said:
        return None
    if not isinstance(record, dict):
        raise BadRecord(f"{where}: record is not a JSON object")
    check_record(record, where)
    return dumps(record)
