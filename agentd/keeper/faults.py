"""The keeper's own fault points; the same environment as `store.faults`, which it must not import."""

import os
import signal

_directory = os.environ.get("MUSTER_FAULTS")


def fault(point: str) -> None:
    """Die here, if this point is armed and nobody died for it yet."""
    if _directory is None:
        return
    try:
        os.unlink(os.path.join(_directory, point))
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
