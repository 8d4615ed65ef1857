"""The words of the store: records with revisions, compares, changes, events."""

from dataclasses import dataclass, field
from typing import Literal

from store.schema import Range

MOST_FIELDS = 512
MOST_BYTES = 1024 * 1024
MOST_LOGGED = 100_000
"""Entries of the change log: about 5 MB. Whoever watches from further back lists again."""


@dataclass(frozen=True, slots=True)
class Record:
    """A stored value and the revision that last changed it."""

    value: bytes
    rev: int


@dataclass(frozen=True, slots=True)
class Compare:
    """Holds when the field is at this mod revision; 0 means absent."""

    collection: str
    field: str
    rev: int


@dataclass(frozen=True, slots=True)
class Change:
    """Put `value`, or delete the field when it is None."""

    collection: str
    field: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a collection's index, put there or taken away with the changes of its transaction.

    Lines are sorted by their bytes. Who changes a record under a compare knows which lines it had.
    """

    collection: str
    text: str
    there: bool = True


@dataclass(frozen=True, slots=True)
class Event:
    """One change in the log. It says that a field moved, not what it is now."""

    rev: int
    collection: str
    field: str
    op: Literal["put", "del"]


@dataclass(frozen=True, slots=True)
class Meta:
    """What a store says of itself."""

    cluster: str
    epoch: str
    flavour: str
    rev: int
    schema: Range = field(default_factory=Range)
    lost: str = ""
    """What somebody found missing; nothing is written until the next epoch."""
    replid: str = ""
    """Replication id of the server whose history the leader last found whole."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Whole collections, as they were at one revision."""

    epoch: str
    rev: int
    collections: dict[str, dict[str, Record]]
