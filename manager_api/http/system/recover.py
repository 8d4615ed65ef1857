"""An empty store gets its cluster back; its nodes join again, and what they run is adopted or stopped."""

from typing import ClassVar

import falcon
import orjson
from marshmallow import fields, validate

from manager_api.http.frame import bodies
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import ApiError, invalid
from manager_api.http.frame.fields import StrictSchema
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.store_answers import RECOVERED, RecoveredSchema
from manager_api.http.services import Services
from store import bootstrap, highest
from store.codec import Json
from store.errors import StoreEmpty
from store.home import Files
from store.kv.api import Meta
from store.kv.store import Store
from store.process import write_whole

CANNOT = "There is nothing to recover"


class RecoverSchema(StrictSchema):
    """What `recover` is told."""

    about: ClassVar[dict[str, str]] = {
        "cluster": "The cluster's id, if this manager does not know it: an agent's join.json says it.",
        "dry_run": "Say what would be begun; change nothing.",
    }

    cluster = fields.String(
        validate=validate.Regexp(r"[0-9a-f]{32}\Z", error="not a cluster id: 32 hex digits")
    )
    dry_run = fields.Boolean()


def recover(store: Store, files: Files | None, cluster: str | None, *, dry_run: bool) -> Json:
    """Begin anew in an empty store, as the cluster that lived there; what was, or would be, begun.

    `kept` in the answer: only the store's cluster id, epoch or revision is gone; its records are there.

    Raises:
        ApiError: 400 when nobody knows which cluster that was; 409 when the store is not empty.
    """
    known = files.known_cluster() if files is not None else None
    wanted = cluster or known
    if not wanted:
        raise invalid("cluster: this manager does not know which one it was; an agent's join.json says it")
    above = highest.recorded(files) if files is not None else (0, 0)
    meta = _present(store)
    if meta is not None and (meta.cluster == wanted or not bootstrap.is_bare(store)):
        raise ApiError(409, CANNOT, f"the store holds cluster {meta.cluster} at revision {meta.rev}")
    if meta is None:
        above = bootstrap.above_both(above, bootstrap.remembered(store))
    plan = {"cluster": wanted, "known": known, "above_epoch": above[0], "above_rev": above[1]}
    plan["kept"] = meta is None and bootstrap.has_records(store)
    if dry_run:
        return {**plan, "epoch": None}
    if meta is None:
        new = bootstrap.recover(store, wanted, above)
    else:
        bootstrap.rename(store, wanted)
        new = bootstrap.mint(store, above, kind="recovered", reason=f"given the cluster id {wanted}")
    if files is not None:
        write_whole(files.cluster, wanted.encode())
        highest.record(files, new)
    return {**plan, "epoch": new.epoch}


def _present(store: Store) -> Meta | None:
    try:
        return store.meta()
    except StoreEmpty:
        return None


@writes
class Recover:
    """`POST /v1/recover`."""

    replayable = False  # there is no store yet that could keep an answer; again is refused

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Give an empty store its cluster back",
        id="recover_cluster",
        tag="store",
        description="Its nodes join again; what they run is adopted or stopped. `dry_run` changes nothing.",
        body=RecoverSchema(),
        body_optional=True,
        body_example={"dry_run": True},
        errors=(409,),
        answers={200: Answer("What was begun, or would be.", RecoveredSchema(), RECOVERED)},
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Give an empty store its cluster back, or say what that would mean."""
        body = bodies.body(req)
        services = self._services
        found = recover(
            services.store, services.access.files, body.get("cluster"), dry_run=bool(body.get("dry_run"))
        )
        resp.data = orjson.dumps(found)
