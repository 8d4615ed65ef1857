"""What is to be planned next, and what may wait a little: not every report has a large deployment planned."""

from math import inf

from manager_api.controller.pace import Paced
from manager_api.core.fleet import Fleet
from store.clock import Clock

PROMPT = 100
"""Deployments of fewer allocations are planned whenever something happens to them."""
ALLOCATIONS_PER_SECOND = 10_000.0
"""What reports may make us plan of one deployment: one of 5,000 allocations is planned twice a second."""
ROOM_EVERY = 0.5
"""Seconds between plans of those that wait for room, while room keeps coming up."""
PEERS_EVERY = 0.1
"""Seconds, at least, between plans of a deployment's nodes because peers of its tasks moved."""


class Agenda:
    """Names of deployments and nodes that are to be planned, and when others are."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self.deployments: set[str] = set()
        self.nodes: set[str] = set()
        self.all_moves = False
        """While everything is read, nothing of it need be noted: all will be planned."""
        self._reports, self._peers, self._room = Paced(), Paced(), Paced()
        self._next = inf

    def everything(self) -> None:
        """Plan all of it next."""
        self.deployments = self._fleet.deployments.keys() | self._fleet.status.keys()
        self.nodes = set(self._fleet.nodes)

    def reported(self, node: str) -> None:
        """A node says something new, or came, or went."""
        if self.all_moves:
            return
        fleet = self._fleet
        self.nodes.add(node)
        for deployment in {
            fleet.allocations[each].data["deployment"] for each in fleet.on_node.get(node, ())
        }:
            self.heard(deployment)

    def heard(self, deployment: str) -> None:
        """Something is known of its allocations that was not."""
        size = len(self._fleet.of_deployment.get(deployment, ()))
        pause = size / ALLOCATIONS_PER_SECOND
        if size < PROMPT or self._reports.ask(deployment, self._clock.now(), pause):
            self.deployments.add(deployment)
        if deployment in self._fleet.peered:
            self.peers_moved(deployment)

    def peers_moved(self, deployment: str) -> None:
        """Its tasks may have to be told where others are, or that they are up."""
        size = len(self._fleet.of_deployment.get(deployment, ()))
        if self._peers.ask(deployment, self._clock.now(), max(PEERS_EVERY, size / ALLOCATIONS_PER_SECOND)):
            self._tell(deployment)

    def _tell(self, deployment: str) -> None:
        fleet = self._fleet
        self.nodes.update(
            fleet.allocations[each].data["node"] for each in fleet.of_deployment.get(deployment, ())
        )

    def room(self) -> None:
        """There may be room where there was none."""
        if self._fleet.hungry and self._room.ask("room", self._clock.now(), ROOM_EVERY):
            self.deployments |= self._fleet.hungry

    def another_fleet(self) -> None:
        """A node is new, or may take other work than before."""
        if self._room.ask("fleet", self._clock.now(), ROOM_EVERY):
            self.deployments |= self._fleet.everywhere
        self.room()

    def wake(self, deployment: str, at: float) -> None:
        """Plan a deployment again at `at` (steady seconds) at the latest."""
        due = self._fleet.due
        due[deployment] = at = min(at, due.get(deployment, at))
        self._next = min(self._next, at)

    def awaken(self, now: float) -> None:
        """Have those planned whose time has come."""
        fleet = self._fleet
        if now >= self._next:
            due = [name for name, at in fleet.due.items() if at <= now]
            for name in due:
                del fleet.due[name]
            self.deployments.update(due)
            self._next = min(fleet.due.values(), default=inf)
        self.deployments.update(self._reports.take(now))
        for deployment in self._peers.take(now):
            self._tell(deployment)
        for what in self._room.take(now):
            self.deployments |= fleet.everywhere if what == "fleet" else fleet.hungry

    def next(self) -> float:
        """When something comes due next (steady seconds)."""
        return min(self._next, self._reports.next(), self._peers.next(), self._room.next())

    def prune(self) -> None:
        """Forget what is no more."""
        self._reports.keep(self._fleet.deployments)
        self._peers.keep(self._fleet.deployments)
