"""Commands as users write them: a list, or a string split as a shell would; perhaps with a pin."""

import re
import shlex
from collections.abc import Mapping

_PIN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]:(?=/)|([^/\s:]+):(?=/|$))")
_VARIABLE = re.compile(r"\$\{([a-z]+)\.([A-Za-z0-9_.-]+)\}")

VARIABLES = frozenset(
    {"node.id", "node.ip", "node.hostname", "alloc.id", "alloc.index", "alloc.dir", "task.dir", "text.dollar"}
)
NAMED = ("port.", "param.", "addr.")
"""Beginnings of variables whose names a template itself gives."""
TASK_DIR = "${task.dir}"
"""The directory in which a task's files lie, and which it runs in unless told otherwise."""
DOLLAR = "${text.dollar}"
"""A dollar sign that begins nothing: how a text says `${node.id}` and means these very letters."""


def split_pin(command: str) -> tuple[str | None, str]:
    """`HOST:/path …` as (host, command); (None, command) when there is no pin."""
    match = _PIN.match(command)
    if match is None:
        return None, command
    return match[1] or match[2], command[match.end() :]


def argv(command: object, args: object = ()) -> list[str]:
    """The argument vector of a task.

    Raises:
        ValueError: there is nothing to run, or a quotation is open.
    """
    if isinstance(command, str):
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"cannot be split as a shell would: {error}".lower()) from None
    elif isinstance(command, list):
        words = [str(word) for word in command]
    else:
        raise ValueError("neither a text nor a list")
    if not words or not words[0]:
        raise ValueError("names nothing to run")
    return words + [str(word) for word in args] if isinstance(args, list | tuple) else words


def variables(text: str) -> list[str]:
    """The dotted names in `${…}`, in order; `${X}` without a dot is the user's own."""
    return [f"{match[1]}.{match[2]}" for match in _VARIABLE.finditer(text)] if "${" in text else []


def pieces(text: str) -> list[tuple[str, str | None]]:
    """`text` in pieces, each with the name of the variable that it is, or None; joined they are `text`."""
    found: list[tuple[str, str | None]] = []
    at = 0
    for match in _VARIABLE.finditer(text):
        found += [(text[at : match.start()], None), (match[0], f"{match[1]}.{match[2]}")]
        at = match.end()
    return [*found, (text[at:], None)]


def unknown_variables(text: str) -> list[str]:
    """Dotted names in `${…}` that nothing fills in, whatever the template around them says."""
    return sorted({name for name in variables(text) if name not in VARIABLES and not name.startswith(NAMED)})


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with every `${a.b}` that `values` knows replaced, and `${text.dollar}` by a dollar sign."""
    return _VARIABLE.sub(
        lambda match: "$" if match[0] == DOLLAR else values.get(f"{match[1]}.{match[2]}", match[0]), text
    )
