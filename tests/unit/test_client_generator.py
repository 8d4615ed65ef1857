"""The generator of the client, on a description that has one of everything."""

import ast
import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tools.client_generator.__main__ as program
from muster.client import AsyncClient, Client
from tools.client_generator.__main__ import ROOM, described, files
from tools.client_generator.calls import METHODS, python_name
from tools.client_generator.shapes import Shapes

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]


def ok(schema=None, media="application/json"):
    return {"200": {"description": "Done.", "content": {media: {"schema": schema or {}}}}}


def word(name, schema=None, place="query", **more):
    return {"name": name, "in": place, "schema": schema or {"type": "string"}, **more}


ROW = {
    "type": "object",
    "description": 'A "thing".',
    "required": ["id"],
    "properties": {
        "id": {"type": "string", "description": "Its name."},
        "state": {"enum": ["up", "down", None]},
        "count": {"type": ["integer", "null"]},
        "share": {"anyOf": [{"type": "number"}, {"type": "string"}]},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "part": {"type": "object", "properties": {"child": {"$ref": "#/components/schemas/Row"}}},
        "parts": {"type": "array", "items": {"type": "object", "properties": {"on": {"type": "boolean"}}}},
        "open": {"type": "object", "additionalProperties": True},
        "rule": {"type": ["object", "null"], "properties": {"on": {"type": "boolean"}}},
        "file": {"$ref": "#/components/schemas/File"},
        "other_file": {"$ref": "#/components/schemas/File"},
    },
}
FILE = {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"source": {"type": "string"}}}]}
PAGE = {
    "type": "object",
    "required": ["data", "total", "next"],
    "properties": {
        "data": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
        "total": {"type": "integer"},
        "next": {"type": ["string", "null"]},
    },
}
DOCUMENT = {
    "openapi": "3.1.0",
    "paths": {
        "/things": {
            "get": {
                "operationId": "list_things",
                "summary": "List things",
                "parameters": [
                    {"$ref": "#/components/parameters/Limit"},
                    word("cursor"), word("after"), word("wait"), word("from", description="Whence."),
                    word("X-Request-Id", place="header"),
                ],
                "responses": ok({"$ref": "#/components/schemas/Page"}),
            },
            "post": {
                "operationId": "create_thing",
                "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Row"}}}},
                "responses": {"201": {"$ref": "#/components/responses/Made"}, **ok({"$ref": "#/components/schemas/Page"})},
            },
        },
        "/things/{thing}": {
            "parameters": [word("thing", place="path", required=True)],
            "get": {"operationId": "get_thing", "parameters": [word("after"), word("wait")], "responses": ok({"$ref": "#/components/schemas/Row"})},
            "delete": {"operationId": "delete_thing", "responses": {"204": {"description": "Gone."}}},
            "put": {
                "operationId": "upload_thing",
                "parameters": [word("sha256", required=True)],
                "requestBody": {"required": True, "content": {"application/octet-stream": {}}},
                "responses": ok({"$ref": "#/components/schemas/Row"}),
            },
        },
        "/things/{thing}/stop": {
            "parameters": [word("thing", place="path", required=True)],
            "post": {
                "operationId": "stop_thing",
                "requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": {}, "additionalProperties": False}}}},
                "responses": ok({"$ref": "#/components/schemas/Dashed"}),
            },
        },
        "/things/{thing}/data": {
            "parameters": [word("thing", place="path", required=True)],
            "get": {"operationId": "read_thing", "responses": ok({"type": "string"}, "text/plain")},
        },
        "/docs": {"get": {"operationId": "docs", "tags": ["docs"], "responses": ok({}, "text/html")}},
    },
    "components": {
        "schemas": {
            "Row": ROW, "Page": PAGE, "File": FILE,
            "Dashed": {"type": "object", "required": ["a-b"], "properties": {"a-b": {"$ref": "#/components/schemas/Row"}, "class": {"type": "string"}}},
        },
        "parameters": {"Limit": word("limit", {"type": "integer"})},
        "responses": {"Made": {"description": "Made.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Row"}}}}},
    },
}  # fmt: skip


def signatures(source):
    """The methods of a module: their names with arguments and result, as source."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            awaited = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
            found[node.name] = f"{awaited}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
    return found


def test_every_operation_is_a_typed_method():
    assert signatures(files(DOCUMENT)["operations.py"]) == {
        "list_things": "(self, *, limit: int | None=None, cursor: str | None=None, from_: str | None=None, **options: Unpack[Options]) -> Page",
        "iter_things": "(self, *, limit: int | None=None, cursor: str | None=None, from_: str | None=None, **options: Unpack[Options]) -> Iterator[Row]",
        "watch_things": "(self, *, limit: int | None=None, cursor: str | None=None, from_: str | None=None, after: str | None=None, wait: float=WAIT, on_trouble: OnTrouble=None, **options: Unpack[Options]) -> Iterator[Page]",
        "create_thing": "(self, body: Row, **options: Unpack[Options]) -> Page | Row",
        "get_thing": "(self, thing: str, **options: Unpack[Options]) -> Row",
        "watch_thing": "(self, thing: str, *, after: str | None=None, wait: float=WAIT, on_trouble: OnTrouble=None, **options: Unpack[Options]) -> Iterator[Row]",
        "delete_thing": "(self, thing: str, **options: Unpack[Options]) -> None",
        "upload_thing": "(self, thing: str, content: bytes | Iterable[bytes], size: int | None=None, *, sha256: str, **options: Unpack[Options]) -> Row",
        "stop_thing": "(self, thing: str, **options: Unpack[Options]) -> Dashed",
        "read_thing": "(self, thing: str, **options: Unpack[Options]) -> contextlib.AbstractContextManager[Streamed]",
    }  # fmt: skip


def test_the_awaited_methods_are_the_same_but_for_waiting():
    made = files(DOCUMENT)
    blocking, awaited = (signatures(made[name]) for name in ("operations.py", "async_operations.py"))
    assert blocking.keys() == awaited.keys()
    for name, each in awaited.items():
        plain = each.replace("Async", "")
        streams = any(word in plain for word in ("Iterator[", "ContextManager["))
        assert plain == ("" if streams else "async ") + blocking[name].replace("Async", "")


def test_types_of_all_kinds():
    made = ast.parse(files(DOCUMENT)["models.py"])
    fields = {
        node.name: {each.target.id: ast.unparse(each.annotation) for each in node.body if isinstance(each, ast.AnnAssign)}
        for node in ast.walk(made)
        if isinstance(node, ast.ClassDef)
    }  # fmt: skip
    assert fields["Row"] == {
        "id": "str",
        "state": "NotRequired[Literal['up', 'down', None]]",
        "count": "NotRequired[int | None]",
        "share": "NotRequired[float | str]",
        "labels": "NotRequired[dict[str, str]]",
        "part": "NotRequired[RowPart]",
        "parts": "NotRequired[list[RowPartsItem]]",
        "open": "NotRequired[dict[str, Any]]",
        "rule": "NotRequired[RowRule | None]",
        "file": "NotRequired[str | File]",
        "other_file": "NotRequired[str | File]",
    }
    assert fields["RowPart"] == {"child": "NotRequired[Row]"}, "it may refer to what it is in"
    assert not [name for name in fields if name.endswith("2")], "a shape has one name"
    assert "Dashed" not in fields, "keys that are no names are written otherwise"


@pytest.mark.soak  # `make lint` checks what is generated of the real description
def test_what_is_generated_passes_the_type_checker(tmp_path):
    """The project's own strictness, on what the sample gives, in a room of its own."""
    room = tmp_path / "room"
    room.mkdir()
    for name, source in files(DOCUMENT).items():
        text = source.replace("muster.client.models", "room.models")
        (room / name).write_text(text)
    (room / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "-p", "room"],
        env={"MYPYPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("taken", ["get", "request", "list_things"])
def test_an_id_that_is_taken_is_refused(taken):
    document = copy.deepcopy(DOCUMENT)
    document["paths"]["/things/{thing}"]["delete"]["operationId"] = taken
    with pytest.raises(ValueError, match="is taken"):
        files(document)


def test_the_same_description_gives_the_same_files():
    turned = copy.deepcopy(DOCUMENT)
    turned["paths"] = dict(reversed(turned["paths"].items()))
    assert files(turned) == files(DOCUMENT)


def test_names_that_python_has_for_itself():
    assert python_name("from", besides=frozenset()) == "from_"
    assert python_name("timeout", besides=frozenset({"timeout"})) == "timeout_"
    assert Shapes({}).type_of({"const": 1}, "X") == "Literal[1]"


def test_what_is_there_is_what_the_description_gives():
    """`make client` writes it anew."""
    for name, source in files(described()).items():
        assert (ROOM / name).read_text() == source, f"{name} is stale: make client"


def test_both_clients_have_a_method_for_every_call():
    ids = {
        said["operationId"]
        for item in described()["paths"].values()
        for method, said in item.items()
        if method in METHODS and "docs" not in said["tags"]
    }
    assert len(ids) > 40
    for client in (Client, AsyncClient):
        assert [each for each in sorted(ids) if not callable(getattr(client, each, None))] == []


def test_the_program_says_what_is_stale_and_writes_it(tmp_path, monkeypatch, capsys):
    given = tmp_path / "openapi.json"
    given.write_text(json.dumps(DOCUMENT))
    room = tmp_path / "muster" / "client"
    room.mkdir(parents=True)
    monkeypatch.setattr(program, "ROOM", room)
    words = ["client_generator", "--document", str(given)]
    for more, code, said in (
        (["--check"], 1, "stale: models.py, operations.py, async_operations.py"),
        ([], 0, "written: models.py, operations.py, async_operations.py"),
        (["--check"], 0, "stale: nothing"),
    ):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        assert program.main() == code
        assert said in capsys.readouterr().out
