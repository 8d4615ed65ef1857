"""The nodes that one kind of allocation may go to, the best first, without looking at all of them.

In a large fleet most nodes will do. So nodes are drawn in an order that follows from what is placed,
until enough of them have room; with every allocation placed one more is drawn. Only when none is
left with room have all been looked at.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from manager_api.core.ledger import GroupKey, Ledger

ALL_BELOW = 500
"""Candidates up to which all are looked at."""
SAMPLE = 40
"""Nodes with room, of more candidates than that, of which the best is taken."""

Key = tuple[float, float]
"""How good a node is; less is better."""
Judge = Callable[[str], Key | str]
"""A node's key, or why it cannot take it."""
_Rank = tuple[bool, int, Key, str]


@dataclass(frozen=True, slots=True)
class Spread:
    """What is spread, and over which values of nodes."""

    key: GroupKey
    value_of: Callable[[str], str | None]


class _Lane:
    """Nodes that count as one when allocations are spread: those with the same value of a label."""

    def __init__(self, value: str | None, nodes: Sequence[str], start: int) -> None:
        self.value = value
        self.nodes = nodes
        self.start = start % max(len(nodes), 1)
        self.drawn = 0
        self.live = 0
        """Nodes drawn that have room."""
        self.placed = 0
        self.count = 0
        """Allocations of the group on nodes with this value."""
        self.heap: list[tuple[Key, str]] = []
        self.rank: _Rank | None = None

    def next(self) -> str | None:
        """The next node that nobody has looked at, or None."""
        if self.drawn == len(self.nodes):
            return None
        self.drawn += 1
        return self.nodes[(self.start + self.drawn - 1) % len(self.nodes)]


class Candidates:
    """See the module. `judge` is asked again about every node that the ledger's log names."""

    def __init__(
        self,
        values: Mapping[str | None, Sequence[str]],
        start: int,
        judge: Judge,
        ledger: Ledger,
        spread: Spread | None,
    ) -> None:
        """Take the candidates by the value they are spread over; with no `spread`, all are one."""
        self._judge, self._ledger, self._spread = judge, ledger, spread
        self._seen = len(ledger.log)
        self._lanes = [_Lane(value, nodes, start) for value, nodes in values.items()]
        self._lane_of: dict[str, int] = {}
        self._number_of = {lane.value: number for number, lane in enumerate(self._lanes)}
        if spread is not None:
            for node, number in ledger.spread(spread.key).items():
                self._count(spread, node, number)
        total = sum(len(lane.nodes) for lane in self._lanes)
        self._sample = total if total <= ALL_BELOW else max(1, SAMPLE // max(len(self._lanes), 1))
        self._keys: dict[str, Key] = {}
        self._ranks: list[tuple[_Rank, int]] = []
        self._hidden: frozenset[str] = frozenset()
        self.refusals: dict[str, str] = {}
        """Why nodes that were looked at cannot take it."""
        for lane in range(len(self._lanes)):
            self._top_up(lane)

    def _count(self, spread: Spread, node: str, number: int) -> int | None:
        """Note allocations of the group on a node; the lane that it belongs to."""
        lane = self._number_of.get(spread.value_of(node))
        if lane is not None:
            self._lanes[lane].count += number
        return lane

    @property
    def feasible(self) -> int:
        """How many of the nodes looked at could take it."""
        return len(self._keys)

    @property
    def complete(self) -> bool:
        """Whether all were looked at."""
        return all(lane.drawn == len(lane.nodes) for lane in self._lanes)

    def best(self, avoid: frozenset[str]) -> str | None:
        """The node to take, none of `avoid`; None: none has room, and `refusals` says why of each."""
        self._catch_up()
        if avoid != self._hidden:
            self._hide(avoid)
        while self._ranks:
            rank, lane = self._ranks[0]
            if self._lanes[lane].rank == rank:
                self._lanes[lane].placed += 1
                return rank[3]
            heapq.heappop(self._ranks)
        return None

    def rank(self, node: str, key: Key) -> tuple[bool, int, Key, str]:
        """How a node with a key compares with others; less is better."""
        if self._spread is None:
            return False, 0, key, node
        value = self._spread.value_of(node)
        number = self._number_of.get(value)
        return value is None, self._lanes[number].count if number is not None else 0, key, node

    def best_rank(self, node: str) -> tuple[bool, int, Key, str]:
        """How a node that `best` gave compares with others."""
        return self.rank(node, self._keys[node])

    def _catch_up(self) -> None:
        """Judge anew what was touched since."""
        log = self._ledger.log
        if self._seen == len(log):
            return
        moved, lanes = dict.fromkeys(node for node, _, _ in log[self._seen :]), set[int]()
        for node, key, number in log[self._seen :]:
            if self._spread is not None and key == self._spread.key:
                lane = self._count(self._spread, node, number)
                lanes.update(() if lane is None else (lane,))
        self._seen = len(log)
        for node in moved:
            if node in self._lane_of:
                self._look(node, self._lane_of[node])
                lanes.add(self._lane_of[node])
        for lane in sorted(lanes):
            self._top_up(lane)

    def _hide(self, avoid: frozenset[str]) -> None:
        changed, self._hidden = avoid ^ self._hidden, avoid
        lanes = set()
        for node in sorted(changed):
            if node in self._lane_of:
                self._look(node, self._lane_of[node])
                lanes.add(self._lane_of[node])
        for lane in sorted(lanes):
            self._top_up(lane)

    def _look(self, node: str, number: int) -> None:
        lane = self._lanes[number]
        lane.live -= self._keys.pop(node, None) is not None
        self.refusals.pop(node, None)
        said = "is the one that it is to leave" if node in self._hidden else self._judge(node)
        if isinstance(said, str):
            self.refusals[node] = said
        else:
            self._keys[node] = said
            heapq.heappush(lane.heap, (said, node))
            lane.live += 1

    def _top_up(self, number: int) -> None:
        """See to it that enough nodes of a lane are known to have room, and rank it by its best."""
        lane = self._lanes[number]
        while lane.live < self._sample + lane.placed and (node := lane.next()) is not None:
            self._lane_of[node] = number
            self._look(node, number)
        while lane.heap and self._keys.get(lane.heap[0][1]) != lane.heap[0][0]:
            heapq.heappop(lane.heap)
        rank = self.rank(lane.heap[0][1], lane.heap[0][0]) if lane.heap else None
        if rank is not None and rank != lane.rank:
            heapq.heappush(self._ranks, (rank, number))
        lane.rank = rank
