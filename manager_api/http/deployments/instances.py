"""`/v1/deployments`: new deployments with all that can be said of them, and what they would come to."""

import falcon
import orjson

from manager_api.core.diff import described, diff
from manager_api.core.versions import raised, release_of
from manager_api.http.deployments import listing, naming, updating
from manager_api.http.deployments.composing import Draft, Wish, compose, version_of
from manager_api.http.deployments.deployment_answers import A_DEPLOYMENT, CreatedSchema, PlanSchema
from manager_api.http.deployments.deployments import create
from manager_api.http.deployments.instance_schema import CreateSchema
from manager_api.http.frame import bodies, idempotency, questions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import ApiError
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.query_schema import QuerySchema, Switch
from manager_api.http.services import Services
from store.codec import Json
from store.kv.store import Store

DRY_RUN = "dry-run"
"""The id of a deployment that is only thought of."""


class CreateQuerySchema(QuerySchema):
    """How a deployment is asked for."""

    dry_run = Switch("Only say what would come of it.")


def plan(services: Services, wish: Wish) -> Json:
    """What a deployment would come to; with the name of a living one, what its update would.

    Raises:
        ApiError: as for the real one; 503 when no leader answers.
    """

    def drafted(store: Store) -> tuple[str, Json, list[Json]]:
        draft = compose(store, wish, services.clock.wall())
        holder = naming.look(store, wish.name).holder if wish.name else None
        if holder is None:
            return DRY_RUN, draft.record, []
        naming.check_same(holder, draft.record, only=("template",))
        return holder.id, *_as_update(store, holder, draft)

    deployment, record, differences = services.call(drafted)
    if deployment != DRY_RUN and not differences:
        return {"id": deployment, "would": "nothing", "allocations": [], "nodes": [], "diff": []}
    answer = questions.ask(services, "plan", {"id": deployment, "record": record})
    return {"id": deployment, **answer, "diff": differences}


def _as_update(store: Store, holder: naming.Holder, draft: Draft) -> tuple[Json, list[Json]]:
    """The record of a living deployment after the update that a draft means, and what differs."""
    data = holder.record
    release, body, _ = updating.wished(
        store, data, draft.record["version"], draft.record.get("parameters", {})
    )
    new = raised(data, release) if release != release_of(data) else data
    try:
        old_body = version_of(store, data["template"], data["version"])[1]
    except ApiError:
        old_body = {}  # collected
    return new, diff(described(data, old_body), described(new, body))


_A_PLAN = {
    "id": DRY_RUN, "would": "place", "reason": "", "nodes": [], "left_out": 0, "ends": None, "diff": [],
    "counts": {"place": 1, "restart": 0, "limits": 0, "stay": 0, "stop": 0},
    "allocations": [{"id": None, "group": "main", "index": 0, "node": "web-1", "would": "place",
                     "reason": "the least used node"}],
}  # fmt: skip


@writes
class Instances(listing.Listing):
    """`GET` and `POST /v1/deployments`."""

    @describe(
        "Deploy a template",
        id="create_deployment",
        tag="deployments",
        description="Answers once it is decided, or after 2 seconds. A name that a living deployment of the "
        "same kind has already gives that one. `dry_run` changes nothing and says what would come of it.",
        query=CreateQuerySchema(),
        body=CreateSchema(),
        body_example={"template": "etl", "name": "etl-u7", "parameters": {"user_id": "u7"}, "ttl": "8h"},
        answers={
            200: Answer("`dry_run`: what would come of it.", PlanSchema(), _A_PLAN),
            202: Answer(
                "It is asked for.",
                CreatedSchema(),
                {"id": A_DEPLOYMENT, "status": "PENDING", "created": True, "name": "etl-u7"},
                headers={"Location": "Path of the deployment."},
            ),
        },
        errors=(404, 409),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Begin a deployment, or (`?dry_run=1`) say what would come of it."""
        dry_run = bodies.query(req).get("dry_run", False)
        wish = Wish(**bodies.body(req))
        if dry_run:
            resp.data = orjson.dumps(plan(self._services, wish))
            return
        wanted = idempotency.wanted_id(req)
        found = self._services.call(lambda store: create(self._services, store, wish, wanted))
        named = {"name": wish.name} if wish.name else {}
        resp.status = 202
        resp.set_header("Location", f"/v1/deployments/{found.id}")
        resp.data = orjson.dumps({"id": found.id, "status": found.status, "created": found.created, **named})
