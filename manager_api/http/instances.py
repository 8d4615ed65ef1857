"""`/v1/deployments`: new deployments with all that can be said of them, and what they would come to."""

import falcon
import orjson

from manager_api.core.diff import described, diff
from manager_api.core.versions import raised, release_of
from manager_api.http import bodies, listing, naming, questions, updating
from manager_api.http.composing import Draft, Wish, compose, version_of
from manager_api.http.deployments import create
from manager_api.http.durability import writes
from manager_api.http.errors import ApiError, invalid
from manager_api.http.instance_schema import CreateSchema
from manager_api.http.services import Services
from store.codec import Json
from store.kv.store import Store

DRY_RUN = "dry-run"
"""The id of a deployment that is only thought of."""

_CREATE = CreateSchema()


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


@writes
class Instances(listing.Listing):
    """`GET` and `POST /v1/deployments`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Begin a deployment, or (`?dry_run=1`) say what would come of it."""
        dry_run = _dry_run(req)
        wish = Wish(**bodies.read(req, _CREATE))
        if dry_run:
            resp.data = orjson.dumps(plan(self._services, wish))
            return
        found = self._services.call(lambda store: create(self._services, store, wish))
        named = {"name": wish.name} if wish.name else {}
        resp.status = 202
        resp.set_header("Location", f"/v1/deployments/{found.id}")
        resp.data = orjson.dumps({"id": found.id, "status": found.status, "created": found.created, **named})


def _dry_run(req: falcon.Request) -> bool:
    for name in req.params:
        if name != "dry_run":
            raise invalid(f"{name}: unknown; there is dry_run")
    word = req.params.get("dry_run", "0")
    if word not in ("0", "1", "true", "false"):
        raise invalid("dry_run: not 1 or 0")
    return word in ("1", "true")
