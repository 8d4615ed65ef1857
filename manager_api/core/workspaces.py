"""Workspaces: what a user's id becomes: a deployment's name, a directory; its port. Pure."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

PREFIX = "workspace-"
"""How the names of workspaces' deployments begin."""
USER, DATA = "user_id", "data"
"""The parameters that a workspace's template is given: for whom it is, and where that one's files lie."""
MOST_USER = 200
RESERVED = (".", "..", "cleanup")
"""Words that paths give another meaning."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_DIGEST = 16
_LIKE_MADE = re.compile(rf".*\.[0-9a-f]{{{_DIGEST}}}")
_SPOILT = re.compile(r"[\x00-\x1f\x7f/]")


def problem(user: str) -> str | None:
    """Why a text is no user's id, or None."""
    if not user.strip():
        return "empty"
    if len(user) > MOST_USER:
        return f"{len(user)} characters, at most {MOST_USER}"
    if _SPOILT.search(user):
        return "holds a slash or a control character"
    if user in RESERVED:
        return f"{user!r} has another meaning here"
    try:
        user.encode()
    except UnicodeEncodeError:
        return "not text in UTF-8"
    return None


def key_of(user: str) -> str:
    """The word for a user in names and directories: no two users have the same.

    Short ids of `A-Z a-z 0-9 . _ -` are their own; others get a digest. An id that looks as if it had one
    gets another.
    """
    if _PLAIN.fullmatch(user) and not _LIKE_MADE.fullmatch(user):
        return user
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", user)[:20].strip("_-") or "user"
    return f"{readable}.{hashlib.sha256(user.encode()).hexdigest()[:_DIGEST]}"


def name_of(user: str) -> str:
    """The name of the deployment that is a user's workspace."""
    return PREFIX + key_of(user)


def is_one(record: Mapping[str, Any]) -> bool:
    """Whether a deployment's record is a workspace's: named after the user that it is for."""
    user = (record.get("parameters") or {}).get(USER)
    return isinstance(user, str) and record.get("name") == name_of(user)


def port_of(ports: Mapping[str, Mapping[str, int]]) -> int | None:
    """The port at which a workspace is reached, `http` if it has one of that name, else the first."""
    named = sorted((name != "http", name, task) for task, given in ports.items() for name in given)
    if not named:
        return None
    _, name, task = named[0]
    return ports[task][name]
