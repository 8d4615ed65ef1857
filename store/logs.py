"""Logging of the programs: one line an event, to stderr, and to a file when told to."""

import logging
import logging.handlers
import sys
from pathlib import Path

FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s"
DATES = "%Y-%m-%dT%H:%M:%S"


def setup(log_file: Path | None, *, level: int = logging.INFO) -> None:
    """Log everything from `level` on; the file is reopened when something rotates it away.

    Raises:
        OSError: the file cannot be opened.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_file is not None:
        handlers.append(logging.handlers.WatchedFileHandler(log_file))
    logging.basicConfig(level=level, format=FORMAT, datefmt=DATES, handlers=handlers, force=True)
