"""What is known of a child of the brain, and what it gives to hear."""

import os
import subprocess
from dataclasses import dataclass, field
from typing import IO, Any

AT_ONCE = 1 << 16
"""Bytes that are read or written at once."""
MOST_COMPLAINT = 300
"""Characters of a child's last words that are told."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """A word of a child, and when it was heard (seconds since boot)."""

    child: str
    word: Json
    at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A child is gone; `text` is a sentence about how."""

    child: str
    text: str


@dataclass(slots=True)
class Process:
    """A child of the brain: its process, and what is on the way to it and from it."""

    name: str
    process: "subprocess.Popen[bytes]"
    out: bytearray = field(default_factory=bytearray)
    closing: bool = False
    heard: bytearray = field(default_factory=bytearray)
    complaint: bytes = b""
    leased: bool = False
    """Whether it may be connected only while our heartbeat stands."""
    gone: bool = False
    """Whether it has closed its output: it is about to end, or is made to."""

    def pipe(self, which: str) -> IO[bytes]:
        """Our end of its `stdin`, `stdout` or `stderr`."""
        found: IO[bytes] | None = getattr(self.process, which)
        assert found is not None
        return found


def read(pipe: IO[bytes]) -> bytes | None:
    """What is there; nothing at its end, None if there is nothing yet."""
    try:
        return os.read(pipe.fileno(), AT_ONCE)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def how(code: int, complaint: bytes) -> str:
    """A sentence about an end, from its exit code (or signal, negative) and its last complaint."""
    said = complaint.decode(errors="replace").strip().rpartition("\n")[2][-MOST_COMPLAINT:]
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"the process that does it {ended}{f': {said}' if said else ''}"
