"""What records of an export have to be, by their collections: as much as their readers build on."""

from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields, validate

from manager_api.http.frame.fields import Bool, Int, Name, Number, OneOf, Read, Several
from manager_api.http.inventory.device_schema import DeviceSchema, device_id
from manager_api.http.inventory.inventory_schema import DeviceGroupSchema
from manager_api.http.nodes.node_schema import Labels
from manager_api.http.templates.schemas import MOST_ALLOCATIONS
from manager_api.inventory.devices import MOST_GROUPS
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
    is_node_id,
)
from store.model import spec
from store.model.lifecycle import Deployment

MOST = 2**31 - 1
"""Versions, generations, numbers: no cluster comes to as many."""
MOST_SECONDS = 2.0**40


class _Open(Schema):
    """What is named must be of its kind; records say more, and later releases still more."""

    class Meta:
        """marshmallow's options."""

        unknown = INCLUDE


class _NodeId(Read[str]):
    def _read(self, value: Any) -> str:
        if not isinstance(value, str) or not is_node_id(value):
            raise ValidationError("not the id of a node")
        return value


def _many(field: Any, most: int = 1000) -> Several:
    return Several(field, most)


def _table(values: Any, most: int = 1000) -> fields.Dict:
    return fields.Dict(keys=Name(), values=values, validate=validate.Length(max=most))


class _Text(Read[str | bool]):
    """A parameter's value."""

    def _read(self, value: Any) -> str | bool:
        if not isinstance(value, str | bool):
            raise ValidationError("neither a text nor true or false")
        return value


class _Device(DeviceSchema):
    """A device as it lies in the store."""

    class Meta:
        """marshmallow's options."""

        unknown = INCLUDE

    groups = _many(device_id(), MOST_GROUPS)
    node = _NodeId()
    edited = _many(Name())


class _Group(DeviceGroupSchema):
    """A group as it lies in the store."""

    class Meta:
        """marshmallow's options."""

        unknown = INCLUDE


class _Template(_Open):
    version = Int(1, MOST, required=True)
    body = fields.Dict(required=True)


class _Node(_Open):
    uid = Name(required=True)
    hostname = Name(required=True)
    ip = Name(required=True)
    addresses = _many(Name())
    version = Name(required=True)
    features = _many(Name(), 64)
    secret_sha256 = fields.Str(required=True, validate=validate.Regexp(r"^[0-9a-f]{64}\Z"))
    joined = Number(0, MOST_SECONDS)
    labels = Labels(removable=True)
    own_labels = Labels()
    groups = _many(Name())
    member_of = _many(device_id(), MOST_GROUPS)
    device = device_id()
    facts = fields.Dict(keys=Name())


class _Deployment(_Open):
    template = Name(required=True)
    version = Int(1, MOST, required=True)
    wanted = OneOf(*spec.WANTED, required=True)
    created = Number(0, MOST_SECONDS, required=True)
    name = Name()
    parameters = _table(_Text())
    ttl = Number(0, MOST_SECONDS)
    wait = Bool()
    scale = _table(Int(0, MOST_ALLOCATIONS))
    change = Int(0, MOST)
    restart = Int(0, MOST)
    forget = Number(0, MOST_SECONDS)


class _Brief(_Open):
    id = Name(required=True)
    node = fields.Str(required=True)
    tasks = _many(fields.Str())


class _Row(_Open):
    name = fields.Str(required=True)
    node = fields.Str(allow_none=True, required=True)
    state = fields.Str(required=True)


class _Ranges(Read[list[list[int]]]):
    """Numbers of allocations as pairs of the first and the last."""

    def _read(self, value: Any) -> list[list[int]]:
        if not isinstance(value, list) or not all(map(_is_range, value)):
            raise ValidationError("not pairs of a first and a last number")
        if sum(1 + last - first for first, last in value) > MOST_ALLOCATIONS:
            raise ValidationError(f"more than {MOST_ALLOCATIONS} numbers")
        return value


def _is_range(pair: Any) -> bool:
    whole = isinstance(pair, list) and len(pair) == 2 and all(type(each) is int for each in pair)
    return whole and 0 <= pair[0] <= pair[1]


class _Status(_Open):
    status = OneOf(*Deployment, required=True)
    reason = fields.Str()
    allocations = fields.List(fields.Nested(_Brief()))
    placed = _Ranges()
    groups = _table(_table(Int(0, MOST)))
    tasks = fields.List(fields.Nested(_Row()))
    nodes = fields.List(fields.Dict())
    next = Int(0, MOST)
    restarted = Int(0, MOST)
    tasks_left_out = Int(0, MOST)
    ended = Number(0, MOST_SECONDS, allow_none=True)


class _NodeStatus(_Open):
    drain = fields.Dict(allow_none=True)
    barred = fields.Dict(allow_none=True)


class _Order(_Open):
    deployment = Name(required=True)
    group = Name(required=True)
    index = Int(0, MOST, required=True)
    generation = Int(1, MOST, required=True)


class _Claim(_Open):
    alloc = Name(required=True)
    node = _NodeId(required=True)
    uid = Name(required=True)
    template = Name(required=True)
    version = Int(1, MOST, required=True)
    wanted = OneOf(*spec.WANTED, required=True)
    order = fields.Nested(_Order(), required=True)


class _Control(_Open):
    release = Int(0, MOST)


class _Engaged(_Open):
    since = Number(0, MOST_SECONDS, required=True)


class _ControlStatus(_Open):
    released = Int(0, MOST)
    forgiven = _many(_NodeId(), MOST)
    engaged = fields.Nested(_Engaged(), allow_none=True)


class _Allocation(_Open):
    deployment = Name(required=True)
    template = Name(required=True)
    version = Int(1, MOST, required=True)
    group = Name(required=True)
    index = Int(0, MOST, required=True)
    node = _NodeId(required=True)
    uid = Name(required=True)
    generation = Int(1, MOST, required=True)
    wanted = OneOf(*spec.WANTED, required=True)
    memory = Number(0, 2.0**63)
    cpus = Number(0, 1e6)
    ports = _table(_table(Int(0, 65535)))


class _NameOf(_Open):
    deployment = Name(required=True)


class _IdOf(_Open):
    id = device_id(required=True)


SHAPES: Mapping[str, Schema] = {
    TEMPLATES: _Template(), VERSIONS: _Template(), GROUPS: _Group(), GROUP_NAMES: _IdOf(), DEVICES: _Device(),
    NODES: _Node(), DEPLOYMENTS: _Deployment(), STATUS: _Status(), NAMES: _NameOf(),
    ALLOCATIONS: _Allocation(), NODES_STATUS: _NodeStatus(), CLAIMS: _Claim(), CONTROLS: _Control(),
    CONTROLS_STATUS: _ControlStatus(),
}  # fmt: skip
