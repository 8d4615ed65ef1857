"""What nodes are told of their waiting for turns: seldom, and roughly, since thousands may wait."""

from collections.abc import Iterator
from itertools import islice
from math import inf

from manager_api.core.turns import Turns
from store.clock import Clock

AGAIN_AFTER = 10.0
"""Seconds between two things that one node is told."""
MOST_AT_ONCE = 50
LOOKED_AT = 1000
"""Asks that one look considers; the next one goes on with others."""


class Waiting:
    """Chooses what is said; `manager_api.controller.grants` says it."""

    def __init__(self, turns: Turns, clock: Clock) -> None:
        self._turns = turns
        self._clock = clock
        self._texts: dict[str, dict[str, str]] = {}
        self._at: dict[str, float] = {}
        self._rest: Iterator[tuple[str, str, str]] = iter(())

    def resume(self, node: str, texts: dict[str, str]) -> None:
        """An earlier leader has told a node these."""
        self._texts[node], self._at[node] = dict(texts), self._clock.now()

    def of(self, node: str) -> dict[str, str]:
        """What a node is told at the moment."""
        waits = self._turns.waits(node)
        found = {ask: text for ask, text in self._texts.get(node, {}).items() if ask in waits}
        if found:
            self._texts[node] = found
        else:
            self._texts.pop(node, None)
        if not waits:
            self._at.pop(node, None)
        return dict(found)

    def news(self, *, unsure: bool = False) -> list[str]:
        """Nodes that are to be told something else now; `unsure`: nobody is given a turn yet."""
        now = self._clock.now()
        looked = list(islice(self._rest, LOOKED_AT))
        if not looked:
            self._rest = self._all(unsure=unsure)
            looked = list(islice(self._rest, LOOKED_AT))
        fresh: list[tuple[str, str, str]] = []
        other: list[tuple[str, str, str]] = []
        for node, ask, text in looked:
            before = self._texts.get(node, {}).get(ask)
            if before != text and self._may_hear(node, ask, now):
                (fresh if before is None else other).append((node, ask, text))
        chosen = (fresh + other)[:MOST_AT_ONCE]
        for node, ask, text in chosen:
            self._texts.setdefault(node, {})[ask] = text
            self._at[node] = now
        return [node for node, _, _ in chosen]

    def _may_hear(self, node: str, ask: str, now: float) -> bool:
        if ask not in self._turns.waits(node):
            return False  # any more
        if node in self._at or ask in self._turns.refused.get(node, ()):
            return now >= self._at.get(node, -inf) + AGAIN_AFTER
        self._at[node] = now - AGAIN_AFTER  # most have their turn before the next look
        return False

    def _all(self, *, unsure: bool) -> Iterator[tuple[str, str, str]]:
        """Everybody who waits, and what there is to be said of it; places as they were at the beginning."""
        refused = [
            (node, ask, why) for node, asks in self._turns.refused.items() for ask, why in asks.items()
        ]
        lines = [(server, list(line)) for server, line in self._turns.lines().items() if len(line)]
        yield from refused
        for server, keys in lines:
            for place, (node, ask) in enumerate(keys):
                yield node, ask, sentence(server, self._turns.limit, roughly(place), unsure=unsure)


def roughly(place: int) -> int:
    """A number that changes seldom: exact below ten, above it 10, 20, 50, 100 and so on."""
    if place < 10:
        return place
    power = int("1" + "0" * (len(str(place)) - 1))
    return next(each * power for each in (5, 2, 1) if each * power <= place)


def sentence(server: str, limit: int, before: int, *, unsure: bool = False) -> str:
    """Why a node has no turn yet."""
    if unsure:
        return f"turns at {server} are given again once all nodes have been heard of"
    taken = f"all {limit} turns at {server} are taken" if limit > 1 else f"the one turn at {server} is taken"
    if before == 0:
        return f"{taken}; it is next"
    about = "about " if before >= 10 else ""
    return f"{taken}; {about}{before} wait{'s' if before == 1 else ''} before it"
