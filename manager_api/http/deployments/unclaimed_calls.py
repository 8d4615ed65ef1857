"""`/v1/unclaimed`: what no deployment wants, listed, adopted, stopped."""

from collections.abc import Callable
from typing import Any

import falcon
import orjson

from manager_api.http.deployments import unclaimed
from manager_api.http.deployments.unclaimed_answers import A_CLAIM, AN_ALLOCATION, UNCLAIMED, ClaimedSchema
from manager_api.http.frame import bodies
from manager_api.http.frame.durability import writes
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.pages import PageSchema, page
from manager_api.http.frame.plain_schemas import EmptySchema
from manager_api.http.services import Services
from store.codec import Json
from store.kv.store import Store


class Listing:
    """`GET /v1/unclaimed`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "List unclaimed work",
        id="list_unclaimed",
        tag="deployments",
        description="What runs although the store has lost what wanted it: kept until somebody adopts or "
        "stops it.",
        query=PageSchema(),
        answers={
            200: Answer(
                "One row for each allocation.",
                UNCLAIMED,
                {"data": [AN_ALLOCATION], "total": 1, "next": None},
            )
        },
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List unclaimed work."""
        asked = bodies.query(req)
        rows = self._services.call(unclaimed.listing)
        resp.data = orjson.dumps(page(rows, asked, sorts=_SORTS, default="node", key=_key))


_SORTS: dict[str, Callable[[Json], Any]] = {
    "node": lambda row: row["node"],
    "deployment": lambda row: row["deployment"],
}


def _key(row: Json) -> str:
    return f"{row['node']}/{row['allocation']}"


_Act = Callable[[Store, str, float], list[Json]]


class _Claim:
    """What both claims do."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def _answer(self, req: falcon.Request, resp: falcon.Response, deployment: str, act: _Act) -> None:
        bodies.body(req)
        now = self._services.clock.wall()
        rows = self._services.call(lambda store: act(store, deployment, now))
        named = [f"{row['node']}/{row['allocation']}" for row in rows]
        resp.data = orjson.dumps({"id": deployment, "allocations": named})


_CLAIM: dict[str, Any] = {
    "tag": "deployments",
    "body": EmptySchema(),
    "body_optional": True,
    "answers": {200: Answer("What is claimed.", ClaimedSchema(), A_CLAIM)},
    "errors": (404, 409),
}


@writes
class Adopt(_Claim):
    """`POST /v1/unclaimed/{deployment}/adopt`."""

    @describe(
        "Adopt unclaimed work",
        id="adopt_unclaimed",
        description="Make it a deployment again, from what its nodes know.",
        **_CLAIM,
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Adopt what no deployment wants."""
        self._answer(req, resp, deployment, unclaimed.adopt)


@writes
class Stop(_Claim):
    """`POST /v1/unclaimed/{deployment}/stop`."""

    @describe("Stop unclaimed work", id="stop_unclaimed", **_CLAIM)
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Stop what no deployment wants."""
        self._answer(req, resp, deployment, unclaimed.stop)
