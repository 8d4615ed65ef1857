"""`GET /v1/deployments/{id}/explain`: why everything of it is where it is, or is not; the leader says so."""

import falcon
import orjson

from manager_api.http.frame.errors import NO_DEPLOYMENT, ApiError
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.questions import ask
from manager_api.http.frame.store_answers import ExplainedSchema
from manager_api.http.services import Services
from store.codec import Json
from store.keys import DEPLOYMENTS

A_REPLY: Json = {
    "id": "0b7d9c54-6f7e-4c0f-8e0b-6c9a3c0e5d11", "template": "etl", "wanted": "running", "status": "RUNNING",
    "reason": "", "release": {"change": 0, "version": 1, "parameters": {}}, "rollout": None, "waits": [],
    "groups": [], "stopping": [],
}  # fmt: skip


class Explain:
    """`GET /v1/deployments/{id}/explain`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Why is everything of a deployment where it is, or is not?",
        id="explain_deployment",
        tag="deployments",
        errors=(404,),
        answers={200: Answer("What the leader knows.", ExplainedSchema(), A_REPLY)},
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Answer what the leader knows of a deployment."""
        if self._services.call(lambda store: store.get(DEPLOYMENTS, deployment)) is None:
            raise ApiError(404, NO_DEPLOYMENT, f"there is no deployment with id {deployment!r}")
        resp.data = orjson.dumps(ask(self._services, "explain", {"deployment": deployment}))
