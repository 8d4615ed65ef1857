"""Short commands run for the brain, which must not fork itself: not journalled, told to who asked."""

import contextlib
import os
import signal
from typing import Any

from agentd.keeper import child
from agentd.keeper.peer import Peer
from agentd.keeper.table import boot_clock


class Probes:
    """Commands that run just now. What a dead keeper had running is simply asked for again."""

    def __init__(self) -> None:
        self.running: dict[int, tuple[Peer, str, float, int]] = {}
        """By pid: who asked, the asker's name for it, its deadline, where exec's verdict is read."""

    def start(self, peer: Peer, name: str, order: dict[str, Any], timeout: float) -> None:
        """Run a command; `{"probe": name, "code": …}` follows.

        Raises:
            OSError: it could not be forked.
        """
        born = child.fork(order)
        self.running[born.pid] = peer, name, boot_clock() + timeout, born.verdict
        with contextlib.suppress(BrokenPipeError):
            os.write(born.go, b"g")
        os.close(born.go)

    def ended(self, pid: int, code: int) -> bool:
        """Whether a child that ended was one of these; then it is told."""
        found = self.running.pop(pid, None)
        if found is None:
            return False
        peer, name, deadline, verdict = found
        error = os.read(verdict, 64).decode().replace(" ", ":")
        os.close(verdict)
        late = boot_clock() >= deadline
        peer.send({"probe": name, "code": None if error or late else code, "error": error or None})
        return True

    def kill_overdue(self, now: float) -> None:
        """A command that takes too long is killed with its group."""
        for pid, (_, _, deadline, _) in self.running.items():
            if now >= deadline:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)

    def deadlines(self) -> list[float]:
        """When to look next, in seconds since boot."""
        return [deadline for _, _, deadline, _ in self.running.values()]
