"""The controller's loop: campaign, read everything, then plan and write until fenced or cut off."""

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from math import inf

from manager_api.base import Base
from manager_api.controller.answers import Answers
from manager_api.controller.caretaker import Caretaker
from manager_api.controller.executor import Executor
from manager_api.controller.garbage import Garbage
from manager_api.controller.hearing import Hearing
from manager_api.controller.herald import Herald
from manager_api.controller.history import History
from manager_api.controller.inbox import Inbox, Listeners, Mail
from manager_api.controller.mirror import Mirror
from manager_api.controller.planner import Planner
from manager_api.controller.replies import HANDLERS
from manager_api.controller.tenders import tenders
from manager_api.controller.turns import Turnstile
from manager_api.core import events
from manager_api.core.bar import bar_of
from store.backoff import Backoff
from store.clock import Clock
from store.codec import read_record
from store.errors import BadRecord, Compacted, Fenced, StoreError, Unsupported
from store.home import Files
from store.keys import NODES, NODES_STATUS
from store.kv.connection import Client
from store.kv.server import Server
from store.kv.servers import NodeUsers
from store.kv.store import Store
from store.model.turns import PER_SOURCE
from store.recipes.election import Election
from store.recipes.presence import Presence

log = logging.getLogger("controller")

TICK = 0.25
"""Seconds between looks at the heartbeats that are due."""
SLICES = 4
"""Every heartbeat is looked at once in so many ticks; of a large fleet less often:"""
LOOKED_AT_ONCE = 1000
"""Heartbeats in one tick, about. Those whose time is up are looked at in every tick."""
PLAN_FOR = 0.1
"""Seconds of planning after which we look who else wants something."""
STEPS_FOR = 0.02
"""Seconds of chores after which we look who else wants something, and wait as long."""
NOTED_EVERY = 5.0
"""Seconds between notes of how far history has gone."""
HOUSEKEEPING = 15.0
"""Seconds between looks at who the server is, and at least as many between two beginnings of chores."""
LOG_KEPT = 10_000
"""Revisions that stay in the change log for watchers."""
STANDBY = 0.2
STEADY = 10.0
"""Seconds of leading after which earlier trouble is forgiven."""


class Controller:
    """One candidate for the leadership."""

    def __init__(
        self,
        store: Store,
        watcher: Client,
        holder: str,
        clock: Clock,
        files: Files | None = None,
        artifacts: Callable[[], Base | None] = lambda: None,
        source_limit: int = PER_SOURCE,
    ) -> None:
        self._store = store
        self._watcher = watcher
        self._clock = clock
        self._election = Election(store, holder, clock)
        self._history = History(store, clock, files)
        self._stop = threading.Event()
        self._users = NodeUsers(store.client, store.keys)
        self._run_id = ""
        self._holder = holder
        self._herald = Herald(store, clock)
        self._caretaker: Caretaker
        self._answers: Answers
        self._hearing = Hearing(clock)
        self._presence = Presence(clock)
        self.garbage = Garbage()
        """Another one if the process is the controller's own."""
        self._tenders = tenders(store, clock)
        self._artifacts, self._source_limit = artifacts, source_limit
        self.mirror: Mirror | None = None

    def stop(self) -> None:
        """Ask the loop to end; for signal handlers and other threads."""
        self._stop.set()

    def run(self) -> None:
        """Lead whenever possible, until stopped. No error of the store ends it."""
        failures, backoff = 0, Backoff(first=0.1, most=2.0, jitter=0.3)
        began = self._clock.now()
        while not self._stop.is_set():
            try:
                self._history.enter()
                if not self._election.campaign():
                    self._stop.wait(STANDBY)
                    continue
                began = self._clock.now()
                self._lead()
            except (Fenced, Compacted) as error:
                self._election.forget()
                log.warning("leading anew: %s", error)
            except StoreError as error:
                self._election.forget()
                failures = 1 if self._clock.now() - began > STEADY else failures + 1
                began = self._clock.now()
                if failures in (1, 10) or failures % 100 == 0:
                    log.warning("not leading: %s", error)
                self._stop.wait(backoff.delay(failures, random.random))
        self._resign()
        self._history.remember()

    def _resign(self) -> None:
        try:
            self._election.resign()
        except StoreError as error:
            log.info("the lease is left to run out: %s", error)

    def _lead(self) -> None:
        token = self._election.token
        assert token is not None
        self._presence.grace()
        self._regrant()
        with contextlib.suppress(AttributeError):
            del self._caretaker  # whose references go round: with it the fleet of last time would stay
        before, mirror = self.mirror, self._reflect()
        began = self._clock.now()
        with self.garbage.coming_in():
            rev = mirror.load()
            if self._history.settle(mirror, before.fleet if before is not None else None, token):
                self._tell_epoch()
                mirror = self._reflect()
                rev = mirror.load()
            self.mirror, before = mirror, None
        log.info(
            "leading with token %d, epoch %s, revision %d; %d nodes and %d allocations read in %.2f s",
            token, self._store.epoch, rev, len(mirror.fleet.nodes), len(mirror.fleet.allocations),
            self._clock.now() - began,
        )  # fmt: skip
        self._herald.say([events.leading(self._holder, token, self._store.epoch, rev)])
        executor = Executor(self._store, mirror, token, self._herald, self._clock, self._election.campaign)
        self._caretaker = Caretaker(
            self._store, mirror, executor, self._clock, self._election.campaign, self._herald.say
        )
        self._server_changed(mirror)
        turnstile = Turnstile(self._store, mirror, token, self._clock, self._artifacts, self._source_limit)
        turnstile.load(self._election.campaign)
        inbox = Inbox()
        listeners = Listeners(inbox, self._watcher, self._store.keys, epoch=self._store.epoch, after=rev)
        self._answers = Answers(self._watcher, self._store.keys, self._clock, HANDLERS, inbox.poke)
        self._answers.listen()
        try:
            self._rounds(mirror, executor, inbox, turnstile)
        finally:
            listeners.stop()
            self._answers.stop()
            self._herald.flush()

    def _tell_epoch(self) -> None:
        reason = str(self._store.epoch_record().get("reason", ""))
        self._herald.say([events.epoch(self._store.epoch, self._store.seen, reason)])

    def _regrant(self) -> None:
        """Another server knows no node users: all agents wait for them, so they come before all else."""
        if Server(self._store.client).run_id() == self._run_id:
            return
        barred = {node for node, raw in self._store.values(NODES_STATUS).items() if bar_of(raw)}
        secrets = {}
        for node, raw in self._store.values(NODES).items():
            with contextlib.suppress(BadRecord, KeyError):
                secrets[node] = str(read_record(raw, f"node {node}")["secret_sha256"])
        self._push({node: secret for node, secret in secrets.items() if node not in barred})

    def _reflect(self) -> Mirror:
        return Mirror(self._store, self._clock, self._election.campaign, self._presence, self._herald.say)

    def _rounds(self, mirror: Mirror, executor: Executor, inbox: Inbox, turnstile: Turnstile) -> None:
        planner = Planner(mirror, executor, self._clock, self._election.campaign)
        now = self._clock.now()
        next_look, next_note, next_housekeeping = now + TICK, now + NOTED_EVERY, now
        chores, next_chore = None, now
        while not self._stop.is_set():
            self._election.campaign()
            planner.work(PLAN_FOR)
            self._herald.flush()
            if chores and self._clock.now() >= next_chore:  # before the mail: what is read is planned next
                chores, next_chore = self._some_of(chores), self._clock.now() + STEPS_FOR
            due = min(next_look, mirror.agenda.next(), next_chore if chores else inf)
            due = -inf if planner.busy else due
            mail = inbox.take(max(0.0, due - self._clock.now()))
            mirror.awaken(self._clock.now())
            self._read(mirror, mail)
            turnstile.round()
            self._election.campaign()  # answers have no fence: who was stopped meanwhile knows too little
            self._answers.give(mirror.fleet, self._store.client)
            now = self._clock.now()
            if now >= next_look:
                next_look = now + TICK
                mirror.look(mirror.next_slice(max(SLICES, len(mirror.fleet.nodes) // LOOKED_AT_ONCE)))
                turnstile.tick()
                self._caretaker.glance()
                self._history.check(mirror)
                planner.routine()
                self.garbage.tick()
            if now >= next_note:
                next_note = now + NOTED_EVERY
                self._history.remember()
            if now >= next_housekeeping:
                next_housekeeping = now + HOUSEKEEPING
                self._look_at_servers(mirror)
                chores = chores or self._chores(mirror, turnstile)

    def _some_of(self, steps: Iterator[None] | None) -> Iterator[None] | None:
        """Go on with what takes long, for a little; None when it is done."""
        until = self._clock.now() + STEPS_FOR
        for _ in steps or ():
            if self._clock.now() >= until:
                return steps
        return None

    def _read(self, mirror: Mirror, mail: Mail) -> None:
        if mail.trouble is not None:
            raise mail.trouble
        mirror.apply(mail.events)
        hinted = self._hearing.heed(mail.hinted, mirror.fleet.nodes)
        if hinted:
            mirror.look(hinted)

    def _chores(self, mirror: Mirror, turnstile: Turnstile) -> Iterator[None]:
        """What has to be done from time to time; between any two parts others may have their turn."""
        self._store.compact(self._store.seen - LOG_KEPT)
        yield
        yield from self._caretaker.chores()
        turnstile.check()
        yield
        yield from mirror.verifying()

    def _look_at_servers(self, mirror: Mirror) -> None:
        if Server(self._store.client).run_id() != self._run_id:
            self._server_changed(mirror)
        self._spread_users(mirror)
        for tender in self._tenders:
            tender.tick(mirror)

    def _server_changed(self, mirror: Mirror) -> None:
        """Another server process: it knows no node users, and its clock may have stood still."""
        server = Server(self._store.client)
        mirror.presence.grace()
        for tender in self._tenders:
            tender.anew()
        self._spread_users(mirror)
        self._caretaker.granted()
        self._run_id = server.run_id()

    def _spread_users(self, mirror: Mirror) -> None:
        """Node users are not replicated: every server of the store is told of them."""
        self._push(mirror.fleet.secrets())

    def _push(self, secrets: Mapping[str, str]) -> None:
        try:
            self._users.spread(secrets, self._election.campaign)
        except Unsupported as error:
            log.warning("%s: every node can read every key", error)
