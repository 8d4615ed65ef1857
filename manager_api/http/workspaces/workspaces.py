"""Workspaces over HTTP: the container manager's calls, and the same under `/v1/workspaces`."""

from collections.abc import Iterator
from typing import Any

import falcon
import orjson

from manager_api.http.frame import bodies, idempotency, pages
from manager_api.http.frame.durability import writes
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.services import Services
from manager_api.http.waiting import news
from manager_api.http.waiting.ear import Wanted
from manager_api.http.workspaces import workspace_records
from manager_api.http.workspaces import workspace_schema as schemas
from manager_api.http.workspaces.image_cleanup import remove_images
from store.codec import Json
from store.keys import NAMES
from store.kv.store import Store
from store.version import VERSION

INITIATED = "Container creation initiated"
_ABOUT: Json = {
    "name": "Muster",
    "version": VERSION,
    "message": "Muster's manager answers",
    "links": {"docs": "/docs", "openapi": "/openapi.json", "health": "/readyz", "metrics": "/metrics"},
}
_ROW: Json = {
    "id": "0b6c4a52-7a3e-4a0e-9f3e-5f3f6a1d2b11", "user_id": "jane", "name": "workspace-jane",
    "status": "RUNNING", "url": "http://192.168.1.100:24117/", "node": "web-1", "port": 24117,
    "created": 1700000000.0, "ends": 1700028800.0, "reason": "", "template": "matlab", "version": 1,
}  # fmt: skip
_BEGUN = {"message": INITIATED, **_ROW, "status": "PENDING", "made": True}
_BEGIN_TEXT = (
    "The same user again gets the same workspace, never a second one. `url` is null while it is not decided "
    "where it runs, which is rarely longer than the call itself; a listing has it then."
)


class _Resource:
    def __init__(self, services: Services) -> None:
        self._services = services

    def _begin(self, req: falcon.Request, resp: falcon.Response) -> None:
        user, call = bodies.body(req)["user_id"], self._services.call
        made = call(lambda store: workspace_records.begin(self._services, store, user))
        row = call(lambda store: self._row(store, made.id, user))
        resp.status = 202
        resp.data = orjson.dumps({"message": INITIATED, **row, "made": made.created})

    def _row(self, store: Store, deployment: str, user: str) -> Json:
        found = workspace_records.rows(store, self._services.access.workspaces, [deployment])
        if not found:
            raise workspace_records.unknown(user)
        return found[0]

    def _listed(self, asked: Any) -> list[Json]:
        everything = bool(asked.get("all"))
        settings = self._services.access.workspaces
        return self._services.call(
            lambda store: workspace_records.listed(store, settings, everything=everything)
        )


OF_WORKSPACES: Wanted = {NAMES: None, **news.OF_DEPLOYMENTS}


class About(_Resource):
    """`GET /`."""

    @describe(
        "What this is, and its version",
        id="get_about",
        tag="contract",
        answers={
            200: Answer("What answers here.", schemas.AboutSchema(), {**_ABOUT, "workspaces": "matlab"})
        },
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Say who answers."""
        settings = self._services.access.workspaces
        template = settings.template if settings is not None else None
        resp.data = orjson.dumps({**_ABOUT, "workspaces": template})


@writes
class Create(_Resource):
    """`POST /create`."""

    @describe(
        "Start a user's workspace",
        id="create_container",
        tag="contract",
        description=_BEGIN_TEXT,
        body=schemas.WorkspaceWishSchema(),
        body_example={"user_id": "jane"},
        answers={202: Answer("It is begun, or was there.", schemas.BegunSchema(), _BEGUN)},
        errors=(409,),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Begin it."""
        self._begin(req, resp)


class OldList(_Resource):
    """`GET /list`."""

    @describe(
        "The workspaces",
        id="list_containers",
        tag="contract",
        query=schemas.OldListSchema(),
        answers={
            200: Answer(
                "Those that live, and those that failed.",
                schemas.OldListAnswerSchema(),
                {"total": 1, "containers": [_ROW]},
            )
        },
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List them."""
        asked = bodies.query(req)
        news.hold(self._services, req, OF_WORKSPACES)
        found = sorted(self._listed(asked), key=lambda row: (row["created"], row["id"]))
        resp.data = orjson.dumps({"total": len(found), "containers": found})


@writes
class Workspaces(_Resource):
    """`GET` and `POST /v1/workspaces`."""

    @describe(
        "List workspaces",
        id="list_workspaces",
        tag="workspaces",
        query=schemas.WorkspacesQuerySchema(),
        answers={
            200: Answer(
                "Those that live, and those that failed; with `all`, of each user the last one.",
                schemas.WorkspacesSchema,
                {"data": [_ROW], "total": 1, "next": None},
            )
        },
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List them, newest first."""
        asked = bodies.query(req)
        news.hold(self._services, req, OF_WORKSPACES)
        sorts = {name: lambda row, name=name: row[name] for name in ("created", "user_id")}
        resp.data = orjson.dumps(pages.page(self._listed(asked), asked, sorts=sorts, default="-created"))

    @describe(
        "Start a user's workspace",
        id="create_workspace",
        tag="workspaces",
        description=_BEGIN_TEXT,
        body=schemas.WorkspaceWishSchema(),
        body_example={"user_id": "jane"},
        answers={202: Answer("It is begun, or was there.", schemas.BegunSchema(), _BEGUN)},
        errors=(409,),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Begin it."""
        self._begin(req, resp)


@writes
class One(_Resource):
    """`/v1/workspaces/{user}`."""

    @describe(
        "A user's workspace",
        id="get_workspace",
        tag="workspaces",
        query=schemas.WorkspaceQuerySchema(),
        answers={
            200: Answer("The workspace, or what became of the last one.", schemas.WorkspaceSchema(), _ROW)
        },
        errors=(404,),
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response, user: str) -> None:
        """Answer it."""
        bodies.query(req)
        news.hold(self._services, req, OF_WORKSPACES)

        def look(store: Store) -> Json:
            return self._row(store, workspace_records.find(store, user), user)

        resp.data = orjson.dumps(self._services.call(look))

    @describe(
        "Stop a user's workspace",
        id="delete_workspace",
        tag="workspaces",
        description="Its data stays. Again is the same.",
        answers={
            202: Answer(
                "It is to stop, or has.",
                schemas.RemovedSchema(),
                {"id": _ROW["id"], "user_id": "jane", "status": "STOPPING"},
            )
        },
        errors=(404,),
    )
    def on_delete(self, _req: falcon.Request, resp: falcon.Response, user: str) -> None:
        """Stop it."""
        resp.status = 202
        resp.data = orjson.dumps(self._services.call(lambda store: workspace_records.remove(store, user)))


@writes
class CleanUp(_Resource):
    """`POST /v1/workspaces/cleanup`."""

    @describe(
        "Forget ended workspaces; remove unused images",
        id="clean_up_workspaces",
        tag="workspaces",
        description=(
            "Ended workspaces leave the store within a minute. `images` deploys a task to every node that "
            "removes the images which no container uses and no template names. Users' data stays."
        ),
        body=schemas.CleanUpSchema(),
        body_optional=True,
        body_example={"images": True},
        answers={
            200: Answer(
                "What goes.",
                schemas.CleanedUpSchema(),
                {"removed": [_ROW["id"]], "images": "d2b1c7de-1b1f-4f8e-8a39-3f7f5b8f5a10"},
            )
        },
        errors=(409,),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Clean up."""
        call, job, wanted = self._services.call, None, idempotency.wanted_id(req)
        if bodies.body(req).get("images"):
            job = call(lambda store: remove_images(self._services, store, wanted))
        resp.data = orjson.dumps({"removed": call(workspace_records.clean_up), "images": job})


def routes(services: Services) -> Iterator[tuple[str, object]]:
    """Which path leads to which of these; the old container manager's first."""
    yield "/", About(services)
    yield "/create", Create(services)
    yield "/list", OldList(services)
    yield "/v1/workspaces", Workspaces(services)
    yield "/v1/workspaces/cleanup", CleanUp(services)
    yield "/v1/workspaces/{user}", One(services)
