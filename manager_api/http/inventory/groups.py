"""Groups of devices: contract 5's four calls, and the same as resources with paths of their own."""

from typing import Any

import falcon
import orjson

from manager_api.http.frame import bodies, pages, preconditions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import CONTRACT_5, ApiError
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.inventory.devices import delete_all, same_id
from manager_api.http.inventory.inventory_answers import TAKEN, counted, done, wanted_id
from manager_api.http.inventory.inventory_schema import (
    DeviceGroupChangeSchema,
    DeviceGroupMadeSchema,
    DeviceGroupPatchSchema,
    DeviceGroupRowSchema,
    GroupQuerySchema,
    IdsSchema,
    changed,
    gone,
    listed,
    made,
)
from manager_api.http.inventory.regrouping import check_group
from manager_api.http.services import Services
from manager_api.http.waiting import news
from manager_api.inventory import groups, leftovers
from manager_api.inventory.devices import Kept
from manager_api.inventory.errors import Taken, Unknown
from manager_api.inventory.targets import used_by
from store.codec import Json, loads
from store.errors import Conflict, EpochChanged, HistoryLost
from store.keys import GROUPS
from store.kv.store import Store

GROUP: Json = {"name": "edge", "description": "Machines at the edge"}
SHOWN: Json = {"id": "1000000007", **GROUP}
_ROW = DeviceGroupRowSchema()
_ID = SHOWN["id"]
_CHANGE = {"description": None, "rule": {"labels": {"zone": ["a", "b"]}}}
MOST_NAMED = 5


def row(record: Json) -> Json:
    """A group as it is answered."""
    return {key: value for key, value in record.items() if key != "v"}


def rows(store: Store) -> list[Json]:
    """All groups as they are answered."""
    return [row(loads(raw, "group")) for raw in store.values(GROUPS).values()]


def create(store: Store, said: Json, wanted: str | None) -> Kept:
    """Make a group. `wanted`: the id that an earlier try of the same call would have given it.

    Raises:
        Taken: its name is another group's.
    """
    if wanted is not None:
        try:
            return groups.create(store, said, wanted=wanted)
        except (Conflict, Taken):
            if groups.named(store, said["name"]) == wanted:
                return groups.find(store, wanted)
    return groups.create(store, said)


def edited(record: Json, said: Json) -> Json:
    """A group as a client says it is now; null takes something away."""
    new = {**record, **{key: value for key, value in said.items() if key != "id"}}
    return {key: value for key, value in new.items() if value is not None}


def delete(store: Store, group: str, rev: int | None = None) -> str | None:
    """Remove a group; None: it went, else why not. Its devices are only in fewer groups.

    Raises:
        Stale: it has moved on from `rev`.
    """
    try:
        users = used_by(store, group)
    except Unknown as error:
        return str(error)
    if users:
        named = ", ".join(users[:MOST_NAMED]) + (" …" if len(users) > MOST_NAMED else "")
        return f"{counted(len(users), 'living deployment')} placed on it: {named}"
    if not groups.remove(store, group, rev=rev):
        return f"there is no group with id {group!r}"
    try:
        leftovers.collect(store, group)
    except HistoryLost:
        raise
    except EpochChanged:
        pass  # the leader takes out the rest; a call that is begun anew would find no group
    return None


class _Inventory:
    envelope = CONTRACT_5

    def __init__(self, services: Services) -> None:
        self._services = services


@writes
class Groups(_Inventory):
    """`/v1/groups`."""

    @describe(
        "Find groups, or list all",
        id="list_groups",
        tag="groups",
        answers={
            200: Answer(
                "The groups that match all that is said.",
                listed(_ROW, "GroupsFound"),
                {"status": 200, "message": "1 group", "data": [SHOWN], "total": 1, "next": None},
            )
        },
        query=GroupQuerySchema(),
        query_in_body=True,
        description="The query may also be a JSON body of the GET. Without `limit` all are answered.",
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Find groups."""
        news.hold(self._services, req, {GROUPS: None})
        asked = bodies.query(req)
        found = self._services.call(rows)
        tests = {key: asked[key] for key in ("id", "name") if key in asked}
        some = [each for each in found if all(each[key] == value for key, value in tests.items())]
        answer = pages.page(some, asked, sorts={"id": _id, "name": _name}, default="id")
        resp.data = orjson.dumps({"status": 200, "message": counted(answer["total"], "group"), **answer})

    @describe(
        "Add a group",
        id="create_group",
        tag="groups",
        body=DeviceGroupMadeSchema(),
        body_example=GROUP,
        answers={
            200: Answer(
                "It is stored; `data` is its id.",
                made("GroupMade"),
                {"status": 200, "message": "group added", "data": _ID},
            )
        },
        errors=(409,),
        description="Its devices are its members (`/v1/memberships`); with a `rule`, its nodes, too.",
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Add a group, with an id of ten digits that is made here."""
        said, wanted = bodies.body(req), wanted_id(req)
        confirmed = said.pop("confirm", False)
        check_group(self._services, None, {"v": 1, "id": "", **said}, confirmed=confirmed)
        kept = self._services.call(lambda store: create(store, said, wanted))
        done(resp, "group added", data=kept.data["id"])

    @describe(
        "Change a group",
        id="update_group",
        tag="groups",
        body=DeviceGroupChangeSchema(),
        body_example={"id": _ID, **_CHANGE},
        answers={
            200: Answer(
                "The group as it is now.",
                changed(_ROW, "GroupChanged"),
                {"status": 200, "message": "group changed", "data": SHOWN},
            )
        },
        errors=(404, 409, 412),
    )
    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Change some of a group."""
        said, rev = bodies.body(req), preconditions.expected(req)
        kept = _change(self._services, said["id"], said, rev)
        preconditions.tag(resp, kept.rev)
        done(resp, "group changed", data=row(kept.data))

    @describe(
        "Delete groups",
        id="delete_groups",
        tag="groups",
        body=IdsSchema(),
        body_example={"ids": [_ID]},
        answers={
            200: Answer(
                "`ids` are those that went; a group that a living deployment is placed on stays.",
                gone("GroupsGone"),
                {"status": 200, "message": "1 group deleted", "ids": [_ID]},
            )
        },
    )
    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Delete groups; their devices stay."""
        delete_all(self._services, resp, bodies.body(req)["ids"], delete, "group")


@writes
class One(_Inventory):
    """`/v1/groups/{group}`."""

    @describe(
        "Show a group",
        id="get_group",
        tag="groups",
        answers={200: Answer("The group.", _ROW, SHOWN)},
        errors=(404,),
        query=news.WaitSchema(),
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        """Answer one group."""
        news.hold(self._services, req, {GROUPS: group})
        bodies.query(req)
        _answer(resp, self._services.call(lambda store: groups.find(store, group)))

    @describe(
        "Change a group",
        id="change_group",
        tag="groups",
        body=DeviceGroupPatchSchema(),
        body_example=_CHANGE,
        answers={200: Answer("The group as it is now.", _ROW, SHOWN)},
        errors=(404, 409, 412),
    )
    def on_put(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        """Change some of a group."""
        said, rev = bodies.body(req), preconditions.expected(req)
        same_id(said, group)
        _answer(resp, _change(self._services, group, said, rev))

    @describe(
        "Delete a group",
        id="delete_group",
        tag="groups",
        answers={
            200: Answer("It is gone.", gone("GroupGone"), {"status": 200, "message": "deleted", "ids": [_ID]})
        },
        errors=(404, 409, 412),
    )
    def on_delete(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        """Delete one group; its devices stay."""
        rev = preconditions.expected(req)
        self._services.call(lambda store: groups.find(store, group))
        if why := self._services.call(lambda store: delete(store, group, rev)):
            raise ApiError(409, TAKEN, why)
        done(resp, "deleted", ids=[group])


def _change(services: Services, group: str, said: Json, rev: int | None) -> Kept:
    confirmed = said.pop("confirm", False)
    known = services.call(lambda store: groups.find(store, group)).data
    check_group(services, known, edited(known, said), confirmed=confirmed)
    return services.call(
        lambda store: groups.change(store, group, lambda record: edited(record, said), rev=rev)
    )


def _answer(resp: falcon.Response, kept: Kept) -> None:
    preconditions.tag(resp, kept.rev)
    resp.data = orjson.dumps(row(kept.data))


def _id(record: Json) -> Any:
    return record["id"]


def _name(record: Json) -> Any:
    return record["name"]
