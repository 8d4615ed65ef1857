"""Where allocations go: to the best of the nodes that are meant, are there, and have room.

`eligible.py` says who is meant, `capacity.py` and `ports.py` who has room, `judge.py` asks them all,
`candidates.py` knows the best, `preemption.py` who makes room, `ledger.py` what is taken already.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from manager_api.core import eligible as meant
from manager_api.core import ports, preemption
from manager_api.core.candidates import Candidates, Spread
from manager_api.core.capacity import Need, gigabytes
from manager_api.core.eligible import eligible, matching
from manager_api.core.fleet import Fleet
from manager_api.core.holdings import numbers_of
from manager_api.core.judge import Judge, Want
from manager_api.core.ledger import Ledger, Taken, by_value, value_of
from manager_api.core.requests import Chosen, Refused, Request, without_needless
from store.model.spec import GroupSpec

__all__ = ["Chosen", "Need", "Placer", "Refused", "Request", "Taken", "eligible", "gigabytes", "matching"]


@dataclass(slots=True)
class _Pool:
    """What is known of one part of one group while placing."""

    group: GroupSpec
    """Held, since the pool is found by its id."""
    want: Want
    pinned: list[str] | None
    """The node that its pins leave; None: all."""
    hopeless: Refused | None
    """What is wrong with its pins."""
    candidates: Candidates | None = None
    refused: tuple[int, frozenset[str], Refused] | None = None
    """The last refusal, by how much was taken then, and what was to be avoided."""
    sacrifices: dict[str, preemption.Sacrifice] | None = None
    seen: int = 0
    """How much of the ledger's log is in `sacrifices`."""


class Placer:
    """Places one deployment's allocations, one after the other, each seeing what those before it took.

    `taken` is what others of the round took; `keep` adds what this one did. The fleet must not change.
    """

    def __init__(self, fleet: Fleet, taken: Taken) -> None:
        self._fleet = fleet
        self._ledger = Ledger(fleet, taken)
        self._judge = Judge(fleet, self._ledger)
        self._pools: dict[tuple[str, int, str | None], _Pool] = {}

    def keep(self) -> None:
        """The deployment was accepted: the next one must see what it takes."""
        self._ledger.keep()

    def place(self, request: Request) -> Chosen | Refused:
        """The node for an allocation, or why there is none."""
        request = without_needless(self._fleet, request)
        pool = self._pool(request)
        if pool.hopeless is not None:
            return pool.hopeless
        if request.node is not None:
            return self._only(request, pool, request.node)
        refused = self._refused_before(request, pool)
        if refused is not None:
            return refused
        candidates = pool.candidates or self._candidates(request, pool)
        node = candidates.best(request.avoid)
        for each in self._judge.freed_nodes(request):  # these have more room than the candidates know of
            key = self._judge.look(request, pool.want, each) if self._may(request, pool, each) else ""
            if not isinstance(key, str) and (
                node is None or candidates.rank(each, key) < candidates.best_rank(node)
            ):
                return self._take(request, pool, each, "it takes the place of another there")
        if node is not None:
            return self._take(request, pool, node, self._why(request, pool, candidates, node))
        return self._preempt(request, pool) or self._refuse(request, pool, candidates)

    def note(self, request: Request, chosen: Chosen) -> None:
        """What runs somewhere already takes its place, whatever speaks against that by now."""
        self._ledger.take(chosen.node, request.key, Need.of(request.part), chosen.numbers)

    def refusal(self, node: str, request: Request) -> str | None:
        """Why a node cannot take it, as a predicate ("is offline"), or None. Takes nothing."""
        pool = self._pool(request)
        if (hopeless := pool.hopeless) is not None:
            return hopeless.nodes.get(node, f"is not meant: {hopeless.reason}")
        if pool.pinned is not None and node not in pool.pinned:
            return f"is not {request.part.pin or request.group.policy.placement.node}"
        if request.node is not None and node != request.node:
            return f"is not {request.node}"
        if node in request.avoid:
            return "is the one that it is to leave"
        said = self._judge.look(request, pool.want, node)
        return said if isinstance(said, str) else None

    def shortage(self, allocations: Iterable[Mapping[str, Any]]) -> str | None:
        """Why the nodes of some allocations that reserve nothing now have no room for them, or None."""
        ledger = self._ledger
        for each in allocations:
            node, memory, cpus = each["node"], int(each["memory"]), float(each["cpus"])
            if not self._fleet.states[node].beat:
                continue
            lack = ledger.host(node).lack(ledger.reserved(node), memory, cpus)
            taken = sorted(numbers_of(each) & ledger.numbers(node, frozenset()))
            if lack is None and taken:
                lack = f"cannot take it: port {taken[0]} is taken by {self._judge.holder(node, taken[0])}"
            if lack is not None:
                return f"node {node} {lack}"
            ledger.reserve(node, memory, cpus)
        return None

    # -- who may take it

    def _pool(self, request: Request) -> _Pool:
        key = request.deployment, id(request.group), request.part.pin
        found = self._pools.get(key)
        if found is None:
            want = Want.of(request, self._ledger.round)
            pinned = self._pinned(request)
            left, hopeless = (None, pinned) if isinstance(pinned, Refused) else (pinned, None)
            found = self._pools[key] = _Pool(request.group, want, left, hopeless)
        return found

    def _pinned(self, request: Request) -> list[str] | Refused | None:
        """The node that its pins leave; None: all of them."""
        left: list[str] | None = None
        for pin in (request.group.policy.placement.node, request.part.pin):
            if pin is None:
                continue
            found = matching(self._fleet, pin)
            if len(found) > 1:
                whole = meant.ambiguous(pin, found)
                return Refused(whole, dict.fromkeys(found, whole))
            if not found:
                whole = f"no node has the id, host name or address {pin}"
                return Refused(whole, dict.fromkeys(sorted(self._fleet.nodes), f"is not {pin}"))
            if left is not None and found != left:
                return Refused(f"it is pinned to {left[0]} and to {pin}", {left[0]: f"is not {pin}"})
            left = found
        return left

    def _may(self, request: Request, pool: _Pool, node: str) -> bool:
        return (pool.pinned is None or node in pool.pinned) and node not in request.avoid

    def _candidates(self, request: Request, pool: _Pool) -> Candidates:
        placement, taken = request.group.policy.placement, self._ledger.round
        plain = replace(request, avoid=frozenset(), free=frozenset(), node=None)
        values: Mapping[str | None, list[str]]
        if pool.pinned is not None:
            values = by_value(self._fleet, pool.pinned, placement.spread or "")
        elif placement.spread is not None:
            values = taken.values(self._fleet, placement.spread)
        else:
            values = {None: taken.order(self._fleet)}
        label, spread = placement.spread, None
        if label is not None:
            spread = Spread(request.key, lambda node: value_of(self._fleet, node, label))
        packed = placement.strategy == "binpack"  # in one order for all, so that they meet on the same nodes
        pool.candidates = Candidates(
            values,
            0 if packed else crc32(request.identity.encode()),
            lambda node: self._judge.look(plain, pool.want, node),
            self._ledger,
            spread,
        )
        return pool.candidates

    # -- what gives way

    def _preempt(self, request: Request, pool: _Pool) -> Chosen | None:
        """The node that gives up least for it, if there is one and it may be asked to."""
        if not request.preempt:
            return None
        possible = dict(self._sacrifices(request, pool))
        for node in self._judge.freed_nodes(request):  # these need not give up as much
            possible.pop(node, None)
            found = self._sacrifice(request, pool, node)
            if found is not None:
                possible[node] = found
        best = min((each for node, each in possible.items() if self._may(request, pool, node)), default=None)
        return None if best is None else self._instead(request, pool, best)

    def _sacrifices(self, request: Request, pool: _Pool) -> dict[str, preemption.Sacrifice]:
        """What each node would have to give up; looked at anew where something was taken since."""
        log = self._ledger.log
        if pool.sacrifices is None:
            pool.sacrifices, nodes = {}, set(pool.want.able)
        else:
            nodes = {node for node, _, _ in log[pool.seen :]} & pool.want.able
        pool.seen = len(log)
        plain = replace(request, avoid=frozenset(), free=frozenset(), node=None)
        for node in sorted(nodes):
            found = self._sacrifice(plain, pool, node)
            pool.sacrifices.pop(node, None)
            if found is not None:
                pool.sacrifices[node] = found
        return pool.sacrifices

    def _sacrifice(self, request: Request, pool: _Pool, node: str) -> preemption.Sacrifice | None:
        judge, want = self._judge, pool.want
        if (
            judge.unable(request, want, node)
            or judge.crowded(request, node)
            or judge.taken_port(request, want, node)
        ):
            return None
        missing = judge.missing(request, want.need, node)
        return preemption.sacrifice(self._ledger, node, missing, request.priority, request.deployment)

    def _instead(self, request: Request, pool: _Pool, found: preemption.Sacrifice) -> Chosen:
        self._ledger.release(found.victims)
        why = f"it takes the place of {', '.join(found.victims)}, of lower priority"
        return replace(self._take(request, pool, found.node, why), victims=found.victims)

    # -- the answer

    def _only(self, request: Request, pool: _Pool, node: str) -> Chosen | Refused:
        """The answer for a request that names its node."""
        if node not in self._fleet.nodes:
            return Refused(f"there is no node {node}", {node: "is not known"})
        why = self.refusal(node, request)
        if why is None:
            return self._take(request, pool, node, "it is meant for this node")
        if request.preempt and self._may(request, pool, node):
            found = self._sacrifice(request, pool, node)
            if found is not None:
                return self._instead(request, pool, found)
        return Refused(f"node {node} {why}", {node: why})

    def _take(self, request: Request, pool: _Pool, node: str, why: str) -> Chosen:
        ledger, wanted = self._ledger, pool.want.ports
        given: ports.Given = {}
        if wanted:
            before = self._ports_before(request, node)
            given = ports.give(wanted, request.at(node), ledger.numbers(node, request.free), before)
        ledger.release(request.free)
        chosen = Chosen(node, given, why, (), wanted.published)
        ledger.take(node, request.key, pool.want.need, chosen.numbers)
        return chosen

    def _ports_before(self, request: Request, node: str) -> Mapping[str, Mapping[str, int]]:
        for each in sorted(request.free):
            if self._judge.on(each, node):
                return self._fleet.allocations[each].data.get("ports") or {}
        return {}

    def _why(self, request: Request, pool: _Pool, candidates: Candidates, node: str) -> str:
        placement = request.group.policy.placement
        if pool.pinned is not None:
            return f"it is pinned to {request.part.pin or placement.node}"
        which = "fullest" if placement.strategy == "binpack" else "least loaded"
        best = f"the {which} of {candidates.feasible} nodes that can take it"
        text = best if candidates.feasible > 1 else "the only node that can take it"
        text += "" if candidates.complete else ", of those looked at"
        if placement.spread is None:
            return text
        value = meant.labels_of(self._fleet.nodes[node].data).get(placement.spread)
        return f"{text}, spread over {placement.spread} (here {value or 'none'})"

    def _refuse(self, request: Request, pool: _Pool, candidates: Candidates) -> Refused:
        known, at = pool.refused, len(self._ledger.log)
        if known is not None and known[:2] == (at, request.avoid):
            return known[2]
        found = Refused.by(dict(sorted(candidates.refusals.items())))
        pool.refused = at, request.avoid, found
        alike = self._alike(request, pool)
        if alike is not None:
            self._ledger.round.refused[alike] = len(self._ledger.round.gone), found
        return found

    def _refused_before(self, request: Request, pool: _Pool) -> Refused | None:
        """The refusal of one that wants the same: many may wait for room, and looking at all nodes is long.

        In a round less and less is free, unless something gives way.
        """
        alike = self._alike(request, pool)
        gone, refused = self._ledger.round.refused.get(alike, (-1, None)) if alike is not None else (-1, None)
        return refused if gone == len(self._ledger.round.gone) else None

    def _alike(self, request: Request, pool: _Pool) -> Hashable | None:
        """What others must want to be refused like it; None: that is not for it alone to say."""
        most, wanted = request.group.policy.placement.max_replicas_per_node, pool.want.ports
        special = request.avoid or request.free or request.preempt or pool.pinned is not None
        counts = (wanted or most is not None) and self._ledger.has(request.key)
        if special or counts or self._ledger.log:  # what it took may yet be given back
            return None
        return pool.want.kind, pool.want.need, wanted.fixed, wanted.free
