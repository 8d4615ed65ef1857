"""Releases of deployments over HTTP: update, rollback, promote, pause, resume."""

from collections.abc import Callable

import falcon
import orjson

from manager_api.http import bodies, updating
from manager_api.http.changes import CANNOT, change_living
from manager_api.http.deployments import Edit
from manager_api.http.durability import writes
from manager_api.http.errors import ApiError
from manager_api.http.instance_schema import RollbackSchema, UpdateSchema
from manager_api.http.schemas import EmptySchema
from manager_api.http.services import Services
from store.codec import Json, loads
from store.keys import DEPLOYMENTS, STATUS
from store.kv.store import Store

_UPDATE = UpdateSchema()
_ROLLBACK = RollbackSchema()
_NOTHING = EmptySchema()


def promote(store: Store, deployment: str) -> Json:
    """Have the canaries of the present update followed by the rest; again is the same.

    Raises:
        ApiError: 404; 409 when no update waits for that.
    """
    said: Json = {}

    def promoted(data: Json, status: Json | None) -> Edit | None:
        change = int(data.get("change", 0))
        said.update(promoted=change)
        if change and int(data.get("promote", 0)) == change:
            return None
        rollout = (status or {}).get("rollout") or {}
        if rollout.get("state") != "promotion" or int(rollout.get("change", 0)) != change:
            stands = f"it is {rollout['state']}" if rollout else "there is none"
            raise ApiError(409, CANNOT, f"no update of it waits to be promoted: {stands}")
        return Edit({**data, "promote": change})

    change_living(store, deployment, promoted)
    return said


def pause(store: Store, deployment: str, *, paused: bool) -> Json:
    """Hold the updates of a deployment, or let them go on; again is the same.

    Raises:
        ApiError: 404; 409 when it is over.
    """

    def held(data: Json, _status: Json | None) -> Edit | None:
        if bool(data.get("paused")) == paused:
            return None
        rest = {key: value for key, value in data.items() if key != "paused"}
        return Edit({**rest, "paused": True} if paused else rest)

    change_living(store, deployment, held)
    return {"paused": paused}


class _Call:
    """One of these calls: a body, a function, an answer with the rollout as it stands."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def _answer(self, resp: falcon.Response, deployment: str, act: Callable[[Store], Json]) -> None:
        def whole(store: Store) -> Json:
            said = act(store)
            record, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
            change = int(loads(record.value).get("change", 0)) if record else 0
            rollout = loads(status.value).get("rollout") if status else None
            current = rollout and int(rollout.get("change", 0)) == change  # not the last change's
            return {"id": deployment, **said, **({"rollout": rollout} if current else {})}

        resp.data = orjson.dumps(self._services.call(whole))


@writes
class Update(_Call):
    """`POST /v1/deployments/{id}/update`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Bring it to another version, or other parameters."""
        body = bodies.read(req, _UPDATE, optional=True)
        self._answer(resp, deployment, lambda store: updating.update(store, deployment, body))


@writes
class Rollback(_Call):
    """`POST /v1/deployments/{id}/rollback`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Bring it back."""
        body = bodies.read(req, _ROLLBACK, optional=True)
        self._answer(resp, deployment, lambda store: updating.rollback(store, deployment, body))


@writes
class Promote(_Call):
    """`POST /v1/deployments/{id}/promote`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Let the rest follow the canaries."""
        bodies.read(req, _NOTHING, optional=True)
        self._answer(resp, deployment, lambda store: promote(store, deployment))


@writes
class Pause(_Call):
    """`POST /v1/deployments/{id}/pause` and `/resume`."""

    def __init__(self, services: Services, *, paused: bool) -> None:
        super().__init__(services)
        self._paused = paused

    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Hold its updates, or let them go on."""
        bodies.read(req, _NOTHING, optional=True)
        self._answer(resp, deployment, lambda store: pause(store, deployment, paused=self._paused))
