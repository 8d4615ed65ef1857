"""Records of an export, looked at before they are taken in: who wrote the file need not be a Muster.

What people say passes the same checks as when they say it by the other calls. Of what a cluster says itself,
what its readers build on has to be of its kind: the leader would fall over it again and again.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from marshmallow import ValidationError

from manager_api.http.frame.bodies import sentence
from manager_api.http.system.arrival_schema import SHAPES
from manager_api.http.templates.schemas import TemplateSchema
from store.codec import Json, loads
from store.errors import BadRecord, Unsupported
from store.keys import (
    ALLOCATIONS,
    DEPLOYMENTS,
    DEVICES,
    GROUPS,
    NODES,
    NODES_STATUS,
    STATUS,
    TEMPLATES,
    VERSIONS,
    is_node_id,
    version_field,
)
from store.kv.copying import Pair
from store.model import spec
from store.portable import Head

_FIELD = re.compile(r"[^\x00-\x1f\x7f]{1,300}")
_DIGITS = re.compile(r"[1-9][0-9]{9}")
_VERSION = re.compile(r"[1-9][0-9]{0,9}:[^\x00-\x1f\x7f]{1,200}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Deployments' and allocations' ids."""
_CLUSTER = re.compile(r"[A-Za-z0-9-]{8,64}")
_EPOCH = re.compile(r"[0-9]{1,12}-[A-Za-z0-9]{1,40}")
MOST_REV = 2**51
"""The next epoch begins beyond it, and must not come near what Lua's numbers can say."""


_FIELDS: Mapping[str, Callable[[str], object]] = {
    NODES: is_node_id, NODES_STATUS: is_node_id, VERSIONS: _VERSION.fullmatch,
    DEVICES: _DIGITS.fullmatch, GROUPS: _DIGITS.fullmatch,
    DEPLOYMENTS: _ID.fullmatch, STATUS: _ID.fullmatch, ALLOCATIONS: _ID.fullmatch,
}  # fmt: skip
_TEMPLATE = TemplateSchema()


def check_head(head: Head) -> None:
    """Go on only if an export is of a cluster that could be.

    Raises:
        Unsupported: it is not.
    """
    for name, pattern in (("cluster", _CLUSTER), ("epoch", _EPOCH)):
        if not isinstance(value := getattr(head, name), str) or not pattern.fullmatch(value):
            raise Unsupported(f"line 1: {name} is none that a cluster has")
    if type(head.rev) is not int or not 0 <= head.rev <= MOST_REV:
        raise Unsupported(f"line 1: rev is no revision, a whole number from 0 to {MOST_REV}")


def checked(pairs: Iterable[Pair], *, posted: bool) -> Iterator[Pair]:
    """The records, as long as each is what it should be. `posted`: templates are held to what a POST takes.

    What is no JSON goes along: its readers know of such records, and pass over them.

    Raises:
        Unsupported: one is not; the sentence names it, and what of it.
    """
    for collection, field, value in pairs:
        _check_field(collection, field)
        if value is not None and (record := _read(value)) is not None:
            _check(collection, field, record, posted=posted)
        yield collection, field, value


def _read(value: bytes) -> Json | None:
    try:
        return loads(value)
    except BadRecord:
        return None


def _check_field(collection: str, field: str) -> None:
    known = _FIELDS.get(collection, _FIELD.fullmatch)
    if not known(field):
        raise Unsupported(f"{collection}/{field[:80]!r}: not what such records are kept under")


def _check(collection: str, field: str, record: Json, *, posted: bool) -> None:
    shape = SHAPES.get(collection)
    if shape is None:
        return
    try:
        shape.load(record)
        if collection in (TEMPLATES, VERSIONS):
            _check_template(collection, field, record, posted=posted)
    except ValidationError as error:
        raise Unsupported(f"{collection}/{field}: {sentence(error.messages)}") from None
    except (BadRecord, RecursionError) as error:
        raise Unsupported(f"{collection}/{field}: {error}") from None
    if collection in (DEVICES, GROUPS) and record.get("id") != field:
        raise Unsupported(f"{collection}/{field}: id: not the one that it is kept under")


def _check_template(collection: str, field: str, record: Json, *, posted: bool) -> None:
    body = record["body"]
    name = body.get("name")
    kept = name if collection == TEMPLATES else version_field(str(name), record["version"])
    if kept != field:
        raise ValidationError("not the one that it is kept under", "name")
    if posted:
        _TEMPLATE.load(body)
    else:
        spec.groups(body)  # an earlier release may have taken what this one does not
