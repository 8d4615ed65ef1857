"""Room on the disk, and sizes for people."""

import os
from pathlib import Path

from store.model.quantity import size_text
from transfer.errors import Kind, TransferError

RESERVE = 1024**3
"""Bytes of a disk that files never take: the node must go on."""
RESERVE_SHARE = 0.05
"""Of a small disk so much of the whole is enough."""


def usable(where: Path | int) -> int:
    """Bytes that may still be written to the disk of a path or a descriptor: its reserve is not among them.

    Raises:
        OSError: it cannot be told.
    """
    found = os.statvfs(where)
    reserve = min(RESERVE, int(found.f_blocks * found.f_frsize * RESERVE_SHARE))
    return max(0, found.f_bavail * found.f_frsize - reserve)


def full(where: str, size: int, room: int) -> TransferError:
    """So many bytes do not fit."""
    return TransferError(
        Kind.FULL,
        f"no room on the disk of {where}: {size_text(size)} needed, {size_text(room)} may still be used",
    )
