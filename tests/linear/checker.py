"""Is a history of the store linearizable, and are its revisions one order of all writes?

Wing and Gong's search with Lowe's memoisation ("just-in-time linearization", 2017), one key at a time
as porcupine does it. A configuration is a state of the key and which of the operations under way have
already taken effect; when one returns, only the configurations remain in which it could have. An
unanswered write stays under way to the end, and need not have happened.

Every value is written once, so that a read names its write.
"""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, replace

from tests.linear.history import OPEN, Op


class NotLinearizable(AssertionError):
    """No order of the operations explains what their clients saw."""


def check(history, begin=0, end=None):
    """Raise NotLinearizable unless the history is one of a store that began empty at revision `begin`.

    With `end`, the last revision of all: no revision was used by anybody whom we do not know.
    """
    ops = settled(history)
    check_revisions(ops)
    check_snapshots(ops)
    if end is not None:
        check_gaps(ops, begin, end)
    for key, steps in sorted(partition(ops).items()):
        _check_key(key, steps)


def settled(history):
    """The history with the unanswered writes that somebody saw: those have happened, at that revision."""
    writer = {
        (key, value): n for n, op in enumerate(history) for key, value in op.writes if value is not None
    }
    ops = list(history)
    for op in history:
        for key, value, rev in op.reads:
            n = writer.get((key, value))
            if n is not None and ops[n].ret == OPEN and not ops[n].rev:
                ops[n] = replace(ops[n], rev=rev)
    latest = _LatestReturn(history)
    return [replace(op, ret=latest.of(op.rev)) if op.ret == OPEN and op.rev else op for op in ops]


class _LatestReturn:
    """When a revision must have been written: nobody has heard of it, or of a later one, before that."""

    def __init__(self, history):
        heard = []
        for op in history:
            if op.ret == OPEN:
                continue
            revs = [op.rev, *(rev for _, _, rev in op.reads), op.conflict[1] if op.conflict else 0]
            heard.append((max(revs), op.ret))
        self._revs, self._returns = [], []
        earliest = OPEN
        for rev, ret in sorted(heard, reverse=True):
            earliest = min(earliest, ret)
            self._revs.append(-rev)
            self._returns.append(earliest)

    def of(self, rev):
        at = bisect_right(self._revs, -rev)
        return self._returns[at - 1] if at else OPEN


def check_revisions(ops):
    """Each write has a revision of its own, and they grow with time; snapshots lie between them."""
    writes = [op for op in ops if op.writes and op.rev]
    owners = {}
    for op in writes:
        if op.rev in owners:
            raise NotLinearizable(f"revision {op.rev} twice: {owners[op.rev]} and {op}")
        owners[op.rev] = op
    # Twice the revision for a write, one more for a snapshot of it: then order is order.
    marks = [(2 * op.rev + (not op.writes), op) for op in ops if op.rev]
    returns = sorted((op.ret, mark, n) for n, (mark, op) in enumerate(marks))
    highest, by, at = -1, None, 0
    for mark, op in sorted(marks, key=lambda each: each[1].call):
        while at < len(returns) and returns[at][0] < op.call:
            if returns[at][1] > highest:
                highest, by = returns[at][1], marks[returns[at][2]][1]
            at += 1
        if mark < highest:
            raise NotLinearizable(f"revisions fell in time: {by}, and after it {op}")


def check_snapshots(ops):
    """A snapshot of a revision has every key as the last write up to it has left it."""
    last = defaultdict(list)
    may_be_gone = defaultdict(lambda: OPEN)  # since when a key may have been deleted by somebody unanswered
    for op in sorted(ops, key=lambda op: op.rev):
        for key, value in op.writes:
            if op.rev:
                last[key].append((op.rev, value))
            elif value is None and op.ret == OPEN:
                may_be_gone[key] = min(may_be_gone[key], op.call)
    for op in ops:
        if op.writes or not op.rev:
            continue
        for key, value, rev in op.reads:
            at = bisect_right(last[key], op.rev, key=lambda each: each[0])
            newest, left = last[key][at - 1] if at else (0, None)
            if rev > op.rev:
                raise NotLinearizable(f"a later record of {key} in the snapshot {op}")
            if value is None and (left is None or may_be_gone[key] < op.ret):
                continue
            if value is None or newest > rev:
                raise NotLinearizable(f"{key} was written at revision {newest}, which is not in {op}")


def check_gaps(ops, begin, end):
    """Nobody but the unanswered used the revisions that nobody was told."""
    owned = {op.rev for op in ops if op.writes and op.rev}
    unanswered = sum(1 for op in ops if op.writes and op.ret == OPEN and not op.rev)
    unknown = [rev for rev in range(begin + 1, end + 1) if rev not in owned]
    if len(unknown) > unanswered:
        raise NotLinearizable(f"revisions {unknown} are nobody's: only {unanswered} writes were unanswered")


@dataclass(frozen=True, slots=True)
class Step:
    """What one operation saw and did at one key."""

    op: Op
    sees_rev: int | None = None
    """The mod revision that must be there; None: any."""
    sees: tuple = ()
    """The one value that must be there; empty: any."""
    puts: tuple = ()
    """The one value it leaves (None: it deletes); empty: it only looks."""
    may: bool = False
    """Unanswered and unseen: it need not have happened."""


def partition(ops):
    """The steps of every key."""
    steps = defaultdict(list)
    for op in ops:
        for key, step in _steps(op):
            steps[key].append(step)
    return {key: _without_the_unneeded(found) for key, found in steps.items()}


def _steps(op):
    if op.conflict:
        failed, actual = op.conflict
        for key, expected in op.compares:
            if key == failed:
                if expected == actual:
                    raise NotLinearizable(f"a conflict that is none: {op}")
                yield key, Step(op, actual)
                return
            yield key, Step(op, expected)  # those before it held
        raise NotLinearizable(f"a conflict over a key that was not compared: {op}")
    for key, value, rev in op.reads:
        yield key, Step(op, rev, (value,))
    may = op.ret == OPEN and not op.rev
    compares, writes = dict(op.compares), dict(op.writes)
    for key in compares.keys() | writes.keys():
        if key in writes or not may:
            puts = (writes[key],) if key in writes else ()
            yield key, Step(op, compares.get(key), (), puts, may)


def _strangers(steps):
    """Mod revisions that somebody met and no write is known to have made."""
    met = {step.sees_rev for step in steps} - {None, 0}
    return met - {step.op.rev for step in steps if step.puts}


def _without_the_unneeded(steps):
    """An unanswered put whose value nobody read explains nothing, unless a stranger's revision was met."""
    if _strangers(steps):
        return steps
    return [step for step in steps if not (step.may and step.puts[0] is not None)]


EMPTY = (None, 0, 0)
"""Value, its mod revision (None: of an unanswered write, not yet told), highest revision so far."""


def _apply(step, state, strangers):
    """The state after a step, or None if it cannot have been taken there."""
    value, rev, top = state
    if step.sees_rev is not None and rev is None:
        if step.sees_rev not in strangers or step.sees_rev <= top:
            return None
        rev = top = step.sees_rev
    elif step.sees_rev is not None and rev != step.sees_rev:
        return None
    if step.sees and step.sees[0] != value:
        return None
    if not step.puts:
        return value, rev, top
    if step.op.rev:
        if step.op.rev <= top:
            return None
        return (None, 0, step.op.rev) if step.puts[0] is None else (step.puts[0], step.op.rev, step.op.rev)
    return (None, 0, top) if step.puts[0] is None else (step.puts[0], None, top)


def _check_key(key, steps):
    strangers = _strangers(steps)
    moments = [(step.op.call, 0, n) for n, step in enumerate(steps)]
    moments += [(step.op.ret, 1, n) for n, step in enumerate(steps) if step.op.ret < OPEN]
    may = frozenset(n for n, step in enumerate(steps) if step.may)
    configurations, under_way = {(EMPTY, frozenset())}, set()
    for _, returns, n in sorted(moments):
        if not returns:
            under_way.add(n)
            continue
        found = _taken(n, steps, configurations, under_way, strangers)
        if not found:
            states = sorted({repr(state) for state, _ in configurations})
            rest = "\n  ".join(str(steps[each].op) for each in sorted(under_way))
            raise NotLinearizable(
                f"{key}: no order explains {steps[n].op}\nit was {states}; under way were\n  {rest}"
            )
        under_way.remove(n)
        configurations = _fewest(found, may)
    return configurations


def _taken(n, steps, configurations, under_way, strangers):
    """The configurations in which step `n` has been taken, reached by taking steps that are under way."""
    found, seen, stack = set(), set(configurations), list(configurations)
    while stack:
        state, done = stack.pop()
        if n in done:
            found.add((state, done - {n}))
            continue
        for each in under_way - done:
            after = _apply(steps[each], state, strangers)
            if after is not None and (after, done | {each}) not in seen:
                seen.add((after, done | {each}))
                stack.append((after, done | {each}))
    return found


def _fewest(configurations, may):
    """Without those that differ from another only by having used up more of what need not have happened."""
    kept = defaultdict(list)
    for state, done in sorted(configurations, key=lambda each: len(each[1])):
        spent = done & may
        if not any(other <= spent for other in kept[state, done - may]):
            kept[state, done - may].append(spent)
    return {(state, must | spent) for (state, must), all_spent in kept.items() for spent in all_spent}
