"""Which schemas of records this release understands, and what it says of those that it does not.

`meta` holds the range that records in the store may have. Whoever does not read all of it neither reads nor
writes there. It is raised by one rule: a release writes a schema only if the release before it reads it, and
its manager says so in `meta` at start, before the first such record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from store.errors import BadRecord, WrongRelease
from store.version import OLDEST, SCHEMA, VERSION

FIELDS = ("schema_min", "schema_max", "schema_release")
"""Of `meta`: the range, and the release that first wrote the highest."""


@dataclass(frozen=True, slots=True)
class Range:
    """The schemas that records in a store may have; `release` is the first that wrote the highest."""

    lowest: int = 1
    highest: int = 1
    release: str = ""

    @classmethod
    def of(cls, lowest: bytes | None, highest: bytes | None, release: bytes | None) -> "Range":
        """As it lies in `meta`; what is not there is 1.

        Raises:
            WrongRelease: these are no numbers.
        """
        try:
            return cls(int(lowest or b"1"), int(highest or b"1"), (release or b"").decode(errors="replace"))
        except ValueError:
            said = f"{lowest!r} to {highest!r}"
            raise WrongRelease(
                f"the store's range of schemas, {said}, cannot be read: nothing was done"
            ) from None

    def check(self) -> None:
        """Go on only if this release reads all of it.

        Raises:
            WrongRelease: it does not; the sentence says which release does.
        """
        if self.highest > SCHEMA:
            later = f"muster {self.release} or later" if self.release else "a later release of muster"
            raise WrongRelease(
                f"the store holds records of schema {self.highest}, and {_we_read()}: nothing was done; "
                f"use {later}"
            )
        if self.lowest < OLDEST:
            raise WrongRelease(
                f"the store may hold records of schema {self.lowest}, and {_we_read()}: nothing was done; "
                "use a release between the one that wrote it and this one first"
            )


def check_record(record: Mapping[str, Any], where: str) -> None:
    """Go on only if a record is of a schema that this release reads; `where` names it in the message.

    Raises:
        BadRecord: it is not, and must be left alone rather than half understood.
    """
    found = record.get("v", 1)
    if type(found) is not int or not OLDEST <= found <= SCHEMA:
        raise BadRecord(f"{where} is of schema {found!r}, and {_we_read()}")


def _we_read() -> str:
    return f"muster {VERSION} reads " + (f"{OLDEST} to {SCHEMA}" if OLDEST < SCHEMA else f"{SCHEMA}")
