"""The API's calls as methods: one for each operation, and iterators over pages and over changes."""

import keyword
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.client_generator.shapes import Json, Shapes, camel, escaped, folded

METHODS = ("get", "put", "post", "delete", "patch")
JSON = "application/json"
OWN = frozenset(
    {
        "request", "get", "post", "put", "delete", "stream", "upload", "lines", "close", "url", "unconfirmed",
        "follow_events", "follow_logs",
    }
)  # fmt: skip
"""Names that the clients themselves have."""
OPTIONS = frozenset({"timeout", "if_match", "idempotency_key", "replicated", "request_id", "headers"})
NOT_CALLS = frozenset({"docs"})
"""Tags of what browsers read."""
INDENT = "        "
ASIDE = frozenset({"contract"})
"""Tags of calls that have siblings, which are for new programs: iterators are made of those."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A word of the query."""

    name: str
    kind: str
    required: bool
    text: str

    @property
    def python(self) -> str:
        """Its name as an argument's."""
        return python_name(self.name, besides=OPTIONS | {"body", "content", "size", "self", "options"})


@dataclass(frozen=True, slots=True)
class Called:
    """One operation, as its methods need it."""

    id: str
    method: str
    path: str
    summary: str
    places: tuple[str, ...]
    """Words in the path."""
    query: tuple[Parameter, ...]
    body: str
    """The type of a JSON body; empty: there is none."""
    body_required: bool
    empty_body: bool
    """A body in which nothing is said."""
    binary: bool
    """Whether content is sent that is no JSON."""
    answer: str
    """The type of the answer; empty: it is no JSON, and comes as a stream."""
    row: str
    """The type of a row, of a list that comes in pages; else empty."""
    held: bool
    """Whether it can be held back until there is something new."""


def python_name(name: str, *, besides: frozenset[str]) -> str:
    """A name as an argument's, unlike keywords and those that are taken."""
    found = "".join(each if each.isalnum() else "_" for each in name)
    return f"{found}_" if keyword.iskeyword(found) or found in besides else found


def read(document: Mapping[str, Any], shapes: Shapes) -> list[Called]:
    """The operations of a document, by their ids.

    Raises:
        ValueError: an id is there twice, or is the name of something else.
    """
    found: dict[str, Called] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            said = item.get(method)
            if said is None or NOT_CALLS & set(said.get("tags", ())):
                continue
            call = _called(document, shapes, path, method, said, item.get("parameters", []))
            if call.id in found or call.id in OWN:
                raise ValueError(f"{method} {path}: {call.id!r} is taken")
            found[call.id] = call
    return [found[name] for name in sorted(found)]


def _called(
    document: Mapping[str, Any], shapes: Shapes, path: str, method: str, said: Json, shared: list[Json]
) -> Called:
    name = camel(said["operationId"])
    parameters = [_resolved(document, each) for each in [*shared, *said.get("parameters", [])]]
    query = [
        Parameter(
            each["name"],
            shapes.type_of(each.get("schema"), name + camel(each["name"])),
            bool(each.get("required")),
            each.get("description", ""),
        )
        for each in parameters
        if each["in"] == "query"
    ]
    names = {each.name for each in query}
    held = {"after", "wait"} <= names
    body = _resolved(document, said.get("requestBody", {}))
    sent = body.get("content", {})
    asked = shapes.resolved(sent.get(JSON, {}).get("schema"))
    empty = JSON in sent and not asked.get("properties") and asked.get("additionalProperties") is False
    aside = bool(ASIDE & set(said.get("tags", ())))
    answer, row = _answer(document, shapes, said, name)
    return Called(
        id=said["operationId"],
        method=method.upper(),
        path=path,
        summary=said.get("summary", ""),
        places=tuple(each["name"] for each in parameters if each["in"] == "path"),
        query=tuple(each for each in query if not (held and each.name in ("after", "wait"))),
        body="" if empty or JSON not in sent else shapes.type_of(sent[JSON].get("schema"), f"{name}Body"),
        body_required=bool(body.get("required")),
        empty_body=empty,
        binary=bool(sent) and JSON not in sent,
        answer=answer,
        row=row if {"limit", "cursor"} <= names and not aside else "",
        held=held and not aside,
    )


def _answer(document: Mapping[str, Any], shapes: Shapes, said: Json, name: str) -> tuple[str, str]:
    """The types of a success, and of a row of it if it is a list."""
    kinds: list[str] = []
    row = ""
    for status, response in sorted(said["responses"].items()):
        content = _resolved(document, response).get("content", {})
        if not status.startswith("2"):
            continue
        if content and JSON not in content:
            return "", ""
        schema = content.get(JSON, {}).get("schema")
        kind = shapes.type_of(schema, f"{name}Answer") if content else "None"
        kinds += [] if kind in kinds else [kind]
        rows = shapes.resolved(shapes.resolved(schema).get("properties", {}).get("data"))
        if rows.get("type") == "array":
            row = shapes.type_of(rows.get("items"), f"{name}Row")
    return " | ".join(kinds) or "None", row


def _resolved(document: Mapping[str, Any], said: Any) -> Json:
    while isinstance(said, dict) and "$ref" in said:
        found: Any = document
        for step in said["$ref"].removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        said = found
    return said if isinstance(said, dict) else {}


class Writer:
    """Methods of one of the two clients, as source."""

    def __init__(self, *, blocking: bool) -> None:
        self._blocking = blocking
        self._def = "def" if blocking else "async def"
        self._iterator = "Iterator" if blocking else "AsyncIterator"
        self._streamed = "Streamed" if blocking else "AsyncStreamed"
        self._manager = f"contextlib.Abstract{'' if blocking else 'Async'}ContextManager"
        self._content = f"bytes | {'' if blocking else 'Async'}Iterable[bytes]"

    def methods(self, call: Called) -> Iterator[str]:
        """The methods for an operation."""
        yield self._plain(call) if call.answer else self._stream(call)
        noun = call.id.partition("_")[2] if call.id.startswith(("list_", "get_")) else call.id
        if call.row:
            yield self._each(call, f"iter_{noun}")
        if call.held:
            yield self._held(call, f"watch_{noun}")

    def _head(self, call: Called, name: str, result: str, more: tuple[str, ...] = (), *, waits: bool) -> str:
        arguments = ["self", *(f"{python_name(each, besides=frozenset())}: str" for each in call.places)]
        if call.body:
            arguments.append(f"body: {call.body}" + ("" if call.body_required else " | None = None"))
        if call.binary:
            arguments += [f"content: {self._content}", "size: int | None = None"]
        named = [
            f"{each.python}: {each.kind}" if each.required else f"{each.python}: {each.kind} | None = None"
            for each in sorted(call.query, key=lambda each: not each.required)
        ]
        if named or more:
            arguments += ["*", *named, *more]
        arguments.append("**options: Unpack[Options]")
        return f"    {self._def if waits else 'def'} {name}({', '.join(arguments)}) -> {result}:"

    def _text(self, call: Called, more: str = "") -> list[str]:
        """The docstring's lines."""
        summary = call.summary if call.summary.endswith((".", "?", "!")) else f"{call.summary}."
        lines = [f'{INDENT}"""{escaped(summary)}', ""]
        lines += [f"{INDENT}{line}" for line in folded(more, len(INDENT))]
        lines += [""] if more else []
        lines.append(f"{INDENT}`{call.method} {call.path}`")
        said = [f"{each.python}: {each.text}" for each in call.query if each.text]
        if said:
            lines += ["", f"{INDENT}Args:"]
        for each in said:
            first, *rest = folded(each, len(INDENT) + 8)
            lines += [f"{INDENT}    {first}", *(f"{INDENT}        {line}" for line in rest)]
        return [*lines, f'{INDENT}"""']

    def _where(self, call: Called, *, query: bool = True) -> str:
        pattern = call.path
        values = "".join(f", {python_name(each, besides=frozenset())}" for each in call.places)
        for each in call.places:
            pattern = pattern.replace(f"{{{each}}}", "{}")
        place = f"path({pattern!r}{values})" if call.places else repr(pattern)
        return f"with_query({place}, {self._asked(call)})" if query and call.query else place

    @staticmethod
    def _asked(call: Called) -> str:
        return "{" + ", ".join(f"{each.name!r}: {each.python}" for each in call.query) + "}"

    def _plain(self, call: Called) -> str:
        wait = "" if self._blocking else "await "
        body = "body" if call.body else "{}" if call.empty_body else "None"
        if call.body and not call.body_required:
            body = "{} if body is None else body"
        if call.binary:
            ask = f"self.upload({call.method!r}, {self._where(call)}, content, size, **options)"
        else:
            ask = f"self.request({call.method!r}, {self._where(call)}, {body}, **options)"
        lines = [self._head(call, call.id, call.answer, waits=True), *self._text(call)]
        if call.answer == "None":
            return "\n".join([*lines, f"{INDENT}{wait}{ask}"])
        return "\n".join([*lines, f"{INDENT}found: {call.answer} = {wait}{ask}", f"{INDENT}return found"])

    def _stream(self, call: Called) -> str:
        result = f"{self._manager}[{self._streamed}]"
        content = ", content, size" if call.binary else ""
        lines = [
            self._head(call, call.id, result, waits=False),
            *self._text(call, "The answer comes as a stream."),
            f"{INDENT}return self.stream({call.method!r}, {self._where(call)}{content}, **options)",
        ]
        return "\n".join(lines)

    def _each(self, call: Called, name: str) -> str:
        lines = [
            self._head(call, name, f"{self._iterator}[{call.row}]", waits=False),
            *self._text(call, f"Row by row of `{call.id}`, over all its pages; `limit`: rows of a page."),
            f"{INDENT}return self._pages({self._where(call, query=False)}, {self._asked(call)}, options)",
        ]
        return "\n".join(lines)

    def _held(self, call: Called, name: str) -> str:
        more = ("after: str | None = None", "wait: float = WAIT", "on_trouble: OnTrouble = None")
        lines = [
            self._head(call, name, f"{self._iterator}[{call.answer}]", more, waits=False),
            *self._text(call, f"What `{call.id}` answers: now, and again whenever that has become another."),
            f"{INDENT}asked = {self._asked(call)[:-1]}{', ' if call.query else ''}'after': after}}",
            f"{INDENT}return self._watch({self._where(call, query=False)}, asked, options, wait, on_trouble)",
        ]
        return "\n".join(lines)
