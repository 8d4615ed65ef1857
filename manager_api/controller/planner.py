"""Plans what moved, a little at a time: whoever asks for something new waits for nobody else's routine."""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from manager_api.controller.executor import Executor
from manager_api.controller.mirror import Mirror
from manager_api.core.brake import plan_brake
from manager_api.core.fleet import Fleet
from manager_api.core.moment import Moment
from manager_api.core.plan import by_importance, plan_deployments, plan_nodes
from manager_api.core.slots import size_of
from store.batches import batches
from store.clock import Clock

DEPLOYMENTS_AT_ONCE, NODES_AT_ONCE = 16, 250
"""What is planned and written between two renewals of the lease."""
ALLOCATIONS_AT_ONCE = 2000
"""Deployments with so many allocations together are enough at once."""
SHORTEST_ROUND, LONGEST_ROUND = 5.0, 30.0
"""Seconds in which everything is planned once, whatever was heard: of a small fleet, of a large one."""
ROUTINE_PER_SECOND = 1000
"""Records that routine may plan in a second before it takes more than the shortest round."""


class Planner:
    """For one leader; `renew` keeps the lease."""

    def __init__(self, mirror: Mirror, executor: Executor, clock: Clock, renew: Callable[[], object]) -> None:
        self._mirror = mirror
        self._executor = executor
        self._clock = clock
        self._renew = renew
        self._deployments: dict[str, None] = {}
        self._nodes: dict[str, None] = {}
        self._routine = Routine(mirror.fleet, clock.now())

    @property
    def busy(self) -> bool:
        """Whether something is left to be planned."""
        mirror = self._mirror
        return bool(mirror.dirty_deployments or mirror.dirty_nodes or self._deployments or self._nodes)

    def work(self, seconds: float) -> None:
        """Plan and write until nothing is left, or about so long."""
        until = self._clock.now() + seconds
        while self.busy:
            self._some()
            if self._clock.now() >= until:
                return

    def routine(self) -> None:
        """Put on the agenda what nobody may have told us of: another part of everything each time."""
        deployments, nodes = self._routine.part(self._clock.now())
        self._mirror.dirty_deployments |= set(deployments)
        self._mirror.dirty_nodes |= {*nodes, *self._mirror.fleet.memory.held}

    def _some(self) -> None:
        """Deployments first: what they decide moves nodes, which are planned right after."""
        mirror = self._mirror
        self._nodes |= dict.fromkeys(mirror.dirty_nodes)
        mirror.dirty_nodes = set()
        now = self._now()
        said = plan_brake(mirror.fleet, now) if mirror.fleet.brake.turned else []
        if said:  # before anything is moved, and whether or not anything is
            self._executor.perform(said)
        batch = self._next_deployments()
        if batch:
            self._executor.perform(plan_deployments(mirror.fleet, now, batch))
            self._renew()
            moved, mirror.dirty_nodes = mirror.dirty_nodes, set()
            self._plan_nodes(moved)
        self._plan_nodes(list(islice(self._nodes, NODES_AT_ONCE)))

    def _now(self) -> Moment:
        return Moment(self._clock.wall(), self._clock.now())

    def _plan_nodes(self, nodes: Iterable[str]) -> None:
        for part in batches(nodes, NODES_AT_ONCE):
            for node in part:
                self._nodes.pop(node, None)
            self._executor.perform(plan_nodes(self._mirror.fleet, part, self._now()))
            self._renew()

    def _next_deployments(self) -> list[str]:
        """Those without a decision before all others; of these, by importance, then by age."""
        fleet, moved = self._mirror.fleet, self._mirror.dirty_deployments
        fresh = by_importance(fleet, moved & fleet.undecided)
        self._deployments |= dict.fromkeys(by_importance(fleet, moved.difference(fresh)))
        batch = self._enough(fresh) or self._enough(self._deployments)
        self._mirror.dirty_deployments = set(fresh).difference(batch)
        for name in batch:
            self._deployments.pop(name, None)
        return batch

    def _enough(self, names: Iterable[str]) -> list[str]:
        """The first of some deployments: as many as may be planned at once."""
        batch, size = list[str](), 0
        for name in islice(names, DEPLOYMENTS_AT_ONCE):
            batch.append(name)
            size += size_of(self._mirror.fleet, name)
            if size >= ALLOCATIONS_AT_ONCE:
                break
        return batch


class Routine:
    """Everything once in a round, evenly: a large fleet in small parts."""

    def __init__(self, fleet: Fleet, now: float) -> None:
        self._fleet = fleet
        self._last = now
        self._deployments: deque[str] = deque()
        self._nodes: deque[str] = deque()
        self._owed = 0.0
        self._begin()

    def _begin(self) -> None:
        fleet = self._fleet
        self._deployments.extend(fleet.deployments.keys() | fleet.status.keys())
        self._nodes.extend(fleet.nodes)
        self._whole = len(fleet.allocations) + len(self._deployments) + len(self._nodes)
        self.seconds = min(LONGEST_ROUND, max(SHORTEST_ROUND, self._whole / ROUTINE_PER_SECOND))

    def part(self, now: float) -> tuple[list[str], list[str]]:
        """The deployments and the nodes whose turn it is since the last call. Steady seconds."""
        passed, self._last = min(now - self._last, self.seconds), now
        self._owed += passed * self._whole / self.seconds
        if self.seconds <= SHORTEST_ROUND and self._owed < self._whole:
            return [], []  # a small fleet is planned as a whole
        deployments: list[str] = []
        nodes: list[str] = []
        while self._owed >= 1.0 and (self._deployments or self._nodes):
            self._owed -= self._take(deployments, nodes)
        if not (self._deployments or self._nodes):
            self._owed = 0.0
            self._begin()
        return deployments, nodes

    def _take(self, deployments: list[str], nodes: list[str]) -> int:
        """One of either; how much it weighs."""
        fleet = self._fleet
        if self._deployments:
            deployments.append(self._deployments.popleft())
            return 1 + len(fleet.of_deployment.get(deployments[-1], ()))
        nodes.append(self._nodes.popleft())
        return 1
