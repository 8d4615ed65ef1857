"""Health checks: http, tcp or exec; Compose's `test` becomes exec."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from marshmallow import ValidationError, pre_load, validates_schema

from manager_api.http.frame import readers
from manager_api.http.frame.fields import Command, Int, OneOf, Parsed, Read, StrictSchema, Text, is_open, text

KINDS = ("http", "tcp", "exec")
ON_FAILURE = ("restart", "report")
MOST_BODY = 1024
_STATUS = re.compile(r"([1-5]\d\d)(?:-([1-5]\d\d))?")
_PORT = re.compile(r"\$\{port\.[A-Za-z0-9_-]+\}")
_ADDRESS = re.compile(rf"(?:(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):)?(\d{{1,5}}|{_PORT.pattern})")


class HttpTarget(Read[str]):
    """A URL that can be asked for; its port may be one that is given out."""

    def _read(self, value: Any) -> str:
        given = text(value)
        if is_open(value):
            return given
        found = urlsplit(_PORT.sub("1", given))
        if found.scheme not in ("http", "https") or not found.hostname or found.username:
            raise ValidationError("not a URL such as http://127.0.0.1:8080/health")
        if found.port == 0 or any(c.isspace() or ord(c) < 33 or ord(c) > 126 for c in value):
            raise ValidationError("not a URL that could be asked for")
        return str(value)

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string", "minLength": 1, "examples": ["http://127.0.0.1:${port.http}/health"]}


class TcpTarget(Read[str]):
    """`host:port`, or a port of this machine."""

    def _read(self, value: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        given = text(value)
        if is_open(value):
            return given
        match = _ADDRESS.fullmatch(given)
        if match is None or not (match[2].startswith("$") or 0 < int(match[2]) < 65536):
            raise ValidationError("not host:port, nor a port from 1 to 65535")
        return f"{match[1] or '127.0.0.1'}:{match[2]}"

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": ["string", "integer"], "examples": ["127.0.0.1:5432", 5432]}


class Status(Read[str]):
    """One status code, or the lowest and highest."""

    def _read(self, value: Any) -> str:
        match = _STATUS.fullmatch(str(value)) if not isinstance(value, bool) else None
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValidationError("not a status such as 200 or 200-399")
        return str(value)

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": ["string", "integer"], "pattern": f"^{_STATUS.pattern}$", "examples": ["200-399"]}


class HealthcheckSchema(StrictSchema):
    """How it is found out whether a task is well, and what follows when it is not."""

    about: ClassVar[dict[str, str]] = {
        "http": "A URL that must answer `status`, with `body` in it.",
        "tcp": "`host:port` that must accept a connection.",
        "exec": "A command that must exit with 0.",
        "status": "A status, or the least and the highest: `200-399`.",
        "body": "A text that the answer must hold.",
        "interval": "From one probe to the next.",
        "timeout": "How long a probe may take.",
        "retries": "How many must fail in a row.",
        "start_period": "How long after a start failures do not count.",
        "on_failure": "`restart` (the default), or only `report`.",
    }
    also: ClassVar[dict[str, Any]] = {
        "test": {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 2}],
            "description": "Compose's form of `exec`: a text for a shell, or a list after CMD or CMD-SHELL.",
        }
    }

    http = HttpTarget()
    tcp = TcpTarget()
    exec = Command()
    status = Status()
    body = Text()
    interval = Parsed(readers.probe_duration)
    timeout = Parsed(readers.probe_duration)
    retries = Int(1, 1000)
    start_period = Parsed(readers.duration)
    on_failure = OneOf(*ON_FAILURE)

    @pre_load
    def take_compose_test(self, data: Any, **_: Any) -> Any:
        """Compose's `test`, as a list that begins with CMD, CMD-SHELL, or as a text for a shell."""
        if not isinstance(data, Mapping) or "test" not in data:
            return data
        data = dict(data)
        data["exec"] = _test(data.pop("test"))
        return data

    @validates_schema
    def check(self, data: dict[str, Any], **_: Any) -> None:
        """One kind; and what belongs to http only goes with http."""
        kinds = sorted(data.keys() & set(KINDS))
        if len(kinds) != 1:
            raise ValidationError(f"exactly one of {', '.join(KINDS)} (or Compose's test) is needed")
        for name in ("status", "body"):
            if name in data and "http" not in data:
                raise ValidationError("goes with http only", name)
        if len(data.get("body", "").encode()) > MOST_BODY:
            raise ValidationError(f"longer than {MOST_BODY} bytes", "body")


def _test(test: Any) -> Any:
    if isinstance(test, str):
        return ["/bin/sh", "-c", test]
    if isinstance(test, list) and len(test) > 1 and test[0] == "CMD":
        return test[1:]
    if isinstance(test, list) and len(test) == 2 and test[0] == "CMD-SHELL":
        return ["/bin/sh", "-c", test[1]]
    raise ValidationError(
        {"test": ['not ["CMD", …], ["CMD-SHELL", text] or a text; to have none, leave it out']}
    )
