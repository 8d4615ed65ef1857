"""How simulated agents behave: most obey, some lag, flap, lie, or are cut off."""

import itertools
import math
import random

from store.codec import dumps


class Obey:
    """Does what it is told, at once, for ever. The others differ in one thing each."""

    name = "obey"
    answers_after = 0.0
    """Seconds between reading an order and reporting on it."""
    returns_after = None
    """Seconds that it stays away once its time is up; None: for ever."""
    leaves = False
    """Whether it says farewell then; otherwise the heartbeat is left to run out."""

    def stays(self):
        """Seconds from joining until its time is up."""
        return math.inf

    def beat(self, fields):
        """The heartbeat, of what an honest one would say."""
        return dumps(fields)

    def report(self, changes):
        """The changes of `actual`, of what an honest one would say."""
        return changes


class Lag(Obey):
    """Answers late."""

    name = "lag"

    def __init__(self, seconds=2.0):
        self.answers_after = seconds


class Flap(Obey):
    """Goes away, by turns with and without a farewell, and comes back."""

    name = "flap"

    def __init__(self, up=10.0, away=5.0):
        self._up, self.returns_after = up, away

    def stays(self):
        """About `up` seconds."""
        self.leaves = not self.leaves
        return self._up * random.uniform(0.5, 1.5)


class CutOff(Obey):
    """Stops beating without leaving; its connections stay open and silent."""

    name = "cut"

    def __init__(self, after=10.0):
        self._after = after

    def stays(self):
        """`after` seconds."""
        return self._after


class Lie(Obey):
    """Talks nonsense: another kind with every heartbeat and every report."""

    name = "lie"

    def __init__(self):
        self._kinds = itertools.count()

    def beat(self, fields):
        """An honest heartbeat now and then, so that it is not simply offline."""
        lies = (
            fields,
            {**fields, "rev": fields["rev"] + 1000},
            {**fields, "rev": 2**62},
            {**fields, "uid": "somebody else"},
            {**fields, "ttl": -1, "memory_percent": "all of it"},
            {**fields, "epoch": "999-ffffffff", "actual_seq": [], "instance": {}},
            [fields],
        )
        kind = next(self._kinds) % (len(lies) + 1)
        return dumps(lies[kind]) if kind < len(lies) else b"\xff{" + dumps(fields)

    def report(self, changes):
        """Reports of what nobody ordered, of the future, of other machines, and of no shape at all."""
        nonsense = (
            b"{",
            b"[]",
            b'"\xff"',
            dumps({"tasks": {"main": 1}}),
            dumps({"tasks": [{"name": 7}], "rev": -3}),
            dumps({"tasks": [{"name": "main", "state": "flying", "pid": "x", "reason": 9}], "rev": 2**50}),
            dumps({"wanted": "stopped", "uid": "somebody else", "rev": 2**40, "generation": 9, "tasks": []}),
        )
        lies = {key: nonsense[next(self._kinds) % len(nonsense)] for key in changes}
        return {**lies, f"never-ordered.{next(self._kinds) % 5}": nonsense[next(self._kinds) % len(nonsense)]}


KINDS = {kind.name: kind for kind in (Obey, Lag, Flap, Lie, CutOff)}


def parse(text):
    """The behaviours in `obey=90,lag:3=5,lie=5`: (name, arguments, share), a share being any number.

    Raises:
        ValueError: no such behaviour, or a share that is no number.
    """
    found = []
    for part in text.split(","):
        what, _, share = part.partition("=")
        name, *arguments = what.split(":")
        if name not in KINDS:
            raise ValueError(f"{name!r} is none of {', '.join(KINDS)}")
        found.append((name, tuple(float(each) for each in arguments), float(share or 1)))
    return found


def mixed(text, number):
    """The behaviours of so many agents: (name, arguments), in the shares that `text` asks for, spread evenly."""
    kinds = parse(text)
    whole = sum(share for _, _, share in kinds)
    counts = [0.0] * len(kinds)
    found = []
    for _ in range(number):
        for place, (_, _, share) in enumerate(kinds):
            counts[place] += share / whole
        chosen = max(range(len(kinds)), key=counts.__getitem__)
        counts[chosen] -= 1
        found.append(kinds[chosen][:2])
    return found
