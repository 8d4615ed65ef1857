"""Which release a deployment is to be brought to: updated, or back."""

from collections.abc import Mapping
from typing import Any

from manager_api.core import versions
from manager_api.http.deployments.changes import CANNOT, change_release
from manager_api.http.deployments.composing import check_parameters, version_of
from manager_api.http.deployments.deployments import Edit
from manager_api.http.frame import confirm
from manager_api.http.frame.errors import ApiError
from manager_api.http.templates import templates
from store.codec import Json
from store.kv.api import Compare
from store.kv.store import Store
from store.model import parameters, placing, spec


def wished(
    store: Store, data: Json, version: int | None, asked: Mapping[str, str | bool | None]
) -> tuple[versions.Release, Json, tuple[Compare, ...]]:
    """The release that an update of a record means, and its template's body.

    Raises:
        ApiError: 404 without that version, 400 for parameters it does not take.
    """
    number, body, compares = version_of(store, data["template"], version)
    old = data["version"] if data["version"] != number else None
    declared = _declared(store, data["template"], old, body)
    given = versions.carried(declared, data, asked, body.get("parameters") or {})
    return (number, check_parameters(body, given)), body, compares


def _declared(store: Store, template: str, number: int | None, body: Json) -> Json:
    """What a version says of its parameters; None: it is the one whose body is given."""
    found = _body(store, template, number) if number is not None else body
    return dict((found or {}).get("parameters") or {})


def _body(store: Store, template: str, number: int) -> Json | None:
    try:
        return version_of(store, template, number)[1]
    except ApiError:
        return None  # collected: nothing is known of it any more


def update(store: Store, deployment: str, asked: Json, *, rev: int | None = None) -> Json:
    """Bring a deployment to another version or other parameters; what it is to run then.

    Raises:
        ApiError: 400, 404, 412; 409 when it was stopped, or too much would be replaced at once unconfirmed.
    """
    said: Json = {}

    def updated(data: Json, status: Json | None) -> Edit | None:
        release, body, compares = wished(store, data, asked.get("version"), asked.get("parameters") or {})
        same = release == versions.release_of(data) and not versions.failed(data, status)
        said.update(_said(data, release, changed=not same))
        if same:
            return None
        _check_share(store, data, status, (release, body), confirmed=bool(asked.get("confirm")))
        new = versions.raised(data, release)
        said["change"] = new["change"]
        return Edit(new, compares)

    change_release(store, deployment, updated, rev=rev)
    return said


def rollback(store: Store, deployment: str, asked: Json, *, rev: int | None = None) -> Json:
    """Bring a deployment back: to a version, or to the last that came up wholly, or to the one before.

    Raises:
        ApiError: 404, 412; 409 when it was stopped, the version is not kept, or as `update`.
    """
    said: Json = {}

    def returned(data: Json, status: Json | None) -> Edit | None:
        number = asked.get("version")
        if number is None and versions.rolled_back(data):
            said.update(_said(data, versions.release_of(data), changed=False))
            return None
        release, body, compares = _earlier(store, data, status, number)
        same = release == versions.release_of(data) and not versions.failed(data, status)
        said.update(_said(data, release, changed=not same))
        if same:
            return None
        _check_share(store, data, status, (release, body), confirmed=bool(asked.get("confirm")))
        new = versions.returned(data, release)
        said["change"] = new["change"]
        return Edit(new, compares)

    change_release(store, deployment, returned, rev=rev)
    return said


def _earlier(
    store: Store, data: Json, status: Json | None, number: int | None
) -> tuple[versions.Release, Json, tuple[Compare, ...]]:
    """What to go back to."""
    known = [each for each in versions.known(data, status) if number in (None, each[0])]
    if number is None and not known:
        number = max(
            (each for each in templates.kept(store, data["template"]) if each < data["version"]), default=None
        )
        if number is None:
            raise _no_way_back(store, data, "there is nothing before it to go back to")
    wanted = known[0][0] if known else number
    try:
        _, body, compares = version_of(store, data["template"], wanted)
    except ApiError:
        raise _no_way_back(store, data, f"version {wanted} is not kept") from None
    if known:
        return known[0], body, compares
    release, body, compares = wished(store, data, wanted, {})
    return release, body, compares


def _no_way_back(store: Store, data: Json, why: str) -> ApiError:
    kept = templates.kept_text(store, data["template"])
    return ApiError(409, CANNOT, f"it is at version {data['version']}, and {why}; {kept}")


def _said(data: Json, release: versions.Release, *, changed: bool) -> Json:
    version, given = release
    found: Json = {"version": version, "change": int(data.get("change", 0)), "changed": changed}
    if not changed:
        found["detail"] = f"nothing changed: it is at version {version} with these parameters already"
    return {**found, "parameters": given}


def _check_share(
    store: Store, data: Json, status: Json | None, wanted: tuple[versions.Release, Json], *, confirmed: bool
) -> None:
    """An update that replaces more than the share of a group at a time must be meant."""
    alive = confirm.living(store, data, status)
    (_, given), body = wanted
    old = _body(store, data["template"], data["version"]) or {"task_groups": []}
    before = _tasks(old, data.get("parameters", {}))
    after = _tasks(body, given)
    touched = {
        name: min(update.max_parallel, alive.get(name, 0))
        for name, (tasks, update) in after.items()
        if name in before and before[name][0] != tasks
    }
    confirm.check("replaces", touched, alive, confirmed=confirmed)


def _tasks(body: Json, given: Mapping[str, str]) -> dict[str, tuple[Any, placing.Update]]:
    """The tasks of each group as they are run, but for limits, which change nothing that runs."""
    found = {}
    for position, group in enumerate(parameters.fill(body, given)["task_groups"]):
        tasks = [_unlimited(task) for task in group["tasks"]]
        policy = placing.policy(group)
        found[group.get("name", spec.default_group_name(position))] = (tasks, policy.update)
    return found


def _unlimited(task: Json) -> Json:
    resources = {key: value for key, value in task.get("resources", {}).items() if key != "limits"}
    rest = {key: value for key, value in task.items() if key != "resources"}
    return {**rest, **({"resources": resources} if resources else {})}
