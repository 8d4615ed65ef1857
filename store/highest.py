"""The highest epoch and revision ever served from a manager's directory, on its disk.

A store that says less has lost something, whoever restored or replaced it.
"""

import json

from store.home import Files
from store.kv.api import Meta
from store.model.epoch import epoch_number
from store.process import write_whole


def record(files: Files, meta: Meta) -> None:
    """Note what is served now: a later epoch must pass it."""
    number, rev = recorded(files)
    highest = max(number, epoch_number(meta.epoch)), max(rev, meta.rev)
    if highest != (number, rev):
        write_whole(files.highest, json.dumps(dict(zip(("epoch", "rev"), highest, strict=True))).encode())


def recorded(files: Files) -> tuple[int, int]:
    """The highest epoch number and revision ever served from here; zeros if nothing is known."""
    try:
        known = json.loads(files.highest.read_text())
        return int(known["epoch"]), int(known["rev"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, 0
