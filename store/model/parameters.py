"""What a template leaves open, and what a deployment says for it: values are texts, each one word."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from store.model import command, patterns, texts

TYPES = ("string", "int", "number", "bool")
MOST_PATTERN = 500
MOST_VALUE = 4096
MOST_TEXT = 32_768
"""Characters of all values together: every allocation carries them."""
_INT = re.compile(r"[+-]?[0-9]{1,18}")
_PREFIX = "param."


def check(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """The value of every declared parameter: given, or its default, or an empty text.

    Raises:
        ValueError: a sentence for each that is not known, is missing, or is not what was declared.
    """
    known = f"known are {', '.join(sorted(declared))}" if declared else "the template has none"
    problems = [
        f"parameter {name!r} is not known; {known}" for name in sorted(given.keys() - declared.keys())
    ]
    values: dict[str, str] = {}
    for name, rule in declared.items():
        try:
            values[name] = conforming(rule, given[name]) if name in given else _absent(rule)
        except ValueError as error:
            problems.append(f"parameter {name!r}: {error}")
    whole = sum(len(value) for value in values.values())
    if whole > MOST_TEXT:
        problems.append(f"parameters: {whole} characters in all, at most {MOST_TEXT}")
    if problems:
        raise ValueError("; ".join(problems))
    return values


def _absent(rule: Mapping[str, Any]) -> str:
    if rule.get("required"):
        described = f" ({rule['description']})" if rule.get("description") else ""
        raise ValueError(f"is needed and was not given{described}")
    return _default(rule)


def conforming(rule: Mapping[str, Any], value: object) -> str:
    """A value as its text, if it is what its declaration asks.

    Raises:
        ValueError: it is not; the sentence does not repeat it.
    """
    kind = rule.get("type", "string")
    found = as_text(value, kind)
    _check_type(rule, kind, found)
    if "enum" in rule and found not in rule["enum"]:
        raise ValueError(f"not one of {', '.join(rule['enum'])}")
    if "pattern" in rule and len(found) > patterns.longest(rule["pattern"]):
        most = patterns.longest(rule["pattern"])
        raise ValueError(f"{len(found)} characters, at most {most} can be matched with {rule['pattern']}")
    if "pattern" in rule and not re.fullmatch(rule["pattern"], found):
        raise ValueError(f"does not match {rule['pattern']}")
    return found


def as_text(value: object, kind: str = "string") -> str:
    """A text, or a number written as one; of a `bool`, also true and false.

    Raises:
        ValueError: it is none of these, holds NUL or is too long.
    """
    if isinstance(value, bool):
        if kind != "bool":
            raise ValueError("not a text or a number")
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise ValueError("not a text or a number")
    if isinstance(value, int) and abs(value) >= 10**100:
        raise ValueError("a number beyond all measure")
    found = str(value)
    if "\x00" in found:
        raise ValueError("holds NUL, which no program can be given")
    if len(found) > MOST_VALUE:
        raise ValueError(f"{len(found)} characters, at most {MOST_VALUE}")
    return found


def _check_type(rule: Mapping[str, Any], kind: str, found: str) -> None:
    if kind == "bool" and found not in ("true", "false"):
        raise ValueError("neither true nor false")
    if kind not in ("int", "number"):
        return
    if kind == "int" and not _INT.fullmatch(found):
        raise ValueError("not a whole number")
    number = _number(found)
    if not rule.get("min", -math.inf) <= number <= rule.get("max", math.inf):
        bounds = [
            f"at {name} {rule[key]:g}" for name, key in (("least", "min"), ("most", "max")) if key in rule
        ]
        raise ValueError(f"must be {' and '.join(bounds)}")


def _number(found: str) -> float:
    try:
        number = float(found) if found.isascii() and "_" not in found else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number


def declaration_problem(rule: Mapping[str, Any]) -> str | None:
    """Why a declaration cannot work, or None. Its texts are texts already."""
    if "pattern" in rule:
        if len(rule["pattern"]) > MOST_PATTERN:
            return f"pattern: longer than {MOST_PATTERN} characters"
        try:
            re.compile(rule["pattern"])
        except (re.error, OverflowError, RecursionError) as error:
            return f"pattern: not a regular expression: {error}"
        why = patterns.problem(rule["pattern"])
        if why is not None:
            return f"pattern: {why}"
    if rule.get("type", "string") not in ("int", "number") and rule.keys() & {"min", "max"}:
        return "min and max go with type int and number"
    if rule.get("min", -math.inf) > rule.get("max", math.inf):
        return "min is more than max"
    if "default" in rule and rule.get("required"):
        return "required, and with a default: one of them is enough"
    return _own_values_problem(rule)


def _own_values_problem(rule: Mapping[str, Any]) -> str | None:
    """A default, or a value to choose, that the declaration itself would refuse."""
    others = {key: each for key, each in rule.items() if key != "enum"}
    checks: Iterable[tuple[str, Mapping[str, Any], Any]] = (
        *(("enum", others, each) for each in rule.get("enum", ())),
        *([("default", rule, rule["default"])] if "default" in rule else []),
    )
    for key, asked, value in checks:
        try:
            conforming(asked, value)
        except ValueError as error:
            return f"{key}: {error}"
    return None


def fill(body: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """A stored template with the values in the place of `${param.NAME}`.

    A value arrives as it is, within one word, whatever it holds: what looks like a variable in it, or
    becomes one by it, is never filled in by the agent.
    """
    declared = body.get("parameters", {})
    defaults = {name: _default(rule) for name, rule in declared.items() if not rule.get("required")}
    values = {**defaults, **parameters}
    if not values:
        return dict(body)
    return texts.rewrite(body, lambda _path, text, on_node: _filled(text, values, on_node=on_node))


def _default(rule: Mapping[str, Any]) -> str:
    return str(rule.get("default", ""))


def _filled(text: str, values: Mapping[str, str], *, on_node: bool) -> str:
    if "${param." not in text:
        return text
    kept: list[str] = []
    parts: list[tuple[str, bool]] = []
    for piece, name in command.pieces(text):
        if name is None:
            parts.append((piece, False))
        elif name.startswith(_PREFIX) and name.removeprefix(_PREFIX) in values:
            parts.append((values[name.removeprefix(_PREFIX)], False))
        else:
            kept.append(name)
            parts.append((piece, True))
    whole = "".join(piece for piece, _ in parts)
    if not on_node or command.variables(whole) == kept:
        return whole
    return "".join(piece if variable else piece.replace("$", command.DOLLAR) for piece, variable in parts)
