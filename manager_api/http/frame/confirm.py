"""Calls that would touch much of a task group at once need `"confirm": true`."""

from collections.abc import Mapping

from manager_api.core import confirm
from manager_api.http.frame.errors import ApiError
from store.codec import Json, loads
from store.keys import VERSIONS, version_field
from store.kv.store import Store
from store.model.spec import default_group_name

NEEDED = "This needs confirmation"


def living(store: Store, data: Json, status: Json | None) -> dict[str, int]:
    """How many allocations of each of a deployment's groups live."""
    homes: dict[str, str] = {}
    if status and "groups" not in status and any("group" not in each for each in status["allocations"]):
        homes = _homes(store, data)  # written by an earlier release
    return confirm.live(status, homes)


def _homes(store: Store, data: Json) -> dict[str, str]:
    version = store.get(VERSIONS, version_field(data["template"], data["version"]))
    groups = loads(version.value)["body"]["task_groups"] if version else []
    return {
        task["name"]: group.get("name", default_group_name(position))
        for position, group in enumerate(groups)
        for task in group["tasks"]
    }


def check(verb: str, touched: Mapping[str, int], alive: Mapping[str, int], *, confirmed: bool) -> None:
    """Let an action pass that touches little, or is confirmed.

    Raises:
        ApiError: 409 with `confirm`; nothing must have been changed yet.
    """
    problem = None if confirmed else confirm.problem(verb, touched, alive)
    if problem is not None:
        raise ApiError(409, NEEDED, f'{problem}; say "confirm": true if that is meant', confirm=True)
