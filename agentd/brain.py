"""The brain: takes offers, plans, acts, reports. It may die at any moment; the next one goes on."""

import logging
import secrets
import threading

from agentd import fallback
from agentd.artifacts.depot import Depot
from agentd.core import obey
from agentd.core.contact import Contact
from agentd.core.draft import Observed
from agentd.core.obey import Offer
from agentd.core.plan import Plan, plan
from agentd.core.runs import Run, Views
from agentd.driver import Driver, KeeperGone
from agentd.executor import Executor
from agentd.facts.load import Load
from agentd.fallback import Sampler
from agentd.identity import Identity
from agentd.keeper.proc import boot_id
from agentd.launch import Launcher
from agentd.lifeline import Lifeline
from agentd.logbook import Logbook
from agentd.memory import Memory
from agentd.orderbook import Orderbook
from agentd.report import Json, Outbox
from agentd.reporter import Reporter
from agentd.settings import AgentSettings
from agentd.uplink import Uplink
from agentd.usage import Usage
from agentd.wellbeing import Wellbeing
from store.clock import Clock
from store.errors import Claimed
from store.version import VERSION

log = logging.getLogger("agent")

AT_LEAST_EVERY = 5.0
SWEEP_EVERY = 3600.0
KEEPER_TRIES = 5
RETRY_AFTER = 1.0


class Brain:
    """One life of the agent's brain. `run` on the main thread; the others only leave word."""

    def __init__(
        self,
        settings: AgentSettings,
        identity: Identity,
        memory: Memory,
        launcher: Launcher,
        clock: Clock,
        *,
        hostname: str,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._clock = clock
        self._hostname = hostname
        self._condition = threading.Condition()
        self._offer: Offer | None = None
        self._kicked = True
        self._stopping = False
        self._instance = secrets.token_hex(8)
        self._started = clock.wall()
        self._load = Load(str(settings.data_dir), clock)
        self._book = Orderbook(memory, identity.uid)
        self._runs: list[Run] = []
        self._entries: dict[str, Json] = {}
        self._outbox = Outbox()
        self._next_sweep = 0.0
        self._retry_at: float | None = None
        self._speaking = False
        self._boot = boot_id()
        self.driver = Driver(settings.data_dir, self.kick, self._probed)
        self.lifeline = Lifeline(self.driver, clock, self.kick)
        self._executor = Executor(self.driver, launcher, clock)
        self._wellbeing = Wellbeing(self.driver, launcher, clock, self.kick)
        self._reporter = Reporter(self._executor, launcher, identity, clock)
        self._usage = Usage(self._executor.groups_of)
        self._sampler = Sampler()
        self._views = Views()
        self._logbook = Logbook(launcher, clock, settings.log_quota)
        self.depot = Depot(settings, identity.uid, launcher, clock, self.kick, self._instance)
        self.depot.on_asks = self._ask
        launcher.stock = self.depot
        self.uplink: Uplink | None = None

    def kick(self) -> None:
        """Plan soon: something moved."""
        with self._condition:
            self._kicked = True
            self._condition.notify()

    def take(self, offer: Offer) -> None:
        """A desired state was read; only the newest matters."""
        with self._condition:
            self._offer = offer
            self._kicked = True
            self._condition.notify()
        self.lifeline.offered()

    def heard(self, sent: float, known: bool) -> None:  # noqa: FBT001 - as the uplink calls it
        """A heartbeat sent then was acknowledged; `known`: the store wants what it offered last."""
        self.lifeline.heard(sent, known=known)
        self.depot.heard(sent)

    def _ask(self) -> None:
        if self.uplink is not None:
            self.uplink.beat_soon(hint=True)

    def _probed(self, run: str, code: int | None, error: str | None) -> None:
        self._wellbeing.executed(run, code, error)

    def stop(self) -> None:
        """End soon; tasks stay."""
        self._stopping = True
        self.kick()

    def run(self) -> None:
        """Until stopped.

        Raises:
            Claimed: at the first contact, the node id belonged to another living agent.
            KeeperGone: there is no keeper, and none can be started.
        """
        self._book.recall()
        self.driver.connect()
        try:
            self._go_on()
        finally:
            self.depot.stop()

    def _go_on(self) -> None:
        while not self._stopping:
            if self.uplink is not None and self.uplink.refused is not None:
                raise Claimed(str(self.uplink.refused))
            try:
                wake_at = self._round()
            except KeeperGone as error:
                log.error("keeper: %s; starting another, which adopts the tasks", error)
                self._reconnect()
                self._wellbeing.keeper_lost()
                continue
            except Exception as error:
                log.error("round", exc_info=error)
                wake_at = self._clock.now() + RETRY_AFTER
            self._speak_up()
            self._sleep(wake_at)

    def _speak_up(self) -> None:
        """Go to the store only once we know what runs: what lies there of us must not be belied."""
        if self.uplink is not None and not self._speaking:
            self._speaking = True
            self.uplink.start()

    def _reconnect(self) -> None:
        for _ in range(KEEPER_TRIES):
            try:
                self.driver.connect()
                return
            except KeeperGone as error:
                log.warning("keeper: %s", error)
        raise KeeperGone("no keeper stays up; keeper.log in the data directory may say why")

    def _sleep(self, wake_at: float | None) -> None:
        now = self._clock.now()
        until = now + AT_LEAST_EVERY if wake_at is None else min(wake_at, now + AT_LEAST_EVERY)
        with self._condition:
            if not self._kicked:
                self._condition.wait(max(0.0, until - now))
            self._kicked = False

    def _round(self) -> float | None:
        looked = self.lifeline.look()
        with self._condition:
            offer, self._offer = self._offer, None
        self._retry_at = None
        if offer is not None:
            try:
                self._consider(offer)
            except Exception:
                self._again(offer)  # whatever it was: the store will not offer the same twice
                raise
        if self.driver.outlived():
            self.driver.connect()
        self._runs = self.driver.runs()
        contact = self.lifeline.contact(looked, current=self._book.current)
        switch_at = self.lifeline.renew(contact, self._book.desired, self._runs)
        self._wellbeing.settle()
        self._logbook.watch(self._book.desired)
        keep = self._book.orders.entries.keys() if self._book.obeyed else None
        if keep is not None and self._clock.now() >= self._next_sweep:  # before a start makes something new
            self._next_sweep = self._clock.now() + SWEEP_EVERY
            self._executor.sweep({*keep, *(run.alloc for run in self._runs)}, self._runs)
        self.depot.settle()
        seen, sample_at = self._observe(contact)
        planned = plan(self._book.desired, seen, self._clock.now(), keep=keep)
        again = self._executor.perform(planned.actions)
        self._wellbeing.watch(planned, self._book.desired)
        self._report(planned)
        live = {(run.alloc, run.task, run.generation) for run in self._runs if run.live}
        fetch_at = self.depot.want(planned.fetches, self._book.desired, keep, live)
        times = (planned.wake_at, again, self._retry_at, sample_at, switch_at, fetch_at)
        return min((each for each in times if each is not None), default=None)

    def _observe(self, contact: Contact) -> tuple[Observed, float | None]:
        """What is so on this node, and when to look again at what no kernel limits."""
        unlimited = self._executor.without_groups(self._runs, self._book.specs)
        now = self._clock.now()
        seen = Observed(
            runs=self._runs,
            boot=self._boot,
            health=self._wellbeing.views,
            limited=self._executor.limited,
            excess=self._sampler.look(unlimited, now),
            views=self._views,
            contact=contact,
            files=self.depot.views,
        )
        return seen, now + fallback.EVERY if unlimited else None

    def over(self, alloc_id: str, name: str, generation: int) -> bool:
        """Whether a task has ended for good, in this generation or a later one, as far as is known here."""
        entry = self._entries.get(alloc_id)
        return self._logbook.over(entry, alloc_id, name, generation, obeyed=self._book.obeyed)

    def _consider(self, offer: Offer) -> None:
        book = self._book
        entries, frozen = book.orders.entries.keys(), book.frozen
        if not book.consider(offer):
            self._again(offer)
        if entries - book.orders.entries.keys():
            self._next_sweep = 0.0
        if book.frozen != frozen and self.uplink is not None:
            self.uplink.beat_soon()

    def _again(self, offer: Offer) -> None:
        """Consider an offer once more in a while, unless a newer one comes."""
        with self._condition:
            self._offer = self._offer or offer
        self._retry_at = self._clock.now() + RETRY_AFTER

    def _report(self, planned: Plan) -> None:
        book = self._book
        self._entries = self._reporter.entries(planned, book.desired, book.orders, book.oddities)
        if self.uplink is not None:
            self.uplink.publish(self._outbox.changes(self._entries))

    @property
    def frozen(self) -> str | None:
        """Why nothing new is obeyed, or None."""
        trouble = self.uplink.trouble if self.uplink is not None else None
        return self._book.frozen or trouble

    def heartbeat(self) -> Json:
        """What travels in every heartbeat, but for `actual_seq`."""
        runs = self._runs
        return {
            "v": 1,
            "instance": self._instance,
            "started": self._started,
            "uid": self._identity.uid,
            "hostname": self._hostname,
            "version": VERSION,
            "time": self._clock.wall(),
            "interval": self._settings.interval,
            "ttl": self._settings.ttl,
            "epoch": self._book.orders.epoch,
            "rev": self._book.orders.rev,
            "frozen": self._book.frozen,
            "running": sum(run.live for run in runs),
            "unclaimed": self._unclaimed(),
            "tasks": self._usage.sample(runs, self._clock.now()),
            **self.depot.asks(),
            **self._load.sample(),
        }

    def _unclaimed(self) -> list[str]:
        ordered = self._book.orders.entries
        return obey.unclaimed((run.alloc for run in self._runs if run.live), ordered, self._book.oddities)

    def view(self) -> Json:
        """The node's own view, for its local port."""
        return {
            "status": "frozen" if self.frozen else "ok",
            "frozen": self.frozen,
            "version": VERSION,
            "node": self._identity.node,
            "uid": self._identity.uid,
            "epoch": self._book.orders.epoch,
            "rev": self._book.orders.rev,
            "keeper_pid": self.driver.pid,
            "guard_pid": self.driver.guard,
            "unclaimed": self._unclaimed(),
            "allocations": self._entries,
        }
