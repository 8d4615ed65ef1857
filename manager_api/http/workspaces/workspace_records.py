"""Workspaces in the store: deployments of one template, each named after the user that it is for."""

from collections.abc import Mapping, Sequence

from manager_api.core import retention, workspaces
from manager_api.http.deployments import briefs, changes, naming, views
from manager_api.http.deployments.composing import Wish
from manager_api.http.deployments.deployments import Created, Edit, create, join, state, update
from manager_api.http.frame.errors import ApiError
from manager_api.http.services import Services
from manager_api.http.templates import templates
from manager_api.workspaces import DEFAULT_URL, WorkspaceSettings, url_of
from store.batches import batches
from store.codec import Json, loads
from store.keys import DEPLOYMENTS, NAMES, NODES, STATUS
from store.kv.projection import Projection
from store.kv.store import Store
from store.model.lifecycle import DEPLOYMENT_ENDED, Deployment

NOT_CONFIGURED = "Workspaces are not configured"
NO_WORKSPACE = "Workspace not found"
STILL_ENDING = "The last workspace still ends"
ENDS_WITHIN = 2.0
"""Seconds that a call waits for it."""
READ_AT_ONCE = 1000
MOST_PARTS = 20
"""Allocations of one workspace among which the one with its port is looked for."""
FORGOTTEN = (Deployment.STOPPED, Deployment.COMPLETED)
"""What a listing leaves out unless all are asked for: what failed is shown, as `muster ps` does."""
_TRIES = 5


def begin(services: Services, store: Store, user: str) -> Created:
    """A user's workspace: the living one, whatever it was made of, or a new one.

    Raises:
        ApiError: 400 when the template refuses such a user; 409 with what the configuration lacks, with a
            reason for every node when none can take it, when the user's last one still ends, or when the name
            is another deployment's.
    """
    settings = configured(services)
    tries = 0
    while True:
        holder = naming.look(store, workspaces.name_of(user)).holder
        if holder is not None and not workspaces.is_one(holder.record):
            detail = (
                f"{holder.record['name']!r} is deployment {holder.id}, which is no workspace: stop it first"
            )
            raise ApiError(409, naming.TAKEN, detail, id=holder.id)
        found = join(services, store, holder) if holder is not None else None
        if found is not None:
            return found
        _await_end(services, store, user)
        tries += 1
        try:
            return create(services, store, _wish(store, settings, user))
        except ApiError as error:
            # Somebody else's call made one of another version of the template: that one it is.
            if error.body["error"] != naming.TAKEN or tries == _TRIES:
                raise


def _await_end(services: Services, store: Store, user: str) -> None:
    """Let the last workspace of a user end: two at once would write to the same files.

    One whose nodes are all silent is not waited for: nobody can tell when they come back.

    Raises:
        ApiError: 409 when it takes longer than a call waits.
    """
    entry = store.get(NAMES, workspaces.name_of(user))
    last = str(loads(entry.value)["deployment"]) if entry is not None else ""
    if not _is_ending(store, last):
        return
    with services.decisions.expecting(last) as waiter:
        over = waiter.until(lambda: None if _is_ending(store, last) else True, ENDS_WITHIN)
    if not over:
        detail = f"deployment {last}, the last workspace of user {user!r}, still ends: ask again"
        refusal = ApiError(409, STILL_ENDING, detail, id=last)
        refusal.retry_after = 1
        raise refusal


def _is_ending(store: Store, deployment: str) -> bool:
    record, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
    if record is None or status is None:
        return False
    data, known = loads(record.value), loads(status.value)
    if not naming.over(data, known) or views.state(data, known) in DEPLOYMENT_ENDED:
        return False
    nodes = sorted({each["node"] for each in briefs.briefs(store, deployment, known)})
    return any(beat is not None for beat in Projection(store).beats(nodes))


def configured(services: Services) -> WorkspaceSettings:
    """What workspaces are made of.

    Raises:
        ApiError: 409: it is not said.
    """
    settings = services.access.workspaces
    if settings is None:
        raise _wrong("start the manager with --workspace-template NAME (see docs/guides/workspaces.md)")
    return settings


def _wrong(detail: str) -> ApiError:
    return ApiError(409, NOT_CONFIGURED, detail)


def _wish(store: Store, settings: WorkspaceSettings, user: str) -> Wish:
    try:
        body: Json = templates.find(store, settings.template)["body"]
    except ApiError:
        raise _wrong(f"there is no template {settings.template!r} (--workspace-template): post it") from None
    declared = body.get("parameters", {})
    told = {workspaces.USER: user}
    if settings.data is not None:
        told[workspaces.DATA] = f"{settings.data.rstrip('/')}/{workspaces.key_of(user)}"
    lacking = [name for name in told if name not in declared]
    if lacking:
        raise _wrong(f"template {settings.template!r} declares no parameter {lacking[0]!r}")
    open_ones = [name for name, rule in declared.items() if rule.get("required") and name not in told]
    if open_ones:
        hint = "; --workspace-data gives it" if open_ones[0] == workspaces.DATA else ""
        raise _wrong(f"template {settings.template!r} needs parameter {open_ones[0]!r}{hint}")
    name = workspaces.name_of(user)
    return Wish(template=settings.template, name=name, parameters=told, ttl=settings.ttl)


def find(store: Store, user: str) -> str:
    """The deployment that is, or was last, a user's workspace.

    Raises:
        ApiError: 404.
    """
    entry = store.get(NAMES, workspaces.name_of(user))
    found = str(loads(entry.value)["deployment"]) if entry is not None else ""
    record = store.get(DEPLOYMENTS, found)
    if record is None or not workspaces.is_one(loads(record.value)):
        raise unknown(user)
    return found


def unknown(user: str) -> ApiError:
    """404: the user has none."""
    return ApiError(404, NO_WORKSPACE, f"user {user[: workspaces.MOST_USER]!r} has no workspace")


def remove(store: Store, user: str) -> Json:
    """Order a user's workspace to stop; again is the same. Its data stays.

    Raises:
        ApiError: 404.
    """
    deployment = find(store, user)
    record, status = store.get_many([(DEPLOYMENTS, deployment), (STATUS, deployment)])
    known = views.state(loads(record.value), loads(status.value) if status else None) if record else None
    if known not in DEPLOYMENT_ENDED:
        changes.stop(store, deployment, confirmed=True)
        known = state(store, deployment)
    return {"id": deployment, "user_id": user, "status": known}


def clean_up(store: Store) -> list[str]:
    """Have the leader forget ended workspaces at its next round, not after a day; their ids."""
    removed = []
    for deployment, raw in sorted(store.values(DEPLOYMENTS).items()):
        if not workspaces.is_one(loads(raw)):
            continue
        status = changes.status_of(store, deployment) or {}
        if status.get("status") in DEPLOYMENT_ENDED:
            ended = retention.ended_at(loads(raw), status)
            update(store, deployment, lambda data, at=ended: _forgotten(data, at))  # type: ignore[misc]
            removed.append(deployment)
    return removed


def _forgotten(data: Json, ended: float) -> Edit | None:
    return None if data.get(retention.FORGET) == ended else Edit({**data, retention.FORGET: ended})


def listed(store: Store, settings: WorkspaceSettings | None, *, everything: bool) -> list[Json]:
    """The workspaces: of each user the last. Without `everything`, those that live or have failed."""
    names = store.values(NAMES)
    ids = [loads(raw)["deployment"] for name, raw in names.items() if name.startswith(workspaces.PREFIX)]
    found = rows(store, settings, ids)
    return found if everything else [row for row in found if row["status"] not in FORGOTTEN]


def rows(store: Store, settings: WorkspaceSettings | None, ids: Sequence[str]) -> list[Json]:
    """Some workspaces as they are answered; what is none, or not there, is left out."""
    records = {key: loads(raw) for key, raw in _read(store, DEPLOYMENTS, ids).items()}
    records = {key: record for key, record in records.items() if workspaces.is_one(record)}
    known = {key: loads(raw) for key, raw in _read(store, STATUS, list(records)).items()}
    living = {key: each for key, each in known.items() if each.get("allocations") and "tasks" not in each}
    places = {key: _place(each.briefs) for key, each in briefs.detailed(store, living, MOST_PARTS).items()}
    nodes = _read(store, NODES, sorted({place["node"] for place in places.values() if place}))
    pattern = settings.url if settings is not None else DEFAULT_URL
    return [
        _row(key, record, known.get(key), places.get(key) or {}, nodes, pattern)
        for key, record in records.items()
    ]


def _read(store: Store, collection: str, fields: Sequence[str]) -> dict[str, bytes]:
    found = {}
    for batch in batches(fields, READ_AT_ONCE):
        values = zip(batch, store.values_of(collection, batch), strict=True)
        found.update({field: raw for field, raw in values if raw is not None})
    return found


def _place(allocations: Sequence[Json]) -> Json:
    """Where a workspace is: the node of the first allocation that has a port, else of the first."""
    for each in allocations:
        port = workspaces.port_of(each.get("ports") or {})
        if port is not None:
            return {"node": each["node"], "port": port}
    return {"node": allocations[0]["node"], "port": None} if allocations else {}


def _row(
    key: str, record: Json, status: Json | None, place: Json, nodes: Mapping[str, bytes], pattern: str
) -> Json:
    user, node = record["parameters"][workspaces.USER], place.get("node")
    at = loads(nodes[node]) if node is not None and node in nodes else {}
    state = views.state(record, status)
    told = {**place, "ip": at.get("ip"), "hostname": at.get("hostname"), "user": user, "id": key}
    return {
        "id": key,
        "user_id": user,
        "name": record["name"],
        "status": state,
        "url": None if state in DEPLOYMENT_ENDED else url_of(pattern, told),
        "node": node,
        "port": place.get("port"),
        "created": record["created"],
        "ends": record["created"] + record["ttl"] if "ttl" in record else None,
        "reason": (status or {}).get("reason", ""),
        "template": record["template"],
        "version": record["version"],
    }
