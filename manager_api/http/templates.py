"""Templates: posted, versioned, read back as their users wrote them."""

from typing import Any

import falcon
import orjson

from manager_api.http import bodies
from manager_api.http.durability import writes
from manager_api.http.errors import NO_TEMPLATE, NO_VERSION, ApiError, invalid
from manager_api.http.schemas import NameSchema, TemplateSchema
from manager_api.http.services import Services
from store.codec import Json, dumps, loads, read_record
from store.errors import Conflict, TooLarge
from store.faults import fault
from store.keys import TEMPLATES, VERSIONS, version_field
from store.kv.api import Change, Compare, Record
from store.kv.store import Store

_TEMPLATE = TemplateSchema()
_NAME = NameSchema()


def save(store: Store, body: Json) -> int:
    """Store a template; its version. The same body again is the same version."""
    name = body["name"]
    while True:
        old = store.get(TEMPLATES, name)
        known: Json = read_record(old.value, f"template {name}") if old else {"version": 0, "body": None}
        if known["body"] == body:
            return int(known["version"])
        version = int(known["version"]) + 1
        record: Json = {"v": 1, "version": version, "body": body}
        compares = [Compare(TEMPLATES, name, old.rev if old else 0)]
        field = version_field(name, version)
        fault("api.template.before")
        try:
            versioned = Change(VERSIONS, field, dumps(record))
            store.txn(compares, [versioned, Change(TEMPLATES, name, dumps({**known, **record}))])
        except Conflict:
            continue  # somebody posted it at the same moment: look what it is now
        except TooLarge as error:
            raise invalid(f"body: {error}") from None
        fault("api.template.after")
        return version


def find(store: Store, name: str) -> Json:
    """The newest version of a template: `version`, `body`.

    Raises:
        ApiError: 404.
    """
    record = store.get(TEMPLATES, name)
    if record is None:
        raise ApiError(404, NO_TEMPLATE, f"there is no template named {name!r}")
    return read_record(record.value, f"template {name}")


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

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Save a template."""
        body = bodies.read(req, _TEMPLATE)
        version = self._services.call(lambda store: save(store, body))
        resp.data = orjson.dumps({"status": "success", "name": body["name"], "version": version})


class Query:
    """`POST /api/task/query`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a template."""
        name = bodies.read(req, _NAME)["name"]
        found = self._services.call(lambda store: find(store, name))
        resp.data = orjson.dumps({**found["body"], "version": found["version"]})


class Templates:
    """`GET /v1/templates`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """List the templates."""
        records = self._services.call(lambda store: store.values(TEMPLATES))
        rows = [_row(name, loads(raw)) for name, raw in sorted(records.items())]
        resp.data = orjson.dumps({"data": rows, "total": len(rows), "next": None})


def _row(name: str, record: Json) -> dict[str, Any]:
    groups = record["body"]["task_groups"]
    tasks = [task["name"] for group in groups for task in group["tasks"]]
    return {"name": name, "version": record["version"], "tasks": tasks}
