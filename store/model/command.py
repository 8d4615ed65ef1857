"""Commands as users write them: a list, or a string split as a shell would; perhaps with a pin."""

import re
import shlex

_PIN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]:(?=/)|([^/\s:]+):(?=/|$))")
_VARIABLE = re.compile(r"\$\{([a-z]+)\.([A-Za-z0-9_.-]+)\}")

VARIABLES = frozenset({"node.id", "node.ip", "node.hostname", "alloc.id", "alloc.index", "alloc.dir"})


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


def unknown_variables(text: str) -> list[str]:
    """Dotted names in `${…}` that nothing fills in; `${X}` without a dot is the user's own."""
    names = (f"{match[1]}.{match[2]}" for match in _VARIABLE.finditer(text))
    return sorted({name for name in names if name not in VARIABLES})


def fill(text: str, values: dict[str, str]) -> str:
    """`text` with every `${a.b}` that `values` knows replaced."""
    return _VARIABLE.sub(lambda match: values.get(f"{match[1]}.{match[2]}", match[0]), text)
