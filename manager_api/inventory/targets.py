"""Groups as targets: who is in them, which deployments are placed on them."""

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

from manager_api.core.membership import Group, Groups
from manager_api.inventory.groups import find
from store.codec import Json, loads
from store.errors import BadRecord
from store.keys import DEPLOYMENTS, GROUPS, STATUS, VERSIONS, version_field
from store.kv.store import Store
from store.model import parameters
from store.model.lifecycle import DEPLOYMENT_ENDED


def all_groups(store: Store) -> Groups:
    """All groups, read; what cannot be read is left out."""
    return Groups(group for raw in store.values(GROUPS).values() if (group := _group(raw)) is not None)


@lru_cache(maxsize=10_000)
def _group(raw: bytes) -> Group | None:
    """A group as it lies in the store: lists of nodes read them again and again."""
    try:
        return Group.of(loads(raw))
    except (BadRecord, KeyError, TypeError, ValueError):
        return None


def used_by(store: Store, group: str) -> list[str]:
    """The living deployments that are placed on a group (an id), sorted: without it they would have no place.

    Raises:
        Unknown: there is no such group.
    """
    return placed_on(store, {find(store, group).data["name"]})


def placed_on(store: Store, names: Collection[str]) -> list[str]:
    """The living deployments that are placed on groups of some names, sorted."""
    return sorted(each for each, its in _targets(store).items() if its & set(names))


def targeted(store: Store, names: Collection[str]) -> set[str]:
    """Those of some names of groups that living deployments are placed on."""
    wanted = set(names)
    return wanted & set().union(*_targets(store).values()) if wanted else wanted


def _targets(store: Store) -> dict[str, set[Any]]:
    """The groups that each deployment is placed on, by name; of those that ended, none."""
    records, said = store.values(DEPLOYMENTS), store.values(STATUS)
    living = {
        each: list(_releases(loads(raw, f"deployments/{each}"), _read(said.get(each))))
        for each, raw in records.items()
    }
    fields = sorted({field for releases in living.values() for field, _ in releases})
    bodies = dict(zip(fields, store.values_of(VERSIONS, fields), strict=True))
    return {
        each: set().union(*(_groups(bodies[field], given) for field, given in releases))
        for each, releases in living.items()
    }


def _releases(record: Json, status: Json) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Template versions that a deployment has allocations of, or is to have, with their parameters."""
    if status.get("status") in DEPLOYMENT_ENDED:
        return
    for each in (record, status.get("release"), status.get("stable")):
        if each:
            yield version_field(record["template"], each["version"]), each.get("parameters") or {}


def _groups(raw: bytes | None, given: Mapping[str, str]) -> set[Any]:
    """The groups that a template version places something on."""
    body = _read(raw).get("body") or {}
    if given:
        body = parameters.fill(body, dict(given))
    return {group.get("placement", {}).get("group") for group in body.get("task_groups", ())}


def _read(raw: bytes | None) -> Json:
    try:
        return loads(raw) if raw is not None else {}
    except BadRecord:
        return {}
