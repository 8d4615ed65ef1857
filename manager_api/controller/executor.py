"""Carries out actions: fenced, by compare and swap, each for itself."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from manager_api.controller.complaints import Complaints
from manager_api.controller.herald import Herald
from manager_api.controller.mirror import Mirror
from manager_api.controller.node_status import say
from manager_api.controller.shorter import shorter
from manager_api.core import events
from manager_api.core.actions import (
    Action,
    Adopt,
    Advance,
    Collect,
    Complain,
    Json,
    Place,
    Project,
    Refuse,
    Reorder,
    SetControl,
    SetNodeStatus,
    SetStatus,
    Wake,
)
from manager_api.core.portions import portions
from store.batches import batches
from store.clock import Clock, SystemClock
from store.codec import dumps
from store.errors import Conflict, StoreError, TooLarge
from store.faults import fault
from store.keys import ALLOCATIONS, CLAIMS, CONTROLS_STATUS, DEPLOYMENTS, STATUS
from store.kv.api import MOST_BYTES, MOST_FIELDS, Change, Compare
from store.kv.projection import Order, Projection
from store.kv.store import Store
from store.model.lifecycle import Deployment

log = logging.getLogger("controller")

Write = tuple[str, str, Json | None]
ORDERS_AT_ONCE = 100
"""Nodes whose desired hashes are written in one round trip."""
MOST_SENT = 4 * MOST_BYTES
HALTED_AT_ONCE = MOST_FIELDS // 2 - 1


class Executor:
    """Writes for one leader, with its token; `renew` keeps the lease while much is written."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        token: int,
        herald: Herald | None = None,
        clock: Clock | None = None,
        renew: Callable[[], object] = lambda: None,
    ) -> None:
        self._store = store
        self._herald = herald
        self._renew = renew
        self._nodes = Projection(store)
        self._complaints = Complaints(clock or SystemClock())
        self._mirror = mirror
        self._token = token

    @property
    def token(self) -> int:
        """The leader's, for those who write without a plan."""
        return self._token

    def perform(self, actions: Sequence[Action]) -> None:
        """Do all of them; what conflicts is planned again from what is there then.

        What goes to nodes' desired hashes goes last, many at a time: what it follows from comes first.

        Raises:
            Fenced, Unavailable, EpochChanged, StoreEmpty: stop leading.
        """
        orders: list[Project] = []
        stale = False  # what was planned after a step that is not taken may count on the room it would make
        for action in actions:
            if isinstance(action, Project):
                orders.append(action)
                continue
            if isinstance(action, Complain):
                self._complaints.about(action.subject, action.reason, action.what)
                continue
            if stale and isinstance(action, Place | Advance):
                self._mirror.agenda.deployments.add(action.deployment)
                continue
            try:
                self._perform(action)
            except Conflict as error:
                log.info("planned on old news, again: %s", error)
                stale = stale or isinstance(action, Place | Advance)
            except TooLarge as error:
                log.error("%s: %s", action.reason, error)
                with contextlib.suppress(Conflict):
                    self._perform_shorter(action, error)
            except (KeyError, TypeError, ValueError) as error:  # nonsense that came this far
                log.error("%s: it cannot be carried out: %r", action.reason, error)
        self._project(orders)

    def _perform(self, action: Action) -> None:
        if isinstance(action, Place | Advance):
            self._perform_in_portions(action)
            return
        match action:
            case Refuse() | SetStatus():
                self._set_status(action)
            case Reorder():
                self._reorder(action)
            case Collect():
                self._collect(action)
            case Adopt():
                self._adopt(action)
            case Project():
                self._project([action])
            case Wake():
                self._mirror.wake(action.deployment, action.at)
            case SetNodeStatus():
                self._set_node_status(action)
            case SetControl():
                log.log(
                    logging.INFO if action.quiet else logging.WARNING, "%s: %s", action.name, action.reason
                )
                self._write("controller.control", [], [(CONTROLS_STATUS, action.name, action.record)])
        if self._herald is not None:
            self._herald.say(events.of(action))

    def _perform_in_portions(self, action: Place | Advance) -> None:
        """The first conflict ends it: the rest is planned anew, from what is written by then."""
        rev = action.status_rev if isinstance(action, Advance) else 0
        for each in portions(action):
            if isinstance(each, Place):
                rev = self._place(each)
            else:
                rev = self._advance(replace(each, status_rev=rev))
            if self._herald is not None:
                self._herald.say(events.of(each))
            self._renew()

    def _place(self, action: Place) -> int:
        log.info("deployment %s: %s", action.deployment, action.reason)
        compares = _undecided(action)
        writes: list[Write] = [(ALLOCATIONS, key, data) for key, data in action.allocations.items()]
        writes.append((STATUS, action.deployment, action.status))
        return self._write("controller.place", compares, writes)

    def _set_status(self, action: Refuse | SetStatus) -> None:
        log.info("deployment %s: %s", action.deployment, action.reason)
        if isinstance(action, Refuse):
            compares = _undecided(action)
            point = "controller.refuse"
        else:
            compares, point = [Compare(STATUS, action.deployment, action.rev)], "controller.status"
        self._write(point, compares, [(STATUS, action.deployment, action.status)])

    def _set_node_status(self, action: SetNodeStatus) -> None:
        log.info("node %s: %s", action.node, action.reason)
        say(self._store, action.node, "drain", action.drain, token=self._token)

    def _reorder(self, action: Reorder) -> None:
        log.info(
            "deployment %s: %d allocations are ordered anew: %s",
            action.deployment,
            len(action.allocations),
            action.reason,
        )
        for batch in batches(action.allocations.items(), HALTED_AT_ONCE):
            compares = [Compare(ALLOCATIONS, key, rev) for key, (rev, _) in batch]
            self._write("controller.halt", compares, [(ALLOCATIONS, key, data) for key, (_, data) in batch])

    def _advance(self, action: Advance) -> int:
        log.info("deployment %s: %s", action.deployment, action.reason)
        for alloc_id, why in action.why.items():
            log.info("allocation %s: %s", alloc_id, why)
        compares = [Compare(DEPLOYMENTS, action.deployment, action.rev)]
        compares.append(Compare(STATUS, action.deployment, action.status_rev))
        compares += [Compare(ALLOCATIONS, alloc_id, rev) for alloc_id, (rev, _) in action.puts.items()]
        writes: list[Write] = [(ALLOCATIONS, alloc_id, data) for alloc_id, (_, data) in action.puts.items()]
        writes.append((STATUS, action.deployment, action.status))
        return self._write("controller.advance", compares, writes)

    def _adopt(self, action: Adopt) -> None:
        log.info(
            "deployment %s: %d allocations are %s", action.deployment, len(action.allocations), action.reason
        )
        compares = [Compare(DEPLOYMENTS, action.deployment, action.rev)]
        compares.append(Compare(STATUS, action.deployment, action.status_rev))
        compares += [Compare(ALLOCATIONS, alloc_id, 0) for alloc_id in action.allocations]
        compares += [Compare(CLAIMS, claim_id, rev) for claim_id, rev in action.claims.items()]
        writes: list[Write] = [(ALLOCATIONS, key, data) for key, data in action.allocations.items()]
        writes += [(CLAIMS, claim_id, None) for claim_id in action.claims]
        writes.append((STATUS, action.deployment, action.status))
        self._write("controller.adopt", compares, writes)

    def _collect(self, action: Collect) -> None:
        log.info("%s is collected: %s", action.subject, action.reason)
        compares = [Compare(*record) for record in action.records]
        self._write(
            "controller.collect", compares, [(name, field, None) for name, field, _ in action.records]
        )

    def _write(self, point: str, compares: list[Compare], writes: list[Write]) -> int:
        changes = [Change(name, field, None if data is None else dumps(data)) for name, field, data in writes]
        fault(f"{point}.before")
        rev = self._store.txn(compares, changes, token=self._token)
        fault(f"{point}.after")
        for collection, field, data in writes:
            self._mirror.wrote(collection, field, data, rev)
        return rev

    def _project(self, actions: Iterable[Project]) -> None:
        batch: list[tuple[Order, dict[str, Json]]] = []
        size = 0
        for order, entries in self._orders(actions):
            length = sum(map(len, order.puts.values()))
            if batch and (size + length > MOST_SENT or len(batch) >= ORDERS_AT_ONCE):
                self._send(batch)
                batch, size = [], 0
            batch.append((order, entries))
            size += length
        if batch:
            self._send(batch)

    def _orders(self, actions: Iterable[Project]) -> Iterator[tuple[Order, dict[str, Json]]]:
        """What is sent, beside what it says: in parts that fit a transaction each."""
        for action in actions:
            log.debug("node %s: %s", action.node, action.reason)
            try:
                raws = {alloc_id: dumps(entry) for alloc_id, entry in action.puts.items()}
            except (TypeError, ValueError) as error:
                log.error("node %s: %s: it cannot be carried out: %r", action.node, action.reason, error)
                continue
            batch: dict[str, bytes] = {}
            size = 0
            for alloc_id, raw in raws.items():
                if batch and (size + len(raw) > MOST_BYTES or len(batch) >= MOST_FIELDS):
                    yield Order(action.node, action.uid, batch, ()), {key: action.puts[key] for key in batch}
                    batch, size = {}, 0
                batch[alloc_id] = raw
                size += len(raw)
            yield (
                Order(action.node, action.uid, batch, action.deletes),
                {key: action.puts[key] for key in batch},
            )

    def _send(self, batch: Sequence[tuple[Order, dict[str, Json]]]) -> None:
        """One round trip for many nodes; what fails fails for one of them, unless we lead no more."""
        fault("controller.project.before")
        outcomes = self._nodes.project_many([order for order, _ in batch], token=self._token)
        lasting: StoreError | None = None
        for (order, entries), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, int):
                fault("controller.project.after")
                self._mirror.projected(order.node, order.uid, outcome, entries, order.deletes)
            elif type(outcome) is StoreError:  # of this node's keys: one of another type, say
                log.error("node %s: its desired state cannot be written: %s", order.node, outcome)
            else:
                lasting = lasting or outcome
        if lasting is not None:
            raise lasting

    def _perform_shorter(self, action: Action, error: TooLarge) -> None:
        """What does not fit a transaction is refused, or kept in part: it must not hold up the rest."""
        if isinstance(action, Place):
            status: Json = {"v": 1, "status": Deployment.FAILED, "refused": True, "nodes": []}
            status |= {"reason": f"too large: {error}", "allocations": [], "tasks": []}
            self._perform(Refuse(action.deployment, action.rev, status, str(error)))
        elif isinstance(action, SetStatus) and "tasks" in action.status:
            self._perform(replace(action, status=shorter(action.status)))


def _undecided(action: Place | Refuse) -> list[Compare]:
    """A decision stands on the deployment as it was read, and on there being none yet."""
    return [Compare(DEPLOYMENTS, action.deployment, action.rev), Compare(STATUS, action.deployment, 0)]
