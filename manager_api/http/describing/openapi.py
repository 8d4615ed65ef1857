"""The API's own description, OpenAPI 3.1, from what responders and schemas say: nothing is said twice."""

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from manager_api.http.describing import openapi_parts as parts
from manager_api.http.describing.shapes import Plugin, new_spec, parameters
from manager_api.http.frame.idempotency import takes_keys
from manager_api.http.frame.operation import JSON, Answer, Operation, of
from store.codec import Json
from store.version import VERSION

Routes = Iterable[tuple[str, object]]
METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE")
_WORD = re.compile(r"\{(\w+)(?::(\w+)[^}]*)?\}")


def calls(routes: Routes) -> Iterator[tuple[str, str, object, Operation | None]]:
    """Every responder but those of HEAD and OPTIONS: path, method, resource, what is said of it."""
    for path, resource in routes:
        for method in METHODS:
            if hasattr(resource, f"on_{method.lower()}"):
                yield path, method, resource, of(resource, method)


def check(routes: Routes) -> None:
    """See that everything is described, and nothing is described twice.

    Raises:
        ValueError: something is not; it names the calls.
    """
    silent, ids = [], dict[str, str]()
    for path, method, _, said in calls(routes):
        call = f"{method} {path}"
        if said is None:
            silent.append(call)
        elif ids.setdefault(said.id, call) != call:
            raise ValueError(f"{call} and {ids[said.id]} are both {said.id!r}: each needs an id of its own")
        elif said.tag not in parts.TAGS:
            raise ValueError(f"{call}: {said.tag!r} is not one of {', '.join(parts.TAGS)}")
    if silent:
        raise ValueError(f"not described (see manager_api.http.frame.operation): {', '.join(silent)}")


def document(routes: Routes) -> Json:
    """The whole OpenAPI document.

    Raises:
        ValueError: two shapes would have the same name.
    """
    spec, plugin = new_spec("Muster", VERSION, info=parts.INFO, servers=[{"url": "/"}], tags=parts.tags())
    for name, each in parts.PARAMETERS.items():
        spec.components.parameter(name, "header", dict(each))
    for name, each in parts.HEADERS.items():
        spec.components.header(name, dict(each))
    for path, method, resource, said in calls(routes):
        if said is None:
            continue
        call = _call(plugin, path, method, resource, said)
        for status in call["responses"]:
            _add_error(spec, call["responses"][status])
        spec.path(path=_WORD.sub(r"{\1}", path), operations={method.lower(): call})
    found: Json = spec.to_dict()
    return found


def _call(plugin: Plugin, path: str, method: str, resource: object, said: Operation) -> Json:
    """One operation object; what others share is referred to by name."""
    query = parameters(plugin, said.query) if said.query is not None else []
    writes = bool(getattr(resource, "writes", False))
    keyed = takes_keys(method, resource, said)
    headers = list(_headers(method, said, writes=writes, keyed=keyed))
    call: Json = {
        "operationId": said.id,
        "summary": said.summary,
        "tags": [said.tag],
        "parameters": [*(parts.path_word(*each) for each in _WORD.findall(path)), *query, *headers],
        "responses": _responses(method, resource, said, writes=writes, keyed=keyed),
    }
    description = " ".join(filter(None, (said.description, parts.IN_BODY if said.query_in_body else "")))
    if description:
        call["description"] = description
    body = _body(said)
    return {**call, "requestBody": body} if body else call


def _headers(method: str, said: Operation, *, writes: bool, keyed: bool) -> Iterator[str]:
    """Names of the headers that a call understands."""
    yield "RequestId"
    if keyed:
        yield "IdempotencyKey"
    if writes:
        yield "Durability"
    if HTTPStatus.PRECONDITION_FAILED in said.errors:
        yield "IfMatch"
    if _is_cached(method, said):
        yield "IfNoneMatch"


def _is_cached(method: str, said: Operation) -> bool:
    """Whether an answer has an ETag: all that is JSON and read."""
    return method == "GET" and 200 in said.answers and said.answers[200].media == JSON


def _body(said: Operation) -> Json:
    if said.body is None and said.body_media == JSON:
        return {}
    content: Json = {"schema": said.body if said.body is not None else parts.BYTES}
    if said.body_example is not None or said.body_optional:
        content["example"] = said.body_example or {}
    return {"required": not said.body_optional, "content": {said.body_media: content}}


def _responses(method: str, resource: object, said: Operation, *, writes: bool, keyed: bool) -> Json:
    replicated = {"Muster-Replicated": "MusterReplicated"} if writes else {}
    cached = _is_cached(method, said)
    tagged = {"ETag": "ETag"} if cached else {}
    held = said.query is not None and "after" in said.query.fields
    revision = {"Muster-Revision": "MusterRevision"} if held else {}
    found: Json = {
        str(status): _success(answer, {**parts.ALWAYS, **replicated, **tagged, **revision})
        for status, answer in said.answers.items()
    }
    if cached:
        found["304"] = "NotModified"
    replayed = (409, 422) if keyed else ()
    five = getattr(resource, "envelope", None) == "contract5"
    for status in sorted({400, 500, 503, *said.errors, *replayed}):
        found.setdefault(str(status), parts.error_name(status, five=five))
    return found


def _success(answer: Answer, shared: Mapping[str, str]) -> Json:
    headers: Json = {name: {"$ref": f"#/components/headers/{ref}"} for name, ref in shared.items()}
    for name, text in answer.headers.items():
        headers[name] = {"description": text, "schema": {"type": "string"}}
    found: Json = {"description": answer.text, "headers": headers}
    if answer.schema is not None or answer.media != JSON:
        content: Json = {"schema": answer.schema if answer.schema is not None else parts.BYTES}
        if answer.example is not None:
            content["example"] = answer.example
        found["content"] = {answer.media: content} | {each: {"schema": parts.BYTES} for each in answer.others}
    return found


def _add_error(spec: Any, response: Any) -> None:
    """Put a response that is named into the components, the first time that it is."""
    if not isinstance(response, str) or response in spec.components.responses:
        return
    spec.components.response(response, parts.shared_response(response))
