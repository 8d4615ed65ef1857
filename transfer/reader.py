"""How a source is read, whatever its scheme; `transfer.sources.open_reader` gives one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

CONNECT_WITHIN = 10.0
"""Seconds for a connection, for each step of a handshake, for a login."""
SILENT_AT_MOST = 30.0
"""Seconds without a byte after which a transfer counts as broken."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What a source says of a file. `stamp` differs when the file does (size and mtime, or an ETag)."""

    size: int | None
    """Bytes; None: not known before the end."""
    stamp: str
    """Empty: the source has no such thing, so that nothing can be resumed or taken as unchanged."""
    exact: bool = True
    """Whether equal stamps mean equal bytes; else (a weak ETag) a break is not resumed."""


class Reader(Protocol):
    """A connection to one source. Everything may raise `TransferError`. Not for two threads at once."""

    def stat(self, path: str) -> Stat:
        """What is there."""
        ...

    def read(self, path: str, offset: int, stat: Stat) -> Iterator[bytes]:
        """The bytes from `offset` to the end, in pieces of at most 1 MiB.

        Raises `CHANGED` when what is read is not what `stat` was of, as far as the source tells.
        """
        ...

    def close(self) -> None:
        """Let go of the connection; more than once is fine."""
        ...


@runtime_checkable
class Foresighted(Protocol):
    """A reader that asks for the next files while it waits for one."""

    def expect(self, files: Sequence[tuple[str, bool]]) -> None:
        """These paths come next, the first of them now; the flag: whether they are sure to be read."""
        ...
