"""What is asked of a deployment that lives: restart it, limit a task of it otherwise."""

from collections.abc import Callable
from typing import Any

import falcon
import orjson

from manager_api.http import bodies
from manager_api.http.deployments import update
from manager_api.http.durability import writes
from manager_api.http.errors import ApiError, invalid
from manager_api.http.schemas import EmptySchema, LimitSchema
from manager_api.http.services import Services
from store.codec import Json, loads, read_record
from store.keys import NODES, STATUS, VERSIONS, version_field
from store.kv.store import Store
from store.model import policies, spec

CANNOT = "This deployment cannot be changed"

_NOTHING = EmptySchema()
_LIMIT = LimitSchema()


def restart(store: Store, deployment: str) -> None:
    """Have every task of a deployment started anew, whatever became of it: `failed` ends here.

    Raises:
        ApiError: 404; 409 when it was stopped or refused.
    """
    _change(store, deployment, lambda data: {**data, "restart": int(data.get("restart", 0)) + 1})


def limit(store: Store, deployment: str, task: str, limits: Json) -> Json:
    """Give the living runs of a task other limits; what is left out stays, null is no limit. All of them.

    Raises:
        ApiError: 400 for a task that it lacks or limits below what it reserves; 404; 409.
    """
    whole: Json = {}

    def changed(data: Json) -> Json:
        whole.clear()
        whole.update(_check_limits(store, deployment, data, task, limits))
        known = {**data.get("limits", {}), task: dict(whole)}
        return {**data, "limits": known, "adjusted": int(data.get("adjusted", 0)) + 1}

    _change(store, deployment, changed)
    return whole


def _change(store: Store, deployment: str, change: Callable[[Json], Json]) -> None:
    def checked(data: Json) -> Json:
        if data["wanted"] == "stopped":
            raise ApiError(409, CANNOT, "it was stopped, and that is for ever: deploy its template again")
        status = store.get(STATUS, deployment)
        if status is not None and loads(status.value).get("refused"):
            raise ApiError(409, CANNOT, "it was refused: no node could take it")
        return change(data)

    update(store, deployment, checked)


def _check_limits(store: Store, deployment: str, data: Json, name: str, limits: Json) -> Json:
    """All limits of a task, the new ones among them."""
    version, status = store.get_many(
        [(VERSIONS, version_field(data["template"], data["version"])), (STATUS, deployment)]
    )
    body = (
        read_record(version.value, f"template {data['template']}")["body"] if version else {"task_groups": []}
    )
    tasks = {task.name: task for group in spec.groups(body) for task in group.tasks}
    if name not in tasks:
        raise invalid(f"task: there is no task {name!r}; there are {', '.join(sorted(tasks))}")
    raw = next(task for group in body["task_groups"] for task in group["tasks"] if task["name"] == name)
    known = data.get("limits", {}).get(name, raw.get("resources", {}).get("limits", {}))
    merged = {key: value for key, value in {**known, **limits}.items() if value is not None}
    new = policies.limits(merged)
    if new.memory is not None and tasks[name].reserved_memory > new.memory:
        raise invalid(f"limits.memory: {name} reserves more than that")
    if new.cpus is not None and tasks[name].reserved_cpus > new.cpus:
        raise invalid(f"limits.cpus: {name} reserves more than that")
    briefs = loads(status.value).get("allocations", ()) if status else ()
    _check_nodes(store, sorted({brief["node"] for brief in briefs if name in brief["tasks"]}))
    return merged


def _check_nodes(store: Store, nodes: list[str]) -> None:
    """An agent is never sent what it did not claim."""
    for node, record in zip(nodes, store.get_many([(NODES, node) for node in nodes]), strict=True):
        if record is not None and "limits" not in loads(record.value)["features"]:
            raise ApiError(409, CANNOT, f"the agent of node {node} does not offer limits")


@writes
class Restart:
    """`POST /v1/deployments/{id}/restart`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Start it again."""
        bodies.read(req, _NOTHING, optional=True)
        self._services.call(lambda store: restart(store, deployment))
        _answer(resp, deployment)


@writes
class Limits:
    """`POST /v1/deployments/{id}/limits`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Limit one task of it otherwise, while it runs."""
        body: dict[str, Any] = bodies.read(req, _LIMIT)
        whole = self._services.call(lambda store: limit(store, deployment, body["task"], body["limits"]))
        resp.data = orjson.dumps({"id": deployment, "task": body["task"], "limits": whole})


def _answer(resp: falcon.Response, deployment: str) -> None:
    resp.data = orjson.dumps({"id": deployment})
