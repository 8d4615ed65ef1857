"""Which downloading children run, and what each has in hand. Pure: words in, errands out."""

from collections.abc import Callable
from itertools import count
from typing import Any

from agentd.core.files.errands import Close, Errand, Get, KillChild, Open, Rate, StartChild
from agentd.core.files.items import JobKey, Lane
from agentd.core.files.jobs import Child, Job, Lost, Outcome, Phase
from agentd.core.files.lease import Lease
from agentd.core.files.worklist import Worklist, kind_of
from transfer.errors import FINAL, Kind

Json = dict[str, Any]

MOST_CHILDREN = 4
"""That take turns, of one node at once; this node's own files have one more."""
BIG = 32 << 20
"""Bytes of a file behind which no other should wait."""
SMALL = 1 << 20
"""Bytes of a file so small that the next job should lie ready."""
MANY = 16
"""Queued jobs for which a second child is worth its turn."""
DEEPEST = 32
"""Jobs that a child is handed ahead at most."""
LINGER = 1.0
"""Seconds for which a child without work keeps its turn."""
START_WITHIN = 60.0
"""Seconds within which a new child must have said its key, on however busy a machine."""
END_WITHIN = 5.0
"""Seconds within which a child that has nothing more to do must end by itself."""
PATIENCE = 60.0
"""Seconds for which a child that was given no turn stands in the way of other servers' files."""


class Downloads:
    """`instance` begins all names of asks: no other life of the brain uses it. `random` gives [0, 1)."""

    def __init__(self, instance: str, rate: int | None, random: Callable[[], float]) -> None:
        self._instance, self._rate = instance, rate
        self._numbers = count(1)
        self._lapses = 0
        self.work = Worklist(self._name, random)
        self.children: dict[str, Child] = {}

    def hear(self, name: str, word: Json, now: float) -> list[Outcome]:
        """A child said something; what nobody asked for is passed over.

        Raises:
            KeyError, TypeError, ValueError: that was no word.
        """
        child = self.children.get(name)
        if child is None or not child.lives:
            return []
        said, job = word.get("say"), self._job_of(child, word.get("job"))
        if said == "key" and child.phase is Phase.BEGUN:
            child.key = str(word["key"])
            child.enter(Phase.ASKING, now)
        elif said == "lost":
            return self._lost(child, word, now)
        elif job is not None and said == "progress":
            child.moved = self.work.moved(job, word, now) or child.moved
        elif job is not None and said == "got":
            found = self.work.got(job, word)
            self._answered(child, job, now)
            child.depth = min(2 * child.depth, DEEPEST) if job.done <= SMALL else 1
            return [found]
        elif job is not None and said == "failed":
            lost = self.work.failed(job, word, now)
            self._answered(child, job, now)
            return [lost] if lost is not None else []
        return []

    def ended(self, name: str, text: str, now: float) -> None:
        """The process of a child is gone; `text` says how, for the case that it should not be."""
        child = self.children.pop(name, None)
        if child is None:
            return
        at_work = child.jobs[:1]
        self._put_back(child)
        if child.lives:
            self.work.put_behind(at_work)
            self.work.disturbed(child.lane, Kind.FAULT, text, now)

    def decide(self, lease: Lease, now: float) -> list[Errand]:
        """What is to be done."""
        errands: list[Errand] = []
        if lease.lapses != self._lapses:
            self._lapses = lease.lapses
            self._renew(errands, now)
        for child in self.children.values():
            errands += self._tend(child, lease, now)
        for lane in self.work.lanes(now):
            if self._lacks(lane, lease, now):
                new = Child(self._name(), lane, self._name(), now)
                self.children[new.name] = new
                errands.append(StartChild(new.name, lane, self._rate))
        for child in self.children.values():
            if child.phase is Phase.OPEN:
                self._assign(child, errands, now)
        self._share(errands)
        return errands

    def lapsed(self, lease: Lease, now: float) -> bool:
        """Whether turns ran out that have not been seen to."""
        return lease.lapses != self._lapses or not lease.contact(now)

    def asks(self) -> dict[str, Json]:
        """What stands in the heartbeat: what may be connected does so until its process has ended."""
        return {
            child.ask: {"pool": child.lane.pool, "key": child.key}
            for child in self.children.values()
            if child.lane.remote and child.key
        }

    def active(self, job: Job) -> bool:
        """Whether a child works at it just now."""
        child = self.children.get(job.child or "")
        return child is not None and child.jobs[:1] == [job.key]

    def waiting(self, lane: Lane, lease: Lease, now: float) -> str:
        """What files of a lane wait for that nobody is at, and that nothing is wrong with."""
        here = [child for child in self.children.values() if child.lane == lane and child.lives]
        if any(child.phase is Phase.OPEN for child in here):
            return f"waits for other files of {lane}"
        if not lane.remote:
            return ""
        if not lease.contact(now):
            return f"waits for the store, through which turns at {lane} are given"
        why = next((lease.waiting[child.ask] for child in here if child.ask in lease.waiting), "")
        return f"waits for its turn at {lane}{f': {why}' if why else ''}"

    def wake_at(self, lease: Lease, now: float) -> float | None:
        """When to look again although nobody said anything."""
        times = self.work.times()
        for child in self.children.values():
            if child.phase is Phase.BEGUN:
                times.append(child.since + START_WITHIN)
            elif child.phase is Phase.ASKING:
                times.append(child.since + PATIENCE)
            elif child.phase is Phase.CLOSING:
                times.append(child.since + END_WITHIN)
            elif child.phase is Phase.OPEN and not child.jobs:
                times.append(child.since + LINGER)
            if child.lane.remote and child.lives:
                times.append(lease.until)
        return min((at for at in times if at > now), default=None)

    def _name(self) -> str:
        return f"{self._instance}.{next(self._numbers)}"

    def _job_of(self, child: Child, name: object) -> Job | None:
        found = (self.work.jobs[key] for key in child.jobs)
        return next((job for job in found if job.name == name), None)

    def _answered(self, child: Child, job: Job, now: float) -> None:
        child.jobs.remove(job.key)
        child.since, child.moved = now, True

    def _lost(self, child: Child, word: Json, now: float) -> list[Outcome]:
        """It has no connection: all it had in hand is tried again, unless that cannot help."""
        kind, text = kind_of(word.get("kind")), str(word.get("text"))
        jobs = [self.work.jobs[key] for key in child.jobs]
        at_work = child.jobs[:1]
        self._put_back(child)
        self.work.put_behind(at_work)
        child.enter(Phase.CLOSING, now)
        if kind in FINAL and jobs:
            for job in jobs:
                self.work.jobs.pop(job.key, None)
            return [Lost(job.key, job.wants, text) for job in jobs]
        if child.moved:
            self.work.trouble_of(child.lane).over()
        self.work.disturbed(child.lane, kind, text, now)
        return []

    def _put_back(self, child: Child) -> None:
        keys, child.jobs = child.jobs, []
        self.work.put_back(keys)

    def _kill(self, child: Child, reason: str, now: float) -> list[Errand]:
        self._put_back(child)
        child.enter(Phase.KILLED, now)
        return [KillChild(child.name, reason)]

    def _renew(self, errands: list[Errand], now: float) -> None:
        """Our heartbeat ran out meanwhile: what was granted to the asks in it counts no more."""
        for child in self.children.values():
            if child.lane.remote and child.phase is Phase.OPEN:
                errands += self._kill(child, "its turn ran out with the heartbeat", now)
            elif child.lane.remote and child.lives:
                child.ask = self._name()

    def _tend(self, child: Child, lease: Lease, now: float) -> list[Errand]:
        """The next step in the life of a child."""
        match child.phase:
            case Phase.BEGUN | Phase.ASKING if not self.work.waits(child.lane):
                return self._kill(child, "nobody wants its files any more", now)
            case Phase.BEGUN if now >= child.since + START_WITHIN:
                text = f"a downloading child did not begin within {START_WITHIN:g} s"
                self.work.disturbed(child.lane, Kind.FAULT, text, now)
                return self._kill(child, text, now)
            case Phase.ASKING:
                return self._tend_asking(child, lease, now)
            case Phase.OPEN:
                return self._tend_open(child, lease, now)
            case Phase.CLOSING if now >= child.since + END_WITHIN:
                return self._kill(child, f"it did not end within {END_WITHIN:g} s", now)
        return []

    def _may(self, child: Child, lease: Lease, now: float) -> bool:
        """Whether it has a turn, or needs none."""
        return not child.lane.remote or lease.holds(child.ask, now)

    def _tend_asking(self, child: Child, lease: Lease, now: float) -> list[Errand]:
        if self._may(child, lease, now):
            child.enter(Phase.OPEN, now)
            return [Open(child.name, lease.grants.get(child.ask), leased=child.lane.remote)]
        if now < child.since + PATIENCE or not self._crowded(now):
            return []
        self.work.put_last(child.lane)
        return self._kill(child, "it got no turn for long, and other servers' files wait", now)

    def _tend_open(self, child: Child, lease: Lease, now: float) -> list[Errand]:
        if not self._may(child, lease, now):
            return self._kill(child, "it has its turn no more", now)
        if child.jobs and not self.work.jobs[child.jobs[0]].wants:
            return self._kill(child, "nobody wants its file any more", now)
        if child.jobs or self.work.queue(child.lane, now) or now < child.since + LINGER:
            return []
        child.enter(Phase.CLOSING, now)
        return [Close(child.name)]

    def _crowded(self, now: float) -> bool:
        """Whether some lane cannot have its first child for the number of others."""
        served = {child.lane for child in self.children.values()}
        waits = any(lane.remote and lane not in served for lane in self.work.lanes(now))
        return waits and self._remote() >= MOST_CHILDREN

    def _remote(self) -> int:
        return sum(child.lane.remote for child in self.children.values())

    def _lacks(self, lane: Lane, lease: Lease, now: float) -> bool:
        """Whether a lane with a queue is worth one child more, and may have it."""
        if self.work.held_back(lane, now):
            return False
        if lane.remote and (not lease.contact(now) or self._remote() >= MOST_CHILDREN):
            return False
        here = [child for child in self.children.values() if child.lane == lane and child.lives]
        if not here:
            return True
        if len(here) > 1 or here[0].phase is not Phase.OPEN or not here[0].jobs:
            return False
        return self._is_big(here[0].jobs[0]) or len(self.work.queue(lane, now)) >= MANY

    def _is_big(self, key: JobKey) -> bool:
        return (self.work.jobs[key].total or 0) >= BIG

    def _assign(self, child: Child, errands: list[Errand], now: float) -> None:
        """Hand it more, unless it is at something big."""
        room = child.depth - len(child.jobs)
        if room <= 0 or (child.jobs and self._is_big(child.jobs[0])):
            return
        for job in self.work.queue(child.lane, now)[:room]:
            errands.append(Get(child.name, job.name, job.key, self.work.hand(job, child.name)))
            child.jobs.append(job.key)

    def _share(self, errands: list[Errand]) -> None:
        """The node's rate, over those that download."""
        busy = [child for child in self.children.values() if child.phase is Phase.OPEN]
        for child in busy if self._rate is not None else ():
            rate = max((self._rate or 0) // len(busy), 1)
            if child.rate != rate:
                child.rate = rate
                errands.append(Rate(child.name, rate))
