"""The brain's care for files: what is wanted, what is asked for, what is there."""

import logging
import random
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from agentd.artifacts import saying
from agentd.artifacts.cache import Cache
from agentd.artifacts.ordering import Impossible, Needed, needed
from agentd.artifacts.parts import Parts
from agentd.artifacts.placed import Placed, Records, Source
from agentd.artifacts.process import Ended, Said
from agentd.artifacts.runner import Runner
from agentd.artifacts.shelves import Filled, Shelves
from agentd.artifacts.versions import Versions, definition
from agentd.core.actions import Fetch
from agentd.core.files.downloads import Downloads
from agentd.core.files.errands import (
    Close,
    Errand,
    Get,
    KillChild,
    KillPlacing,
    Open,
    Place,
    Rate,
    StartChild,
)
from agentd.core.files.lease import Lease
from agentd.core.files.stock import Stock
from agentd.core.files.views import FilesView, Key
from agentd.launch import Launcher, file_name
from agentd.settings import AgentSettings
from store.clock import Clock
from store.model.spec import AllocSpec, TaskSpec

log = logging.getLogger("agent")

CHILD = (sys.executable, "-I", "-m", "agentd.artifacts.child")
LOOK_EVERY = 2.0
"""Seconds between two looks at how far downloads are."""
COLLECT_EVERY = 3600.0
Json = dict[str, Any]


class Depot:
    """Level-triggered: `want` says each round what is needed, `views` how far it is.

    Main thread only, but for `asks`, `granted` and `heard`, which the uplink's thread calls.
    """

    def __init__(
        self,
        settings: AgentSettings,
        uid: str,
        launcher: Launcher,
        clock: Clock,
        kick: Callable[[], None],
        instance: str,
    ) -> None:
        self._settings, self._uid, self._launcher = settings, uid, launcher
        self._clock, self._kick = clock, kick
        directory = settings.data_dir / "artifacts"
        self.program: tuple[str, ...] = (*CHILD, str(directory))
        self.cache = Cache(directory, settings.artifact_quota)
        self._records = Records(directory / "placed", uid)
        self._versions = Versions(directory / "placed", self._records)
        self._lease = Lease()  # the uplink's thread alone replaces it
        self.runner = Runner(kick, clock, lambda: self._lease.until)
        self.shelves = Shelves(launcher.allocs, self.cache.objects, self._records, self.runner)
        downloads = Downloads(instance, settings.download_rate, random.random)
        downloads.work.known.update(self._records.known_sources())
        self._downloads = downloads
        self._stock = Stock(downloads, self._size_of, random.random)
        self._wanted: dict[Key, tuple[AllocSpec, TaskSpec, Needed]] = {}
        self._asks: Mapping[str, Json] = {}
        self._collect_at = 0.0
        self.on_asks: Callable[[], None] = lambda: None
        """Called when there is something else to ask for."""
        self.views: Mapping[Key, FilesView] = self.shelves.ready
        """How far the files are that are wanted, or are there."""

    def settle(self) -> None:
        """Take in what children have said since, so that `views` are of now."""
        now = self._clock.now()
        if self._downloads.lapsed(self._lease, now):  # what has ended for that has not failed
            self._act(now)
        for heard in self.runner.take():
            if self.shelves.mine(heard.child):
                self._filled(self.shelves.hear(heard), now)
            elif isinstance(heard, Ended):
                self._stock.ended(heard.child, heard.text, now)
            else:
                self._hear(heard)
        self._act(now)

    def want(
        self,
        fetches: Iterable[Fetch],
        desired: Mapping[str, AllocSpec],
        keep: Collection[str] | None = None,
        live: Collection[Key] = (),
    ) -> float | None:
        """These are wanted now, and no others; when to look again (seconds since boot), if at a time.

        `keep` are the allocations of all orders, None: not known yet; `live` is what runs.
        """
        now, before, ready = self._clock.now(), self.views, self.shelves.ready
        self.shelves.tidy(keep, live, now)
        orders = {}
        known, self._wanted = self._wanted, {}
        for alloc, task in ((fetch.alloc, fetch.task) for fetch in fetches):
            key = alloc.id, task.name, alloc.generation
            if key in self.shelves.ready or key in self._stock.failed:
                continue
            asked = known.get(key)
            try:
                if asked is None or asked[0] is not alloc or asked[1] is not task:
                    known_files = self._versions.known(alloc, task, file_name(alloc, task))
                    asked = alloc, task, needed(alloc, task, self._launcher, known_files)
            except Impossible as error:
                self._stock.give_up(key, str(error))
                continue
            self._wanted[key] = asked
            orders[key] = asked[2].order
        changed = self._stock.want(orders)
        self._stock.keep(lambda key: _is_in(desired, key))
        if changed or ready is not self.shelves.ready or any(key not in before for key in self._stock.failed):
            self._act(now)
        self._collect(now)
        if _said(self.views) != _said(before):
            return now  # the plan should know it
        times = [self._stock.wake_at(self._lease, now), now + LOOK_EVERY if orders else None]
        return min((at for at in times if at is not None), default=None)

    def home(self, alloc: AllocSpec, task: TaskSpec) -> Path | None:
        """The directory in which the files of a task's generation lie ready; None: it has none."""
        return self.shelves.home((alloc.id, task.name, alloc.generation))

    def command(self, alloc: AllocSpec, task: TaskSpec) -> str | None:
        """The fetched program that stands for a `command` which this node lacks (`fetch: true`), or None."""
        return self.shelves.command((alloc.id, task.name, alloc.generation))

    def missing(self, alloc: AllocSpec, task: TaskSpec) -> None:
        """What should lie ready for a task does not: it has to be got again."""
        key = alloc.id, task.name, alloc.generation
        self.shelves.forget(key)
        self._wanted.pop(key, None)  # what the node lacks may be more by now

    def asks(self) -> Json:
        """What the heartbeat says of it: nothing, or `{"fetching": {"asks": …}}`; see `store.model.turns`."""
        asks = self._asks
        return {"fetching": {"asks": asks}} if asks else {}

    def granted(self, raw: bytes | None) -> None:
        """The grant key as it was just read. From the uplink's thread."""
        before = self._lease
        self._lease = before.granted(raw, self._uid)
        if self._lease != before:
            self._kick()

    def heard(self, sent: float) -> None:
        """A heartbeat sent at `sent` (seconds since boot) has arrived. From the uplink's thread."""
        before = self._lease
        self._lease = before.heard(sent, self._settings.ttl, self._clock.now())
        self.runner.renew()
        if self._lease.lapses != before.lapses:
            self._kick()

    def stop(self) -> None:
        """End all children; what they have so far stays."""
        self.runner.stop()

    def _hear(self, said: Said) -> None:
        if said.word.get("say") in {"failed", "lost"}:
            log.warning("%s", said.word.get("text"))
        try:
            self._stock.hear(said.child, said.word, said.at)
        except (KeyError, TypeError, ValueError) as error:
            log.error("a downloading child said %r: %r", said.word, error)
            self.runner.kill(said.child)

    def _filled(self, filled: Filled | None, now: float) -> None:
        if filled is None:
            return
        if filled.kind is None:
            self._stock.placed(filled.key)
            return
        log.warning("%s/%s/%d: %s", *filled.key, filled.text)
        self._stock.unplaced(filled.key, filled.kind, filled.text, now)

    def _act(self, now: float) -> None:
        lease = self._lease
        for errand in self._stock.decide(lease, now):
            self._do(errand, now)
        self.views = {**self.shelves.ready, **self._stock.views(lease, now)}
        asks = self._downloads.asks()
        if asks != self._asks:
            self._asks = asks
            self.on_asks()

    def _do(self, errand: Errand, now: float) -> None:
        match errand:
            case StartChild():
                self._start(errand, now)
            case Open(child, sealed, leased):
                if leased:
                    self.runner.lease(child)
                self.runner.say(child, {"say": "open", "sealed": sealed})
            case Get():
                self.runner.say(errand.child, saying.get(errand))
            case Rate(child, rate):
                self.runner.say(child, {"say": "rate", "rate": rate})
            case Close(child):
                self.runner.close(child)
            case KillChild(child, reason):
                log.info("a download is ended: %s", reason)
                self.runner.kill(child)
            case Place():
                self._place(errand, now)
            case KillPlacing(key):
                self.shelves.give_up(key)

    def _start(self, errand: StartChild, now: float) -> None:
        files = self._launcher.policy.files()
        first = saying.begin(self._settings, errand.lane, errand.rate, self._keep(), files)
        try:
            self.runner.start(errand.child, self.program, [first])
        except OSError as error:
            self._stock.ended(errand.child, f"no process for downloads can be started: {error.strerror}", now)

    def _place(self, errand: Place, now: float) -> None:
        alloc, task, found = self._wanted[errand.key]
        for sha256 in errand.objects:
            self.cache.touch(sha256)
        sources = self._stock.wants[errand.key].found
        placed = Placed(
            alloc=alloc.id,
            task=task.name,
            generation=alloc.generation,
            name=file_name(alloc, task),
            objects=errand.objects,
            sources=tuple(
                Source(source=job.source, fingerprint=job.fingerprint, sha256=each.sha256, stamp=each.stamp)
                for job, each in sources.items()
            ),
            command=found.command,
            at=self._clock.wall(),
            definition=definition(task),
        )
        self._filled(self.shelves.fill(placed, found), now)

    def _size_of(self, sha256: str) -> int | None:
        try:
            return self.cache.path(sha256).stat().st_size
        except (OSError, ValueError):
            return None

    def _keep(self) -> set[str]:
        """Objects that tasks need, or may go back to."""
        placed = {sha256 for each in self._records.known.values() for sha256 in each.objects}
        return placed | self._stock.objects

    def _collect(self, now: float) -> None:
        if now < self._collect_at:
            return
        self._collect_at = now + COLLECT_EVERY
        threading.Thread(target=self._bring_below_quota, args=(self._keep(),), daemon=True).start()

    def _bring_below_quota(self, keep: Collection[str]) -> None:
        try:
            Parts(self.cache.parts).sweep(self._clock.wall())
            self.cache.collect(keep)
        except OSError as error:
            log.warning("the cache of files: %s", error)


def _is_in(desired: Mapping[str, AllocSpec], key: Key) -> bool:
    alloc = desired.get(key[0])
    return alloc is not None and alloc.generation == key[2]


def _said(views: Mapping[Key, FilesView]) -> dict[Key, tuple[str, str]]:
    return {key: (view.state, view.reason) for key, view in views.items()}
