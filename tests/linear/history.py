"""What clients of the store saw: operations, written to a file as they happen, so that `kill -9` keeps them."""

import json
import math
import os
import time
from dataclasses import dataclass

OPEN = math.inf
"""The return of an operation that was never answered: it may have happened, or happen yet."""


@dataclass(frozen=True, slots=True)
class Op:
    """One call as its client saw it, in nanoseconds of one clock.

    A write has `writes` (value None: a delete) and its `rev`, or `conflict` (key, actual revision),
    or is unanswered. A read has `reads` (key, value, mod revision; None and 0: absent), and, if it was a
    snapshot, the `rev` it is of.
    """

    call: int
    ret: float = OPEN
    compares: tuple = ()
    writes: tuple = ()
    reads: tuple = ()
    rev: int = 0
    conflict: tuple | None = None


class Recorder:
    """Notes each call before it is made, and each answer after it came."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._number = 0

    def called(self, compares=(), writes=()):
        self._number += 1
        self._note(n=self._number, call=now(), compares=compares, writes=writes)

    def answered(self, **what):
        self._note(n=self._number, ret=now(), **what)

    def trouble(self, text):
        """What no client may ever see."""
        self._note(trouble=text)

    def _note(self, **what):
        os.write(self._file, json.dumps(what).encode() + b"\n")


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def load(paths):
    """The operations in some files, and what their clients should never have seen."""
    ops, troubles = [], []
    for path in paths:
        found = {}
        for line in path.read_text().splitlines():
            note = json.loads(line)
            if "trouble" in note:
                troubles.append(note["trouble"])
            else:
                found.setdefault(note.pop("n"), {}).update(note)
        ops += [_op(note) for note in found.values() if note["writes"] or "ret" in note]
    return ops, troubles


def _op(note):
    lists = {name: tuple(map(tuple, note.get(name, ()))) for name in ("compares", "writes", "reads")}
    conflict = note.get("conflict")
    return Op(
        note["call"], note.get("ret", OPEN), **lists,
        rev=note.get("rev", 0), conflict=tuple(conflict) if conflict else None,
    )  # fmt: skip
