"""Templates: posted, versioned, read back as their users wrote them."""

from dataclasses import dataclass

import falcon
import orjson

from manager_api.http.deployments import views
from manager_api.http.frame import bodies, preconditions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import NO_TEMPLATE, NO_VERSION, ApiError, invalid
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.plain_schemas import NameSchema
from manager_api.http.services import Services
from manager_api.http.templates.schemas import TemplateSchema
from manager_api.http.templates.template_answers import (
    A_STORED_TEMPLATE,
    A_TEMPLATE,
    A_VERSION,
    SavedTaskGroupSchema,
    StoredTemplateSchema,
)
from store.codec import Json, dumps, loads, read_record
from store.errors import Conflict, TooLarge
from store.faults import fault
from store.keys import DEPLOYMENTS, STATUS, TEMPLATES, VERSIONS, version_field
from store.kv.api import Change, Compare, Record
from store.kv.store import Store
from store.model.lifecycle import DEPLOYMENT_ENDED

IN_USE = "This template is in use"
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Saved:
    """A template that is stored."""

    version: int
    rev: int
    changed: bool
    """False: its newest version was that already."""


def save(store: Store, body: Json) -> int:
    """Store a template; its version. The same body again is the same version."""
    return put(store, body).version


def put(store: Store, body: Json, *, rev: int | None = None) -> Saved:
    """The same; with `rev`, only if the template is at that revision.

    Raises:
        ApiError: 400 for what is too large, 412.
    """
    name = body["name"]
    while True:
        old = store.get(TEMPLATES, name)
        _check_rev(name, old, rev)
        known: Json = read_record(old.value, f"template {name}") if old else {"version": 0, "body": None}
        if old is not None and known["body"] == body:
            return Saved(int(known["version"]), old.rev, changed=False)
        last = int(known["version"])
        if old is None:  # versions of one of that name that was deleted may still be in use
            last = max(kept(store, name), default=0)
        record: Json = {"v": 1, "version": last + 1, "body": body}
        field = version_field(name, last + 1)
        compares = [Compare(TEMPLATES, name, old.rev if old else 0)]
        compares += [] if old else [Compare(VERSIONS, field, 0)]
        fault("api.template.before")
        try:
            versioned = Change(VERSIONS, field, dumps(record))
            new = store.txn(compares, [versioned, Change(TEMPLATES, name, dumps({**known, **record}))])
        except Conflict:
            continue  # somebody posted it at the same moment: look what it is now
        except TooLarge as error:
            raise invalid(f"body: {error}") from None
        fault("api.template.after")
        return Saved(last + 1, new, changed=True)


def remove(store: Store, name: str, *, rev: int | None = None) -> None:
    """Delete a template; the leader collects its versions once no deployment names them any more.

    Raises:
        ApiError: 404, 412; 409 while deployments of it live.
    """
    while True:
        old = find_record(store, name)
        _check_rev(name, old, rev)
        if living := _living(store, name):
            named = ", ".join(living[:MOST_NAMED]) + (", …" if len(living) > MOST_NAMED else "")
            raise ApiError(409, IN_USE, f"stop its deployments first: {named}")
        try:
            store.txn([Compare(TEMPLATES, name, old.rev)], [Change(TEMPLATES, name, None)])
        except Conflict:
            continue
        return


def _check_rev(name: str, record: Record | None, rev: int | None) -> None:
    if rev is not None and rev != (record.rev if record else 0):
        now = f"is at revision {record.rev} by now" if record else "is not there"
        raise preconditions.changed(f"template {name!r} {now}")


def _living(store: Store, name: str) -> list[str]:
    """The deployments of a template that have not ended."""
    records = {key: loads(raw) for key, raw in store.values(DEPLOYMENTS).items()}
    ours = sorted(key for key, record in records.items() if record["template"] == name)
    said = zip(ours, store.values_of(STATUS, ours), strict=True) if ours else ()
    found = ((key, views.state(records[key], loads(raw) if raw else None)) for key, raw in said)
    return [key for key, state in found if state not in DEPLOYMENT_ENDED]


def find(store: Store, name: str) -> Json:
    """The newest version of a template: `version`, `body`.

    Raises:
        ApiError: 404.
    """
    return read_record(find_record(store, name).value, f"template {name}")


def find_record(store: Store, name: str) -> Record:
    """The same, as it is stored.

    Raises:
        ApiError: 404.
    """
    record = store.get(TEMPLATES, name)
    if record is None:
        raise ApiError(404, NO_TEMPLATE, f"there is no template named {name!r}")
    return record


def version(store: Store, name: str, number: int) -> Record:
    """One version of a template, as it is stored: `version`, `body`.

    Raises:
        ApiError: 404, with the versions that are kept.
    """
    record = store.get(VERSIONS, version_field(name, number))
    if record is None:
        find(store, name)
        raise ApiError(404, NO_VERSION, f"there is no version {number} of {name!r}; {kept_text(store, name)}")
    return record


def kept(store: Store, name: str) -> list[int]:
    """The versions of a template that are kept, oldest first."""
    parts = (field.partition(":") for field in store.revisions(VERSIONS))
    return sorted(int(number) for number, _, of in parts if of == name)


def kept_text(store: Store, name: str) -> str:
    """The kept versions of a template as half a sentence."""
    return f"kept are {', '.join(str(each) for each in kept(store, name)) or 'none'}"


@writes
class TaskGroup:
    """`POST /api/task/task_group`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "Save a template",
        id="save_task_group",
        tag="contract",
        description="A body that differs from the newest version becomes the next one.",
        body=TemplateSchema(),
        body_example=A_TEMPLATE,
        answers={200: Answer("It is saved.", SavedTaskGroupSchema(), {"status": "success", **A_VERSION})},
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Save a template."""
        body = bodies.body(req)
        version = self._services.call(lambda store: save(store, body))
        resp.data = orjson.dumps({"status": "success", "name": body["name"], "version": version})


class Query:
    """`POST /api/task/query`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "A template",
        id="query_template",
        tag="contract",
        body=NameSchema(),
        body_example={"name": A_VERSION["name"]},
        answers={200: Answer("Its newest version.", StoredTemplateSchema(), A_STORED_TEMPLATE)},
        errors=(404,),
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a template."""
        name = bodies.body(req)["name"]
        found = self._services.call(lambda store: find(store, name))
        resp.data = orjson.dumps({**found["body"], "version": found["version"]})
