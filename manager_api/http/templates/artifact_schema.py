"""What a template says of a task's files: where they come from, what they must be, where they land."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, pre_load, validates_schema

from manager_api.http.frame import readers
from manager_api.http.frame.fields import Bool, Parsed, Read, StrictSchema, is_open, shaped, text
from manager_api.http.templates.artifact_places import UNKNOWN, VARIABLE, clashes, file_name, parsed, path
from store.model import artifacts, command
from transfer import urls
from transfer.hostkeys import is_fingerprint

MOST_SOURCE = 4096
MOST_NAME = 255
"""Bytes in one part of a path: file systems take no longer one."""
_MODE = re.compile(r"0?[0-7]{3}")
_SPECIAL = re.compile(r"0?[1-7][0-7]{3}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PASSWORD = re.compile(r"(?:(?:[^/]*:)?//?)?[^/]*:[^/]*@")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_IN_SOURCE = ("param.", "node.", "alloc.", "text.")
_IN_TO = ("param.", "node.", "alloc.id", "alloc.index", "text.")
_PROGRAM = re.compile(r"/(?:[^\x00]*/)?(?!\.{1,2}$)[^/\x00]+")


def has_password(value: str) -> bool:
    """Whether a text looks as if it held a login's password: `user:password@` where a server is named."""
    return bool(_PASSWORD.match(VARIABLE.sub(UNKNOWN, value)))


@shaped(minLength=1, maxLength=MOST_SOURCE, examples=["apps/etl-1.4.tar.gz", "https://example.org/a.tar.gz"])
def source(value: Any) -> str:
    """A URL, or a path under `--sftp-host`. No sentence repeats it: it may hold a password all the same.

    Raises:
        ValueError: it is neither.
    """
    given = _line(value, _IN_SOURCE)
    if len(given) > MOST_SOURCE:
        raise ValueError(f"{len(given)} characters, at most {MOST_SOURCE}")
    if has_password(given):
        raise ValueError(urls.NO_PASSWORDS)
    plain = VARIABLE.sub(UNKNOWN, given)
    if not urls.is_relative(plain):
        if "${" not in given.partition("://")[0]:
            _check_url(given)
        return given
    if _SCHEME.match(plain):
        raise ValueError("neither a URL such as sftp://host/path/file nor a path under --sftp-host")
    if not plain.strip("./"):
        raise ValueError("names no file")
    if plain.startswith("/") or ".." in plain.split("/"):
        raise ValueError(
            "not a path under --sftp-host, which it must not leave; a file of the node is file:///path"
        )
    return given


def _check_url(given: str) -> None:
    found = parsed(given)
    if found.scheme in ("sftp", "file") and ("?" in given or "#" in given):
        raise ValueError("a ? or # in a path is written %3F or %23")
    if found.scheme.startswith("http") and any(each.isspace() for each in given):
        raise ValueError("a space in a URL is written %20")


@shaped(minLength=1, examples=["conf/app.ini"])
def to(value: Any) -> str:
    """Where something lands, relative to the task's directory.

    Raises:
        ValueError: that is no path inside of it.
    """
    given = _line(value, _IN_TO)
    parts = given.split("/")
    if given.startswith("/") or ".." in parts:
        raise ValueError("not a path inside the task's directory, such as conf/app.ini")
    if any(len(part.encode()) > MOST_NAME for part in parts):
        raise ValueError(f"a name of more than {MOST_NAME} bytes")
    return given


def _line(value: Any, allowed: tuple[str, ...]) -> str:
    given = text(value)
    if not given.strip():
        raise ValueError("empty")
    if _CONTROL.search(given):
        raise ValueError("holds a control character, such as a line end")
    for name in command.variables(given):
        if not name.startswith(allowed):
            raise ValueError(f"${{{name}}} is not known here")
    return given


class Sha256(Read[str]):
    """A SHA-256 digest; stored in one form, however it is written."""

    def _read(self, value: Any) -> str:
        return text(value) if is_open(value) else artifacts.digest(value)

    def json_schema(self) -> dict[str, Any]:
        """What OpenAPI says of it."""
        return {"type": "string", "minLength": 1, "examples": [64 * "0"]}


@shaped(pattern=f"^{_MODE.pattern}$", examples=["0755"])
def mode(value: Any) -> str:
    """A file's mode, in octal.

    Raises:
        ValueError: it is none, or would give the file's rights to whoever runs it.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError('a number, which YAML makes of 0755 (493): write it in quotes, "0755"')
    if isinstance(value, str) and _SPECIAL.fullmatch(value):
        raise ValueError("setuid, setgid and sticky bits are not given; 0755 is the most common of the rest")
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise ValueError('not a mode such as "0755", in octal and as a text')
    return value


@shaped(minLength=1, examples=["SHA256:" + 43 * "A"])
def fingerprint(value: Any) -> str:
    """A host key, as OpenSSH writes it.

    Raises:
        ValueError: it is none.
    """
    if is_open(value):
        return text(value)
    if not isinstance(value, str) or not is_fingerprint(value):
        raise ValueError("not a fingerprint such as ssh-keygen -l prints: SHA256: and 43 characters")
    return value


class ArtifactSchema(StrictSchema):
    """One file, or one archive; a text alone is its `source`."""

    about: ClassVar[dict[str, str]] = {
        "source": "Where it comes from: a URL (sftp, http, https, file), or a path under `--sftp-host`.",
        "sha256": "What it must be, in hexadecimal; without it, whatever is there.",
        "extract": "Unpack it: a tar, compressed or not, or a zip.",
        "to": "Where it lands, under the task's directory; without it, by its own name.",
        "mode": "The file's mode, in octal and as a text.",
        "owner": "Whose it is; without it, the task's user.",
        "fingerprint": "The host key of an sftp server, as `ssh-keygen -l` prints it.",
    }
    alternatives: ClassVar[tuple[dict[str, Any], ...]] = ({"type": "string", "minLength": 1},)

    source = Parsed(source, required=True)
    sha256 = Sha256(allow_none=True)
    extract = Bool()
    to = Parsed(to, allow_none=True)
    mode = Parsed(mode, allow_none=True)
    owner = Parsed(readers.user, allow_none=True)
    fingerprint = Parsed(fingerprint, allow_none=True)

    @pre_load
    def take_text(self, data: Any, **_: Any) -> Any:
        """A text alone is a source."""
        return {"source": data} if isinstance(data, str) else data

    @validates_schema
    def check_together(self, data: dict[str, Any], **_: Any) -> None:
        """What goes with a file or an archive, with one kind of server or another."""
        if data.get("extract") and data.get("mode") is not None:
            raise ValidationError("goes with a file; an archive brings its own modes", "mode")
        scheme = data["source"].partition("://")[0]
        if data.get("fingerprint") is not None and scheme != "sftp" and "${" not in scheme:
            said = "goes with sftp://…; the host key of --sftp-host is the manager's to check"
            raise ValidationError(said, "fingerprint")
        if data.get("extract"):
            return
        where = data.get("to")
        if where is not None and (where.endswith("/") or not path(where)):
            raise ValidationError("names a directory: say what the file is to be called in it", "to")
        name = file_name(data["source"]) if where is None else None
        if name is not None and (name in ("", ".", "..") or "/" in name or _CONTROL.search(name)):
            raise ValidationError("needed: the source's own name is no file's name", "to")

    @post_load
    def drop_nothing(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """A missing key says the same as null."""
        return {key: value for key, value in data.items() if value is not None}


class FilesSchema(StrictSchema):
    """What a task says of its files."""

    about: ClassVar[dict[str, str]] = {
        "artifacts": "Files and archives that are there before the task starts.",
        "fetch": "Fetch the command's program from `--sftp-host` where a node lacks it.",
        "fetch_timeout": "How long the files may take; then the task has failed.",
    }

    artifacts = fields.List(fields.Nested(ArtifactSchema))
    fetch = Bool()
    fetch_timeout = Parsed(readers.positive_duration)

    @pre_load
    def count_artifacts(self, data: Any, **_: Any) -> Any:
        """Before each of them is looked at."""
        found = data.get("artifacts") if isinstance(data, Mapping) else None
        if isinstance(found, list) and len(found) > artifacts.MOST_ARTIFACTS:
            said = f"{len(found)} artifacts, at most {artifacts.MOST_ARTIFACTS}"
            raise ValidationError({"artifacts": [said]})
        return data

    @validates_schema
    def check_artifacts(self, data: dict[str, Any], **_: Any) -> None:
        """Each file has a place of its own."""
        problems = clashes(data.get("artifacts", ()))
        if problems:
            raise ValidationError({"artifacts": {each: {"to": [said]} for each, said in problems.items()}})

    @validates_schema
    def check_fetch(self, data: dict[str, Any], **_: Any) -> None:
        """What a node lacks is fetched by the name at the end of its path."""
        if not data.get("fetch"):
            return
        if data["config"].get("driver") == "container":
            raise ValidationError("goes with driver: process; a container's image has its programs", "fetch")
        program = command.argv(data["config"]["command"])[0]
        if not is_open(program) and not _PROGRAM.fullmatch(program):
            raise ValidationError(f"needs a command such as /opt/apps/clean.sh, not {program!r}", "fetch")
        others, name = data.get("artifacts", ()), program.rpartition("/")[2]
        if not clashes(others) and clashes([*others, {"source": f"./{name}"}]):
            raise ValidationError(f"would fetch {name} to where an artifact lies", "fetch")
