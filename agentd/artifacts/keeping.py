"""What was downloaded is made durable by a thread of its own, while the next files are read.

While the disk is busy with some, more come together; those it then takes at once, which costs it little more
than one. So small files come as fast as they are read, however slow the disk is at making one durable.
"""

import threading
from collections.abc import Callable, Sequence

from agentd.artifacts.download import Got, Whole
from transfer.errors import Kind, TransferError

MOST = 64
"""Files that wait for the disk at most, each with a descriptor."""
MOST_BYTES = 64 * 1024**2
"""Bytes of files that wait for the disk at most, beside the last of them."""


class Keeping:
    """`keep` makes durable, `tell` is told of each job's end, in the order in which they were added."""

    def __init__(
        self,
        keep: Callable[[Sequence[Whole]], list[Got | TransferError]],
        tell: Callable[[str, Got | TransferError], None],
    ) -> None:
        self._keep, self._tell = keep, tell
        self._waiting: list[tuple[str, Got | Whole]] = []
        self._busy: list[tuple[str, Got | Whole]] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="keeping", daemon=True).start()

    def add(self, job: str, found: Got | Whole) -> None:
        """Tell it once it is durable, and so is all that was added before; waits if too much waits."""
        with self._changed:
            self._waiting.append((job, found))
            self._changed.notify_all()
            self._changed.wait_for(self._has_room)

    def drain(self) -> None:
        """Wait until nothing waits any more, and all of it was told."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy)

    def holds(self, name: str) -> bool:
        """Whether the part of this name (without its ending) waits."""
        with self._changed:
            both = [*self._waiting, *self._busy]
        return any(isinstance(each, Whole) and each.part.path.stem == name for _, each in both)

    def _has_room(self) -> bool:
        both = [*self._waiting, *self._busy]
        size = sum(each.part.size for _, each in both if isinstance(each, Whole))
        return not both or (len(both) < MOST and size < MOST_BYTES)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                self._busy, self._waiting = self._waiting, []
            for job, end in self._ends(self._busy):
                self._tell(job, end)
            with self._changed:
                self._busy = []
                self._changed.notify_all()

    def _ends(self, batch: Sequence[tuple[str, Got | Whole]]) -> list[tuple[str, Got | TransferError]]:
        wholes = [each for _, each in batch if isinstance(each, Whole)]
        try:
            kept = iter(self._keep(wholes) if wholes else [])
        except Exception as error:  # noqa: BLE001 - a thread that ends would be waited for for ever
            fault = TransferError(Kind.FAULT, f"a fault of this node's agent: {type(error).__name__}")
            return [(job, fault) for job, _ in batch]
        return [(job, next(kept) if isinstance(each, Whole) else each) for job, each in batch]
