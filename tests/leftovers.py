"""Directories outside of pytest's own, which nobody may find in /tmp afterwards, however a test run ends."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil


def temporary(name):
    """A new directory; whoever makes it removes it. What runs that were killed have left goes now."""
    for path in Path(tempfile.gettempdir()).glob(f"muster-{name}-*.*"):
        maker = path.name.removeprefix(f"muster-{name}-").partition(".")[0]
        if maker.isdigit() and not psutil.pid_exists(int(maker)):
            shutil.rmtree(path, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"muster-{name}-{os.getpid()}."))
