"""Room on the disk, and sizes for people."""

import os
from pathlib import Path

from transfer.errors import Kind, TransferError

RESERVE = 1024**3
"""Bytes of a disk that files never take: the node must go on."""
RESERVE_SHARE = 0.05
"""Of a small disk so much of the whole is enough."""


def human(count: float) -> str:
    """Bytes for people: `80.0 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


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
        Kind.FULL, f"no room on the disk of {where}: {human(size)} needed, {human(room)} may still be used"
    )
