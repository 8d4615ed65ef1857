"""The brain's thread toward the store: beats, fetches, reports; alone in knowing that it can fail."""

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from agentd.core.obey import Offer
from agentd.facts.node import facts
from agentd.join import Epochs, Unlisted
from agentd.link import NodeLink
from agentd.offers import offer
from agentd.unsaid import Unsaid
from store.backoff import Backoff
from store.clock import Clock
from store.codec import dumps
from store.errors import Claimed, Denied, StoreError, Unavailable
from store.faults import fault
from store.kv.asks import Chunk
from store.kv.node import Pulse

log = logging.getLogger("agent")

WAKE_WAIT_MS = 15_000
LEAVE_WITHIN = 6.0
RETRY = Backoff(first=0.2, most=5.0, jitter=0.5)


class Connector(Protocol):
    """Gives links; see `agentd.join`."""

    def connect(self, *, anew: bool) -> NodeLink:
        """A link to the store."""
        ...


class Uplink:
    """Owns the link. The brain leaves reports here and is handed offers."""

    def __init__(
        self,
        joiner: Connector,
        clock: Clock,
        uid: str,
        interval: float,
        ttl: float,
        heartbeat: Callable[[], dict[str, Any]],
        on_offer: Callable[[Offer], None],
    ) -> None:
        self._joiner = joiner
        self._clock = clock
        self._uid = uid
        self._interval = interval
        self._ttl_ms = int(ttl * 1000)
        self._heartbeat = heartbeat
        self._on_offer = on_offer
        self.describe: Callable[[], dict[str, Any]] = facts
        """What the node is; told at every beginning."""
        self.on_asks: Callable[[Sequence[Mapping[str, Any]]], None] = lambda _: None
        """Is handed what readers of logs ask for."""
        self.on_contact: Callable[[float, bool], None] = lambda *_: None
        """Told when an acknowledged heartbeat was sent, and whether the store still wants what it offered."""
        self.on_grant: Callable[[bytes | None], None] = lambda _: None
        """Is handed the grant key at each beat that asks for turns."""
        self.spread: Callable[[], float] = lambda: 0.0
        """Seconds over which a fleet that lost its store comes back."""
        self.say_again: Callable[[], None] = lambda: None
        """Told before a new link when the manager may have forgotten what we said of ourselves."""
        self._link: NodeLink | None = None
        self._unsaid = Unsaid()
        self._condition = threading.Condition()
        self._stopping = False
        self._woken = False
        self._hinting = False
        self._next_beat = 0.0
        self._seq = 0
        self._seen: tuple[str, int, str] | None = None
        self._standby = False
        self._unlisted = Unlisted(clock)
        self._epochs = Epochs(clock)
        self._met = False
        """Whether this life has ever been taken in: before that, a taken node id ends it."""
        self._said: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self.trouble: str | None = "not connected to the store yet"
        """Why nothing new can be learned, or None."""
        self.refused: Claimed | None = None
        """Set when the very first contact found the node id taken."""

    def start(self) -> None:
        """Begin, on threads of its own."""
        self._thread.start()

    def publish(self, changes: dict[str, bytes | None]) -> None:
        """Say these changes of `actual` as soon as possible; later ones replace earlier ones."""
        if not changes:
            return
        with self._condition:
            self._unsaid.add(changes)
            self._condition.notify()

    def beat_soon(self, *, hint: bool = False) -> None:
        """Do not wait for the interval: something in the heartbeat matters now; `hint`: to the leader."""
        with self._condition:
            self._next_beat = 0.0
            self._woken = True
            self._hinting = self._hinting or hint
            self._condition.notify()

    def chunk(self, ask: str, chunks: Sequence[Chunk]) -> None:
        """Answer an ask, on the caller's thread; what becomes of it does not touch the beats.

        Raises:
            StoreError: it may not have arrived.
        """
        link = self._link
        if link is None:
            raise Unavailable("not connected to the store")
        link.chunk(ask, chunks)

    def rest(self) -> None:
        """Nobody asks just now."""
        link = self._link
        if link is not None:
            link.rest()

    def leave(self) -> None:
        """Be offline at once; what was not said yet, the next life says."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.ident is None:  # we never said hello
            return
        self._thread.join(LEAVE_WITHIN)  # a beat under way must not come after the farewell
        link = self._link
        if link is None or self.trouble or self._thread.is_alive():
            return
        try:
            link.leave()
        except StoreError as error:
            log.info("the heartbeat is left to run out: %s", error)

    def _run(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                if self._link is None:
                    self._connect(anew=failures >= 2)
                self._round()
                failures, self._met = 0, True
            except Claimed as error:
                if not self._met:
                    self.refused = error
                failures += 1
                self._fail(f"{error}", failures)
            except StoreError as error:
                failures = max(failures + 1, 2 if isinstance(error, Denied) else 0)
                self._fail(f"store: {error}", failures)
            except Exception as error:
                log.error("uplink", exc_info=error)
                failures += 1
                self._fail(f"unexpected: {error!r}", failures)

    def _fail(self, text: str, failures: int) -> None:
        if self.trouble != text:
            log.warning("%s", text)
        self.trouble = text
        if self._link is not None:
            self._link.close()
            self._link = None
        with self._condition:
            self._condition.wait(self._pause(failures))

    def _pause(self, failures: int) -> float:
        """Seconds until the next try: a whole fleet must not be back at once, nor one heartbeat run out.

        With an interval before it, a third of its life, it is less than turns are held for (`lease.HELD`).
        """
        spread = min(self.spread(), self._ttl_ms * 0.4 / 1000) * random.random()
        if failures == 1 and self._met and spread:
            return spread
        return RETRY.delay(failures, random.random) + spread

    def _connect(self, *, anew: bool) -> None:
        link = self._joiner.connect(anew=anew)
        try:
            self._enter(link)
        except BaseException:
            link.close()
            raise
        self._seen = None
        self._next_beat = 0.0
        self._link = link
        threading.Thread(target=self._listen, args=(link,), name="wake", daemon=True).start()

    def _enter(self, link: NodeLink) -> None:
        """Claim the node id, describe the node, and find out what has to be said anew."""
        self._seq += 1  # what was reported last may have arrived, though we were not told
        # While another life of this agent beats, only a free key is claimed.
        fault("brain.claim.before")
        link.claim("" if self._standby else self._uid, self._beat(), self._ttl_ms)
        fault("brain.claim.after")
        self._standby = False
        fault("brain.facts.before")
        link.describe({key: dumps(value) for key, value in self.describe().items()})
        fault("brain.facts.after")
        reported = link.reported()
        with self._condition:
            self._unsaid.differ(reported)

    def _round(self) -> None:
        link = self._link
        assert link is not None
        with self._condition:
            if not (self._unsaid or self._woken or self._stopping):
                self._condition.wait(max(0.0, self._next_beat - self._clock.now()))
            outbox = self._unsaid.take()
            woken, self._woken = self._woken, False
        if self._stopping:
            return
        try:
            self._say(link, outbox, woken=woken)
        except StoreError:
            with self._condition:
                self._unsaid.put_back(outbox)
            raise

    def _say(self, link: NodeLink, outbox: dict[str, bytes | None], *, woken: bool) -> None:
        if outbox:
            fault("brain.report.before")
            link.report(
                {key: raw for key, raw in outbox.items() if raw is not None},
                [key for key, raw in outbox.items() if raw is None],
            )
            fault("brain.report.after")
            self._seq += 1
        if outbox or woken or self._clock.now() >= self._next_beat:
            hinting, self._hinting = self._hinting, False
            fault("brain.beat.before")
            sent = self._clock.now()
            pulse = link.beat(self._beat(), self._ttl_ms)
            fault("brain.beat.after")
            self._next_beat = self._clock.now() + self._interval
            self._check_twin(pulse)
            where = pulse.epoch, pulse.rev, pulse.uid
            self.on_contact(sent, where == self._seen)
            if "fetching" in self._said:
                self.on_grant(link.granted())
            if outbox or hinting or self._seen is None:
                link.hint()
            self._look(link, where)
            self._unlisted.look(pulse.epoch)
            if self._epochs.look(pulse.epoch, self.spread()):
                self.say_again()
                link.close()
                self._link = None
        self.trouble = None

    def _check_twin(self, pulse: Pulse) -> None:
        """Two agents with one identity: the newer one stands back until the older is gone."""
        previous, mine = pulse.previous, self._said
        if not previous or previous.get("instance") == mine["instance"]:
            return
        if previous.get("uid") != self._uid:
            if pulse.uid == self._uid:
                return  # the leader means us: the other one will learn that
            self._standby = True
            raise Claimed(f"another machine ({previous.get('hostname')}) has taken this node id")
        if float(str(previous.get("started") or 0)) < mine["started"] and self._seen is not None:
            self._standby = True
            raise Claimed("another agent with this identity is alive; waiting for it to go")

    def _look(self, link: NodeLink, where: tuple[str, int, str]) -> None:
        if where != self._seen:
            self._on_offer(offer(link.fetch()))
            self._seen = where

    def _beat(self) -> bytes:
        self._said = {**self._heartbeat(), "actual_seq": self._seq}
        return dumps(self._said)

    def _listen(self, link: NodeLink) -> None:
        """Hints make things sooner; without them, the interval does it."""
        while link is self._link and not self._stopping:
            try:
                word = link.wake(WAKE_WAIT_MS)
                if word.asks:
                    self.on_asks(word.asks)
                if word.hint:
                    with self._condition:
                        self._woken = True
                        self._condition.notify()
            except Exception as error:  # noqa: BLE001 - hints may fail in any way; beats go on
                log.debug("wake: %r", error)
                threading.Event().wait(1.0)
