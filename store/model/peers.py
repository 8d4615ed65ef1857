"""Dependencies on other groups of the same deployment: whom a task waits for, and how many of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


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
