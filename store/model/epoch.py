"""Epochs: a counter and something random, `3-9f2c01aa`; the counter tells which is later.

And the judgement whether a store's history is whole: etcd's members vote on theirs; here everybody
who has seen it bears witness, and who saw more than the store remembers has seen it lose something.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

MOST_AHEAD = 10**9
"""Revisions; a node that claims to be further ahead is not believed. 100 writes a second for 115 days."""
MOST_EPOCHS_AHEAD = 1000
MOST = 2**52
"""Revisions above it would not survive Lua's doubles."""

_EPOCH = re.compile(r"([0-9]{1,15})(?:-[A-Za-z0-9]{0,40})?")
"""Nodes choose what they claim: it is read as a number and shown, so it is short and plain."""


@lru_cache(maxsize=256)
def epoch_number(epoch: str) -> int:
    """The counter in an epoch; -1 for what is none."""
    found = _EPOCH.fullmatch(epoch)
    return int(found[1]) if found else -1


@dataclass(frozen=True, slots=True)
class Seen:
    """How far some witness has seen history go."""

    who: str
    epoch: str
    rev: int

    @property
    def number(self) -> int:
        """The epoch's counter."""
        return epoch_number(self.epoch)


def credible(found: Seen, claims: Iterable[Seen]) -> list[Seen]:
    """Claims that could be true: who says more wants to do harm, or is broken."""
    return [
        claim
        for claim in claims
        if claim.number <= found.number + MOST_EPOCHS_AHEAD
        and claim.rev <= min(found.rev + MOST_AHEAD, MOST)
        and claim.number >= 0
    ]


def contradicts(found: Seen, claim: Seen) -> str | None:
    """Why a claim shows that the store lost something, or None."""
    if claim.number < found.number:
        return None
    if claim.number > found.number:
        return f"{claim.who} has seen epoch {claim.epoch}, this store is in {found.epoch}"
    if claim.epoch != found.epoch:
        return f"{claim.who} has seen another epoch {claim.epoch} beside {found.epoch}"
    if claim.rev > found.rev:
        return f"{claim.who} has seen revision {claim.rev}, this store is at {found.rev}"
    return None


def above(found: Seen, claims: Iterable[Seen]) -> tuple[int, int]:
    """Epoch number and revision that a new epoch must pass so that every witness will follow it."""
    everybody = [found, *claims]
    return max(each.number for each in everybody), max(each.rev for each in everybody)
