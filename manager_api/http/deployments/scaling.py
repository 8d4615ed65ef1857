"""`POST /v1/deployments/{id}/scale`: more or fewer instances of a group; nothing is restarted for it."""

from collections.abc import Mapping

import falcon
import orjson

from manager_api.core.confirm import surplus
from manager_api.core.layout import parts
from manager_api.http.deployments.changes import change_living
from manager_api.http.deployments.composing import check_counts, version_of
from manager_api.http.deployments.deployment_answers import A_DEPLOYMENT, ScaledSchema
from manager_api.http.deployments.deployments import Edit
from manager_api.http.deployments.instance_schema import ScaleSchema
from manager_api.http.frame import bodies, confirm, preconditions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.services import Services
from store.codec import Json
from store.kv.store import Store
from store.model import spec


def scale(
    store: Store, deployment: str, counts: Mapping[str, int], *, confirmed: bool, rev: int | None = None
) -> dict[str, int]:
    """Have other numbers of instances; what is not named stays. The numbers of all groups that have one.

    Raises:
        ApiError: 400 for groups it lacks or too many; 404, 412; 409 when it is over, or more than a share of
            a group would be stopped and that was not confirmed.
    """
    whole: dict[str, int] = {}

    def scaled(data: Json, status: Json | None) -> Edit | None:
        _, body, compares = version_of(store, data["template"], data["version"])
        known = {**data.get("scale", {}), **counts}
        check_counts(body, counts, data.get("scale"))
        groups = [group for group in spec.groups(body) if not group.everywhere]
        whole.clear()
        whole.update({group.name: known.get(group.name, group.count) for group in groups})
        before = {group.name: data.get("scale", {}).get(group.name, group.count) for group in groups}
        if whole == before:
            return None
        alive = confirm.living(store, data, status)
        wanted = {group.name: whole[group.name] * len(parts(group)) for group in groups}
        named = {name: wanted[name] for name in counts}
        confirm.check("stops", surplus(alive, named), alive, confirmed=confirmed)
        return Edit({**data, "scale": known}, compares)

    change_living(store, deployment, scaled, rev=rev)
    return whole


@writes
class Scale:
    """`POST /v1/deployments/{id}/scale`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Scale a deployment",
        id="scale_deployment",
        tag="deployments",
        description="More or fewer instances of its groups; nothing is restarted for it.",
        body=ScaleSchema(),
        body_example={"groups": {"web": 5}},
        answers={
            200: Answer(
                "The sizes of all its groups.", ScaledSchema(), {"id": A_DEPLOYMENT, "groups": {"web": 5}}
            )
        },
        errors=(404, 409, 412),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response, deployment: str) -> None:
        """Scale groups of it."""
        body, rev = bodies.body(req), preconditions.expected(req)
        confirmed = bool(body.get("confirm"))
        whole = self._services.call(
            lambda store: scale(store, deployment, body["groups"], confirmed=confirmed, rev=rev)
        )
        resp.data = orjson.dumps({"id": deployment, "groups": whole})
