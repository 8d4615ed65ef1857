"""What the brain's children do first: they end with it, and let tasks go before."""

import contextlib
import ctypes
import os
import signal

from store.process import PR_SET_PDEATHSIG

NICE = 10
_SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_LOWEST_BEST_EFFORT = 2 << 13 | 7


def enter() -> None:
    """Be killed when the parent dies, and take processor and disk only after others."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(OSError):
        os.nice(NICE)
    number = _SYS_IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        libc.syscall(number, 1, 0, _LOWEST_BEST_EFFORT)
