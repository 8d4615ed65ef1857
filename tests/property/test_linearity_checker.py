"""The checker accepts whatever a real register gives, in any interleaving; and no lie about it."""

import random
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.conftest import SOAK
from tests.linear.checker import NotLinearizable, check
from tests.linear.history import OPEN, Op

pytestmark = pytest.mark.property
KEYS = ("k", "l")
EXAMPLES = 2000 if SOAK else 100


class Register:
    """The store as it should be, without concurrency."""

    def __init__(self):
        self.rev = 0
        self.records = {}

    def rev_of(self, key):
        return self.records.get(key, (None, 0))[1]

    def write(self, compares, writes):
        for key, expected in compares:
            if self.rev_of(key) != expected:
                return {"conflict": (key, self.rev_of(key))}
        self.rev += 1
        for key, value in writes:
            self.records.pop(key, None)
            if value is not None:
                self.records[key] = (value, self.rev)
        return {"rev": self.rev}

    def read(self, keys, *, whole):
        reads = tuple((key, *self.records.get(key, (None, 0))) for key in keys)
        return {"reads": reads, "rev": self.rev if whole else 0}


class Client:
    """Does one operation after another in steps: call, take effect, return."""

    def __init__(self, name, rng, register):
        self.name, self.rng, self.register = name, rng, register
        self.known, self.done, self.count = dict.fromkeys(KEYS, 0), [], 0
        self.op, self.answer = None, None

    def step(self, now):
        if self.op is None:
            self._call(now)
        elif self.answer is None and self.rng.random() < 0.1 and self.op.writes:
            self._give_up()  # and it never happened
        elif self.answer is None:
            op = self.op
            read = self.register.read(self.keys, whole=self.whole)
            self.answer = self.register.write(op.compares, op.writes) if op.writes else read
        elif self.rng.random() < 0.1 and self.op.writes:
            self._give_up()  # it happened, or was refused, and nobody was told
        else:
            self._return(now)

    def _call(self, now):
        self.count += 1
        self.keys = self.rng.sample(KEYS, self.rng.choice((1, 1, 2)))
        self.whole = self.rng.random() < 0.5
        if self.rng.random() < 0.4:
            self.op = Op(now)
            return
        value = None if self.rng.random() < 0.2 else f"{self.name}-{self.count}"
        compared = [key for key in self.keys if self.rng.random() < 0.6]
        compares = tuple((key, self.known[key]) for key in compared)
        self.op = Op(now, OPEN, compares, tuple((key, value) for key in self.keys))

    def _give_up(self):
        self.done.append(self.op)
        self.op = self.answer = None

    def _return(self, now):
        op = replace(self.op, ret=now, **self.answer)
        for key, _, rev in op.reads:
            self.known[key] = rev
        for key, value in op.writes:
            if op.rev:
                self.known[key] = 0 if value is None else op.rev
        if op.conflict:
            self.known[op.conflict[0]] = op.conflict[1]
        self.done.append(op)
        self.op = self.answer = None


@st.composite
def histories(draw):
    """A history, the register that it left, and the randomness to lie about it."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    register = Register()
    clients = [Client(n, rng, register) for n in range(draw(st.integers(1, 5)))]
    for now in range(draw(st.integers(1, 150))):
        rng.choice(clients).step(now)
    done = [op for client in clients for op in client.done]
    cut_off = [client.op for client in clients if client.op is not None and client.op.writes]
    return [*done, *cut_off], register, rng


END = 10**6


def last_writes(history):
    """Key to the answered writes of it, by revision."""
    found = {key: [] for key in KEYS}
    for op in sorted(history, key=lambda op: op.rev):
        for key, value in op.writes:
            if op.rev:
                found[key].append((op, value))
    return found


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories())
def test_what_a_register_gave_is_accepted(drawn):
    history, register, _ = drawn
    check(history, end=register.rev)


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories())
def test_a_stale_read_is_rejected(drawn):
    """At the end somebody reads what was overwritten."""
    history, _, rng = drawn
    key = rng.choice(KEYS)
    writes = [(op, value) for op, value in last_writes(history)[key] if value is not None]
    assume(len(writes) > 1)
    op, value = rng.choice(writes[:-1])
    with pytest.raises(NotLinearizable):
        check([*history, Op(END, END + 1, reads=((key, value, op.rev),))])


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories())
def test_a_lost_write_is_rejected(drawn):
    """At the end an answered write is not there, and nobody can have deleted it."""
    history, _, rng = drawn
    key = rng.choice(KEYS)
    writes = last_writes(history)[key]
    assume(writes and writes[-1][1] is not None)
    assume(not any(op.ret == OPEN and (key, None) in op.writes for op in history))
    reads = ((key, None, 0),)
    with pytest.raises(NotLinearizable):
        check([*history, Op(END, END + 1, reads=reads)])
    lost = [op for op in history if (key, None) not in op.writes or not op.rev]
    with pytest.raises(NotLinearizable):
        check([*lost, Op(END, END + 1, reads=reads, rev=max(op.rev for op in history))])


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories())
def test_two_successes_of_one_compare_are_rejected(drawn):
    history, register, rng = drawn
    once = [
        (key, expected) for op in history if op.rev for key, expected in op.compares
        if expected and key in dict(op.writes)
    ]  # fmt: skip
    assume(once)
    key, expected = rng.choice(once)
    again = Op(END, END + 1, ((key, expected),), ((key, "again"),), rev=register.rev + 1)
    with pytest.raises(NotLinearizable):
        check([*history, again])


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories())
def test_revisions_exchanged_are_rejected(drawn):
    """Two writes of which one came after the other."""
    history, _, rng = drawn
    writes = [op for op in history if op.writes and op.rev]
    pairs = [(a, b) for a in writes for b in writes if a.ret < b.call]
    assume(pairs)
    first, second = rng.choice(pairs)
    swapped = [replace(first, rev=second.rev), replace(second, rev=first.rev)]
    with pytest.raises(NotLinearizable):
        check([op for op in history if op not in (first, second)] + swapped)
