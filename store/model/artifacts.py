"""Files that a task needs, as its template names them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from store.model import quantity

FETCH_TIMEOUT = 1800.0
"""Seconds within which a task's files must be there; time spent waiting for a turn does not count."""
MOST_ARTIFACTS = 1000
"""In one task."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One file, or the contents of an archive, in the task's directory."""

    source: str
    """A URL, or a path under the manager's `--sftp-host`. May hold `${…}`."""
    sha256: str | None = None
    """64 lower-case hexadecimal digits; None: whatever lies there."""
    extract: bool = False
    to: str = ""
    """Where, relative to the task's directory. A file: its name there; empty: that of the source. An
    archive: the directory that it is unpacked in; empty: the task's own. May hold `${…}`."""
    mode: int | None = None
    """Of a file; None: 0644. Archives bring their own."""
    owner: str | None = None
    """`user`, `user:group`, or numbers; None: the task's user."""
    fingerprint: str | None = None
    """The host key (`SHA256:…`) that its SFTP server must have; None: by known_hosts."""


def artifacts(raw: Mapping[str, Any]) -> tuple[Artifact, ...]:
    """The artifacts of a stored task.

    Raises:
        KeyError, TypeError, ValueError: they cannot be read.
    """
    return tuple(_artifact(each) for each in raw.get("artifacts", ()))


def digest(value: object) -> str:
    """A SHA-256 digest as it is kept: lower-case hexadecimal, whichever way people write it.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str):
        raise ValueError("not a text")
    found = value.lower().removeprefix("sha256:")
    if not is_sha256(found):
        raise ValueError("not a SHA-256 digest, which has 64 hexadecimal digits")
    return found


def is_sha256(text: str) -> bool:
    """Whether it is a digest in the form in which it is kept."""
    return _SHA256.fullmatch(text) is not None


def check_sha256(text: str) -> str:
    """The same digest, as it is kept.

    Raises:
        ValueError: it is none.
    """
    if not is_sha256(text):
        raise ValueError(f"{text[:80]!r} is not a SHA-256: 64 lower-case hexadecimal digits")
    return text


def _artifact(raw: Mapping[str, Any]) -> Artifact:
    return Artifact(
        source=str(raw["source"]),
        sha256=_kept(raw.get("sha256")),
        extract=bool(raw.get("extract", False)),
        to=str(raw.get("to", "")),
        mode=int(str(raw["mode"]), 8) if raw.get("mode") is not None else None,
        owner=raw.get("owner"),
        fingerprint=raw.get("fingerprint"),
    )


def fetch_timeout(raw: Mapping[str, Any]) -> float:
    """Seconds within which a stored task's files must be there."""
    return quantity.duration(raw["fetch_timeout"]) if raw.get("fetch_timeout") else FETCH_TIMEOUT


def _kept(sha256: str | None) -> str | None:
    """One that a parameter is still to be filled into is what it will be then."""
    return sha256 if sha256 is None or "${" in sha256 else digest(sha256)
