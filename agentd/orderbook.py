"""What this node was told, as far as it obeys it: every offer is judged here, and kept on disk."""

import logging

from agentd.core import obey
from agentd.core.obey import Frozen, Obeyed, Offer, Orders
from agentd.memory import Memory
from store.model.spec import AllocSpec, TaskSpec

log = logging.getLogger("agent")


class Orderbook:
    """For the brain's thread alone."""

    def __init__(self, memory: Memory, uid: str) -> None:
        self._memory = memory
        self._uid = uid
        self.orders: Orders = Orders()
        self.desired: dict[str, AllocSpec] = {}
        self.specs: dict[tuple[str, str], tuple[AllocSpec, TaskSpec]] = {}
        """By allocation and task."""
        self.oddities: dict[str, str] = {}
        """Orders that are not obeyed, with the reason."""
        self.frozen: str | None = None
        """Why nothing new is obeyed."""
        self.obeyed = False
        """Whether this life has ever obeyed an offer."""
        self.current = False
        """Whether the last offer, all of it, is what is obeyed now."""

    def recall(self) -> None:
        """Take up what an earlier life was told."""
        self._take(self._memory.recall())

    def consider(self, offer: Offer) -> bool:
        """Obey an offer, or say in `frozen` why not; False: for want of disk, and it is worth another try."""
        self.current = False
        verdict = obey.consider(offer, self.orders, self._uid)
        if isinstance(verdict, Frozen):
            if verdict.reason != self.frozen:
                log.warning("frozen: %s; everything keeps running", verdict.reason)
                self.frozen = verdict.reason
            return True
        if verdict.orders != self.orders and not self._keep(verdict.orders):
            return False
        self._settle(offer, verdict)
        return True

    def _keep(self, orders: Orders) -> bool:
        """Put orders on disk, then act on them."""
        try:
            self._memory.remember(orders)
        except OSError as error:
            if self.frozen is None:
                log.error("frozen: orders cannot be written to disk: %s", error)
                self.frozen = f"orders cannot be written to disk: {error.strerror}"
            return False
        self._take(orders)
        return True

    def _settle(self, offer: Offer, verdict: Obeyed) -> None:
        self.obeyed = self.current = True
        for alloc_id in verdict.oddities.keys() - self.oddities.keys():
            log.warning("%s: %s", alloc_id, verdict.oddities[alloc_id])
        self.oddities = dict(verdict.oddities)
        if self.frozen:
            log.info("no longer frozen: obeying revision %d of epoch %s", offer.rev, offer.epoch)
            self.frozen = None

    def _take(self, orders: Orders) -> None:
        self.orders = orders
        self.desired = obey.allocations(orders)
        self.specs = {
            (alloc.id, task.name): (alloc, task) for alloc in self.desired.values() for task in alloc.tasks
        }
