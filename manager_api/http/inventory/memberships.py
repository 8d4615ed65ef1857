"""Which device is in which group: contract 5's four calls, and both ends as paths of their own."""

from collections.abc import Iterator, Mapping
from typing import Any

import falcon
import orjson

from manager_api.http.frame import bodies, pages, preconditions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import CONTRACT_5, invalid
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.inventory import device_rows
from manager_api.http.inventory import groups as group_calls
from manager_api.http.inventory.device_schema import SHOWN as DEVICE_SHOWN
from manager_api.http.inventory.device_schema import DeviceRowSchema
from manager_api.http.inventory.devices import delete_all
from manager_api.http.inventory.inventory_answers import Row, Source, counted, done, order, picked, send
from manager_api.http.inventory.inventory_schema import (
    DeviceGroupRowSchema,
    GroupsOfQuerySchema,
    MembershipIdsSchema,
    MembershipQuerySchema,
    MembershipRowSchema,
    MembershipSchema,
    MembershipsSchema,
    MembersQuerySchema,
    changed,
    gone,
    listed,
    made,
)
from manager_api.http.inventory.regrouping import check_leaving
from manager_api.http.services import Services
from manager_api.http.waiting import news
from manager_api.inventory import devices, groups, memberships
from manager_api.inventory.errors import Unknown
from manager_api.inventory.search import Place
from store.codec import Json, dumps, loads
from store.keys import DEVICES, GROUPS, NODES
from store.kv.store import Store

_ROW = MembershipRowSchema()
_DEVICE, _GROUP = DEVICE_SHOWN["id"], group_calls.SHOWN["id"]
_SHOWN = {"id": f"{_DEVICE}-{_GROUP}", "device_id": _DEVICE, "group_id": _GROUP}


def row(device: str, group: str) -> Json:
    """A membership as it is answered."""
    return {"id": memberships.name(device, group), "device_id": device, "group_id": group}


def source(store: Store, asked: Mapping[str, Any]) -> Source:
    """The memberships that are asked for, as rows, by group and device."""
    _, down = order(asked, "id")
    device, group = asked.get("device_id"), asked.get("group_id")
    if "id" in asked:
        ends = memberships.parts(asked["id"]) or ("", "")
        if device not in (None, ends[0]) or group not in (None, ends[1]):
            ends = ("", "")
        device, group = ends
    names: list[str] | None = asked.get("fields")

    def batches(after: Place | None) -> Iterator[list[Row]]:
        found = memberships.pairs(store, group=group, after=after, backwards=down)
        for batch in _of(store, device, group, after, down=down) if device is not None else found:
            yield [(pair, picked(dumps(row(pair[1], pair[0])), names)) for pair in batch]

    def total() -> int:
        if device is None:
            return memberships.count(store, group)
        return sum(len(batch) for batch in _of(store, device, group, None, down=down))

    return Source(batches, total)


def _of(
    store: Store, device: str, group: str | None, after: Place | None, *, down: bool
) -> Iterator[list[Place]]:
    """One device's memberships, as (group, device)."""
    try:
        found = [(each, device) for each in memberships.groups(store, device) if group in (None, each)]
    except Unknown:
        return
    if after is not None:
        found = [each for each in found if (each < after if down else each > after)]
    if found:
        yield sorted(found, reverse=down)


class _Inventory:
    envelope = CONTRACT_5
    inventory = True

    def __init__(self, services: Services) -> None:
        self._services = services


@writes
class Memberships(_Inventory):
    """`/v1/memberships`."""

    @describe(
        "Find memberships, or list all",
        id="list_memberships",
        tag="memberships",
        answers={
            200: Answer(
                "The memberships that match all that is said.",
                listed(_ROW, "MembershipsFound"),
                {"status": 200, "message": "1 membership", "data": [_SHOWN], "total": 1, "next": None},
            )
        },
        query=MembershipQuerySchema(),
        query_in_body=True,
        description="By `device_id`, by `group_id`, by both, or by `id`. The query may also be a JSON body "
        "of the GET. Without `limit` all are answered, as a stream if they are many.",
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Find memberships."""
        news.hold(self._services, req, {DEVICES: None, GROUPS: None})
        asked = bodies.query(req)
        send(
            self._services,
            resp,
            asked,
            lambda store: source(store, asked),
            default="id",
            noun="membership",
        )

    @describe(
        "Put a device into a group",
        id="create_membership",
        tag="memberships",
        body=MembershipSchema(),
        body_example={"device_id": _DEVICE, "group_id": _GROUP},
        answers={
            200: Answer(
                "It is in it; `data` is the membership's id. Again: the same.",
                made("MembershipMade"),
                {"status": 200, "message": "membership added", "data": _SHOWN["id"]},
            )
        },
        errors=(404, 409),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Put a device into a group."""
        said = bodies.body(req)
        device, group = said["device_id"], said["group_id"]
        self._services.call(lambda store: memberships.add(store, device, [group]))
        done(resp, "membership added", data=memberships.name(device, group))

    @describe(
        "Replace the groups of a device",
        id="replace_memberships",
        tag="memberships",
        body=MembershipsSchema(),
        body_example={"device_id": _DEVICE, "group_ids": [_GROUP]},
        answers={
            200: Answer(
                "The memberships of the device as they are now.",
                changed(_ROW, "MembershipsChanged", many=True),
                {"status": 200, "message": "device is in 1 group", "data": [_SHOWN]},
            )
        },
        errors=(404, 409, 412),
        description="`If-Match` is compared to the device's ETag.",
    )
    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Have a device be in these groups, and in no others."""
        said, rev = bodies.body(req), preconditions.expected(req)
        device, wanted = said["device_id"], sorted(set(said["group_ids"]))
        self._services.call(lambda store: memberships.replace(store, device, wanted, rev=rev))
        message = f"device is in {counted(len(wanted), 'group')}"
        done(resp, message, data=[row(device, group) for group in wanted])

    @describe(
        "Take devices out of groups",
        id="delete_memberships",
        tag="memberships",
        body=MembershipIdsSchema(),
        body_example={"ids": [_SHOWN["id"]]},
        answers={
            200: Answer(
                "`ids` are the memberships that went.",
                gone("MembershipsGone"),
                {"status": 200, "message": "1 membership deleted", "ids": [_SHOWN["id"]]},
            )
        },
        errors=(409,),
        description='Either `{"ids": […]}`, or `{"device_id", "group_id"}`.',
    )
    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Take devices out of groups."""
        said = bodies.body(req)
        if ("ids" in said) == ("device_id" in said) or ("device_id" in said) != ("group_id" in said):
            raise invalid('body: either {"ids": […]}, or {"device_id": …, "group_id": …}')
        ids = said["ids"] if "ids" in said else [memberships.name(said["device_id"], said["group_id"])]
        check_leaving(self._services, ids, confirmed=said.get("confirm", False))
        delete_all(self._services, resp, ids, _delete, "membership")


def _delete(store: Store, membership: str) -> str | None:
    ends = memberships.parts(membership)
    return None if ends and memberships.take(store, *ends) else "there is no such membership"


class OfGroup(_Inventory):
    """`/v1/groups/{group}/devices`."""

    @describe(
        "List the devices of a group",
        id="list_group_devices",
        tag="groups",
        answers={
            200: Answer(
                "Its members.",
                pages.answer(DeviceRowSchema(), "DevicesPage"),
                {"data": [DEVICE_SHOWN], "total": 1, "next": None},
            )
        },
        query=MembersQuerySchema(),
        errors=(404,),
        description="Members only: nodes that it has by its rule show it in `groups` of `GET /v1/nodes`.",
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        """List a group's members."""
        news.hold(self._services, req, {DEVICES: None, GROUPS: None, NODES: None})
        asked = bodies.query(req)
        self._services.call(lambda store: groups.find(store, group))
        send(
            self._services,
            resp,
            asked,
            lambda store: device_rows.source(store, asked, {"group": group}),
            default="id",
            noun=None,
        )


class OfDevice(_Inventory):
    """`/v1/devices/{device}/groups`."""

    @describe(
        "List the groups of a device",
        id="list_device_groups",
        tag="devices",
        answers={
            200: Answer(
                "The groups that it is a member of.",
                pages.answer(DeviceGroupRowSchema(), "GroupsPage"),
                {"data": [group_calls.SHOWN], "total": 1, "next": None},
            )
        },
        query=GroupsOfQuerySchema(),
        errors=(404,),
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response, device: str) -> None:
        """List a device's groups."""
        news.hold(self._services, req, {DEVICES: None, GROUPS: None})
        asked = bodies.query(req)
        found = self._services.call(lambda store: _groups_of(store, device))
        sorts = {"id": lambda each: each["id"], "name": lambda each: each["name"]}
        resp.data = orjson.dumps(pages.page(found, asked, sorts=sorts, default="id"))


def _groups_of(store: Store, device: str) -> list[Json]:
    named = sorted(devices.groups_of(devices.find(store, device).data))
    raws = store.values_of(GROUPS, named)
    return [group_calls.row(loads(raw, "group")) for raw in raws if raw is not None]
