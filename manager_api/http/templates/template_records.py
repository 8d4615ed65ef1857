"""`/v1/templates`: templates as resources, their versions, and who changes what others have changed."""

from typing import Any

import falcon
import orjson

from manager_api.http.frame import bodies, preconditions
from manager_api.http.frame.durability import writes
from manager_api.http.frame.errors import invalid
from manager_api.http.frame.fields import Name
from manager_api.http.frame.operation import Answer, describe
from manager_api.http.frame.pages import PageSchema, Sort, page
from manager_api.http.frame.query_schema import QuerySchema, Word
from manager_api.http.services import Services
from manager_api.http.templates import templates
from manager_api.http.templates.schemas import TemplateSchema
from manager_api.http.templates.template_answers import (
    A_ROW,
    A_STORED_TEMPLATE,
    A_TEMPLATE,
    A_VERSION,
    TEMPLATES,
    VERSIONS,
    SavedTemplateSchema,
    StoredTemplateSchema,
)
from manager_api.http.waiting import news
from store.codec import Json, loads, read_record
from store.keys import TEMPLATES as RECORDS
from store.kv.api import Record
from store.kv.store import Store

_SAVED: dict[int, Answer] = {
    status: Answer(said, SavedTemplateSchema(), {**A_VERSION, "changed": status == 201})
    for status, said in ((200, "Its newest version was that already."), (201, "It is a new version."))
}


class TemplatesQuerySchema(QuerySchema, PageSchema, news.WaitSchema):
    """Which templates are listed."""

    sort = Sort("name", metadata={"description": "Without it `name`."})
    name = Word(str, "Only the one of this name.")


class VersionsQuerySchema(QuerySchema, PageSchema, news.WaitSchema):
    """How versions are listed."""

    sort = Sort("version", metadata={"description": "Without it `-version`: the newest first."})


class NamedTemplateSchema(TemplateSchema):
    """A template whose name the path says; in the body it may be left out."""

    name = Name()


@writes
class Templates:
    """`GET` and `POST /v1/templates`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "List templates",
        id="list_templates",
        tag="templates",
        description="The newest version of each.",
        query=TemplatesQuerySchema(),
        answers={200: Answer("The templates.", TEMPLATES, {"data": [A_ROW], "total": 1, "next": None})},
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the templates."""
        news.hold(self._services, req, {RECORDS: None})
        asked = bodies.query(req)
        records = self._services.call(lambda store: store.values(RECORDS))
        wanted = asked.get("name")
        rows = [_row(name, loads(raw)) for name, raw in records.items() if wanted in (None, name)]
        resp.data = orjson.dumps(page(rows, asked, sorts=_BY_NAME, default="name", key=_name))

    @describe(
        "Save a template",
        id="create_template",
        tag="templates",
        description="A body that differs from the newest version becomes the next one.",
        body=TemplateSchema(),
        body_example=A_TEMPLATE,
        answers=_SAVED,
    )
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Save a template."""
        body = bodies.body(req)
        _say(resp, body["name"], self._services.call(lambda store: templates.put(store, body)))


@writes
class One:
    """`/v1/templates/{template}`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "A template",
        id="get_template",
        tag="templates",
        description="Its newest version, in the form in which it is kept.",
        answers={200: Answer("The template.", StoredTemplateSchema(), A_STORED_TEMPLATE)},
        query=news.WaitSchema(),
        errors=(404,),
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response, template: str) -> None:
        """Answer its newest version."""
        news.hold(self._services, req, {RECORDS: template})
        record = self._services.call(lambda store: templates.find_record(store, template))
        _show(resp, record, template)

    @describe(
        "Save a template",
        id="put_template",
        tag="templates",
        description="With `If-Match`, only what has been seen is replaced. Deployments stay at the version "
        "that they are at until they are updated.",
        body=NamedTemplateSchema(),
        body_example=A_TEMPLATE,
        answers=_SAVED,
        errors=(412,),
    )
    def on_put(self, req: falcon.Request, resp: falcon.Response, template: str) -> None:
        """Save it."""
        body = bodies.body(req)
        if body.setdefault("name", template) != template:
            raise invalid(f"name: {body['name']!r} is not the name in the path, {template!r}")
        rev = preconditions.expected(req)
        _say(resp, template, self._services.call(lambda store: templates.put(store, body, rev=rev)))

    @describe(
        "Delete a template",
        id="delete_template",
        tag="templates",
        description="Not while deployments of it live. A template that is saved under that name later has "
        "versions of its own.",
        answers={204: Answer("It is deleted.")},
        errors=(404, 409, 412),
    )
    def on_delete(self, req: falcon.Request, resp: falcon.Response, template: str) -> None:
        """Delete it."""
        rev = preconditions.expected(req)
        self._services.call(lambda store: templates.remove(store, template, rev=rev))
        resp.status = 204


class Versions:
    """`GET /v1/templates/{template}/versions`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "List the versions of a template",
        id="list_template_versions",
        tag="templates",
        description="Those that are kept: the newest 20, and others as long as deployments use them.",
        query=VersionsQuerySchema(),
        answers={200: Answer("Its versions.", VERSIONS, {"data": [A_VERSION], "total": 1, "next": None})},
        errors=(404,),
    )
    def on_get(self, req: falcon.Request, resp: falcon.Response, template: str) -> None:
        """List the versions that are kept."""
        news.hold(self._services, req, {RECORDS: template})
        asked = bodies.query(req)

        def kept(store: Store) -> list[int]:
            templates.find_record(store, template)
            return templates.kept(store, template)

        rows = [{"name": template, "version": number} for number in self._services.call(kept)]
        resp.data = orjson.dumps(page(rows, asked, sorts=_BY_VERSION, default="-version", key=_version))


class Version:
    """`GET /v1/templates/{template}/versions/{version}`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @describe(
        "A version of a template",
        id="get_template_version",
        tag="templates",
        answers={200: Answer("The template as it was then.", StoredTemplateSchema(), A_STORED_TEMPLATE)},
        errors=(404,),
    )
    def on_get(self, _req: falcon.Request, resp: falcon.Response, template: str, version: int) -> None:
        """Answer one version."""
        record = self._services.call(lambda store: templates.version(store, template, version))
        _show(resp, record, template)


def _show(resp: falcon.Response, record: Record, name: str) -> None:
    found = read_record(record.value, f"template {name}")
    preconditions.tag(resp, record.rev)
    resp.data = orjson.dumps({**found["body"], "version": found["version"]})


def _say(resp: falcon.Response, name: str, saved: templates.Saved) -> None:
    resp.status = 201 if saved.changed else 200
    preconditions.tag(resp, saved.rev)
    resp.data = orjson.dumps({"name": name, "version": saved.version, "changed": saved.changed})


def _row(name: str, record: Json) -> Json:
    groups = record["body"]["task_groups"]
    tasks = [task["name"] for group in groups for task in group["tasks"]]
    return {"name": name, "version": record["version"], "tasks": tasks}


def _name(row: Json) -> str:
    return str(row["name"])


def _number(row: Json) -> Any:
    return row["version"]


def _version(row: Json) -> str:
    return str(row["version"])


_BY_NAME, _BY_VERSION = {"name": _name}, {"version": _number}
