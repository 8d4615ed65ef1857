"""`--workspace-template` and its kin: what is set of workspaces, and how child processes are told."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from store.config import ConfigError
from store.model import quantity

DEFAULT_URL = "http://{ip}:{port}/"
WORDS = ("ip", "hostname", "node", "port", "user", "id")
"""What an address may be made of."""
LEAST_TTL = 1.0
TEMPLATE, DATA, TTL, URL = (f"MUSTER_WORKSPACE_{word}" for word in ("TEMPLATE", "DATA", "TTL", "URL"))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceSettings:
    """Workspaces as they are configured."""

    template: str
    data: str | None = None
    """The directory on the nodes under which each user has one."""
    ttl: str | None = None
    url: str = DEFAULT_URL

    def environment(self) -> dict[str, str]:
        """For a child process."""
        said = {TEMPLATE: self.template, DATA: self.data, TTL: self.ttl, URL: self.url}
        return {key: value for key, value in said.items() if value}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "WorkspaceSettings | None":
        """In that child."""
        return workspace_settings(*(environ.get(key) or None for key in (TEMPLATE, DATA, TTL, URL)))


def workspace_settings(
    template: str | None, data: str | None, ttl: str | None, url: str | None
) -> WorkspaceSettings | None:
    """What is set, checked; None: nothing is.

    Raises:
        ConfigError: options of workspaces without the template that makes them some.
    """
    if template is None:
        given = {"data": data, "ttl": ttl, "url": url}
        lonely = next((name for name, value in given.items() if value), None)
        if lonely is not None:
            raise ConfigError(f"--workspace-{lonely} goes with --workspace-template")
        return None
    return WorkspaceSettings(template=template, data=data, ttl=ttl, url=url or DEFAULT_URL)


def directory(text: str) -> str:
    """A directory's absolute path.

    Raises:
        ValueError: it is none that a mount could name.
    """
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or set(text) & set(":\n\0"):
        raise ValueError(f"{text!r} is not an absolute path without : and ..")
    return str(path)


def lifetime(text: str) -> str:
    """A duration such as `8h`.

    Raises:
        ValueError: it is none, or shorter than a second.
    """
    if quantity.duration(text) < LEAST_TTL:
        raise ValueError(f"{text!r} is shorter than 1s")
    return text


def check_url(pattern: str) -> str:
    """A pattern for addresses, `http://{ip}:{port}/`, as it is.

    Raises:
        ValueError: it has a word that nothing fills in.
    """
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise ValueError(f"{pattern!r} is no pattern: {error}") from None
    for _, word, form, conversion in parts:
        if word is not None and (word not in WORDS or form or conversion):
            known = ", ".join(f"{{{each}}}" for each in WORDS)
            raise ValueError(f"{{{word}}} is not known: there are {known}")
    return pattern


def url_of(pattern: str, values: Mapping[str, str | int | None]) -> str | None:
    """The address that a pattern and what is known come to; None: something that it needs is not known."""
    wanted = {word for _, word, _, _ in string.Formatter().parse(pattern) if word is not None}
    if any(values.get(word) is None for word in wanted):
        return None
    return pattern.format_map({word: _part(word, values[word]) for word in wanted})


def _part(word: str, value: str | int | None) -> str:
    text = str(value)
    if word == "ip" and ":" in text:
        return f"[{text}]"
    return text if word in ("ip", "port") else quote(text, safe="")
