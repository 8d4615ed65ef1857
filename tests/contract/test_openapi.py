"""The API's description of itself: valid, whole, and as served."""

import falcon
import falcon.testing
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from manager_api.http.app import create_app
from manager_api.http.describing import openapi
from manager_api.http.describing.shapes import new_spec
from manager_api.http.routes import routes as _routes
from manager_api.http.services import Services
from manager_api.http.templates.schemas import TemplateSchema
from store.clock import SystemClock
from tests.fakes import ACCESS

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def http():
    return falcon.testing.TestClient(create_app(Services(ACCESS, SystemClock())))


@pytest.fixture(scope="module")
def document(http):
    return http.simulate_get("/openapi.json").json


def test_the_document_is_openapi_3_1(document):
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_the_document_is_asked_for_again_at_the_price_of_a_header(http):
    first = http.simulate_get("/openapi.json")
    again = http.simulate_get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.simulate_get("/openapi.json", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_get_is_described_by_its_query(document):
    """Contract 5 sends JSON bodies in GET; no tool can, so the query form stands for it."""
    reads = {path: item["get"] for path, item in document["paths"].items() if "get" in item}
    assert [path for path, call in reads.items() if "requestBody" in call] == []
    assert {"id", "sn", "model"} <= words(document, reads["/v1/devices"])


def found(document, part):
    """What is said there, or in the place that is pointed to."""
    while "$ref" in part:
        _, *steps = part["$ref"].split("/")
        part = document
        for step in steps:
            part = part[step]
    return part


def words(document, call):
    return {found(document, each)["name"] for each in call.get("parameters", [])}


ENDLESS = {"/v1/events"}
"""Lists that nobody counts or sorts: what has happened, in its order."""
UNHEARD = {"/v1/artifacts", "/v1/unclaimed"}
"""Lists of what is in no record of ours: files of another server, and what agents say of themselves."""


def test_every_list_has_pages_and_may_be_waited_for(document):
    lists = {}
    for path, item in document["paths"].items():
        answer = found(document, item.get("get", {}).get("responses", {}).get("200", {}))
        content = answer.get("content", {}).get("application/json")
        if content and path.startswith("/v1/"):
            keys = found(document, content["schema"]).get("properties", {}).keys()
            if {"data", "total"} & keys:
                lists[path] = ({"data", "total", "next"} - keys, words(document, item["get"]))
    assert len(lists) > 10
    for path in lists.keys() - ENDLESS:
        lacks, asked = lists[path]
        assert (path, lacks) == (path, set())
        assert {"limit", "cursor", "fields", "sort"} <= asked, path
        assert asked & {"after", "wait"} == (set() if path in UNHEARD else {"after", "wait"}), path


class Silent:
    def on_get(self, req, resp):
        """Nobody has said what this does."""


def test_a_call_that_nobody_described_is_refused():
    with pytest.raises(ValueError, match="GET /quiet"):
        openapi.check([("/quiet", Silent())])


def contents(document):
    """Every schema with an example: where it stands, and both."""
    for path, item in document["paths"].items():
        for method, call in item.items():
            bodies = {"body": call.get("requestBody", {}), **call["responses"]}
            for name, body in bodies.items():
                for media, each in body.get("content", {}).items():
                    yield f"{method} {path} {name} {media}", each
    for name, body in document["components"]["responses"].items():
        for media, each in body.get("content", {}).items():
            yield f"{name} {media}", each


def test_every_example_has_the_shape_that_is_said(document):
    root = {"components": document["components"]}
    wrong = {
        where: [
            error.message for error in OAS31Validator({**root, **each["schema"]}).iter_errors(each["example"])
        ]
        for where, each in contents(document)
        if "example" in each
    }
    assert {where: errors for where, errors in wrong.items() if errors} == {}


def test_every_call_that_takes_or_answers_json_has_an_example(document):
    without = [
        where for where, each in contents(document) if where.endswith("/json") and "example" not in each
    ]
    assert without == []


def test_what_is_documented_is_what_is_validated():
    """The examples of bodies pass the schemas that read the requests."""
    routes = list(_routes(Services(ACCESS, SystemClock())))
    for path, method, _, said in openapi.calls(routes):
        if said.body is not None:
            assert said.body.validate(said.body_example or {}) == {}, f"{method} {path}"


def properties(document):
    for name, schema in document["components"]["schemas"].items():
        for shape in [schema, *schema.get("anyOf", [])]:
            for key, each in shape.get("properties", {}).items():
                yield f"{name}.{key}", each


def test_every_field_has_a_shape(document):
    bare = [
        where
        for where, each in properties(document)
        if not {"type", "$ref", "anyOf", "oneOf", "enum"} & each.keys()
    ]
    assert [where for where in bare if where not in OPEN] == []


OPEN = ("Template.version", "NamedTemplate.version")
"""Keys that may hold anything."""


def test_the_description_of_templates_is_whole():
    """It is their documentation: every part that a template may have is there, every key with a sentence."""
    spec, plugin = new_spec("Muster", "1")
    plugin.converter.resolve_nested_schema(TemplateSchema())
    document = spec.to_dict()
    parts = {
        "TaskGroup",
        "Task",
        "Config",
        "Resources",
        "Healthcheck",
        "Artifact",
        "Parameter",
        "UpdatePolicy",
    }
    assert parts <= document["components"]["schemas"].keys()
    assert [where for where, each in properties(document) if not each.get("description")] == []
