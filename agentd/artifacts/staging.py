"""A directory beside the home that is filled, and then becomes the home by one rename.

The directory that both lie in may belong to everybody (1777): what is found there may be another's.
"""

import ctypes
import errno
import fcntl
import os
import secrets
import stat
from typing import Self

from agentd.artifacts.home import DIRECTORY, STAGING
from agentd.artifacts.removing import remove
from agentd.artifacts.tree import Owner
from transfer.errors import Kind, TransferError

_LIBC = ctypes.CDLL(None, use_errno=True)


class Staging:
    """One attempt. `fd` is the directory, ours alone (0700) and locked, so that nobody sweeps it."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self.name, self.fd = _made(parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        try:
            if failed is not None:
                remove(self._parent, self.name)
        except OSError:  # swept by the next one; what failed is more telling
            if failed is None:
                raise
        finally:
            os.close(self.fd)

    def become(self, name: str, owner: Owner) -> None:
        """Be the home, whole and also after a power cut. If there is one in the meantime, that is it.

        Raises:
            TransferError: what has that name is not ours.
            OSError: it cannot be.
        """
        os.fchmod(self.fd, 0o755)
        owner.take(self.fd)
        if _LIBC.syncfs(self.fd) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            os.rename(self.name, name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            if not present(self._parent, name, owner):
                raise
            remove(self._parent, self.name)
        else:
            found = os.stat(name, dir_fd=self._parent, follow_symlinks=False)
            if not os.path.samestat(found, os.fstat(self.fd)):
                raise _foreign(name, found)
        os.fsync(self._parent)


def _made(parent: int) -> tuple[str, int]:
    """A new directory with a name that nobody could know, open and locked."""
    while True:
        name = STAGING + secrets.token_hex(8)
        os.mkdir(name, 0o700, dir_fd=parent)
        try:
            fd = os.open(name, DIRECTORY, dir_fd=parent)
        except FileNotFoundError:  # swept by somebody, before it was locked
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(fd, 0o700)
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if os.path.samestat(found, os.fstat(fd)) and found.st_uid == os.geteuid():
                return name, fd
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(fd)


def present(parent: int, name: str, owner: Owner) -> bool:
    """Whether the home is there. It is whole then: it appears by one rename, and only its owner makes such.

    Raises:
        TransferError: DENIED, what has that name is none of ours.
    """
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    wanted = os.geteuid() if owner.uid is None else owner.uid
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != wanted:
        raise _foreign(name, found)
    return True


def _foreign(name: str, found: os.stat_result) -> TransferError:
    what = "directory" if stat.S_ISDIR(found.st_mode) else "file or link"
    return TransferError(
        Kind.DENIED,
        f"where the files should lie is a {what} {name} of user {found.st_uid} that this agent has not made: "
        "remove it",
    )
