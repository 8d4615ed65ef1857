"""Named points at which a test may kill the process, as `kill -9` would.

`MUSTER_FAULTS` names a directory; a file there with a point's name arms that point. The process
that reaches it and manages to remove the file kills itself: once, however many share the
environment. Without the variable a point costs one comparison.
"""

import os
import signal
from pathlib import Path

ENVIRONMENT = "MUSTER_FAULTS"

POINTS = frozenset(
    f"{where}.{when}"
    for where in (
        "api.template",
        "api.deploy",
        "api.withdraw",
        "api.change",
        "api.join",
        "api.claim",
        "api.node",
        "api.brake",
        "api.device",
        "api.group",
        "controller.place",
        "controller.refuse",
        "controller.status",
        "controller.halt",
        "controller.project",
        "controller.collect",
        "controller.mint",
        "controller.adopt",
        "controller.advance",
        "controller.control",
        "controller.remove",
        "controller.turns",
        "brain.claim",
        "brain.beat",
        "brain.report",
        "brain.facts",
        "brain.spawn",
        "brain.signal",
        "brain.forget",
        "brain.memory",
        "keeper.spawn",
        "keeper.journal",
        "embedded.snapshot",
        "backup.check",
        "restore.swap",
        "import.swap",
        "import.merge",
    )
    for when in ("before", "after")
)

_directory = os.environ.get(ENVIRONMENT)


def fault(point: str) -> None:
    """Die here, if this point is armed and nobody died for it yet."""
    if _directory is not None:
        _die_if_armed(Path(_directory) / point)


def _die_if_armed(token: Path) -> None:
    try:
        token.unlink()
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
