"""A node's stock with make-believe children, a make-believe leader, and time that tests own.

The leader here knows only what heartbeats told it, as the real one does: a turn is back once a heartbeat came
without its ask, or none came within TTL.
"""

import hashlib
from collections import deque
from dataclasses import dataclass, field

from agentd.core.files.downloads import Downloads
from agentd.core.files.errands import Close, Get, KillChild, KillPlacing, Open, Place, StartChild
from agentd.core.files.items import Item, Order
from agentd.core.files.lease import Lease
from agentd.core.files.stock import Stock
from agentd.core.files.views import Files
from store.codec import dumps

TTL = 15.0
UID = "uid"


def sha(text):
    return hashlib.sha256(str(text).encode()).hexdigest()


def item(source="app.tgz", pool="~", **more):
    return Item(source=source, pool=pool, to=source.rpartition("/")[2], **more)


def order(*items, timeout=1800.0):
    return Order(items or (item(),), timeout)


def key(name="t", generation=1):
    return "a.0", name, generation


@dataclass
class Process:
    lane: object
    key: str
    open: bool = False
    jobs: deque = field(default_factory=deque)


class World:
    """Everything around one `Stock`. `child(name)` is a living process, `connected()` those that are."""

    def __init__(self, rate=None, now=1000.0):
        self.now, self.cache, self.lease = now, {}, Lease()
        self.downloads = Downloads("brain", rate, lambda: 0.0)
        self.stock = Stock(self.downloads, self.cache.get, lambda: 0.0)
        self.processes, self.placings, self.ready = {}, set(), set()
        self.errands, self.orders = [], {}
        self.turns, self.beat_asks, self.beat_at = set(), {}, None
        self.limit, self.fetched, self.contents = 4, [], {}
        self.waiting = {}

    # the brain's rounds

    def want(self, **orders):
        """Want these generations of tasks, by name (`t` or `t__2`)."""
        self.orders = {
            key(name.split("__")[0], int([*name.split("__"), "1"][1])): each for name, each in orders.items()
        }
        return self.round()

    def round(self):
        """One round of the brain: the errands that came of it."""
        wanted = {each: order for each, order in self.orders.items() if each not in self.ready}
        self.stock.want(wanted)
        done = self.stock.decide(self.lease, self.now)
        for each in done:
            self._do(each)
        self.errands += done
        return done

    def _do(self, errand):
        match errand:
            case StartChild():
                assert errand.child not in self.processes
                self.processes[errand.child] = Process(errand.lane, f"key-of-{errand.child}")
            case Open():
                assert not self.processes[errand.child].open
                self.processes[errand.child].open = True
            case Get():
                self.processes[errand.child].jobs.append(errand)
            case Close():
                assert not self.processes[errand.child].jobs
                self.end(errand.child)
            case KillChild():
                self.end(errand.child)
            case Place():
                assert errand.key not in self.placings
                assert all(each in self.cache for each in errand.objects)
                self.placings.add(errand.key)
            case KillPlacing():
                self.placings.discard(errand.key)

    def pass_time(self, seconds):
        """Let time pass, with the rounds that the stock itself asks for."""
        until = self.now + seconds
        while True:
            at = self.stock.wake_at(self.lease, self.now)
            assert at is None or at > self.now
            if at is None or at > until:
                break
            self.now = at
            self._expire()
            self.round()
        self.now = until
        self._expire()
        self.round()

    def view(self, name="t", generation=1):
        each = key(name, generation)
        return self.stock.views(self.lease, self.now).get(each)

    # children

    def end(self, name, text="it ended"):
        if self.processes.pop(name, None) is not None:
            self.stock.ended(name, text, self.now)

    def say(self, name, **word):
        self.stock.hear(name, word, self.now)

    def begin(self):
        """All children that have not said their key say it."""
        for name, process in [*self.processes.items()]:
            self.say(name, say="key", key=process.key)
        return self.round()

    def connected(self):
        return [name for name, process in self.processes.items() if process.open]

    def got(self, name, content=None, size=10, stamp="s1"):
        """A child has got what it works at."""
        get = self.processes[name].jobs.popleft()
        found = get.job.sha256 or sha(content or self.contents.get(get.job.source, get.job.source))
        self.cache[found] = size
        self.fetched.append(get.job)
        self.say(name, say="got", job=get.name, sha256=found, size=size, stamp=stamp, read=size)

    def failed(self, name, kind="missing", text="no such file sftp://files/app.tgz"):
        get = self.processes[name].jobs.popleft()
        self.say(name, say="failed", job=get.name, kind=kind, text=text)

    def progress(self, name, done, total=None):
        self.say(name, say="progress", job=self.processes[name].jobs[0].name, done=done, total=total)

    def place_all(self):
        for each in [*self.placings]:
            self.placings.discard(each)
            if self.stock.placed(each) is not None:
                self.ready.add(each)

    # the store and the leader

    def beat(self, delay=0.0):
        """A heartbeat is sent, arrives at once, and is acknowledged `delay` later."""
        sent = self.now
        self.beat_asks, self.beat_at = dict(self.downloads.asks()), sent
        self.turns &= self.beat_asks.keys()
        if delay:
            self.pass_time(delay)
        self.lease = self.lease.heard(sent, TTL, self.now)
        self.round()

    def _expire(self):
        if self.beat_at is None or self.now >= self.beat_at + TTL:
            self.beat_asks, self.turns = {}, set()

    def grant(self):
        """The leader gives turns to those it knows to ask; the grant key says so."""
        for ask in self.beat_asks:
            if len(self.turns) < self.limit:
                self.turns.add(ask)
        self.waiting = {ask: "4 others are served" for ask in self.beat_asks if ask not in self.turns}
        return self.document()

    def document(self, uid=UID):
        grants = {ask: {"sealed": "c2VhbGVk"} for ask in self.turns}
        return dumps({"v": 1, "uid": uid, "grants": grants, "waiting": self.waiting})

    def read(self, raw):
        """The uplink reads the grant key."""
        self.lease = self.lease.granted(raw, UID)
        return self.round()

    def serve(self):
        """Contact, keys, turns: all that stands before a download."""
        self.beat()
        self.begin()
        self.beat()
        self.read(self.grant())

    def live_on(self, seconds, every=5.0):
        """Time passes while heartbeats go on."""
        until = self.now + seconds
        while self.now < until:
            self.pass_time(min(every, until - self.now))
            self.beat()
            self.read(self.grant())


def over(world, name="t", generation=1):
    """Whether a task's files are ready, or given up."""
    view = world.view(name, generation)
    return key(name, generation) in world.ready or (view is not None and view.state is Files.FAILED)
