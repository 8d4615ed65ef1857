"""What is asked of a deployment that lives: stop it, restart it, limit a task of it otherwise."""

from collections.abc import Callable
from typing import Any

import falcon
import orjson

from manager_api.http.deployments import naming, views
from manager_api.http.deployments.deployment_answers import (
    A_DEPLOYMENT,
    DeploymentIdSchema,
    LimitedSchema,
    StoppedSchema,
)
from manager_api.http.deployments.deployments import Edit, state, update
from manager_api.http.deployments.instance_schema import ConfirmSchema, LimitSchema
from manager_api.http.frame import bodies, confirm, preconditions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import ApiError, invalid
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.services import Services
from store.codec import Json, loads, read_record
from store.keys import NODES, STATUS, VERSIONS, version_field
from store.kv.store import Store
from store.model import policies, spec
from store.model.lifecycle import DEPLOYMENT_ENDED

CANNOT = "This deployment cannot be changed"
How = Callable[[Json, Json | None], Edit | None]
"""From a deployment's record and status to what is to be written; None: nothing."""

_CONFIRM: dict[str, Any] = {
    "body": ConfirmSchema(),
    "body_optional": True,
    "body_example": {"confirm": True},
    "errors": (404, 409, 412),
}


def restart(store: Store, deployment: str, *, confirmed: bool = False, rev: int | None = None) -> None:
    """Have every task of a deployment started anew, whatever became of it: `failed` ends here.

    Raises:
        ApiError: 404, 412; 409 when it was stopped or refused, when much of it lives and that was not
            confirmed, or when its name is another one's by now.
    """

    def again(data: Json, status: Json | None) -> Edit:
        alive = confirm.living(store, data, status)
        confirm.check("restarts", alive, alive, confirmed=confirmed)
        new = {**data, "restart": int(data.get("restart", 0)) + 1}
        ended = views.state(data, status) in DEPLOYMENT_ENDED
        return Edit(new, *naming.retake(store, deployment, data)) if ended else Edit(new)

    change(store, deployment, again, rev=rev)


def limit(store: Store, deployment: str, task: str, limits: Json, *, rev: int | None = None) -> Json:
    """Give the living runs of a task other limits; what is left out stays, null is no limit. All of them.

    Raises:
        ApiError: 400 for a task that it lacks or limits below what it reserves; 404, 409, 412.
    """
    whole: Json = {}

    def changed(data: Json, _status: Json | None) -> Edit:
        whole.clear()
        whole.update(_check_limits(store, deployment, data, task, limits))
        known = {**data.get("limits", {}), task: dict(whole)}
        return Edit({**data, "limits": known, "adjusted": int(data.get("adjusted", 0)) + 1})

    change(store, deployment, changed, rev=rev)
    return whole


def stop(store: Store, deployment: str, *, confirmed: bool, rev: int | None = None) -> None:
    """Order a deployment to stop; again is the same.

    Raises:
        ApiError: 404; 409 when much of it lives and that was not confirmed.
    """

    def stopped(data: Json) -> Edit | None:
        if data["wanted"] == "stopped":
            return None
        status = status_of(store, deployment)
        alive = confirm.living(store, data, status)
        confirm.check("stops", alive, alive, confirmed=confirmed)
        return Edit({**data, "wanted": "stopped"})

    update(store, deployment, stopped, rev=rev)


def change(store: Store, deployment: str, how: How, *, rev: int | None = None) -> None:
    """Change what is wanted of a deployment that may still live; `how` is given its record and status.

    Raises:
        ApiError: 404; 409 when it was stopped or refused, or its time is over; and what `how` raises.
    """

    def checked(data: Json) -> Edit | None:
        if data["wanted"] == "stopped":
            raise ApiError(409, CANNOT, "it was stopped, and that is for ever: deploy its template again")
        status = status_of(store, deployment)
        if status is not None and status.get("refused"):
            raise ApiError(409, CANNOT, "it was refused: no node could take it")
        if status is not None and status.get("expired"):
            raise ApiError(409, CANNOT, "its ttl is over, and that is for ever: deploy its template again")
        return how(data, status)

    update(store, deployment, checked, rev=rev)


def change_release(store: Store, deployment: str, how: How, *, rev: int | None = None) -> None:
    """The same, for another release: what has ended lives again by it, under its name if that is free.

    Raises:
        ApiError: 404; 409.
    """

    def checked(data: Json, status: Json | None) -> Edit | None:
        edit = how(data, status)
        if edit is None or views.state(data, status) not in DEPLOYMENT_ENDED:
            return edit
        compares, changes = naming.retake(store, deployment, data)
        return Edit(edit.record, (*edit.compares, *compares), (*edit.changes, *changes))

    change(store, deployment, checked, rev=rev)


def change_living(store: Store, deployment: str, how: How, *, rev: int | None = None) -> None:
    """The same, for what has no meaning for a deployment that has ended.

    Raises:
        ApiError: 404; 409 also when it has ended.
    """

    def checked(data: Json, status: Json | None) -> Edit | None:
        found = views.state(data, status)
        if found in DEPLOYMENT_ENDED:
            raise ApiError(
                409, CANNOT, f"it has ended ({found}): restart it first, or deploy its template again"
            )
        return how(data, status)

    change(store, deployment, checked, rev=rev)


def status_of(store: Store, deployment: str) -> Json | None:
    """What the controller says of a deployment; None: it has not decided yet."""
    status = store.get(STATUS, deployment)
    return loads(status.value) if status else None


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

    @describe(
        "Restart a deployment",
        id="restart_deployment",
        tag="deployments",
        description="Every task of it, also those that have failed for good or completed.",
        answers={200: Answer("It is asked for.", DeploymentIdSchema(), {"id": A_DEPLOYMENT})},
        **_CONFIRM,
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Start it again."""
        confirmed = bool(bodies.body(req).get("confirm"))
        rev = preconditions.expected(req)
        self._services.call(lambda store: restart(store, deployment, confirmed=confirmed, rev=rev))
        resp.data = orjson.dumps({"id": deployment})


@writes
class Stop:
    """`POST /v1/deployments/{id}/stop`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Stop a deployment",
        id="stop_deployment",
        tag="deployments",
        description="For ever; again is the same. Its record stays readable for 24 hours.",
        answers={
            200: Answer("The order is stored.", StoppedSchema(), {"id": A_DEPLOYMENT, "status": "STOPPING"})
        },
        **_CONFIRM,
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """End it, for ever."""
        confirmed = bool(bodies.body(req).get("confirm"))
        rev = preconditions.expected(req)
        self._services.call(lambda store: stop(store, deployment, confirmed=confirmed, rev=rev))
        found = self._services.call(lambda store: state(store, deployment))
        resp.data = orjson.dumps({"id": deployment, "status": found})


@writes
class Limits:
    """`POST /v1/deployments/{id}/limits`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Limit a task otherwise",
        id="limit_deployment",
        tag="deployments",
        description="While it runs, on all its nodes. What is left out stays; null is no limit.",
        body=LimitSchema(),
        body_example={"task": "clean", "limits": {"memory": "1G", "cpus": None}},
        answers={
            200: Answer(
                "All limits of the task, the new ones among them.",
                LimitedSchema(),
                {"id": A_DEPLOYMENT, "task": "clean", "limits": {"memory": "1G", "pids": 200}},
            )
        },
        errors=(404, 409, 412),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Limit one task of it otherwise, while it runs."""
        body: dict[str, Any] = bodies.body(req)
        rev = preconditions.expected(req)
        whole = self._services.call(
            lambda store: limit(store, deployment, body["task"], body["limits"], rev=rev)
        )
        resp.data = orjson.dumps({"id": deployment, "task": body["task"], "limits": whole})
