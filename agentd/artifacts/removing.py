"""Trees removed that others may have made: no link is followed, no depth is too deep."""

import errno
import fcntl
import os
import secrets
import stat
from itertools import islice
from pathlib import Path

from agentd.artifacts.home import DIRECTORY, STAGING

MOST_ROUNDS = 100_000
"""Levels that are brought up: who fills a directory as fast as it is emptied does not keep us for ever."""


AT_ONCE = 10_000
"""Names that are read at once: a task may have made millions, and this may run in the brain."""


def remove(parent: int, name: bytes | str) -> None:
    """Remove what bears a name in an open directory, with all below; fine if nothing does.

    What has directories in it is brought up, level by level, so that neither stack nor descriptors run out.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
            return
        top = os.open(name, DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        return
    try:
        os.fchmod(top, 0o700)
        for _ in range(MOST_ROUNDS):
            if not _emptied(top):
                break
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _emptied(top: int) -> bool:
    """One round: whether there may be more to do."""
    names = _names(top)
    more = len(names) == AT_ONCE
    for name in names:
        try:
            if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=top)
            elif _flattened(top, name):
                more = True
        except FileNotFoundError:
            more = True
    return more


def _names(fd: int) -> list[str]:
    """Some of what lies in an open directory."""
    with os.scandir(fd) as found:
        return [each.name for each in islice(found, AT_ONCE)]


def _flattened(top: int, name: str) -> bool:
    """Empty one directory, its own directories becoming its neighbours: whether there were any."""
    fd = os.open(name, DIRECTORY, dir_fd=top)
    brought = False
    try:
        if os.fstat(fd).st_dev != os.fstat(top).st_dev:
            raise OSError(errno.EXDEV, "a file system is mounted there", name)
        os.fchmod(fd, 0o700)
        for each in _names(fd):
            if stat.S_ISDIR(os.stat(each, dir_fd=fd, follow_symlinks=False).st_mode):
                brought = _brought_up(fd, each, top) or brought
            else:
                os.unlink(each, dir_fd=fd)
    finally:
        os.close(fd)
    try:
        os.rmdir(name, dir_fd=top)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return True
    return brought


def _brought_up(fd: int, name: str, top: int) -> bool:
    """Remove a directory if it is empty, else move it to the top: whether it had to be."""
    try:
        os.rmdir(name, dir_fd=fd)
        return False
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
    moved = os.open(name, DIRECTORY, dir_fd=fd)
    try:
        os.fchmod(moved, 0o700)  # else only root may move it
    finally:
        os.close(moved)
    os.rename(name, f".up-{secrets.token_hex(8)}", src_dir_fd=fd, dst_dir_fd=top)
    return True


def sweep(parent: int) -> None:
    """Remove from an open directory what placing children that died have left: nobody holds its lock."""
    for name in os.listdir(parent):
        if name.startswith(STAGING):
            _sweep_one(parent, name)


def _sweep_one(parent: int, name: str) -> None:
    try:
        fd = os.open(name, DIRECTORY, dir_fd=parent)
    except OSError:  # just renamed, or somebody's file or link: not ours
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(parent, name)
    except OSError:  # being filled, or for the next time
        return
    finally:
        os.close(fd)


def sweep_below(directory: Path) -> None:
    """The same of an allocation's directory; fine if it is not there.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        fd = os.open(directory, DIRECTORY)
    except FileNotFoundError:
        return
    try:
        sweep(fd)
    finally:
        os.close(fd)
