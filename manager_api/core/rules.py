"""Rules: which nodes a group has beside its members, by their labels and by what is known of them. Pure.

A rule is `{"labels": {"zone": "a" | ["a", "b"]}, "facts": {"cores": ">=8", "os": "Debian*"}}`. All its
conditions must hold; of a list one. A node of which something is not known does not meet a condition on it.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import Any, TypeVar

from store.model import noderecord, quantity

T = TypeVar("T")
Json = dict[str, Any]
Test = Callable[[Any], bool]

NUMBERS = ("cores", "memory", "disk")
"""Compared as numbers: processors; bytes, which may be written as sizes."""
VERSIONS = ("agent", "kernel")
"""Compared by their numbers, or as texts."""
TEXTS = ("os", "machine", "model", "sn", "hostname", "node")
"""Compared as whole texts, `*` and `?` standing for any others; capitals matter."""
FACTS = (*NUMBERS, *VERSIONS, *TEXTS)
_OF_RECORD = {"agent": "version", "hostname": "hostname"}
"""Facts that lie in the record itself."""
MOST_CONDITIONS, MOST_VALUES, MOST_TEXT = 32, 100, 200

_COMPARED = re.compile(r"(>=|<=|!=|>|<|=)\s*(\S+)")
_VERSION = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,7}")
_BY: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, "!=": operator.ne,
    ">": operator.gt, "<": operator.lt, "=": operator.eq,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was read: each condition a name and tests, of which one must say yes."""

    labels: tuple[tuple[str, tuple[str, ...]], ...]
    facts: tuple[tuple[str, tuple[Test, ...]], ...]

    def holds(self, node: str, record: Mapping[str, Any]) -> bool:
        """Whether a node's record meets it: asked of each node in each plan, so without making anything."""
        for name, values in self.labels:
            if _label_of(record, name) not in values:
                return False
        for name, tests in self.facts:
            known = _fact_of(node, record, name)
            if known is None or not any(test(known) for test in tests):
                return False
        return True


def _label_of(record: Mapping[str, Any], name: str) -> Any:
    """As `noderecord.effective` has it."""
    said = record.get("labels", ())
    return said[name] if name in said else record.get("own_labels", {}).get(name)


def _fact_of(node: str, record: Mapping[str, Any], name: str) -> Any:
    """What is known of a node; None: nothing."""
    if name == "node":
        return node
    where = _OF_RECORD.get(name)
    return record.get(where) if where is not None else record.get("facts", {}).get(name)


def read(raw: Any) -> Rule:
    """A rule as it was written.

    Raises:
        ValueError: a sentence that names the condition.
    """
    if not isinstance(raw, Mapping):
        raise ValueError('not an object such as {"labels": {"zone": "a"}}')
    unknown = sorted(set(raw) - {"labels", "facts"})
    if unknown:
        raise ValueError(f"{_short(unknown[0])}: unknown; there are labels, facts")
    labels, facts = _part(raw, "labels"), _part(raw, "facts")
    if not labels and not facts:
        raise ValueError('no condition; every node has {"facts": {"node": "*"}}')
    if len(labels) + len(facts) > MOST_CONDITIONS:
        raise ValueError(f"{len(labels) + len(facts)} conditions, at most {MOST_CONDITIONS}")
    return Rule(
        tuple((_label(name), tuple(_of("labels", name, value, _value))) for name, value in labels.items()),
        tuple(
            (_fact(name), tuple(_of("facts", name, value, _reader(name)))) for name, value in facts.items()
        ),
    )


def _part(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = raw.get(key, {})
    if not isinstance(found, Mapping):
        raise ValueError(f"{key}: not an object of names and values")
    return found


def _of(part: str, name: str, value: Any, read_one: Callable[[Any], T]) -> list[T]:
    """One value, or a list of those that will do."""
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= MOST_VALUES:
        raise ValueError(f"{part}.{name}: not 1 to {MOST_VALUES} values")
    try:
        return [read_one(each) for each in values]
    except ValueError as error:
        raise ValueError(f"{part}.{name}: {error}") from None


def _label(name: Any) -> str:
    try:
        return noderecord.name(name)
    except ValueError as error:
        raise ValueError(f"labels: {error}") from None


def _value(value: Any) -> str:
    return noderecord.value(value)


def _fact(name: Any) -> str:
    if name not in FACTS:
        raise ValueError(f"facts: {_short(name)} is not one of {', '.join(FACTS)}")
    return str(name)


def _reader(name: str) -> Callable[[Any], Test]:
    if name in NUMBERS:
        return _number
    return _version if name in VERSIONS else _text


def _number(value: Any) -> Test:
    """`8`, `">=8"`, `">=8G <64G"`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"={value}"
    if not isinstance(value, str) or (tests := _compared(value, quantity.size)) is None:
        raise ValueError(f'{_short(value)}: neither a number nor comparisons such as ">=8" or ">=8G <64G"')
    return lambda known: _is_number(known) and all(test(known) for test in tests)


def _version(value: Any) -> Test:
    """`">=5.10"`, or a text."""
    tests = _compared(value, _numbers) if isinstance(value, str) else None
    if tests is None:
        return _text(value)

    def test(known: Any) -> bool:
        found = _VERSION.match(known) if isinstance(known, str) else None
        return found is not None and all(each(_numbers(found[0])) for each in tests)

    return test


def _text(value: Any) -> Test:
    if not isinstance(value, str) or not 1 <= len(value) <= MOST_TEXT:
        raise ValueError(f"{_short(value)}: not a text of 1 to {MOST_TEXT} characters")
    pattern = re.compile(translate(value.replace("[", "[[]")))
    return lambda known: isinstance(known, str) and pattern.match(known) is not None


def _compared(text: str, read_one: Callable[[str], Any]) -> list[Test] | None:
    """Comparisons that must all hold; None: it is no such text."""
    if len(text) > MOST_TEXT or _COMPARED.sub("", text).strip() or not text.strip():
        return None
    return [_comparison(_BY[sign], read_one(number)) for sign, number in _COMPARED.findall(text)]


def _comparison(compare: Callable[[Any, Any], bool], wanted: Any) -> Test:
    return lambda known: compare(known, wanted)


def _numbers(text: str) -> tuple[int, ...]:
    """`5.10.0` as numbers; zeros at the end say nothing."""
    if not _VERSION.fullmatch(text):
        raise ValueError(f"{_short(text)}: not a version such as 5.10")
    found = [int(part) for part in text.split(".")]
    while len(found) > 1 and found[-1] == 0:
        found.pop()
    return tuple(found)


def _is_number(known: Any) -> bool:
    return isinstance(known, int | float) and not isinstance(known, bool)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"
