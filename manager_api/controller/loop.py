"""The controller's loop: campaign, read everything, then plan and write until fenced or cut off."""

import contextlib
import logging
import random
import threading
from collections.abc import Mapping

from manager_api.controller.caretaker import Caretaker
from manager_api.controller.executor import Executor
from manager_api.controller.hearing import Hearing
from manager_api.controller.herald import Herald
from manager_api.controller.history import History
from manager_api.controller.inbox import Inbox, Listeners, Mail
from manager_api.controller.mirror import Mirror
from manager_api.controller.tenders import tenders
from manager_api.core import events
from manager_api.core.moment import Moment
from manager_api.core.plan import by_age, plan_deployments, plan_nodes
from store.backoff import Backoff
from store.batches import batches
from store.clock import Clock
from store.codec import read_record
from store.errors import BadRecord, Compacted, Fenced, StoreError, Unsupported
from store.home import Files
from store.keys import NODES, NODES_STATUS
from store.kv.connection import Client
from store.kv.server import Server
from store.kv.servers import NodeUsers
from store.kv.store import Store
from store.recipes.election import Election
from store.recipes.presence import Presence

log = logging.getLogger("controller")

TICK = 0.25
"""Seconds between looks at the heartbeats that are due."""
SLICES = 4
"""Every heartbeat is looked at once in so many ticks."""
FULL_ROUND = 5.0
"""Seconds between plans over everything."""
HOUSEKEEPING = 15.0
"""Seconds between compaction, a look at who the server is, and a check of memory against the store."""
DEPLOYMENTS_AT_ONCE, NODES_AT_ONCE = 16, 500
"""What is planned and written between two renewals of the lease."""
LOG_KEPT = 10_000
"""Revisions that stay in the change log for watchers."""
STANDBY = 0.2
STEADY = 10.0
"""Seconds of leading after which earlier trouble is forgiven."""


class Controller:
    """One candidate for the leadership."""

    def __init__(
        self, store: Store, watcher: Client, holder: str, clock: Clock, files: Files | None = None
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
        self._hearing = Hearing(clock)
        self._presence = Presence(clock)
        self._tenders = tenders(store, clock)
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
        before, mirror = self.mirror, self._reflect()
        rev = mirror.load()
        if self._history.settle(mirror, before.fleet if before is not None else None, token):
            about = self._store.epoch_record()
            self._herald.say(
                [events.epoch(self._store.epoch, self._store.seen, str(about.get("reason", "")))]
            )
            mirror = self._reflect()
            rev = mirror.load()
        self.mirror = mirror
        log.info("leading with token %d, epoch %s, revision %d", token, self._store.epoch, rev)
        self._herald.say([events.leading(self._holder, token, self._store.epoch, rev)])
        executor = Executor(self._store, mirror, token, self._herald)
        self._caretaker = Caretaker(
            self._store, mirror, executor, self._clock, self._election.campaign, self._herald.say
        )
        self._server_changed(mirror)
        inbox = Inbox()
        listeners = Listeners(inbox, self._watcher, self._store.keys, epoch=self._store.epoch, after=rev)
        try:
            self._rounds(mirror, executor, inbox)
        finally:
            listeners.stop()
            self._herald.flush()

    def _regrant(self) -> None:
        """Another server knows no node users: all agents wait for them, so they come before all else."""
        if Server(self._store.client).run_id() == self._run_id:
            return
        barred = self._store.values(NODES_STATUS)
        secrets = {}
        for node, raw in self._store.values(NODES).items():
            with contextlib.suppress(BadRecord, KeyError):
                secrets[node] = str(read_record(raw, f"node {node}")["secret_sha256"])
        self._push({node: secret for node, secret in secrets.items() if node not in barred})

    def _reflect(self) -> Mirror:
        return Mirror(self._store, self._clock, self._election.campaign, self._presence, self._herald.say)

    def _rounds(self, mirror: Mirror, executor: Executor, inbox: Inbox) -> None:
        now = self._clock.now()
        next_look, next_full, next_housekeeping = now + TICK, now + FULL_ROUND, now
        while not self._stop.is_set():
            self._election.campaign()
            self._plan(mirror, executor)
            self._herald.flush()
            mail = inbox.take(max(0.0, next_look - self._clock.now()))
            mirror.awaken(self._clock.now())
            self._read(mirror, mail)
            now = self._clock.now()
            if now >= next_look:
                next_look = now + TICK
                mirror.look(mirror.next_slice(SLICES))
                self._caretaker.glance()
                self._history.check(mirror)
            if now >= next_full:
                next_full = now + FULL_ROUND
                mirror.everything_moved()
                self._history.remember()
            if now >= next_housekeeping:
                next_housekeeping = now + HOUSEKEEPING
                self._housekeeping(mirror)

    def _read(self, mirror: Mirror, mail: Mail) -> None:
        if mail.trouble is not None:
            raise mail.trouble
        mirror.apply(mail.events)
        hinted = self._hearing.heed(mail.hinted, mirror.fleet.nodes)
        if hinted:
            mirror.look(hinted)

    def _plan(self, mirror: Mirror, executor: Executor) -> None:
        """Deployments first: what they decide moves nodes, which are planned right after."""
        while mirror.dirty_deployments or mirror.dirty_nodes:
            deployments, mirror.dirty_deployments = mirror.dirty_deployments, set()
            for batch in batches(by_age(mirror.fleet, deployments), DEPLOYMENTS_AT_ONCE):
                executor.perform(
                    plan_deployments(mirror.fleet, Moment(self._clock.wall(), self._clock.now()), batch)
                )
                self._election.campaign()
            nodes, mirror.dirty_nodes = mirror.dirty_nodes, set()
            for batch in batches(sorted(nodes), NODES_AT_ONCE):
                executor.perform(plan_nodes(mirror.fleet, batch))
                self._election.campaign()

    def _housekeeping(self, mirror: Mirror) -> None:
        self._store.compact(self._store.seen - LOG_KEPT)
        mirror.verify()
        self._caretaker.round()
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
