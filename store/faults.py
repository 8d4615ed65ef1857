"""Named points at which a test may kill the process, as `kill -9` would.

`MUSTER_FAULT=point@/path/of/token` arms one point: the process that reaches it and manages to
remove the token file kills itself. The token makes it happen once, however many processes share
the environment. Unarmed, a point costs one comparison.
"""

import os
import signal
from pathlib import Path

ENVIRONMENT = "MUSTER_FAULT"

POINTS = frozenset(
    f"{where}.{when}"
    for where in (
        "api.template",
        "api.deploy",
        "api.withdraw",
        "api.stop",
        "api.join",
        "controller.place",
        "controller.refuse",
        "controller.status",
        "controller.halt",
        "controller.project",
        "controller.collect",
        "controller.lift",
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
    )
    for when in ("before", "after")
)

_point, _, _token = os.environ.get(ENVIRONMENT, "").partition("@")


def fault(point: str) -> None:
    """Die here, if this point is armed and nobody died for it yet."""
    if point == _point:
        _die()


def _die() -> None:
    try:
        Path(_token).unlink()
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
