"""What people and its agent say of a node in its record: labels, groups, whether it takes work."""

import re
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

MOST_LABELS = MOST_GROUPS = 64
_NAME = re.compile(r"[A-Za-z0-9._/-]{1,63}")
_VALUE = re.compile(r"[A-Za-z0-9._/-]{0,63}")
WORDS = ("ready", "cordoned", "draining", "removing")


def name(text: Any) -> str:
    """A label's key, or a group's name.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise ValueError(f"{_short(text)}: 1 to 63 of A-Z a-z 0-9 . _ / - are taken")
    return text


def value(text: Any) -> str:
    """A label's value; it may be empty.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str) or not _VALUE.fullmatch(text):
        raise ValueError(f"{_short(text)}: up to 63 of A-Z a-z 0-9 . _ / - are taken")
    return text


def labels(text: str) -> dict[str, str]:
    """Labels as a flag gives them: `zone=a,disk=ssd`.

    Raises:
        ValueError: a sentence that says which of them is none.
    """
    found: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        key, equals, given = part.partition("=")
        if not equals:
            raise ValueError(f"{_short(part)} is not a label such as zone=a")
        if key in found:
            raise ValueError(f"label {key} is given more than once")
        found[name(key)] = value(given)
    if len(found) > MOST_LABELS:
        raise ValueError(f"{len(found)} labels, at most {MOST_LABELS}")
    return found


def effective(record: Mapping[str, Any]) -> dict[str, str]:
    """A node's labels: what its agent says, overlaid by what people say; null takes one away."""
    if "labels" not in record and "own_labels" not in record:
        return {}
    both = {**record.get("own_labels", {}), **record.get("labels", {})}
    return {key: given for key, given in both.items() if given is not None}


def scheduling(record: Mapping[str, Any]) -> str:
    """Whether a node takes work, in one of `WORDS`."""
    if record.get("removing"):
        return "removing"
    if record.get("drain"):
        return "draining"
    return "cordoned" if record.get("cordoned") else "ready"


def _short(text: Any) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"
