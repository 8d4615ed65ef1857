"""Deployments one by one over HTTP: contract 1's calls, and what is shown of one."""

from typing import Any

import falcon
import orjson

from manager_api.http.deployments import instance_view, views
from manager_api.http.deployments.composing import Wish
from manager_api.http.deployments.deployment_answers import (
    A_DEPLOYMENT,
    A_VIEW,
    DeploymentIdSchema,
    DeploymentSchema,
    NumberSchema,
)
from manager_api.http.deployments.deployments import create, halt, state, unknown
from manager_api.http.frame import bodies, idempotency, preconditions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.plain_schemas import IdSchema, NameSchema
from manager_api.http.services import Services
from manager_api.http.waiting import news
from store.codec import Json
from store.keys import DEPLOYMENTS, STATUS
from store.kv.projection import Projection
from store.kv.store import Store
from store.model.lifecycle import contract_number

_AN_ID = {"id": A_DEPLOYMENT}


@writes
class Deploy:
    """`POST /api/task/task_group/deploy`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Deploy a template",
        id="deploy_task_group",
        tag="contract",
        description="The newest version of it. `/v1/deployments` takes more.",
        body=NameSchema(),
        body_example={"name": "我的数据处理任务"},
        answers={200: Answer("It is asked for, and usually placed.", DeploymentIdSchema(), _AN_ID)},
        errors=(404, 409),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Deploy the newest version of a template."""
        wish, wanted = Wish(template=bodies.body(req)["name"]), idempotency.wanted_id(req)
        found = self._services.call(lambda store: create(self._services, store, wish, wanted))
        resp.data = orjson.dumps({"id": found.id})


class Query:
    """`POST /api/task/task_group/query`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "State of a deployment as a number",
        id="query_task_group",
        tag="contract",
        body=IdSchema(),
        body_example=_AN_ID,
        answers={200: Answer("Its state.", NumberSchema(), {**_AN_ID, "status": 0, "state": "RUNNING"})},
        errors=(404,),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the contract's number."""
        deployment = bodies.body(req)["id"]
        found = self._services.call(lambda store: state(store, deployment))
        resp.data = orjson.dumps({"id": deployment, "status": contract_number(found), "state": found})


@writes
class Stop:
    """`POST /api/task/task_group/stop`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Stop a deployment",
        id="stop_task_group",
        tag="contract",
        description="Again is the same. Its record stays readable for 24 hours.",
        body=IdSchema(),
        body_example=_AN_ID,
        answers={200: Answer("The order is stored.", DeploymentIdSchema(), _AN_ID)},
        errors=(404,),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Order a deployment to stop."""
        deployment = bodies.body(req)["id"]
        self._services.call(lambda store: halt(store, deployment))
        resp.data = orjson.dumps({"id": deployment})


_ONE: dict[str, Any] = {
    "answers": {200: Answer("The deployment.", DeploymentSchema(), A_VIEW)},
    "errors": (404,),
    "query": news.WaitSchema(),
}


class _One:
    """One deployment, with its tasks."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def _answer(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        news.hold(self._services, req, dict.fromkeys(news.OF_DEPLOYMENTS, deployment))

        def look(store: Store) -> tuple[int, Json]:
            record, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
            if record is None:
                raise unknown(deployment)
            pairs = {deployment: (record.value, status.value if status else None)}
            return record.rev, instance_view.rows(Projection(store), pairs, rows=views.ROWS_OF_ONE)[0]

        rev, found = self._services.call(look)
        preconditions.tag(resp, rev)
        resp.data = orjson.dumps(found)


class Shown(_One):
    """`GET /deployments/{id}`."""

    @describe("A deployment with its tasks", id="show_deployment", tag="contract", **_ONE)
    def on_get(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Answer a deployment with its tasks."""
        self._answer(req, resp, deployment)


class One(_One):
    """`GET /v1/deployments/{id}`."""

    @describe(
        "A deployment with its tasks",
        id="get_deployment",
        tag="deployments",
        description="Of a large deployment, the first 1,000 tasks.",
        **_ONE,
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Answer a deployment with its tasks."""
        self._answer(req, resp, deployment)
