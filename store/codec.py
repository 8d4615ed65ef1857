"""Records as canonical JSON bytes: sorted keys, so that equal records are equal bytes."""

from typing import Any

import orjson

from store.errors import BadRecord
from store.schema import check_record

Json = dict[str, Any]

MOST_NESTED = 200
"""Levels; orjson reads 1,024 and writes 254: what a node says must not be what nobody can pass on."""
_ROOM = 54


def dumps(record: Any) -> bytes:
    """Canonical JSON."""
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


def loads(raw: bytes, where: str = "record") -> Json:
    """The JSON object in `raw`.

    Raises:
        BadRecord: it is not JSON, not an object, or nested too deeply; `where` names it in the message.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRecord(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRecord(f"{where} is not a JSON object")
    if len(raw) > 2 * MOST_NESTED and raw.count(b"{") + raw.count(b"[") > MOST_NESTED and _too_deep(value):
        raise BadRecord(f"{where} is nested too deeply")
    return value


def _too_deep(value: Any) -> bool:
    for _ in range(_ROOM):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def read_record(raw: bytes, where: str) -> Json:
    """A record of the store that is to be acted on, or written anew.

    Raises:
        BadRecord: as `loads`; or it is of a schema that this release does not read.
    """
    found = loads(raw, where)
    check_record(found, where)
    return found
