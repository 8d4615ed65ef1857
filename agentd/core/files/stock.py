"""The files of tasks, from the wish to the directory: what is there, what is missing, whether time is up.

Pure: what is to be done comes out as errands, and how that went is told back.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentd.core.files.downloads import Downloads
from agentd.core.files.errands import Errand, KillPlacing, Place
from agentd.core.files.items import Item, JobKey, Order
from agentd.core.files.jobs import Got, Job, Outcome, Trouble
from agentd.core.files.lease import Lease
from agentd.core.files.views import Files, FilesView, Key
from transfer.errors import FINAL, Kind

Json = dict[str, Any]

MOST_PLACING = 2
"""Directories that are filled at once."""
MOMENT = 3.0
"""Seconds in which a turn is mostly given: for so long no other sentence is worth its event."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a source turned out to be: an object of the cache. `size` in bytes."""

    sha256: str
    stamp: str
    size: int


@dataclass(slots=True)
class Want:
    """One generation of a task whose files are needed."""

    order: Order
    found: dict[JobKey, Found] = field(default_factory=dict)
    placing: bool = False
    trouble: Trouble = field(default_factory=Trouble)
    """With putting them in place."""

    @property
    def complete(self) -> bool:
        """Whether all of its objects are in the cache."""
        return len(self.found) == len(self.order.jobs)


class Stock:
    """`size_of` says how large an object of the cache is, None: it is not there; `random` gives [0, 1)."""

    def __init__(
        self, downloads: Downloads, size_of: Callable[[str], int | None], random: Callable[[], float]
    ) -> None:
        self._downloads, self._size_of, self._random = downloads, size_of, random
        self.wants: dict[Key, Want] = {}
        self.failed: dict[Key, str] = {}
        """Given up for good, and why."""
        self._spent: dict[Key, float] = {}
        self._dropped: list[Key] = []
        self._changed = False
        """Whether something else is missing than the downloads were told last."""
        self._at = 0.0

    def want(self, orders: Mapping[Key, Order]) -> bool:
        """The files of these are needed now, no others; whether that is new. What was given up stays so."""
        for key, order in orders.items():
            known = self.wants.get(key)
            if key in self.failed or (known is not None and known.order == order):
                continue
            if known is not None and known.placing:
                self._dropped.append(key)
            self.wants[key] = want = Want(order)
            self._look(want)
            self._changed = True
        for key in self.wants.keys() - orders.keys():
            self._drop(key)
        return self._changed

    def keep(self, matters: Callable[[Key], bool]) -> None:
        """Forget what was found out about anything that does not matter any more."""
        self.failed = {key: why for key, why in self.failed.items() if matters(key)}
        self._spent = {key: spent for key, spent in self._spent.items() if matters(key)}

    def give_up(self, key: Key, why: str) -> None:
        """The files of this will not come."""
        self.failed[key] = why
        self._drop(key)

    def hear(self, child: str, word: Json, now: float) -> None:
        """A child said something.

        Raises:
            KeyError, TypeError, ValueError: that was no word.
        """
        if word.get("say") == "got" and self._size_of(str(word.get("sha256"))) is None:
            text = "what was fetched is not in the cache"
            word = {"say": "failed", "job": word.get("job"), "kind": Kind.FAULT, "text": text}
        for outcome in self._downloads.hear(child, word, now):
            self._take(outcome)

    def ended(self, child: str, text: str, now: float) -> None:
        """The process of a child is gone."""
        self._downloads.ended(child, text, now)

    def placed(self, key: Key) -> Want | None:
        """The files of a task are in its directory; what they were, if they are still wanted."""
        want = self.wants.get(key)
        if want is None or not want.placing:
            return None
        want.placing = False
        self._drop(key)
        return want

    def unplaced(self, key: Key, kind: Kind, text: str, now: float) -> None:
        """They could not be put there."""
        want = self.wants.get(key)
        if want is None:
            return
        want.placing = False
        if kind in FINAL:
            self.give_up(key, text)
            return
        want.trouble.add(kind, text, now, self._random())
        want.found = {job: each for job, each in want.found.items() if self._size_of(each.sha256) is not None}
        self._changed = True

    def decide(self, lease: Lease, now: float) -> list[Errand]:
        """What is to be done now."""
        self._count(lease, now)
        self._pass_on()
        errands: list[Errand] = [KillPlacing(key) for key in self._dropped]
        self._dropped = []
        room = MOST_PLACING - sum(want.placing for want in self.wants.values())
        for key, want in self.wants.items():
            due = want.complete and not want.placing and want.trouble.retry_at <= now
            if due and room > 0:
                room -= 1
                want.placing = True
                objects = tuple(want.found[item.job].sha256 for item in want.order.items)
                errands.append(Place(key, objects))
        return errands + self._downloads.decide(lease, now)

    def views(self, lease: Lease, now: float) -> dict[Key, FilesView]:
        """How far everything is that is wanted or was given up."""
        given_up = {key: FilesView(state=Files.FAILED, reason=why) for key, why in self.failed.items()}
        return given_up | {key: self._view(want, lease, now) for key, want in self.wants.items()}

    def wake_at(self, lease: Lease, now: float) -> float | None:
        """When to look again although nobody said anything."""
        times = [self._downloads.wake_at(lease, now)]
        for key, want in self.wants.items():
            times.append(want.trouble.retry_at if want.trouble.retry_at > now else None)
            if self._counts(want, lease, now):
                times.append(now + want.order.timeout - self._spent.get(key, 0.0))
        return min((at for at in times if at is not None), default=None)

    @property
    def objects(self) -> set[str]:
        """Objects of the cache that are needed soon."""
        wanted = {found.sha256 for want in self.wants.values() for found in want.found.values()}
        return wanted | {item.sha256 for want in self.wants.values() for item in want.order.items} - {""}

    def _look(self, want: Want) -> None:
        """What is in the cache by its checksum, or is known to be what is meant, needs no source."""
        for item in want.order.items:
            sha256, stamp = (item.sha256, "") if item.sha256 else want.order.known.get(item.job, ("", ""))
            size = self._size_of(sha256) if sha256 else None
            if size is not None:
                want.found[item.job] = Found(sha256, stamp, size)

    def _drop(self, key: Key) -> None:
        want = self.wants.pop(key, None)
        self._changed = True
        if want is not None and want.placing:
            self._dropped.append(key)

    def _pass_on(self) -> None:
        """Tell the downloads what is missing, and for whom."""
        if not self._changed:
            return
        self._changed = False
        missing: dict[JobKey, tuple[Item, frozenset[Key]]] = {}
        for key, want in self.wants.items():
            for item in want.order.items:
                if item.job not in want.found:
                    first, keys = missing.get(item.job, (item, frozenset()))
                    missing[item.job] = first, keys | {key}
        self._downloads.work.want(missing)

    def _take(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Got):
            for key in outcome.keys & self.wants.keys():
                self.give_up(key, outcome.text)
            return
        self._changed = True
        found = Found(outcome.sha256, outcome.stamp, self._size_of(outcome.sha256) or 0)
        for key in outcome.keys & self.wants.keys():
            if outcome.job in self.wants[key].order.jobs:
                self.wants[key].found[outcome.job] = found
        for want in self.wants.values():
            same = [item.job for item in want.order.items if item.sha256 == outcome.sha256]
            want.found.update({job: found for job in same if job not in want.found})

    def _count(self, lease: Lease, now: float) -> None:
        """Time passed: it counts for those for whom something was done, and is up for some."""
        before, self._at = self._at, now
        for key, want in [*self.wants.items()]:
            if self._counts(want, lease, before):
                self._spent[key] = self._spent.get(key, 0.0) + max(now - before, 0.0)
            if self._spent.get(key, 0.0) >= want.order.timeout:
                jobs = self._jobs(want)
                troubles = [want.trouble.text, *(self._downloads.work.trouble(job).text for job in jobs)]
                why = next((text for text in troubles if text), "its files are not there")
                self.give_up(key, f"{why}; given up after {want.order.timeout:g} s of fetching")

    def _counts(self, want: Want, lease: Lease, at: float) -> bool:
        """Whether something is, or was just, done for it; a turn or the store may be long in coming."""
        if want.placing or want.trouble.retry_at > at:
            return True
        work = self._downloads.work
        return any(
            self._downloads.active(job)
            or (work.trouble(job).retry_at > at and (not job.lane.remote or lease.contact(at)))
            for job in self._jobs(want)
        )

    def _jobs(self, want: Want) -> list[Job]:
        jobs = self._downloads.work.jobs
        return [jobs[key] for key in want.order.jobs if key in jobs and key not in want.found]

    def _view(self, want: Want, lease: Lease, now: float) -> FilesView:
        jobs = self._jobs(want)
        rates = [job.pace.rate for job in jobs if job.pace.rate is not None and self._downloads.active(job)]
        there = sum(each.size for each in want.found.values())
        totals = [job.total for job in jobs if job.total is not None]
        known = len(totals) == len(jobs) == len(want.order.jobs) - len(want.found)
        return FilesView(
            state=Files.FETCHING,
            reason=self._reason(want, jobs, lease, now),
            done=there + sum(job.done for job in jobs),
            total=there + sum(totals) if known else None,
            rate=sum(rates) if rates else None,
        )

    def _reason(self, want: Want, jobs: list[Job], lease: Lease, now: float) -> str:
        """What went wrong, else that it goes on, else what it waits for."""
        if want.trouble.said and not want.placing:
            return want.trouble.said
        if want.complete:
            archives = any(item.extract for item in want.order.items)
            return "unpacking" if archives else "its files are put in place"
        work, downloads = self._downloads.work, self._downloads
        waits = {
            lane: downloads.waiting(lane, lease, now) for lane in dict.fromkeys(job.lane for job in jobs)
        }
        under_way = False
        for job in jobs:
            at_work = not waits[job.lane] or downloads.active(job)
            trouble = work.trouble(job)
            if trouble.said:
                soon = at_work or now < trouble.retry_at + MOMENT
                return trouble.said if soon else f"{trouble.text}; {waits[job.lane]}"
            under_way = under_way or at_work
        return "" if under_way else next(iter(waits.values()), "")
