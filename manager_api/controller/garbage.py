"""When a leader looks for garbage: seldom where a fleet lies in memory, which stays there.

Objects that refer to each other in circles are found by looking through everything: a quarter of a
second with 100,000 allocations, at a time that nobody chose. So what has lived for some seconds is
frozen: not looked through any more. What goes of it goes by its count of references, as nearly all
does; the rest after the first minute and once an hour.
"""

import contextlib
import gc
from collections.abc import Iterator

from store.clock import Clock

FREEZE_EVERY = 5.0
"""Seconds; the first plans of a fleet make so much that looking through it would soon take long."""
WHOLE_AFTER, WHOLE_EVERY = 60.0, 3600.0
"""Seconds to the first look through everything, when the last fleet is garbage, and between others."""
YOUNG = 1


class Garbage:
    """A leader in a process that it has not for itself: the collector is not its to set."""

    @contextlib.contextmanager
    def coming_in(self) -> Iterator[None]:
        """A fleet comes into memory meanwhile."""
        yield

    def tick(self) -> None:
        """Once in each look at the clock."""


class OwnGarbage(Garbage):
    """A leader in a process of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = self._whole = 0.0

    @contextlib.contextmanager
    def coming_in(self) -> Iterator[None]:
        """Without looks meanwhile: they would be a quarter of the time that it takes."""
        gc.unfreeze()
        gc.collect()
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
            gc.freeze()
            now = self._clock.now()
            self._next, self._whole = now + FREEZE_EVERY, now + WHOLE_AFTER

    def tick(self) -> None:
        """Look through what is young, or what there is, if it is time."""
        now = self._clock.now()
        if now < self._next:
            return
        self._next = now + FREEZE_EVERY
        if now >= self._whole:
            self._whole = now + WHOLE_EVERY
            gc.unfreeze()
            gc.collect()
        else:
            gc.collect(YOUNG)
        gc.freeze()
