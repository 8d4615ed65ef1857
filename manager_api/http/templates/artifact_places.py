"""Where the files of one task land, as far as that is known before variables are filled in."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from transfer import urls
from transfer.errors import TransferError

VARIABLE = re.compile(r"\$\{[a-z]+\.[A-Za-z0-9_.-]+\}")
UNKNOWN = "1"
"""What stands for a variable while the text around it is looked at."""
_IN_URLS = (UNKNOWN, "/1", "1/1")
"""The same in URLs, where a variable may hold a host, a port, a path, or both."""


def parsed(given: str) -> urls.Source:
    """A URL, as far as it is known before its variables are filled in.

    Raises:
        ValueError: whatever they will be, it is none.
    """
    problems = []
    for each in _IN_URLS:
        try:
            return urls.parse(VARIABLE.sub(each, given))
        except TransferError as error:
            problems.append(str(error))
    raise ValueError(problems[0])


def clashes(found: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """The artifacts of one task that cannot lie beside the others, with sentences.

    Several archives may share a directory, and a file may lie in one of an archive's; but what is a file can
    be no other file and no directory.
    """
    problems: dict[int, str] = {}
    files: dict[tuple[str, ...], int] = {}
    for number, each in enumerate(found):
        at = _landing(each)
        if at is None or each.get("extract"):
            continue
        if files.setdefault(at, number) != number:
            problems[number] = f"{'/'.join(at)} is where artifact {files[at]} lands, too"
    unpacked: set[tuple[str, Any]] = set()
    for number, each in enumerate(found):
        at = _landing(each)
        if at is None or number in problems:
            continue
        above = [at[:depth] for depth in range(1, len(at) + bool(each.get("extract"))) if at[:depth] in files]
        if above:
            whose = files[above[0]]
            problems[number] = f"{'/'.join(at)} would need {'/'.join(above[0])}, the file of artifact {whose}"
        elif each.get("extract") and (key := (each["source"], at)) in unpacked:
            problems[number] = "the same archive is unpacked there twice"
        elif each.get("extract"):
            unpacked.add(key)
    return problems


def _landing(artifact: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The parts of the path that it lands on; None: that is not known before variables are filled in."""
    where = artifact.get("to")
    if where is not None or artifact.get("extract"):
        return path(where or "")
    name = file_name(artifact["source"])
    return None if name is None else (name,)


def path(where: str) -> tuple[str, ...]:
    """The parts of a path under the task's directory."""
    return tuple(part for part in where.split("/") if part not in ("", "."))


def file_name(given: str) -> str | None:
    """What a source is called; None: that is not known before variables are filled in."""
    if "${" in given.rstrip("/").rpartition("/")[2] or "${" in given.partition("://")[0]:
        return None
    if urls.is_relative(given):
        return (path(given) or ("",))[-1]
    return parsed(given).name
