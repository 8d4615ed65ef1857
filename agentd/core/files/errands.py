"""What the depot's core has done by its driver."""

from dataclasses import dataclass

from agentd.core.files.items import JobKey, Lane
from agentd.core.files.views import Key


@dataclass(frozen=True, slots=True)
class StartChild:
    """A new downloading child. `rate` in bytes per second; None: as fast as it can."""

    child: str
    lane: Lane
    rate: int | None


@dataclass(frozen=True, slots=True)
class Open:
    """It has its turn, or needs none: it may connect."""

    child: str
    sealed: str | None
    leased: bool
    """Whether only as long as our heartbeat stands."""


@dataclass(frozen=True, slots=True)
class Get:
    """A job for a child; `known` is (sha256, stamp) of the last time."""

    child: str
    name: str
    job: JobKey
    known: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Rate:
    """What a child may take from now on."""

    child: str
    rate: int


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing more comes: a child ends when it is done."""

    child: str


@dataclass(frozen=True, slots=True)
class KillChild:
    """At once; what it has so far stays."""

    child: str
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """All objects are there (by item): put them into the task's directory."""

    key: Key
    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KillPlacing:
    """Nobody wants it any more."""

    key: Key


Errand = StartChild | Open | Get | Rate | Close | KillChild | Place | KillPlacing
