"""Releases of deployments over HTTP: update, rollback, promote, pause, resume."""

from collections.abc import Callable
from typing import Any

import falcon
import orjson

from manager_api.http.deployments import updating
from manager_api.http.deployments.changes import CANNOT, change_living
from manager_api.http.deployments.deployment_answers import (
    A_DEPLOYMENT,
    A_ROLLOUT,
    PausedSchema,
    PromotedSchema,
    ReleaseSchema,
)
from manager_api.http.deployments.deployments import Edit
from manager_api.http.deployments.instance_schema import NewReleaseSchema, RollbackSchema
from manager_api.http.frame import bodies, preconditions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import ApiError
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.plain_schemas import EmptySchema
from manager_api.http.services import Services
from store.codec import Json, loads
from store.keys import DEPLOYMENTS, STATUS
from store.kv.store import Store

_COMMON: dict[str, Any] = {"tag": "deployments", "body_optional": True, "errors": (404, 409, 412)}
_RELEASED = {
    "id": A_DEPLOYMENT, "version": 2, "change": 2, "changed": True, "parameters": {}, "rollout": A_ROLLOUT,
}  # fmt: skip
_PAUSED = {"id": A_DEPLOYMENT, "paused": True}


def promote(store: Store, deployment: str, *, rev: int | None = None) -> Json:
    """Have the canaries of the present update followed by the rest; again is the same.

    Raises:
        ApiError: 404, 412; 409 when no update waits for that.
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

    change_living(store, deployment, promoted, rev=rev)
    return said


def pause(store: Store, deployment: str, *, paused: bool, rev: int | None = None) -> Json:
    """Hold the updates of a deployment, or let them go on; again is the same.

    Raises:
        ApiError: 404, 412; 409 when it is over.
    """

    def held(data: Json, _status: Json | None) -> Edit | None:
        if bool(data.get("paused")) == paused:
            return None
        rest = {key: value for key, value in data.items() if key != "paused"}
        return Edit({**rest, "paused": True} if paused else rest)

    change_living(store, deployment, held, rev=rev)
    return {"paused": paused}


class _Call:
    """One of these calls: a body, a function, an answer with the rollout as it stands."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def _answer(self, resp: falcon.Response, deployment: str, act: Callable[[Store], Json]) -> None:
        def rollout_of(store: Store) -> Json:
            record, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
            change = int(loads(record.value).get("change", 0)) if record else 0
            rollout = loads(status.value).get("rollout") if status else None
            current = rollout and int(rollout.get("change", 0)) == change  # not the last change's
            return {"rollout": rollout} if current else {}

        said = self._services.call(act)
        resp.data = orjson.dumps({"id": deployment, **said, **self._services.call(rollout_of)})


@writes
class Update(_Call):
    """`POST /v1/deployments/{id}/update`."""

    @describe(
        "Update a deployment",
        id="update_deployment",
        description="To another version of its template (the newest, if none is named), or other parameters.",
        body=NewReleaseSchema(),
        body_example={"version": 2, "parameters": {"user_id": "u7"}},
        answers={200: Answer("What it is to run now.", ReleaseSchema(), _RELEASED)},
        **_COMMON,
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Bring it to another version, or other parameters."""
        body, rev = bodies.body(req), preconditions.expected(req)
        self._answer(resp, deployment, lambda store: updating.update(store, deployment, body, rev=rev))


@writes
class Rollback(_Call):
    """`POST /v1/deployments/{id}/rollback`."""

    @describe(
        "Roll a deployment back",
        id="rollback_deployment",
        description="To a version, or (without `version`) to the last release that came up wholly.",
        body=RollbackSchema(),
        body_example={"version": 1},
        answers={200: Answer("What it is to run now.", ReleaseSchema(), {**_RELEASED, "version": 1})},
        **_COMMON,
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Bring it back."""
        body, rev = bodies.body(req), preconditions.expected(req)
        self._answer(resp, deployment, lambda store: updating.rollback(store, deployment, body, rev=rev))


@writes
class Promote(_Call):
    """`POST /v1/deployments/{id}/promote`."""

    @describe(
        "Promote the canaries of a deployment",
        id="promote_deployment",
        description="Have the rest of it follow them.",
        body=EmptySchema(),
        answers={200: Answer("They are promoted.", PromotedSchema(), {"id": A_DEPLOYMENT, "promoted": 2})},
        **_COMMON,
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Let the rest follow the canaries."""
        bodies.body(req)
        rev = preconditions.expected(req)
        self._answer(resp, deployment, lambda store: promote(store, deployment, rev=rev))


@writes
class Pause(_Call):
    """`POST /v1/deployments/{id}/pause`."""

    @describe(
        "Hold the updates of a deployment",
        id="pause_deployment",
        body=EmptySchema(),
        answers={200: Answer("They are held.", PausedSchema(), _PAUSED)},
        **_COMMON,
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Hold its updates."""
        bodies.body(req)
        rev = preconditions.expected(req)
        self._answer(resp, deployment, lambda store: pause(store, deployment, paused=True, rev=rev))


@writes
class Resume(_Call):
    """`POST /v1/deployments/{id}/resume`."""

    @describe(
        "Let the updates of a deployment go on",
        id="resume_deployment",
        body=EmptySchema(),
        answers={200: Answer("They go on.", PausedSchema(), {**_PAUSED, "paused": False})},
        **_COMMON,
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Let its updates go on."""
        bodies.body(req)
        rev = preconditions.expected(req)
        self._answer(resp, deployment, lambda store: pause(store, deployment, paused=False, rev=rev))
