"""What many calls share in the API's description: headers, words of paths, errors, tags."""

from http import HTTPStatus

from manager_api.http.frame import errors
from manager_api.http.frame.answers import ContractFiveErrorSchema, ErrorSchema, ProblemSchema
from store.codec import Json

BYTES: Json = {"type": "string", "format": "binary"}
IN_BODY = "The same words are taken as a JSON object in the body of the GET."

INFO: Json = {
    "summary": "Tell Muster what should run; the nodes see to it.",
    "description": (
        "Lists are `{data, total, next}`; without `limit` they give all. Errors are `{error, detail}`, or "
        "RFC 9457 problems for who accepts `application/problem+json`. Records have an `ETag`: give it back "
        "as `If-Match`, and nobody overwrites what they have not seen. A POST with an `Idempotency-Key` may "
        "be sent again. The guide `docs/api.md` says more."
    ),
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}

TAGS = {
    "nodes": "Machines with an agent.",
    "deployments": "Running instances of templates.",
    "templates": "Named, versioned definitions of what can run.",
    "devices": "The inventory.",
    "groups": "Sets of devices, by membership or by rule: targets of deployments.",
    "memberships": "Which device is in which group.",
    "workspaces": "One container for each user of an interactive program.",
    "artifacts": "Files on the server of `--sftp-host`.",
    "events": "What happened.",
    "store": "Backup, restore, recovery, brake.",
    "health": "Is all well?",
    "docs": "This description, as a document and as pages.",
    "contract": "Calls of the systems that Muster replaces; each has a sibling under `/v1`.",
}


def tags() -> list[Json]:
    """The tags, with their sentences."""
    return [{"name": name, "description": text} for name, text in TAGS.items()]


def _header(name: str, text: str, example: str, **schema: object) -> Json:
    return {
        "name": name, "description": text, "required": False, "schema": {"type": "string", **schema},
        "example": example,
    }  # fmt: skip


PARAMETERS = {
    "RequestId": _header(
        "X-Request-Id",
        "A name for this request, in the answer and in every log line about it; without one it gets one.",
        "import-2026-11-22.17",
        pattern=r"^[A-Za-z0-9._:/+=@-]{1,128}$",
    ),
    "IdempotencyKey": _header(
        "Idempotency-Key",
        "A text of the caller's own for this one wish. The same call with the same key is answered as the "
        "first was (`Idempotent-Replayed: true`) for 24 hours, and done once.",
        "9b2f4c1e-6f0a-4a7c-9d3b-1f1f6f3a2b10",
        pattern='^("[!#-~]{1,255}"|[!#-~]{1,255})$',
    ),
    "Durability": _header(
        "Muster-Durability",
        "`replicated`: answer once a replica of the store has the write, and say in `Muster-Replicated` "
        "whether one has.",
        "replicated",
        enum=["replicated", "local"],
    ),
    "IfMatch": _header(
        "If-Match",
        "The `ETag` of the record that the caller has seen: has it changed since, 412 and nothing is done.",
        '"4711"',
    ),
    "IfNoneMatch": _header(
        "If-None-Match",
        "The `ETag` of the answer that the caller has: 304 if it is still the same.",
        '"4711"',
    ),
}


def _told(text: str, example: str, **schema: object) -> Json:
    return {"description": text, "schema": {"type": "string", **schema}, "example": example}


HEADERS = {
    "XRequestId": _told("The name of this request.", "import-2026-11-22.17"),
    "MusterVersion": _told("Which Muster answered.", "0.3.0"),
    "MusterReplicated": _told(
        "Whether a replica has the write; only if that was asked for.", "yes", enum=["yes", "no"]
    ),
    "MusterRevision": _told("Give it back as `after` to wait for what comes next.", "4711"),
    "ETag": _told("What this answer is at; for `If-None-Match`, and of a record for `If-Match`.", '"4711"'),
    "RetryAfter": _told("Seconds until it is worth another try.", "1"),
}
ALWAYS = {"X-Request-Id": "XRequestId", "Muster-Version": "MusterVersion"}

_PATH_WORDS = {
    "node": ("The id of a node.", "web-1"),
    "deployment": ("The id of a deployment.", "0b7d9c54-6f7e-4c0f-8e0b-6c9a3c0e5d11"),
    "template": ("The name of a template.", "etl"),
    "device": ("The id of a device: 10 digits.", "4322159209"),
    "group": ("The id of a group: 10 digits.", "1029384756"),
    "artifact": ("The name of a file, which may have slashes: `apps/etl-1.4.tar.gz`.", "clean.sh"),
    "name": ("The name of a file of the pages.", "redoc.js"),
}


_WORDS: dict[str, Json] = {"int": {"type": "integer", "minimum": 0}}


def path_word(name: str, converter: str = "") -> Json:
    """A word in a path as a parameter; `converter`: what Falcon makes of it, `int` or nothing."""
    text, example = _PATH_WORDS.get(name, (f"The {name}.", 1 if converter == "int" else "1"))
    return {
        "name": name, "in": "path", "required": True, "description": text,
        "schema": _WORDS.get(converter, {"type": "string", "minLength": 1}), "example": example,
    }  # fmt: skip


_ERRORS = {
    400: (
        "The request cannot be understood: `detail` names the field.",
        "Invalid request format",
        "limit: not a whole number from 1 to 1000",
    ),
    403: ("This caller may not do that.", "Node is barred", "node 'web-1' was barred from the store"),
    404: ("There is no such record.", "Node not found", "there is no node with id 'web-9'"),
    409: (
        (
            "It cannot be done as things stand: `detail` says why, `nodes` for each node; `confirm` says "
            "that it would be done if confirmed."
        ),
        "Node is online",
        "node 'web-1' is online; stop its agent first",
    ),
    411: ("The length of the body must be known.", "Length Required", "Content-Length: there is none"),
    412: (
        "The record is not any more what `If-Match` says.",
        "The record has changed",
        "it is at revision 4712",
    ),
    413: ("The body is too large.", "Content Too Large", "at most 4194304 bytes are taken"),
    422: (
        "The body was understood and cannot be taken; or its `Idempotency-Key` stands for another request.",
        "Not what was meant to be sent",
        "its digest is another",
    ),
    429: ("Too many requests.", "Too Many Requests", "try again in a second"),
    500: ("The manager's own fault; its log says more.", "Internal error", "the manager's log says more"),
    502: (
        "The server of files did not do it.",
        "The server of files did not do it",
        "sftp.example.org: connection refused",
    ),
    503: (
        "Not now: the store, the leader or room is missing. Try again after `Retry-After` seconds.",
        "The store is not available",
        "connection refused",
    ),
    504: ("No answer in time.", "Gateway Timeout", "no answer within 5 s"),
    507: ("The disk of the manager is full.", "No room", "nothing was done"),
}
FIVE = "OfInventory"


def error_name(status: int, *, five: bool) -> str:
    """The name of the response that all errors of a status share; `five`: those of contract 5."""
    return f"{HTTPStatus(status).phrase.replace(' ', '')}{FIVE if five else ''}"


def shared_response(name: str) -> Json:
    """What `error_name` names, and `NotModified`."""
    bare = name.removesuffix(FIVE)
    status = next(each for each in HTTPStatus if each.phrase.replace(" ", "") == bare)
    shared = {**ALWAYS, "Retry-After": "RetryAfter"} if status in (429, 503) else ALWAYS
    headers = {key: {"$ref": f"#/components/headers/{ref}"} for key, ref in shared.items()}
    if status == HTTPStatus.NOT_MODIFIED:
        headers["ETag"] = {"$ref": "#/components/headers/ETag"}
        return {"description": "The caller's answer is still the right one.", "headers": headers}
    text, error, detail = _ERRORS[status]
    five = {"status": int(status), "message": error} if name.endswith(FIVE) else {}
    problem = errors.problem(int(status), {"error": error, "detail": detail}, request="import-2026-11-22.17")
    return {
        "description": text,
        "headers": headers,
        "content": {
            "application/json": {
                "schema": ContractFiveErrorSchema if five else ErrorSchema,
                "example": {**five, "error": error, "detail": detail},
            },
            errors.PROBLEM: {"schema": ProblemSchema, "example": problem},
        },
    }
