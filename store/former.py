"""Files that follow the store, as they were before it became another: nobody may have another copy."""

import contextlib
import logging
import os
import shutil
from pathlib import Path

from store.model.epoch import epoch_number
from store.process import sync_directory

BEFORE, KEPT = ".before-", 3
"""What follows the file's name, and then the epoch; how many of them there may be."""


def keep(file: Path, epoch: str, log: logging.Logger) -> None:
    """Keep what is about to be replaced for the first time in `epoch`.

    Raises:
        OSError: it cannot be kept.
    """
    kept = file.with_name(f"{file.name}{BEFORE}{epoch}")
    if kept.exists() or not file.exists():
        return
    try:
        os.link(file, kept)
    except FileExistsError:
        return  # another manager was quicker
    except OSError:  # a file system without links
        _copy(file, kept)
    sync_directory(file.parent)
    log.warning("%s as it was before epoch %s is kept as %s", file, epoch, kept)
    start = f"{file.name}{BEFORE}"
    others = [each for each in file.parent.iterdir() if each.name.startswith(start) and each != kept]
    for old in sorted(others, key=lambda path: epoch_number(path.name.removeprefix(start)))[: 1 - KEPT]:
        old.unlink(missing_ok=True)


def _copy(file: Path, kept: Path) -> None:
    part = kept.with_name(f".{kept.name}.part")
    with contextlib.ExitStack() as tried:
        tried.callback(part.unlink, missing_ok=True)
        shutil.copy2(file, part)
        with part.open("rb") as copied:
            os.fsync(copied.fileno())
        part.replace(kept)
