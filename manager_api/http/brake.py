"""The brake: when much of the fleet vanished at once, nothing is rescheduled until it is released."""

import falcon
import orjson

from manager_api.http import bodies
from manager_api.http.audit import forgo
from manager_api.http.durability import writes
from manager_api.http.schemas import EmptySchema
from manager_api.http.services import Services
from store.codec import Json, dumps, loads, read_record
from store.errors import BadRecord, Conflict
from store.faults import fault
from store.keys import CONTROLS, CONTROLS_STATUS
from store.kv.connection import translated
from store.kv.store import Store

BRAKE = "brake"
_NOTHING = EmptySchema()


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


class Brake:
    """`GET /v1/brake`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer whether it is engaged."""
        resp.data = orjson.dumps(self._services.call(state))


@writes
class Release:
    """`POST /v1/brake/release`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Ask for its release; without a brake that is engaged, nothing is to be done."""
        bodies.read(req, _NOTHING, optional=True)
        asked = self._services.call(release)
        if not asked:
            forgo(req)
        resp.data = orjson.dumps({**self._services.call(state), "asked": asked})
