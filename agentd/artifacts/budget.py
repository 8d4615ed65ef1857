"""What an archive may become: bombs are told from large files, and large files from full disks."""

from agentd.artifacts.entries import hostile
from agentd.artifacts.space import full, usable
from store.model.quantity import size_text

MOST_ENTRIES = 1_000_000
RATIO = 100
"""An archive may become so many times its own size,"""
ALWAYS = 1024**3
"""or so many bytes, if that is more."""
LOOK_AGAIN = 256 * 1024**2
"""Bytes after which the disk is looked at again: others write to it, too."""


class Budget:
    """Of one archive of `packed` bytes, unpacked to the disk of an open directory."""

    def __init__(self, packed: int, directory: int) -> None:
        self.most = max(packed * RATIO, ALWAYS)
        self._directory = directory
        self._entries = 0
        self._bytes = 0
        self._look_at = 0
        self._room = 0

    def take(self, name: bytes, size: int) -> None:
        """An entry that says of itself that it has so many bytes.

        Raises:
            TransferError: HOSTILE or FULL, it is too much.
        """
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise hostile(name, f"is one of more than {MOST_ENTRIES:,}")
        if self._bytes + size > self.most:
            raise hostile(
                name,
                f"brings it to {size_text(self._bytes + size)}; "
                f"at most {size_text(self.most)} may come of it",
            )
        if self._bytes + size >= self._look_at:
            free = usable(self._directory)
            self._room = self._bytes + free
            self._look_at = self._bytes + LOOK_AGAIN
            if size > free:
                raise full("tasks' directories", size, free)
        self._bytes += size
        if self._bytes > self._room:
            raise full("tasks' directories", size, 0)
