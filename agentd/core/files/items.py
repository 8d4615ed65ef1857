"""What a task's files are, once every `${…}` is filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from transfer.urls import BASE


class Lane(NamedTuple):
    """One connection can serve what is in one lane: a server, and the host key that it must have."""

    pool: str
    """`transfer.urls.Source.pool`, `~` for the base, empty for this machine's files."""
    fingerprint: str = ""

    @property
    def remote(self) -> bool:
        """Whether it takes a turn."""
        return bool(self.pool)

    def __str__(self) -> str:
        return "the manager's --sftp-host" if self.pool == BASE else self.pool or "this node"


class JobKey(NamedTuple):
    """What is fetched once, however many tasks need it."""

    source: str
    sha256: str
    """Empty: whatever lies there."""
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file, or the contents of one archive."""

    source: str
    """A URL, or a path under the base."""
    pool: str
    sha256: str = ""
    fingerprint: str = ""
    extract: bool = False
    to: str
    """Relative to the task's directory; empty: that directory itself, for archives."""
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    job: JobKey = field(init=False, compare=False)
    """What has to be fetched for it."""

    def __post_init__(self) -> None:
        """Once, and not each time that one of a thousand is asked."""
        object.__setattr__(self, "job", JobKey(self.source, self.sha256, self.fingerprint))

    @property
    def lane(self) -> Lane:
        """Which connections can fetch it."""
        return Lane(self.pool, self.fingerprint)


@dataclass(frozen=True, slots=True)
class Order:
    """The files of one generation of a task, and in how many seconds of counted time they must be there."""

    items: tuple[Item, ...]
    timeout: float
    known: Mapping[JobKey, tuple[str, str]] = field(default_factory=dict, compare=False)
    """What is taken without asking its source, if the node has it: SHA-256 and stamp."""
    jobs: tuple[JobKey, ...] = field(init=False, compare=False)
    """What has to be fetched for them, each once."""

    def __post_init__(self) -> None:
        """Once, as well."""
        object.__setattr__(self, "jobs", tuple(dict.fromkeys(item.job for item in self.items)))
