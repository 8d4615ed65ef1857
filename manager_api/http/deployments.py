"""Deployments: asked for, decided by the controller, read, stopped."""

import uuid
from collections.abc import Callable

import falcon
import orjson

from manager_api.http import bodies, templates, views
from manager_api.http.durability import writes
from manager_api.http.errors import NO_DEPLOYMENT, ApiError
from manager_api.http.schemas import IdSchema, NameSchema
from manager_api.http.services import Services
from store.codec import Json, dumps, loads, read_record
from store.errors import Conflict, Unavailable
from store.faults import fault
from store.keys import DEPLOYMENTS, STATUS
from store.kv.api import Change, Compare
from store.kv.projection import Projection
from store.kv.store import Store
from store.model.lifecycle import Deployment, contract_number

DECIDED_WITHIN = 2.0
"""Seconds that a deploy call waits for the controller."""
NO_NODE = "No node can take this deployment"

_NAME = NameSchema()
_ID = IdSchema()


def create(services: Services, store: Store, name: str) -> str:
    """Ask for a deployment of a template and wait for the decision; its id.

    Raises:
        ApiError: 404 without such a template, 409 with a reason for every node.
    """
    template = templates.find(store, name)
    deployment = str(uuid.uuid4())
    record = {
        "v": 1,
        "template": name,
        "version": template["version"],
        "wanted": "running",
        "created": services.clock.wall(),
    }
    with services.decisions.expecting(deployment) as waiter:
        fault("api.deploy.before")
        rev = store.put(DEPLOYMENTS, deployment, dumps(record), rev=0)
        fault("api.deploy.after")
        status = waiter.until(lambda: _decided(store, deployment), DECIDED_WITHIN)
    if status is not None and status.get("refused"):
        _withdraw(store, deployment, rev)
        raise ApiError(409, NO_NODE, status.get("reason"), nodes=status.get("nodes", []))
    return deployment


def _decided(store: Store, deployment: str) -> Json | None:
    try:
        record = store.get(STATUS, deployment)
    except Unavailable:
        return None  # what was stored stays stored: the id is answered, and the decision shows later
    return loads(record.value) if record else None


def _withdraw(store: Store, deployment: str, rev: int) -> None:
    """Keep nothing of what was refused; its id was never answered. The leader drops the status."""
    fault("api.withdraw.before")
    try:
        store.txn([Compare(DEPLOYMENTS, deployment, rev)], [Change(DEPLOYMENTS, deployment, None)])
    except (Conflict, Unavailable):
        return  # somebody was quicker to stop it, or it stays, as FAILED: refused all the same
    fault("api.withdraw.after")


def halt(store: Store, deployment: str) -> None:
    """Store the order to stop; again is the same.

    Raises:
        ApiError: 404.
    """

    def stopped(wanted: Json) -> Json | None:
        return None if wanted["wanted"] == "stopped" else {**wanted, "wanted": "stopped"}

    update(store, deployment, stopped)


def update(store: Store, deployment: str, change: Callable[[Json], Json | None]) -> None:
    """Change a deployment's record, by compare and swap; None changes nothing.

    Raises:
        ApiError: 404, and what `change` raises.
    """
    while True:
        record = store.get(DEPLOYMENTS, deployment)
        if record is None:
            raise _unknown(deployment)
        new = change(read_record(record.value, f"deployment {deployment}"))
        if new is None:
            return
        fault("api.change.before")
        try:
            store.put(DEPLOYMENTS, deployment, dumps(new), rev=record.rev)
        except Conflict:
            continue
        fault("api.change.after")
        return


def state(store: Store, deployment: str) -> Deployment:
    """The state of a deployment.

    Raises:
        ApiError: 404.
    """
    record, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
    if record is None:
        raise _unknown(deployment)
    return views.state(loads(record.value), loads(status.value) if status else None)


def _unknown(deployment: str) -> ApiError:
    return ApiError(404, NO_DEPLOYMENT, f"there is no deployment with id {deployment!r}")


@writes
class Deploy:
    """`POST /api/task/task_group/deploy`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Deploy the newest version of a template."""
        name = bodies.read(req, _NAME)["name"]
        deployment = self._services.call(lambda store: create(self._services, store, name))
        resp.data = orjson.dumps({"id": deployment})


class Query:
    """`POST /api/task/task_group/query`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the contract's number."""
        deployment = bodies.read(req, _ID)["id"]
        found = self._services.call(lambda store: state(store, deployment))
        resp.data = orjson.dumps({"id": deployment, "status": contract_number(found), "state": found})


@writes
class Stop:
    """`POST /api/task/task_group/stop`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Order a deployment to stop."""
        deployment = bodies.read(req, _ID)["id"]
        self._services.call(lambda store: halt(store, deployment))
        resp.data = orjson.dumps({"id": deployment})


class One:
    """`GET /deployments/{id}`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, _req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Answer a deployment with its tasks."""

        def look(store: Store) -> Json:
            record, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
            if record is None:
                raise _unknown(deployment)
            pairs = {deployment: (record.value, status.value if status else None)}
            return views.deployments(Projection(store), pairs, rows=views.ROWS_OF_ONE)[0]

        resp.data = orjson.dumps(self._services.call(look))


class Listing:
    """`GET /v1/deployments`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """List the deployments with their tasks, newest first."""

        def look(store: Store) -> list[Json]:
            found = store.snapshot([DEPLOYMENTS, STATUS]).collections
            status = found[STATUS]
            pairs = {
                field: (record.value, status[field].value if field in status else None)
                for field, record in found[DEPLOYMENTS].items()
            }
            return views.deployments(Projection(store), pairs)

        rows = sorted(self._services.call(look), key=lambda row: (-row["created"], row["id"]))
        resp.data = orjson.dumps({"data": rows, "total": len(rows), "next": None})
