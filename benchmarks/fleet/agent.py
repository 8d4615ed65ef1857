"""One simulated agent: what `agentd.uplink` and the brain do, without threads and without processes."""

import random
import time

from agentd.core import obey
from agentd.core.obey import Frozen, Orders
from agentd.facts.node import FEATURES
from agentd.join import Rejoins
from agentd.report import Outbox, entry
from agentd.uplink import RETRY, offer
from store.clock import SystemClock
from store.codec import dumps
from store.errors import Denied, StoreError
from store.keys import Keys
from store.kv.node import RedisNodeLink
from store.kv.server import user_of
from store.version import VERSION

from .wire import Wire

AFTER_TROUBLE = 1.0
"""Seconds that a wake stream which cannot be read is left alone."""


class Agent:
    """One node. `tally` is what its process counts; `rejoin(who, done)` asks the manager to be taken in."""

    def __init__(self, loop, setting, who, behaviour, tally, rejoin=None):
        self._loop, self._setting, self._tally = loop, setting, tally
        self.who, self.behaviour = who, behaviour
        self._rejoin = rejoin
        self._rejoins = Rejoins(SystemClock())
        self._keys = Keys(setting.prefix)
        self._orders, self._oddities, self._frozen = Orders(), {}, None
        self._outbox = Outbox()
        self._said, self._late = {}, []
        self._seq = 0
        self._seen, self._woken, self._stamp = None, False, None
        self._wires = ()
        self._link = self._task = self._ears = None
        self._next_beat = self._until = 0.0
        self.entered = None
        """When this life was taken in, by the monotonic clock; None while it is not."""
        self.beaten = 0.0
        """When the last heartbeat was sent."""

    def begin(self, after):
        """Come up in so many seconds."""
        self._task = self._loop.spawn(self._lives(after))

    def take(self, setting):
        """Other times from now on."""
        self._setting = setting

    def cut(self):
        """Be silent from now on, without a farewell."""
        self._loop.cancel(self._task)
        self._fall_silent()

    @property
    def whole(self):
        """Since when it is in and both its connections are answered (monotonic); 0 while that is not so."""
        serves = [wire.serves for wire in self._wires] if self.entered is not None else []
        return max(serves) if serves and all(serves) else 0.0

    # -- lives

    def _lives(self, after):
        yield from self._sleep(time.monotonic() + after)
        while True:
            self._until = time.monotonic() + self.behaviour.stays()
            yield from self._live()
            if self.behaviour.returns_after is None:
                self._fall_silent()
                return
            yield from self._go()
            yield from self._sleep(time.monotonic() + self.behaviour.returns_after)

    def _live(self):
        """Until its time is up; no error of the store ends it."""
        self._instance, self._started, failures = f"{random.getrandbits(64):x}", time.time(), 0
        while time.monotonic() < self._until:
            try:
                yield from self._enter(anew=failures >= 2)
                failures = 0
                while time.monotonic() < self._until:
                    yield from self._round()
            except StoreError as error:
                failures = max(failures + 1, 2 if isinstance(error, Denied) else 0)
                self._tally.troubles[type(error).__name__] += 1
                self._drop()
                spread = min(self._setting.spread, self._setting.ttl / 2) * random.random()
                pause = spread if failures == 1 else RETRY.delay(failures, random.random) + spread
                yield from self._sleep(time.monotonic() + pause)

    def _fall_silent(self):
        if self._ears is not None:
            self._loop.cancel(self._ears)
        for wire in self._wires:
            wire.mute()
        self.entered = None

    def _go(self):
        try:
            if self.behaviour.leaves and self._link is not None:
                yield from self._beats(self._link.leave)
        except StoreError:
            pass
        self._drop()

    def _drop(self):
        if self._ears is not None:
            self._loop.cancel(self._ears)
            self._ears = None
        if self._link is not None:
            self._link.close()
            self._link = None
        self.entered = None

    def _enter(self, *, anew):
        if not anew:
            self._rejoins.forget()
        elif self._rejoin is not None and self._rejoins.due(self._setting.spread):
            yield from self._ask_manager()
        name = self.who.node
        self._wires = tuple(
            Wire(self._loop, self._setting.address, user_of(name), self.who.secret, f"muster-{label}")
            for label in (name, f"{name}-wake")
        )
        self._link = RedisNodeLink(*self._wires, self._keys, name)
        self._beats = self._wires[0].call
        self._seq += 1
        yield from self._beats(self._link.claim, self.who.uid, self._beat(), self._ttl_ms)
        yield from self._beats(self._link.describe, {"cpus": b"4", "features": dumps(list(FEATURES))})
        reported = yield from self._beats(self._link.reported)
        gone = [key for key in reported if key not in self._said]
        missed = {key: raw for key, raw in self._said.items() if reported.get(key) != raw}
        if gone or missed:
            self._late.append((time.monotonic(), {**dict.fromkeys(gone), **missed}))
        self._seen, self._next_beat = None, 0.0
        self._ears = self._loop.spawn(self._listen(self._link, self._wires[1]))

    def _ask_manager(self):
        done = []
        task = self._loop.current

        def told():
            done.append(True)
            self._loop.resume(task)

        self._rejoin(self.who, lambda: self._loop.post(told))
        while not done:
            yield 60.0
        self._tally.rejoins += 1

    # -- rounds

    @property
    def _ttl_ms(self):
        return int(self._setting.ttl * 1000)

    def _round(self):
        reports_at = self._late[0][0] if self._late else self._until
        due = min(self._next_beat, reports_at, self._until)
        while not self._woken and (now := time.monotonic()) < due:
            yield due - now
        woken, self._woken = self._woken, False
        said = yield from self._say()
        now = time.monotonic()
        if not (said or woken or now >= self._next_beat):
            return
        self._next_beat = now + self._setting.interval
        self.beaten = now
        pulse = yield from self._beats(self._link.beat, self._beat(), self._ttl_ms)
        self._tally.beats += 1
        if said or self._seen is None:
            yield from self._beats(self._link.hint)
        where = (pulse.epoch, pulse.rev, pulse.uid)
        if where != self._seen:
            yield from self._fetch()
            self._seen = where
        else:
            self._stamp = None  # a hint of what was read already
        if self.entered is None:
            self.entered = time.monotonic()

    def _say(self):
        """Report what is due."""
        due = {}
        while self._late and self._late[0][0] <= time.monotonic():
            due |= self._late.pop(0)[1]
        if due:
            due = self.behaviour.report(due)
            gone = [key for key, raw in due.items() if raw is None]
            puts = {key: raw for key, raw in due.items() if raw is not None}
            yield from self._beats(self._link.report, puts, gone)
            self._tally.reports += 1
            self._seq += 1
            self._said = {key: raw for key, raw in {**self._said, **due}.items() if raw is not None}
        return bool(due)

    def _beat(self):
        return self.behaviour.beat(
            {
                "v": 1, "instance": self._instance, "started": self._started, "uid": self.who.uid,
                "hostname": self.who.node, "version": VERSION, "time": time.time(), "ttl": self._setting.ttl,
                "interval": self._setting.interval, "epoch": self._orders.epoch, "rev": self._orders.rev,
                "frozen": self._frozen, "running": len(self._orders.entries), "unclaimed": [], "tasks": {},
                "cpu_percent": 3.2, "cpus": 4, "memory_percent": 41.3, "memory_total": 8 << 30,
                "memory_used": 3 << 30, "disk_percent": 55.1, "disk_total": 99 << 30, "disk_used": 44 << 30,
                "load": [0.1, 0.2, 0.3], "actual_seq": self._seq,
            }
        )  # fmt: skip

    def _fetch(self):
        desired = yield from self._beats(self._link.fetch)
        stamp, self._stamp = self._stamp, None
        self._tally.read(desired, stamp, known=self._orders.entries)
        verdict = obey.consider(offer(desired), self._orders, self.who.uid)
        if isinstance(verdict, Frozen):
            self._frozen = verdict.reason
            return
        self._frozen, self._orders = None, verdict.orders
        changes = self._outbox.changes(self._entries(verdict.oddities))
        if changes:
            self._late.append((time.monotonic() + self.behaviour.answers_after, changes))

    def _entries(self, oddities):
        return {
            alloc_id: entry(
                alloc,
                [_row(task, alloc.wanted) for task in alloc.tasks],
                epoch=self._orders.epoch,
                uid=self.who.uid,
                oddity=oddities.get(alloc_id),
            )
            for alloc_id, alloc in obey.allocations(self._orders).items()
        }

    def _listen(self, link, wire):
        while True:
            wait = self._setting.wake_wait
            try:
                word = yield from wire.call(link.wake, int(wait * 1000), within=wait + 5.0)
            except StoreError:
                yield from self._sleep(time.monotonic() + AFTER_TROUBLE)
                continue
            if word.hint:
                self._stamp = min(wire.stamp.values()) if self._stamp is None else self._stamp
                self._woken = True
                self._loop.resume(self._task)

    @staticmethod
    def _sleep(until):
        while (now := time.monotonic()) < until:
            yield until - now


def _row(task, wanted):
    """As of a task that runs for ever; `/bin/false` fails for good."""
    up = wanted == "running"
    failed = task.argv[0] == "/bin/false"
    state = "failed" if failed else "running" if up else "stopped"
    return {
        "name": task.name, "state": state, "pid": 4711 if state == "running" else None,
        "exit_code": None if state == "running" else int(failed), "restarts": 0, "reason": "simulated",
        "started": 1.0, "ended": None if state == "running" else 2.0,
    }  # fmt: skip
