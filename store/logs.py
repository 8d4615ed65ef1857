"""Logging of the programs: one line an event, to stderr, and to a file when told to."""

import logging
import logging.handlers
import re
import sys
from contextvars import ContextVar
from pathlib import Path

FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(request)s%(message)s"
DATES = "%Y-%m-%dT%H:%M:%S"

request: ContextVar[str] = ContextVar("request", default="")
"""The id of the request that is being answered: every line that is logged meanwhile names it."""


_REQUEST = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")


def is_request(text: object) -> bool:
    """Whether something can be a request's id: a word that fits into a line of the log."""
    return isinstance(text, str) and _REQUEST.fullmatch(text) is not None


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        found = request.get()
        record.request = f"[{found}] " if found else ""
        return super().format(record)


def setup(log_file: Path | None, *, level: int = logging.INFO) -> None:
    """Log everything from `level` on; the file is reopened when something rotates it away.

    Raises:
        OSError: the file cannot be opened.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_file is not None:
        handlers.append(logging.handlers.WatchedFileHandler(log_file))
    for handler in handlers:
        handler.setFormatter(_Formatter(FORMAT, DATES))
    logging.basicConfig(level=level, handlers=handlers, force=True)
