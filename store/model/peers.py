"""Dependencies on other groups of the same deployment: whom a task waits for, and how many of them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CONDITIONS = ("started", "healthy", "completed")
MOST = 100_000
"""Of a quorum: there are no more allocations."""
_SENTENCE = re.compile(r"(?:([0-9]+) of )?(\S.*?)(?: (started|healthy|completed))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A dependency on the allocations of another group.

    `key` is how the template names it in `depends_on`: `group.task`, or `group` for all its tasks.
    """

    key: str
    group: str
    task: str | None
    quorum: int | None
    """How many allocations must be so; None: all of them."""
    condition: str


def split(value: str) -> tuple[int | None, str]:
    """A stored condition: `healthy` is (None, healthy), `2 healthy` is (2, healthy)."""
    number, _, condition = value.rpartition(" ")
    return (int(number), condition) if number else (None, condition)


def resolve(key: str, value: str, groups: Mapping[str, Iterable[str]]) -> Peer | None:
    """The peer that a key of `depends_on` means among groups with their tasks' names; None: there is none.

    Names may hold dots themselves: the longest group name that fits is meant.
    """
    quorum, condition = split(value)
    if key in groups:
        return Peer(key=key, group=key, task=None, quorum=quorum, condition=condition)
    for at in sorted((n for n, letter in enumerate(key) if letter == "."), reverse=True):
        group, task = key[:at], key[at + 1 :]
        if group in groups and task in groups[group]:
            return Peer(key=key, group=group, task=task, quorum=quorum, condition=condition)
    return None


def condition(value: object) -> str:
    """A condition as users write it, canonical: `healthy`, `2 healthy`.

    Raises:
        ValueError: it is none.
    """
    number, _, word = value.rpartition(" ") if isinstance(value, str) else ("", "", "")
    if word not in CONDITIONS or (number and not _is_quorum(number)):
        raise ValueError(f'not one of {", ".join(CONDITIONS)}, nor a number of them such as "2 healthy"')
    return f"{int(number)} {word}" if number else word


def sentence(text: str) -> tuple[str, str]:
    """`2 of db healthy` as (db, 2 healthy); `cache.redis healthy`; `setup`, which means started.

    Raises:
        ValueError: it is no such sentence.
    """
    match = _SENTENCE.fullmatch(text)
    if match is None or (match[1] and not _is_quorum(match[1])):
        raise ValueError(f'{text!r} is not a dependency such as "db", "db healthy" or "2 of db healthy"')
    return match[2], condition(" ".join(filter(None, (match[1], match[3] or "started"))))


def address(name: str, keys: Iterable[str]) -> tuple[str, str] | None:
    """What `${addr.NAME}` means among the dependencies on other groups: (key, port name); "" is the hosts.

    The longest key that fits is meant.
    """
    for key in sorted(keys, key=len, reverse=True):
        if name == key:
            return key, ""
        if name.startswith(f"{key}."):
            return key, name[len(key) + 1 :]
    return None


def _is_quorum(number: str) -> bool:
    return number.isascii() and number.isdigit() and len(number) <= 6 and 1 <= int(number) <= MOST
