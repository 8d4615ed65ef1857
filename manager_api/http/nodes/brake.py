"""The brake: when much of the fleet vanished at once, nothing is rescheduled until it is released."""

import falcon
import orjson

from manager_api.http.frame import bodies
from manager_api.http.frame.audit import forgo
from manager_api.http.frame.durability import writes
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.plain_schemas import EmptySchema
from manager_api.http.frame.query_schema import QuerySchema
from manager_api.http.frame.store_answers import A_BRAKE, BrakeSchema, ReleasedSchema
from manager_api.http.services import Services
from manager_api.http.waiting import news
from store.codec import Json, dumps, loads, read_record
from store.errors import BadRecord, Conflict
from store.faults import fault
from store.keys import CONTROLS, CONTROLS_STATUS
from store.kv.connection import translated
from store.kv.store import Store

BRAKE = "brake"
_OF_BRAKE = {CONTROLS: BRAKE, CONTROLS_STATUS: BRAKE}


def state(store: Store) -> Json:
    """Whether the brake is engaged, since when and for what; and what was said to that."""
    asked, said = store.get_many([(CONTROLS, BRAKE), (CONTROLS_STATUS, BRAKE)])
    return {
        "engaged": engaged(said.value if said else None),
        "release": int(loads(asked.value).get("release", 0)) if asked else 0,
        "released": int(loads(said.value).get("released", 0)) if said else 0,
    }


def engaged(raw: bytes | None) -> Json | None:
    """What the leader says of an engaged brake; None if it is not, or that cannot be read."""
    try:
        said = loads(raw).get("engaged") if raw is not None else None
    except BadRecord:
        return None
    return said if isinstance(said, dict) else None


def look(store: Store) -> Json | None:
    """The same, of a store that is in whatever epoch."""
    with translated():
        return engaged(store.client.hget(store.keys.collection(CONTROLS_STATUS), BRAKE))


def release(store: Store) -> bool:
    """Ask the leader to let go; whether there was anything to let go of."""
    while True:
        asked, said = store.get_many([(CONTROLS, BRAKE), (CONTROLS_STATUS, BRAKE)])
        if engaged(said.value if said else None) is None:
            return False
        record = read_record(asked.value, "controls/brake") if asked else {"v": 1}
        fault("api.brake.before")
        new = dumps({**record, "release": int(record.get("release", 0)) + 1})
        try:
            store.put(CONTROLS, BRAKE, new, rev=asked.rev if asked else 0)
        except Conflict:
            continue
        fault("api.brake.after")
        return True


class BrakeQuerySchema(QuerySchema, news.WaitSchema):
    """The brake, perhaps once it has changed."""


class Brake:
    """`GET /v1/brake`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Is rescheduling held?",
        id="get_brake",
        tag="store",
        description="When much of the fleet vanishes at once, nothing is moved until enough is back.",
        query=BrakeQuerySchema(),
        answers={200: Answer("Whether it is, and why.", BrakeSchema(), A_BRAKE)},
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer whether it is engaged."""
        bodies.query(req)
        news.hold(self._services, req, _OF_BRAKE)
        resp.data = orjson.dumps(self._services.call(state))


@writes
class Release:
    """`POST /v1/brake/release`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Release the brake",
        id="release_brake",
        tag="store",
        body=EmptySchema(),
        body_optional=True,
        body_example={},
        answers={200: Answer("The brake as it is now.", ReleasedSchema(), {**A_BRAKE, "asked": True})},
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Ask for its release; without a brake that is engaged, nothing is to be done."""
        bodies.body(req)
        asked = self._services.call(release)
        if not asked:
            forgo(req)
        resp.data = orjson.dumps({**self._services.call(state), "asked": asked})
