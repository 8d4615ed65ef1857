"""Which keeper this is: the protocol it speaks, and a digest of its own source."""

import hashlib
import os
from pathlib import Path
from typing import Any

PROTOCOL = 2
"""1: releases 0.1. 2 adds `why` of a stop, `expire`, `probe`, `upgrade`, control groups, leftovers, OOM."""


def build() -> str:
    """A digest of this program: the same code, the same digest."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).resolve().parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


_BUILD = build()


def of(request: dict[str, Any]) -> dict[str, Any]:
    """What `list` says of the keeper; an older brain is told the protocol that it knows."""
    return {
        "protocol": min(PROTOCOL, int(request.get("protocol", 1))),
        "newest": PROTOCOL,
        "build": _BUILD,
        "pid": os.getpid(),
        "guard": os.getppid(),
    }
