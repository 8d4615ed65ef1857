"""Which texts there have been: 16 to 32 bytes for each, however long they are."""

import hashlib
from array import array

SLOTS = 1024


class Seen:
    """Digests of 64 bits, in a table with room: that two of a million texts have one is most unlikely."""

    def __init__(self) -> None:
        self._slots = _empty(SLOTS)
        self._count = 0

    def add(self, text: str) -> bool:
        """Note a text; whether it was not there yet."""
        if 2 * self._count >= len(self._slots):
            old, self._slots = self._slots, _empty(2 * len(self._slots))
            for digest in filter(None, old):
                self._slots[self._place(digest)] = digest
        digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) or 1
        place = self._place(digest)
        if self._slots[place]:
            return False
        self._slots[place] = digest
        self._count += 1
        return True

    def _place(self, digest: int) -> int:
        """Where a digest is, or would go."""
        place = digest % len(self._slots)
        while self._slots[place] not in (0, digest):
            place = (place + 1) % len(self._slots)
        return place


def _empty(slots: int) -> "array[int]":
    return array("Q", bytes(8 * slots))
