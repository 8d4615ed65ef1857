"""Patterns that people declare: a match cannot be interrupted and holds up its process, so it is bounded."""

import importlib
import re
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

_parser: Any = importlib.import_module("re._parser")
"""Python's own reading of a pattern; typed nowhere."""

MOST_WORK = 20_000_000
"""Steps of one match: some tenths of a second."""
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_NESTED = (
    "repeats what can be shared out in many ways: begin or end what is repeated with a character that "
    "occurs nowhere else in it, as in ([a-z]+\\.)+"
)
Chars = frozenset[int]
_EVERY: Chars = frozenset(range(-1, 256))
"""Latin-1; -1 is all that is beyond it."""


class _Item(NamedTuple):
    """Some characters in a row: what they may be, and whether there is exactly one."""

    chars: Chars
    one: bool


def problem(pattern: str) -> str | None:
    """Why a match could take for ever, or None.

    Raises:
        re.error, OverflowError, RecursionError: it is no pattern.
    """
    try:
        _items(_parser.parse(pattern), looped=False)
    except _TooMuch as error:
        return str(error)
    return None


@lru_cache(1000)
def longest(pattern: str) -> int:
    """The characters of a text that may be matched: fewer, the more repetitions could share them out."""
    items = _items(_parser.parse(pattern), looped=False)
    loops = [place for place, item in enumerate(items) if not item.one]
    shared = sum(
        not any(each.one and not each.chars & items[first].chars for each in items[first:after])
        for first, after in pairwise(loops)
    )
    return int(MOST_WORK ** (1 / (1 + shared)))


class _TooMuch(ValueError):
    pass


def _items(parsed: Any, *, looped: bool) -> list[_Item]:
    """A sequence, flat; what is within a repetition must be of one shape."""
    found: list[_Item] = []
    for op, about in parsed:
        name = str(op)
        if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            found.append(_Item(_chars(name, about), one=True))
        elif name in _REPEATS:
            found += _repeat(*about, looped=looped)
        elif name in ("SUBPATTERN", "ATOMIC_GROUP"):
            found += _items(about[3] if name == "SUBPATTERN" else about, looped=looped)
        elif name == "BRANCH":
            found += _branch(about[1], looped=looped)
        elif name != "AT":
            raise _TooMuch("refers to groups or looks around, which is not taken here")
    return found


def _repeat(_low: int, high: int, body: Any, *, looped: bool) -> list[_Item]:
    inner = _items(body, looped=looped or high > 1)
    loops = sum(not each.one for each in inner)
    whole = _Item(_union(inner), one=False)
    if high <= 1 and not looped:
        return [whole] * max(loops, 1)
    if len(inner) == 1 and not loops:
        return [whole]
    edges = ((inner[0], inner[1:]), (inner[-1], inner[:-1])) if inner else ()
    told = any(edge.one and not edge.chars & _union(rest) for edge, rest in edges)
    if inner and (looped or loops > 1 or (loops and not told)):
        raise _TooMuch(_NESTED)
    return [whole]


def _branch(ways: Any, *, looped: bool) -> list[_Item]:
    """One of several: in a repetition, told apart by their first characters."""
    found = [_items(way, looped=looped) for way in ways]
    whole = _union([each for way in found for each in way])
    if not looped:
        loops = max(sum(not each.one for each in way) for way in found)
        single = all(len(way) == 1 for way in found) and not loops
        return [_Item(whole, one=single)] * max(loops, 1)
    firsts = [way[0].chars if way else _EVERY for way in found]
    if len(frozenset().union(*firsts)) < sum(map(len, firsts)) or not all(
        e.one for way in found for e in way
    ):
        raise _TooMuch(_NESTED)
    return [_Item(whole, one=True)]


def _union(items: list[_Item]) -> Chars:
    return frozenset().union(*(each.chars for each in items))


def _chars(name: str, about: Any) -> Chars:
    """What one character may be; rather too much than too little: letters in both cases."""
    if name == "ANY":
        return _EVERY
    if name == "LITERAL":
        return _both(about)
    if name == "NOT_LITERAL":
        return _EVERY - _caseless({about})
    found: set[int] = set()
    for op, value in about:
        kind = str(op)
        if kind == "LITERAL":
            found |= _both(value)
        elif kind == "RANGE":
            found |= {each for code in range(value[0], min(value[1], 255) + 1) for each in _both(code)}
            found |= {-1} if value[1] > 255 else set()
        elif kind == "CATEGORY":
            found |= _category(str(value))
    if any(str(op) == "NEGATE" for op, _ in about):
        return _EVERY if any(str(op) == "CATEGORY" for op, _ in about) else _EVERY - _caseless(found)
    return frozenset(found)


def _category(name: str) -> Chars:
    if "NOT" in name:
        return _EVERY
    kind = {"DIGIT": r"\d", "SPACE": r"\s"}.get(name.rpartition("_")[2], r"\w")
    return frozenset(code for code in range(256) if re.match(kind, chr(code))) | {-1}


def _caseless(codes: set[int]) -> set[int]:
    return {code for code in codes if 0 <= code < 256 and not chr(code).isalpha()}


def _both(code: int) -> Chars:
    """A character in both cases."""
    return frozenset(
        ord(each) if ord(each) < 256 else -1 for each in (*chr(code).lower(), *chr(code).upper())
    )
