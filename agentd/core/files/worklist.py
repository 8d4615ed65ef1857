"""What has to be fetched: each file once, in the order in which they were wished for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agentd.core.files.items import Item, JobKey, Lane
from agentd.core.files.jobs import Got, Job, Lost, Trouble
from agentd.core.files.views import Key
from transfer.errors import FINAL, Kind

Json = dict[str, Any]


class Worklist:
    """`name` gives names that were never given before; `random` gives [0, 1)."""

    def __init__(self, name: Callable[[], str], random: Callable[[], float]) -> None:
        self._name, self._random = name, random
        self._troubles: dict[Lane, Trouble] = {}
        self.jobs: dict[JobKey, Job] = {}
        self.known: dict[tuple[str, str], tuple[str, str]] = {}
        """What sources without a given checksum were the last time, by source and fingerprint."""

    def want(self, wanted: Mapping[JobKey, tuple[Item, frozenset[Key]]]) -> None:
        """These are needed now, by these, and no others."""
        for key, (item, keys) in wanted.items():
            job = self.jobs.get(key) or Job(key, item.lane, self._name())
            self.jobs[key], job.wants = job, keys
        for key in self.jobs.keys() - wanted.keys():
            self.jobs[key].wants = frozenset()
            if self.jobs[key].child is None:  # else its child is killed once it comes to it
                del self.jobs[key]
        lanes = {job.lane for job in self.jobs.values()}
        self._troubles = {lane: each for lane, each in self._troubles.items() if lane in lanes}

    def queue(self, lane: Lane, now: float) -> list[Job]:
        """What can be begun in a lane; not two files that are said to be the same."""
        running = {job.key.sha256 for job in self.jobs.values() if job.child is not None} - {""}
        found: list[Job] = []
        for job in self.jobs.values():
            if job.lane != lane or job.child is not None or job.trouble.retry_at > now:
                continue
            if job.key.sha256 not in running:
                found.append(job)
                running |= {job.key.sha256} - {""}
        return found

    def lanes(self, now: float) -> list[Lane]:
        """Those with something to begin, the longest waiting first."""
        lanes = dict.fromkeys(job.lane for job in self.jobs.values() if job.child is None)
        return [lane for lane in lanes if self.queue(lane, now)]

    def waits(self, lane: Lane) -> bool:
        """Whether anything in a lane is not in hand, now or later."""
        return any(job.lane == lane and job.child is None for job in self.jobs.values())

    def put_last(self, lane: Lane) -> None:
        """Let all other lanes go before this one."""
        for key in [job.key for job in self.jobs.values() if job.lane == lane]:
            self.jobs[key] = self.jobs.pop(key)

    def put_behind(self, keys: Iterable[JobKey]) -> None:
        """Let all others go before these: a file that always costs its connection keeps nobody waiting."""
        for key in keys:
            if key in self.jobs:  # else nobody wants it any more
                self.jobs[key] = self.jobs.pop(key)

    def hand(self, job: Job, child: str) -> tuple[str, str] | None:
        """A child has it in hand now; what its source was the last time, if that is of use."""
        job.child, job.claims = child, job.wants
        job.pace.at = None
        return self.known.get((job.key.source, job.key.fingerprint)) if not job.key.sha256 else None

    def put_back(self, keys: Iterable[JobKey]) -> None:
        """No child has these in hand any more."""
        for key in keys:
            job = self.jobs[key]
            job.child = None
            job.pace.at = job.pace.rate = None
            if not job.wants:
                del self.jobs[key]

    def moved(self, job: Job, word: Json, now: float) -> bool:
        """So much of it is there; whether that is more than before.

        Raises:
            KeyError, TypeError, ValueError: the word is none.
        """
        done, total = int(word["done"]), word.get("total")
        more = done > job.done  # than any connection before brought
        if more:
            self.trouble_of(job.lane).over()
            job.trouble.text = job.trouble.said = ""  # it may still fail at the same place: failures count on
        job.done, job.total = done, int(total) if total is not None else None
        job.pace.note(done, now)
        return more

    def got(self, job: Job, word: Json) -> Got:
        """It is there.

        Raises:
            KeyError, TypeError, ValueError: the word is none.
        """
        size, sha256, stamp = int(word["size"]), str(word["sha256"]), str(word.get("stamp") or "")
        job.child = None
        job.trouble.over()
        self.trouble_of(job.lane).over()
        # What was begun before somebody wished for it may be older than the wish: asked once more.
        served = job.wants if job.key.sha256 else job.wants & job.claims
        if stamp and not job.key.sha256:
            self.known[job.key.source, job.key.fingerprint] = sha256, stamp
        job.done, job.total, job.wants = size, size, job.wants - served
        if not job.wants:
            del self.jobs[job.key]
        return Got(job.key, served, sha256, stamp)

    def failed(self, job: Job, word: Json, now: float) -> Lost | None:
        """It failed: for good, or to be tried again."""
        job.child = None
        self.trouble_of(job.lane).over()
        kind, text = kind_of(word.get("kind")), str(word.get("text"))
        if kind not in FINAL:
            job.trouble.add(kind, text, now, self._random())
            if not job.wants:
                del self.jobs[job.key]
            return None
        del self.jobs[job.key]
        return Lost(job.key, job.wants, text)

    def disturbed(self, lane: Lane, kind: Kind, text: str, now: float) -> None:
        """A connection failed: nothing of its lane is tried before a while."""
        self.trouble_of(lane).add(kind, text, now, self._random())

    def trouble_of(self, lane: Lane) -> Trouble:
        """What keeps the connections of a lane from coming about."""
        return self._troubles.setdefault(lane, Trouble())

    def held_back(self, lane: Lane, now: float) -> bool:
        """Whether a lane is left alone for a while."""
        trouble = self._troubles.get(lane)
        return trouble is not None and trouble.retry_at > now

    def trouble(self, job: Job) -> Trouble:
        """What keeps a job from being done: that of its connection, or its own."""
        lane = self._troubles.get(job.lane)
        return lane if lane is not None and lane.text else job.trouble

    def times(self) -> list[float]:
        """When something is tried again."""
        return [
            *(each.retry_at for each in self._troubles.values()),
            *(job.trouble.retry_at for job in self.jobs.values()),
        ]


def kind_of(text: object) -> Kind:
    """A kind, as it was said; what nobody knows is our own fault."""
    try:
        return Kind(str(text))
    except ValueError:
        return Kind.FAULT
