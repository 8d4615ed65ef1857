"""What is being fetched, by which children, and how that is going: the records of `downloads`."""

from dataclasses import dataclass, field
from enum import StrEnum

from agentd.core.files.items import JobKey, Lane
from agentd.core.files.views import Key
from store.backoff import Backoff
from transfer.errors import SLOW, Kind

QUICK_RETRY = Backoff(first=0.5, most=20.0, jitter=0.5)
"""Half a second at first, 30 s at most with its jitter."""
SLOW_RETRY = Backoff(first=5.0, most=40.0, jitter=0.5)
"""5 s at first, 60 s at most."""
LOOK_EVERY = 0.5
"""Seconds between two looks at how fast something grows."""


class Phase(StrEnum):
    """Of a child's life; it begins before it has said its key, and ends when its process has."""

    BEGUN = "begun"
    ASKING = "asking"
    OPEN = "open"
    CLOSING = "closing"
    KILLED = "killed"


@dataclass(slots=True)
class Trouble:
    """What keeps failing, and when it is tried again."""

    failures: int = 0
    retry_at: float = 0.0
    text: str = ""
    """What went wrong last; empty once something went well."""
    said: str = ""
    """The same, with when it is tried again."""

    def add(self, kind: Kind, text: str, now: float, random: float) -> None:
        """It failed once more; `random` from [0, 1)."""
        self.failures += 1
        backoff = SLOW_RETRY if kind in SLOW else QUICK_RETRY
        delay = backoff.delay(self.failures, lambda: random)
        self.retry_at, self.text = now + delay, text
        self.said = f"{text}; tried again in {delay:.0f} s" if delay >= 1 else f"{text}; tried again at once"

    def over(self) -> None:
        """Something went well."""
        self.failures, self.retry_at, self.text, self.said = 0, 0.0, "", ""


@dataclass(slots=True)
class Pace:
    """Bytes per second, of late."""

    at: float | None = None
    done: int = 0
    rate: float | None = None

    def note(self, done: int, now: float) -> None:
        """So much is there now."""
        if self.at is None or done < self.done:
            self.at, self.done, self.rate = now, done, None
            return
        passed = now - self.at
        if passed < LOOK_EVERY:
            return
        rate = (done - self.done) / passed
        self.rate = rate if self.rate is None else (self.rate + rate) / 2
        self.at, self.done = now, done


@dataclass(slots=True)
class Job:
    """One file that is fetched, for all who want it."""

    key: JobKey
    lane: Lane
    name: str
    """How it is called toward children; a name is never used again."""
    wants: frozenset[Key] = frozenset()
    claims: frozenset[Key] = frozenset()
    """Those who wanted it when it was handed out: what comes is not older than their wish."""
    child: str | None = None
    trouble: Trouble = field(default_factory=Trouble)
    done: int = 0
    total: int | None = None
    pace: Pace = field(default_factory=Pace)


@dataclass(slots=True)
class Child:
    """One downloading process."""

    name: str
    lane: Lane
    ask: str
    since: float
    """When its phase began, or it last had something to do."""
    phase: Phase = Phase.BEGUN
    key: str = ""
    jobs: list[JobKey] = field(default_factory=list)
    """What it was handed and has not answered, in that order: it works at the first."""
    depth: int = 1
    """How many jobs it may be handed ahead: more while they are small."""
    moved: bool = False
    """Whether anything came over its connection."""
    rate: int | None = None

    @property
    def lives(self) -> bool:
        """Whether it may be given work, or has some."""
        return self.phase in {Phase.BEGUN, Phase.ASKING, Phase.OPEN}

    def enter(self, phase: Phase, now: float) -> None:
        """Its next phase begins."""
        self.phase, self.since = phase, now


@dataclass(frozen=True, slots=True)
class Got:
    """A job is done, for these."""

    job: JobKey
    keys: frozenset[Key]
    sha256: str
    stamp: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A job failed for good, for these."""

    job: JobKey
    keys: frozenset[Key]
    text: str


Outcome = Got | Lost
