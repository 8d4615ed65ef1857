"""`GET /v1/deployments/{id}/explain`: why everything of it is where it is, or is not; the leader says so."""

import falcon
import orjson

from manager_api.http.errors import NO_DEPLOYMENT, ApiError
from manager_api.http.questions import ask
from manager_api.http.services import Services
from store.keys import DEPLOYMENTS


class Explain:
    """`GET /v1/deployments/{id}/explain`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, _req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Answer what the leader knows of a deployment."""
        if self._services.call(lambda store: store.get(DEPLOYMENTS, deployment)) is None:
            raise ApiError(404, NO_DEPLOYMENT, f"there is no deployment with id {deployment!r}")
        resp.data = orjson.dumps(ask(self._services, "explain", {"deployment": deployment}))
