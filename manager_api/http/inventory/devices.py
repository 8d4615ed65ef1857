"""Contract 5's devices, and the same as resources with paths of their own."""

from collections.abc import Callable
from functools import partial
from typing import Any

import falcon
import orjson

from manager_api.core import devices as core
from manager_api.http.frame import bodies, preconditions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import CONTRACT_5, ApiError, invalid
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.inventory import device_rows
from manager_api.http.inventory.device_schema import (
    DEVICE,
    SHOWN,
    DeviceChangeSchema,
    DevicePatchSchema,
    DeviceRowSchema,
    DeviceSchema,
)
from manager_api.http.inventory.inventory_answers import counted, done, send, wanted_id
from manager_api.http.inventory.inventory_schema import (
    DeviceQuerySchema,
    IdsSchema,
    changed,
    gone,
    listed,
    made,
)
from manager_api.http.services import Services
from manager_api.http.waiting import news
from manager_api.inventory import devices
from manager_api.inventory.devices import Kept
from manager_api.inventory.search import EXACT
from store.codec import Json
from store.errors import Conflict
from store.keys import DEVICES, GROUPS, NODES
from store.kv.store import Store

IS_NODE = "The device is a node"
_ROW = DeviceRowSchema()
_ID = SHOWN["id"]
_CHANGE = {"hardware": {"sn": "SN-0043"}}
_ANSWERED = {"id", "groups", "node", "edited"}
"""What clients only give back: those of the old service, too, which replace what they read as a whole."""
_PARTIAL = (
    "What is not said stays as it is, within `hardware` and `software`, too; `nic` is replaced as a whole. "
    "What people say of a device that is a node stands (`edited`): its agent no longer changes it."
)


def create(store: Store, said: Json, wanted: str | None) -> Kept:
    """Make a device. `wanted`: the id that an earlier try of the same call would have given it."""
    if wanted is not None:
        try:
            return devices.create(store, said, wanted=wanted)
        except Conflict:
            there = devices.find(store, wanted)
            if all(there.data.get(key) == value for key, value in said.items()):
                return there
    return devices.create(store, said)


def edit(said: Json) -> core.Edit:
    """What a client's words make of a device.

    Raises:
        ApiError: by what is returned: 409 for the status of a node.
    """
    told = {key: value for key, value in said.items() if key not in _ANSWERED}

    def change(record: Json) -> Json:
        if record.get("node") and "status" in told:
            raise ApiError(409, IS_NODE, f"its status follows the heartbeat of node {record['node']!r}")
        return core.changed(record, told)

    return change


def delete(store: Store, device: str, rev: int | None = None) -> str | None:
    """Remove a device; None: it went, else why not.

    Raises:
        Stale: it has moved on from `rev`.
    """
    if devices.remove(store, device, rev=rev):
        return None
    if store.get(DEVICES, device) is None:
        return "there is no such device"
    return "it is a node of the fleet: remove that first (DELETE /v1/nodes/{node})"


class _Inventory:
    envelope = CONTRACT_5
    inventory = True

    def __init__(self, services: Services) -> None:
        self._services = services


@writes
class Devices(_Inventory):
    """`/v1/devices`, as contract 5 has it."""

    @describe(
        "Find devices, or list all",
        id="list_devices",
        tag="devices",
        answers={
            200: Answer(
                "The devices that match all that is said.",
                listed(_ROW, "DevicesFound"),
                {"status": 200, "message": "1 device", "data": [SHOWN], "total": 1, "next": None},
            )
        },
        query=DeviceQuerySchema(),
        query_in_body=True,
        description="`id` and `sn` are exact; `model` is any part of it, and capitals matter. The query may "
        "also be a JSON body of the GET. Without `limit` all are answered, as a stream if they are many.",
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Find devices."""
        news.hold(self._services, req, {DEVICES: None, GROUPS: None, NODES: None})
        asked = bodies.query(req)
        exact = {word: asked[word] for word in ("id", *EXACT) if word in asked}
        send(
            self._services,
            resp,
            asked,
            lambda store: device_rows.source(store, asked, exact),
            default="id",
            noun="device",
        )

    @describe(
        "Add a device",
        id="create_device",
        tag="devices",
        body=DeviceSchema(),
        body_example=DEVICE,
        answers={
            200: Answer(
                "It is stored; `data` is its id.",
                made("DeviceMade"),
                {"status": 200, "message": "device added", "data": _ID},
            )
        },
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Add a device, with an id of ten digits that is made here."""
        said, wanted = bodies.body(req), wanted_id(req)
        kept = self._services.call(lambda store: create(store, said, wanted))
        done(resp, "device added", data=kept.data["id"])

    @describe(
        "Change a device",
        id="update_device",
        tag="devices",
        body=DeviceChangeSchema(),
        body_example={"id": _ID, **_CHANGE},
        answers={
            200: Answer(
                "The device as it is now.",
                changed(_ROW, "DeviceChanged"),
                {"status": 200, "message": "device changed", "data": SHOWN},
            )
        },
        errors=(404, 409, 412),
        description=_PARTIAL,
    )
    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Change some of a device."""
        said, rev = bodies.body(req), preconditions.expected(req)
        kept = self._services.call(lambda store: devices.change(store, said["id"], edit(said), rev=rev))
        preconditions.tag(resp, kept.rev)
        row = self._services.call(lambda store: device_rows.shown(store, kept.data))
        done(resp, "device changed", data=row)

    @describe(
        "Delete devices",
        id="delete_devices",
        tag="devices",
        body=IdsSchema(),
        body_example={"ids": [_ID]},
        answers={
            200: Answer(
                "`ids` are those that went; a device that is a node stays as long as the node does.",
                gone("DevicesGone"),
                {"status": 200, "message": "1 device deleted", "ids": [_ID]},
            )
        },
    )
    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Delete devices."""
        delete_all(self._services, resp, bodies.body(req)["ids"], delete, "device")


def delete_all(
    services: Services,
    resp: falcon.Response,
    ids: list[str],
    remove: Callable[[Store, str], str | None],
    noun: str,
) -> None:
    """Delete records one by one, and answer which went: `remove` says None, or why one stays."""
    kept: dict[str, str] = {}
    for each in dict.fromkeys(ids):
        if why := services.call(partial(_remove, remove, each)):
            kept[each] = why
    went = [each for each in dict.fromkeys(ids) if each not in kept]
    more: dict[str, Any] = {"kept": kept} if kept else {}
    done(resp, f"{counted(len(went), noun)} deleted", ids=went, **more)


def _remove(remove: Callable[[Store, str], str | None], record: str, store: Store) -> str | None:
    return remove(store, record)


@writes
class One(_Inventory):
    """`/v1/devices/{device}`."""

    @describe(
        "Show a device",
        id="get_device",
        tag="devices",
        answers={200: Answer("The device.", _ROW, SHOWN)},
        errors=(404,),
        query=news.WaitSchema(),
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response, device: str) -> None:
        """Answer one device."""
        news.hold(self._services, req, {DEVICES: device, GROUPS: None, NODES: None})
        bodies.query(req)
        self._answer(resp, self._services.call(lambda store: devices.find(store, device)))

    @describe(
        "Change a device",
        id="change_device",
        tag="devices",
        body=DevicePatchSchema(),
        body_example=_CHANGE,
        answers={200: Answer("The device as it is now.", _ROW, SHOWN)},
        errors=(404, 409, 412),
        description=_PARTIAL,
    )
    def on_put(self, req: falcon.Request, resp: falcon.Response, device: str) -> None:
        """Change some of a device."""
        said, rev = bodies.body(req), preconditions.expected(req)
        same_id(said, device)
        kept = self._services.call(lambda store: devices.change(store, device, edit(said), rev=rev))
        self._answer(resp, kept)

    @describe(
        "Delete a device",
        id="delete_device",
        tag="devices",
        answers={
            200: Answer(
                "It is gone.", gone("DeviceGone"), {"status": 200, "message": "deleted", "ids": [_ID]}
            )
        },
        errors=(404, 409, 412),
    )
    def on_delete(self, req: falcon.Request, resp: falcon.Response, device: str) -> None:
        """Delete one device."""
        rev = preconditions.expected(req)
        record = self._services.call(lambda store: devices.find(store, device)).data
        if why := self._services.call(lambda store: delete(store, device, rev)):
            raise ApiError(409, IS_NODE, why.format(node=record.get("node", "")))
        done(resp, "deleted", ids=[device])

    def _answer(self, resp: falcon.Response, kept: Kept) -> None:
        row = self._services.call(lambda store: device_rows.shown(store, kept.data))
        preconditions.tag(resp, kept.rev)
        resp.data = orjson.dumps(row)


def same_id(said: Json, path: str) -> None:
    """Refuse a body that is about another record than the path."""
    if said.get("id", path) != path:
        raise invalid(f"id: {said['id'][:80]!r} is not the one in the path")
