"""How runs ended, in words."""

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentd.core.runs import Run


def exit_reason(run: "Run") -> str:
    """How a run ended, for people."""
    how = _how(run)
    if run.oom and run.code not in (0, None):
        how = f"killed for want of memory (OOM): {how}"
    elif run.oom:
        how = f"{how}; {run.oom} of its processes were killed for want of memory (OOM)"
    if run.why is not None:
        how = f"stopped, {run.why}: {how}"
    return f"{how}; {left_behind(run)}".removesuffix("; ")


def left_behind(run: "Run") -> str:
    """What a run left running, for people; nothing if there was nothing."""
    if not run.left:
        return ""
    left = ", ".join(f"{pid} ({command})" for pid, command in run.left)
    return f"it left processes behind, which were killed: {left}"


def _how(run: "Run") -> str:
    if run.lost:
        return run.lost
    if run.error:
        return run.error
    if run.code is None:
        return "exit code unknown"
    if run.code > 128 and run.signal != 0:
        return f"killed by {signal_name(run.code - 128)} (exit code {run.code})"
    return f"exit code {run.code}"


def signal_name(number: int) -> str:
    """SIGTERM for 15."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
